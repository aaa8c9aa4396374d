-- One row per event about the messages of noted queue ids (staging.noted_ids), as every model wants it that
-- puts lines in order: with the instance whose queue it is about, and the place of its file.
with lines as not materialized (
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
        transmission_seconds,
        pid,
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
        if(line_kind = 'notification', 'notification', 'skipped') as event_kind,
        logged_at
    from events.other_lines
    where line_kind in ('notification', 'still_being_delivered')
)

select
    lines.host,
    qmgr_instances.instance,
    lines.queue_id,
    lines.event_kind,
    lines.status,
    lines.recipient,
    lines.sender,
    lines.message_id,
    lines.size_bytes,
    lines.recipient_count,
    lines.delay_seconds,
    lines.transmission_seconds,
    lines.pid,
    lines.source_id,
    source_order.source_number,
    lines.line_number,
    coalesce(lines.is_by_sendmail, false) as is_by_sendmail,
    noted_ids.is_deferred,
    noted_ids.is_reused,
    lines.logged_at
from lines
inner join staging.noted_ids as noted_ids
    on lines.host = noted_ids.host and lines.queue_id = noted_ids.queue_id
inner join staging.qmgr_instances as qmgr_instances
    on
        lines.host = qmgr_instances.host
        and lines.logging_instance = qmgr_instances.logging_instance
inner join staging.source_order as source_order
    on lines.source_id = source_order.source_id
