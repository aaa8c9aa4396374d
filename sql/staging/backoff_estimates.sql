-- One row per host and instance whose queue runs tell what minimal_backoff_time is, within two bounds.
-- A queue run takes mail that has waited for minimal_backoff_time, and leaves what has not: the longest wait
-- that was left is below it (unless the message was so old that it had to wait for its age,
-- qmgr_active.c), the shortest that was taken is not. Scans that leave nothing may be flushes and tell
-- nothing. Where single messages are retried by hand the bounds contradict each other: there is no estimate
-- then, nor from fewer than estimate_scan_count scans.
with scans as (
    select
        host,
        instance,
        scan_number,
        min(reactivated_at) as began_at,
        max(reactivated_at) as ended_at,
        min(waited_seconds) as shortest_taken_seconds
    from staging.deferred_waits
    where scan_number is not null and not is_by_sendmail
    group by host, instance, scan_number
),

-- Right after a qmgr start mail may become active that was active before.
queue_runs as (
    select scans.*
    from scans
    cross join config.thresholds as thresholds
    asof left join staging.qmgr_starts as qmgr_starts
        on
            scans.host = qmgr_starts.host
            and scans.instance = qmgr_starts.instance
            and scans.ended_at >= qmgr_starts.started_at
    where
        coalesce(
            qmgr_starts.started_at < scans.began_at - to_seconds(thresholds.qmgr_start_seconds), true
        )
),

left_behind as (
    select
        queue_runs.host,
        queue_runs.instance,
        queue_runs.scan_number,
        any_value(queue_runs.shortest_taken_seconds) as shortest_taken_seconds,
        max(left_behind.left_seconds) filter (
            where
            left_behind.age_seconds
            <= date_diff('second', left_behind.deferred_at, left_behind.began_at)
        ) as longest_left_seconds
    from queue_runs
    inner join staging.left_behind as left_behind
        on
            queue_runs.host = left_behind.host
            and queue_runs.instance = left_behind.instance
            and queue_runs.scan_number = left_behind.scan_number
    group by queue_runs.host, queue_runs.instance, queue_runs.scan_number
),

estimates as (
    select
        host,
        instance,
        count(*) as scan_count,
        max(longest_left_seconds) as backoff_above_seconds,
        min(shortest_taken_seconds) as backoff_up_to_seconds
    from left_behind
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
