-- One row per scan that certainly left mail behind, with the longest wait that it left and the shortest
-- that it took.
-- Scans that leave nothing may be flushes and say nothing about minimal_backoff_time; nor do scans right
-- after a qmgr start, or sendmail's. A message so old that it had to wait for its age (qmgr_active.c) was
-- not left because of that setting. is_odd: not a queue run, because it followed an order to flush within
-- flush_window_seconds, or another scan within shortest_queue_run_seconds: a flush comes in waves if the
-- active queue is full, and so do an operator's retries of one message after another.
with scans as (
    select
        host,
        instance,
        scan_number,
        min(reactivated_at) as began_at,
        max(reactivated_at) as ended_at,
        min(waited_seconds) as shortest_taken_seconds,
        coalesce(bool_or(is_computed), false) as is_computed
    from staging.deferred_waits
    where scan_number is not null and not is_by_sendmail
    group by host, instance, scan_number
),

neighbours as (
    select
        *,
        lag(ended_at) over in_time as previous_ended_at,
        lead(began_at) over in_time as next_began_at
    from scans
    window in_time as (
        partition by host, instance
        order by scan_number
    )
),

-- Right after a qmgr start mail may become active that was active before.
queue_runs as (
    select
        scans.*,
        coalesce(
            scans.previous_ended_at
            > scans.began_at - to_seconds(thresholds.shortest_queue_run_seconds),
            false
        )
        or coalesce(
            scans.next_began_at < scans.ended_at + to_seconds(thresholds.shortest_queue_run_seconds),
            false
        )
        or coalesce(
            flush_orders.ordered_before
            > scans.began_at - to_seconds(thresholds.flush_window_seconds),
            false
        ) as is_odd
    from neighbours as scans
    cross join config.thresholds as thresholds
    asof left join staging.qmgr_starts as qmgr_starts
        on
            scans.host = qmgr_starts.host
            and scans.instance = qmgr_starts.instance
            and scans.ended_at >= qmgr_starts.started_at
    asof left join staging.flush_orders as flush_orders
        on scans.host = flush_orders.host and scans.ended_at >= flush_orders.ordered_at
    where
        not scans.is_computed
        and coalesce(
            qmgr_starts.started_at < scans.began_at - to_seconds(thresholds.qmgr_start_seconds), true
        )
),

left_behind as (
    select
        queue_runs.host,
        queue_runs.instance,
        queue_runs.scan_number,
        any_value(queue_runs.began_at) as began_at,
        any_value(queue_runs.is_odd) as is_odd,
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
            and left_behind.is_sure
    group by queue_runs.host, queue_runs.instance, queue_runs.scan_number
)

select
    host,
    instance,
    is_odd,
    began_at,
    shortest_taken_seconds,
    longest_left_seconds
from left_behind
