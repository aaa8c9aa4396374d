-- One row per scan that left mail behind, with the longest wait that it left and the shortest that it took.
-- Scans that leave nothing may be flushes and tell nothing of minimal_backoff_time; nor do those right after
-- a qmgr start, or sendmail's. A message so old that it had to wait for its age (qmgr_active.c) was not left
-- because of that setting.
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
        any_value(queue_runs.began_at) as began_at,
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
)

select
    host,
    instance,
    began_at,
    shortest_taken_seconds,
    longest_left_seconds
from left_behind
