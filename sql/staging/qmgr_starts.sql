-- One row per line that shows the start of an instance's queue manager: with Postfix, by a reload, because
-- a lookup table changed, or, without such a line, because the process is another.
-- The qmgr then runs the queue and begins a new rhythm: is_phase_known unless the line came later.
with told_starts as (
    select
        host,
        instance,
        source_id,
        line_number,
        true as is_phase_known,
        logged_at as started_at
    from events.service_events
    where
        event_kind in ('start', 'reload')
        or (event_kind = 'table_changed' and program = 'qmgr')
)

select
    host,
    instance,
    source_id,
    line_number,
    is_phase_known,
    started_at
from told_starts

union all

select
    changes.host,
    changes.instance,
    changes.source_id,
    changes.line_number,
    false as is_phase_known,
    changes.began_at as started_at
from staging.qmgr_changes as changes
asof left join told_starts
    on
        changes.host = told_starts.host
        and changes.instance = told_starts.instance
        and changes.began_at >= told_starts.started_at
where coalesce(told_starts.started_at < changes.previous_at, true)
