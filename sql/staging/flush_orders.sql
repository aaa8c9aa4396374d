-- One row per order to flush a queue: the manager's command line, or the wrapper's marker.
-- Orders are claims. Whether the queue was flushed is told by what became active (staging.queue_scans).
select
    host,
    'commanded' as order_kind,
    logged_at as ordered_at
from events.manager_log
where event_kind = 'flush_commanded'

union all

select
    host,
    'marked' as order_kind,
    logged_at as ordered_at
from events.service_events
where event_kind = 'flush_marker'
