-- One row per log line that shows when the service went down and came back, with its role.
-- Of the attempts: the last answer before the outage, the first and the last failure, and the first answer
-- after it. Of the other logs: all stops, starts and triggers near the restart.
with attempts as (
    select
        attempts.*,
        maillogs.source_id,
        restart.down_at_earliest,
        restart.up_at_earliest,
        restart.up_at_latest,
        failures.line_number is not null as is_failure
    from staging.scan_attempts as attempts
    inner join explain.maillogs as maillogs
        on attempts.source_number = maillogs.source_number
    cross join explain.restart as restart
    left join staging.scan_failures as failures
        on
            restart.outage_number = failures.outage_number
            and attempts.source_number = failures.source_number
            and attempts.line_number = failures.line_number
            and attempts.recipient is not distinct from failures.recipient
),

roles as (
    select
        source_id,
        source_number,
        line_number,
        logged_at,
        case
            when is_answered and is_fresh_connection and began_at = down_at_earliest then 'last_answer'
            when is_failure then 'failure'
            when
                is_answered and is_fresh_connection
                and began_at >= coalesce(up_at_earliest, '-infinity') and logged_before = up_at_latest
                then 'first_answer'
        end as role
    from attempts
),

ranked as (
    select
        *,
        row_number() over (
            partition by role
            order by logged_at, source_number, line_number
        ) as number_from_first,
        row_number() over (
            partition by role
            order by logged_at desc, source_number desc, line_number desc
        ) as number_from_last
    from roles
    where role is not null
),

other_witnesses as (
    select
        source_id,
        line_number,
        event_kind,
        restart_trigger,
        logged_at
    from events.system_events

    union all

    select
        source_id,
        line_number,
        null as event_kind,
        restart_trigger,
        logged_at
    from events.manager_log
)

select
    case
        when role <> 'failure' then role
        when number_from_first = 1 then 'first_failure'
        else 'last_failure'
    end as role,
    source_id,
    line_number
from ranked
where number_from_first = 1 or (role = 'failure' and number_from_last = 1)

union all

select
    coalesce(witnesses.restart_trigger, witnesses.event_kind) as role,
    witnesses.source_id,
    witnesses.line_number
from other_witnesses as witnesses
cross join explain.restart as restart
cross join config.thresholds as thresholds
where
    (
        witnesses.restart_trigger is not null
        or witnesses.event_kind in ('scan_stopped', 'scan_started')
    )
    and witnesses.logged_at
    >= coalesce(restart.down_at_earliest, restart.down_at - to_seconds(thresholds.trigger_window_seconds))
    and witnesses.logged_at < coalesce(restart.window_until, 'infinity')
