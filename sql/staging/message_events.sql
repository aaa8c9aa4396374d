-- One row per queue event of every message that was ever deferred, with the message's lifetime.
-- Within one second the order is that of the lines, within a line arrival, activation, all else.
-- sendmail logs no activation: a round of deliveries is what one process tries, and begins with its first
-- attempt.
with sendmail_rounds as (
    select
        host,
        instance,
        queue_id,
        source_id,
        source_number,
        line_number,
        logged_at - to_seconds(coalesce(transmission_seconds, 0)) as began_at
    from staging.noted_lines
    where is_deferred and is_by_sendmail
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
        source_id,
        source_number,
        line_number,
        logged_at
    from staging.noted_lines
    where is_deferred and event_kind <> 'notification'

    union all by name

    select
        host,
        instance,
        queue_id,
        'activation' as event_kind,
        true as is_by_sendmail,
        source_id,
        source_number,
        line_number,
        began_at as logged_at
    from sendmail_rounds
),

ordered as (
    select
        queue_events.*,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        row_number() over (
            partition by queue_events.host, queue_events.instance, queue_events.queue_id
            order by
                queue_events.logged_at,
                queue_events.source_number,
                queue_events.line_number,
                case queue_events.event_kind when 'arrival' then 0 when 'activation' then 1 else 2 end,
                queue_events.recipient
        ) as event_number
    from queue_events
    left join staging.later_lifetimes as later_lifetimes
        on
            queue_events.source_id = later_lifetimes.source_id
            and queue_events.line_number = later_lifetimes.line_number
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
