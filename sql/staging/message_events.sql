-- One row per queue event of every message that was ever deferred, with the message's lifetime.
-- Within one second the order is that of the lines, within a line arrival, activation, all else.
-- sendmail logs no activation: a round of deliveries is what one process tries, and begins with its first
-- attempt.
with sendmail_rounds as (
    select
        host,
        instance,
        queue_id,
        source_number,
        line_number,
        lifetime,
        logged_at - to_seconds(coalesce(transmission_seconds, 0)) as began_at
    from staging.deferred_lines
    where is_by_sendmail
    qualify
        coalesce(
            pid
            <> lag(pid) over (partition by host, instance, queue_id order by logged_at, line_number),
            true
        )
),

queue_events as (
    select
        host,
        instance,
        queue_id,
        event_kind,
        status,
        recipient,
        sender,
        message_id,
        size_bytes,
        recipient_count,
        delay_seconds,
        is_by_sendmail,
        source_number,
        line_number,
        lifetime,
        logged_at
    from staging.deferred_lines

    union all by name

    select
        host,
        instance,
        queue_id,
        'activation' as event_kind,
        true as is_by_sendmail,
        source_number,
        line_number,
        lifetime,
        began_at as logged_at
    from sendmail_rounds
),

ordered as (
    select
        *,
        row_number() over (
            partition by host, instance, queue_id
            order by
                logged_at,
                source_number,
                line_number,
                case event_kind when 'arrival' then 0 when 'activation' then 1 else 2 end,
                recipient
        ) as event_number
    from queue_events
)

select
    host,
    instance,
    queue_id,
    event_kind,
    status,
    recipient,
    sender,
    message_id,
    size_bytes,
    recipient_count,
    delay_seconds,
    is_by_sendmail,
    event_number,
    source_number,
    line_number,
    lifetime,
    logged_at
from ordered
