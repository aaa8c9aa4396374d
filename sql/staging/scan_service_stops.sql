-- One row per stop of the scan service in its system events, with its next start.
-- A start without a stop before it (the service crashed, or the event is lost) has no stopped_at, a stop
-- without a start after it no started_at. The events of one file and of the log query's export are the
-- same.
with events as (
    select distinct
        host,
        event_kind,
        logged_at
    from events.system_events
    where event_kind in ('scan_stopped', 'scan_started')
),

-- A restart within one second stops before it starts.
followed as (
    select
        host,
        event_kind,
        logged_at,
        lag(event_kind) over in_time as previous_kind,
        lead(event_kind) over in_time as next_kind,
        lead(logged_at) over in_time as next_logged_at
    from events
    window in_time as (
        partition by host
        order by logged_at asc, event_kind desc
    )
),

stops as (
    select
        host,
        if(event_kind = 'scan_stopped', logged_at, null) as stopped_at,
        case
            when event_kind = 'scan_started' then logged_at
            when next_kind = 'scan_started' then next_logged_at
        end as started_at
    from followed
    where event_kind = 'scan_stopped' or previous_kind is distinct from 'scan_stopped'
)

select
    host,
    row_number() over (
        partition by host
        order by coalesce(stopped_at, started_at), stopped_at
    ) as stop_number,
    stopped_at,
    started_at
from stops
