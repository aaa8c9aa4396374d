-- One row per scan that may contradict the minimal_backoff_time of its time: it took mail too young for
-- that, and left other mail behind.
-- If the setting is known, an order or another scan just before is an explanation, too
-- (staging.run_bounds).
select
    scans.host,
    scans.instance,
    scans.is_backoff_known,
    run_bounds.shortest_taken_seconds,
    scans.began_at
from staging.scans as scans
left join staging.run_bounds as run_bounds
    on
        scans.host = run_bounds.host
        and scans.instance = run_bounds.instance
        and scans.began_at = run_bounds.began_at
where
    scans.early_count > 0
    and scans.left_behind_count > 0
    and not scans.is_at_qmgr_start
    and (not scans.is_backoff_known or not run_bounds.is_odd)
