-- One row per queue event of every message that was ever deferred, with the message's lifetime.
-- Within one second the order is that of the lines, within a line arrival, activation, all else.
-- sendmail logs no activation: a round of deliveries is what one process tries, and begins with its first
-- attempt.
with deferred_ids as (
    select distinct
        host,
        queue_id
    from events.delivery_attempts
    where status = 'deferred'
),

sendmail_rounds as (
    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        logged_at - to_seconds(coalesce(transmission_seconds, 0)) as began_at
    from events.delivery_attempts
    where mailer is not null
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
        instance as logging_instance,
        queue_id,
        source_id,
        line_number,
        if(status = 'deferred', 'deferral', 'attempt') as event_kind,
        status,
        recipient,
        null as sender,
        null as message_id,
        null as size_bytes,
        null as recipient_count,
        delay_seconds,
        mailer is not null as is_by_sendmail,
        logged_at
    from events.delivery_attempts

    union all by name

    select
        host,
        instance as logging_instance,
        queue_id,
        source_id,
        line_number,
        'activation' as event_kind,
        sender,
        size_bytes,
        recipient_count,
        logged_at
    from events.queue_activations

    union all by name

    select
        host,
        instance as logging_instance,
        queue_id,
        source_id,
        line_number,
        'activation' as event_kind,
        true as is_by_sendmail,
        began_at as logged_at
    from sendmail_rounds

    union all by name

    select
        host,
        instance as logging_instance,
        queue_id,
        source_id,
        line_number,
        removal_kind as event_kind,
        logged_at
    from events.queue_removals

    union all by name

    select
        host,
        instance as logging_instance,
        queue_id,
        source_id,
        line_number,
        'arrival' as event_kind,
        logged_at
    from events.clients
    where queue_id is not null

    union all by name

    select
        host,
        instance as logging_instance,
        queue_id,
        source_id,
        line_number,
        'message_id' as event_kind,
        message_id,
        logged_at
    from events.message_ids

    union all by name

    select
        host,
        instance as logging_instance,
        queue_id,
        source_id,
        line_number,
        'skipped' as event_kind,
        logged_at
    from events.other_lines
    where line_kind = 'still_being_delivered'
),

ordered as (
    select
        queue_events.*,
        qmgr_instances.instance,
        source_order.source_number,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        row_number() over (
            partition by queue_events.host, qmgr_instances.instance, queue_events.queue_id
            order by
                queue_events.logged_at,
                source_order.source_number,
                queue_events.line_number,
                case queue_events.event_kind when 'arrival' then 0 when 'activation' then 1 else 2 end,
                queue_events.recipient
        ) as event_number
    from queue_events
    inner join staging.qmgr_instances as qmgr_instances
        on
            queue_events.host = qmgr_instances.host
            and queue_events.logging_instance = qmgr_instances.logging_instance
    inner join staging.source_order as source_order
        on queue_events.source_id = source_order.source_id
    left join staging.later_lifetimes as later_lifetimes
        on
            queue_events.source_id = later_lifetimes.source_id
            and queue_events.line_number = later_lifetimes.line_number
    semi join deferred_ids
        on
            queue_events.host = deferred_ids.host
            and queue_events.queue_id = deferred_ids.queue_id
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
    coalesce(is_by_sendmail, false) as is_by_sendmail,
    event_number,
    source_number,
    line_number,
    lifetime,
    logged_at
from ordered
