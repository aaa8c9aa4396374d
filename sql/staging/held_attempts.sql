-- One row per attempt at the scan service of a message that a restart held, with the restart that made it
-- fail.
-- A real failure belongs to the restart in whose outage it lies, a suspension to the latest earlier
-- restart with a real failure, however long ago. An answered attempt belongs to none.
with failures as (
    select
        attempts.host,
        attempts.source_number,
        attempts.line_number,
        attempts.recipient,
        restarts.restart_id,
        restarts.down_at
    from staging.scan_attempts as attempts
    asof inner join (
        select * from staging.restarts
        where failure_count > 0
    ) as restarts
        on attempts.host = restarts.host and attempts.logged_at >= restarts.down_at
    where
        attempts.cause = 'suspended'
        or (attempts.is_real_failure and attempts.logged_at <= restarts.up_at_earliest)
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
