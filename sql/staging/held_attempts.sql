-- One row per attempt at the scan service of a message that a restart held, with the restart that made it
-- fail.
-- A real failure belongs to the restart whose outage it is part of. A failure of a slow scanner belongs to
-- no restart, unless an outage began during the attempt. A suspension belongs to the latest earlier restart
-- with a real failure, however long ago. An answered attempt belongs to no restart.
with outages as (
    select
        restarts.host,
        restarts.restart_id,
        restarts.outage_number,
        restarts.down_at,
        min(failures.failed_at) as failed_from
    from staging.restarts as restarts
    inner join staging.scan_failures as failures
        on restarts.host = failures.host and restarts.outage_number = failures.outage_number
    group by restarts.host, restarts.restart_id, restarts.outage_number, restarts.down_at
),

failures as (
    select
        failures.host,
        failures.source_number,
        failures.line_number,
        failures.recipient,
        coalesce(own.restart_id, hung.restart_id) as restart_id,
        coalesce(own.down_at, hung.down_at) as down_at
    from staging.scan_failures as failures
    left join outages as own
        on failures.host = own.host and failures.outage_number = own.outage_number
    asof left join (
        select *
        from outages
        qualify
            row_number() over (
                partition by host, failed_from
                order by outage_number
            ) = 1
    ) as hung
        on failures.host = hung.host and failures.failing_from <= hung.failed_from
    where own.restart_id is not null or hung.failed_from <= failures.logged_at

    union all

    select
        attempts.host,
        attempts.source_number,
        attempts.line_number,
        attempts.recipient,
        outages.restart_id,
        outages.down_at
    from staging.scan_attempts as attempts
    -- Of two in one instant the later.
    asof inner join (
        select *
        from outages
        qualify
            row_number() over (
                partition by host, down_at
                order by outage_number desc
            ) = 1
    ) as outages
        on attempts.host = outages.host and attempts.logged_at >= outages.down_at
    where attempts.cause = 'suspended'
),

attempts as (
    select
        attempts.host,
        attempts.instance,
        attempts.queue_id,
        message_events.lifetime,
        attempts.recipient,
        failures.restart_id,
        failures.down_at,
        attempts.cause,
        attempts.is_answered,
        attempts.is_interrupted,
        attempts.is_hop_inferred,
        row_number() over (
            partition by attempts.host, attempts.instance, attempts.queue_id, message_events.lifetime
            order by attempts.logged_at, attempts.source_number, attempts.line_number
        ) as attempt_number,
        attempts.logged_at
    from staging.scan_attempts as attempts
    inner join staging.message_events as message_events
        on
            attempts.host = message_events.host
            and attempts.source_number = message_events.source_number
            and attempts.line_number = message_events.line_number
            and attempts.recipient is not distinct from message_events.recipient
            and message_events.event_kind in ('deferral', 'attempt')
    left join failures
        on
            attempts.host = failures.host
            and attempts.source_number = failures.source_number
            and attempts.line_number = failures.line_number
            and attempts.recipient is not distinct from failures.recipient
)

select *
from attempts
qualify
    bool_or(restart_id is not null) over (partition by host, instance, queue_id, lifetime)
