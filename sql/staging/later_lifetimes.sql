-- One row per log line about a message whose queue id another message had before it, with its lifetime.
-- Short queue ids are used again: a lifetime ends where the entry leaves the queue, and another begins with
-- the next arrival. A line that is not listed here belongs to lifetime 0. Within one second the order is
-- that of the lines, within a line the arrival comes first.
with boundaries as (
    select
        host,
        instance,
        queue_id,
        true as is_arrival,
        line_number,
        logged_at
    from events.clients
    where queue_id is not null

    union all

    select
        host,
        instance,
        queue_id,
        false as is_arrival,
        line_number,
        logged_at
    from events.queue_removals
    where removal_kind in ('removed', 'deleted', 'requeued')
),

-- Most queue ids are used once: only what is left is worth putting in order.
reused_ids as (
    select
        boundaries.host,
        qmgr_instances.instance,
        boundaries.queue_id
    from boundaries
    inner join staging.qmgr_instances as qmgr_instances
        on
            boundaries.host = qmgr_instances.host
            and boundaries.instance = qmgr_instances.logging_instance
    group by boundaries.host, qmgr_instances.instance, boundaries.queue_id
    having
        count(*) filter (where boundaries.is_arrival) > 1
        or count(*) filter (where not boundaries.is_arrival) > 1
        or max(boundaries.logged_at) filter (where boundaries.is_arrival)
        > min(boundaries.logged_at) filter (where not boundaries.is_arrival)
        or (
            max(boundaries.logged_at) filter (where boundaries.is_arrival)
            = min(boundaries.logged_at) filter (where not boundaries.is_arrival)
            and max(boundaries.line_number) filter (where boundaries.is_arrival)
            > min(boundaries.line_number) filter (where not boundaries.is_arrival)
        )
),

queue_events as (
    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        'arrival' as event_kind,
        logged_at
    from events.clients

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        'message_id' as event_kind,
        logged_at
    from events.message_ids

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        'activation' as event_kind,
        logged_at
    from events.queue_activations

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        'attempt' as event_kind,
        logged_at
    from events.delivery_attempts

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        if(removal_kind in ('removed', 'deleted', 'requeued'), 'end', removal_kind) as event_kind,
        logged_at
    from events.queue_removals

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        line_kind as event_kind,
        logged_at
    from events.other_lines
    where line_kind = 'notification'
),

ordered as (
    select
        reused_ids.host,
        reused_ids.instance,
        reused_ids.queue_id,
        queue_events.source_id,
        queue_events.line_number,
        queue_events.event_kind,
        row_number() over (
            partition by reused_ids.host, reused_ids.instance, reused_ids.queue_id
            order by
                queue_events.logged_at,
                source_order.source_number,
                queue_events.line_number,
                queue_events.event_kind <> 'arrival'
        ) as event_number
    from queue_events
    inner join staging.qmgr_instances as qmgr_instances
        on
            queue_events.host = qmgr_instances.host
            and queue_events.instance = qmgr_instances.logging_instance
    inner join reused_ids
        on
            queue_events.host = reused_ids.host
            and qmgr_instances.instance = reused_ids.instance
            and queue_events.queue_id = reused_ids.queue_id
    inner join staging.source_order as source_order
        on queue_events.source_id = source_order.source_id
),

marked as (
    select
        *,
        event_kind = 'arrival'
        or coalesce(
            lag(event_kind) over (
                partition by host, instance, queue_id
                order by event_number
            ) = 'end',
            true
        ) as is_first
    from ordered
),

numbered as (
    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        count(*) filter (where is_first) over (
            partition by host, instance, queue_id
            order by event_number
            rows unbounded preceding
        ) - 1 as lifetime
    from marked
)

select
    host,
    source_id,
    line_number,
    min(lifetime) as lifetime
from numbered
where lifetime > 0
group by host, source_id, line_number
