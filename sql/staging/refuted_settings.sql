-- One row per host and instance whose scans contradict minimal_backoff_time, known or assumed.
-- An assumed setting is contradicted by any scan that took early mail and left some behind. For a known
-- setting, an operator's retry of single messages looks the same: it is contradicted only by a scan that
-- would be a queue run with a shorter minimal_backoff_time, and only if all scans of the instance agree
-- with the shorter time: none left mail that had waited for as long.
with longest_left as (
    select
        host,
        instance,
        max(longest_left_seconds) as longest_left_seconds
    from staging.run_bounds
    group by host, instance
)

select distinct
    scans.host,
    scans.instance,
    scans.is_backoff_known
from staging.refuting_scans as scans
left join longest_left
    on scans.host = longest_left.host and scans.instance = longest_left.instance
where
    not scans.is_backoff_known
    or longest_left.longest_left_seconds < scans.shortest_taken_seconds
