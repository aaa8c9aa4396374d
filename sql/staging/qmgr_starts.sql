-- One row per line that tells that an instance's queue manager was started: with Postfix, by a reload, or
-- because a table of it changed. It then runs the queue, and in a new rhythm from there on.
select
    host,
    instance,
    source_id,
    line_number,
    logged_at as started_at
from events.service_events
where
    event_kind in ('start', 'reload')
    or (event_kind = 'table_changed' and program = 'qmgr')
