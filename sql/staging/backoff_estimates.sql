-- One row per host and instance whose queue runs reveal minimal_backoff_time, between two bounds.
-- A queue run takes mail that has waited for minimal_backoff_time, and leaves other mail: the setting is
-- longer than the longest wait left behind, and at most the shortest wait taken (staging.run_bounds). If
-- messages are retried by hand, the bounds contradict each other: then there is no estimate, nor from fewer
-- than estimate_scan_count scans.
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
