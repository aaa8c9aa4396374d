-- One row per host and instance whose queue runs tell what minimal_backoff_time is, within two bounds.
-- A queue run takes mail that has waited for minimal_backoff_time, and leaves what has not: the longest wait
-- that was left is below it, the shortest that was taken is not (staging.run_bounds). Where single messages
-- are retried by hand the bounds contradict each other: there is no estimate then, nor from fewer than
-- estimate_scan_count scans.
with estimates as (
    select
        host,
        instance,
        count(*) as scan_count,
        max(longest_left_seconds) as backoff_above_seconds,
        min(shortest_taken_seconds) as backoff_up_to_seconds
    from staging.run_bounds
    where not is_odd
    group by host, instance
)

select
    estimates.host,
    estimates.instance,
    estimates.backoff_above_seconds,
    estimates.backoff_up_to_seconds
from estimates
cross join config.thresholds as thresholds
where
    estimates.scan_count >= thresholds.estimate_scan_count
    and estimates.backoff_above_seconds < estimates.backoff_up_to_seconds
