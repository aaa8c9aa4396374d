-- One row per event about the messages of queue ids under which mail was deferred, or was active twice, with
-- the instance whose queue it is about, the place of its file, and the lifetime of the queue id.
-- Mail that was active twice was deferred in between, unless the qmgr was restarted: its deferral may be
-- lost.
-- active_seconds: from the activation to the line, where a delivery tells its parts (before_qmgr_seconds ends
-- with the activation).
with deferred_ids as (
    select distinct
        host,
        queue_id
    from staging.queue_entries
    where is_deferred or is_reactivated
),

lines as not materialized (
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
        in_qmgr_seconds + connection_setup_seconds + transmission_seconds as active_seconds,
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
        'skipped' as event_kind,
        logged_at
    from events.other_lines
    where line_kind = 'still_being_delivered'
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
    lines.active_seconds,
    lines.transmission_seconds,
    lines.pid,
    source_order.source_number,
    lines.line_number,
    coalesce(lifetimes.lifetime, 0) as lifetime,
    coalesce(lines.is_by_sendmail, false) as is_by_sendmail,
    lines.logged_at
from lines
semi join deferred_ids
    on lines.host = deferred_ids.host and lines.queue_id = deferred_ids.queue_id
inner join staging.qmgr_instances as qmgr_instances
    on
        lines.host = qmgr_instances.host
        and lines.logging_instance = qmgr_instances.logging_instance
inner join staging.source_order as source_order
    on lines.source_id = source_order.source_id
left join (
    select
        queue_number,
        source_number,
        line_number,
        min(lifetime) as lifetime
    from staging.later_lifetimes
    group by queue_number, source_number, line_number
) as lifetimes
    on
        qmgr_instances.queue_number = lifetimes.queue_number
        and source_order.source_number = lifetimes.source_number
        and lines.line_number = lifetimes.line_number
