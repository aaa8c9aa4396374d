-- One row per scan that contradicts the minimal_backoff_time of its time: it took mail too young for that, and
-- left other mail behind.
-- Where the setting is only assumed, any such scan does. Where it is told, an operator's retry of single
-- messages looks the same: it contradicts only what a queue run with a shorter minimal_backoff_time would
-- leave and take, and what all scans of that instance agree with.
with longest_left as (
    select
        host,
        instance,
        max(longest_left_seconds) as longest_left_seconds
    from staging.run_bounds
    group by host, instance
)

select
    scans.host,
    scans.instance,
    scans.is_backoff_known,
    scans.began_at
from staging.scans as scans
left join staging.run_bounds as run_bounds
    on
        scans.host = run_bounds.host
        and scans.instance = run_bounds.instance
        and scans.began_at = run_bounds.began_at
left join longest_left
    on scans.host = longest_left.host and scans.instance = longest_left.instance
where
    scans.early_count > 0
    and scans.left_behind_count > 0
    and not scans.is_at_qmgr_start
    and (
        not scans.is_backoff_known
        or (
            not run_bounds.is_odd
            and longest_left.longest_left_seconds < run_bounds.shortest_taken_seconds
        )
    )
