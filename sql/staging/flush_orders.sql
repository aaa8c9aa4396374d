-- One row per order to flush a queue: the manager's command line, or the wrapper's marker.
-- Orders are claims. The mail that became active shows whether the queue was flushed (staging.queue_scans).
-- A stamp of whole seconds is truncated: the order came before the next second began.
with orders as (
    select
        host,
        'commanded' as order_kind,
        source_id,
        line_number,
        logged_at as ordered_at
    from events.manager_log
    where event_kind = 'flush_commanded'

    union all

    select
        host,
        'marked' as order_kind,
        source_id,
        line_number,
        logged_at as ordered_at
    from events.service_events
    where event_kind = 'flush_marker'
)

select
    host,
    order_kind,
    source_id,
    line_number,
    ordered_at,
    ordered_at + to_seconds(if(microsecond(ordered_at) % 1000000 = 0, 1, 0)) as ordered_before
from orders
