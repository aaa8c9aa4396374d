-- One row per log line about a message whose queue id another message had before it, with its lifetime.
-- Short queue ids are used again. A lifetime begins with an arrival, or, where that was not logged, with the
-- first message id or activation after the entry left the queue. What else is logged then belongs to the
-- message that left: a delivery may be under way while an operator deletes or requeues its message. A line
-- that is not listed here belongs to lifetime 0. Within one second the order is that of the lines, within a
-- line the arrival comes first.
with lines as not materialized (
    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        'arrival' as line_kind,
        logged_at
    from events.clients
    where queue_id is not null

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        'sign_of_life' as line_kind,
        logged_at
    from events.message_ids

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        'sign_of_life' as line_kind,
        logged_at
    from events.queue_activations

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        if(removal_kind in ('removed', 'deleted', 'requeued'), 'end', null) as line_kind,
        logged_at
    from events.queue_removals

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        null as line_kind,
        logged_at
    from events.delivery_attempts

    union all

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        null as line_kind,
        logged_at
    from events.other_lines
    where line_kind in ('notification', 'still_being_delivered')
),

-- Most queue ids are used once: only what may have been used again is worth putting in order.
reused_ids as (
    select
        lines.host,
        lines.queue_id
    from lines
    inner join staging.source_order as source_order
        on lines.source_id = source_order.source_id
    group by lines.host, lines.queue_id
    having
        min(source_order.source_number) < max(source_order.source_number)
        or max(lines.logged_at) filter (where lines.line_kind = 'arrival') > min(lines.logged_at)
        or max(lines.logged_at) filter (where lines.line_kind = 'sign_of_life')
        > min(lines.logged_at) filter (where lines.line_kind = 'end')
        or (
            max(lines.logged_at) filter (where lines.line_kind = 'arrival') = min(lines.logged_at)
            and max(lines.line_number) filter (where lines.line_kind = 'arrival') > min(lines.line_number)
        )
        or (
            max(lines.logged_at) filter (where lines.line_kind = 'sign_of_life')
            = min(lines.logged_at) filter (where lines.line_kind = 'end')
            and max(lines.line_number) filter (where lines.line_kind = 'sign_of_life')
            > min(lines.line_number) filter (where lines.line_kind = 'end')
        )
),

ordered as (
    select
        lines.host,
        qmgr_instances.instance,
        lines.queue_id,
        lines.source_id,
        lines.line_number,
        lines.line_kind,
        row_number() over (
            partition by lines.host, qmgr_instances.instance, lines.queue_id
            order by
                lines.logged_at,
                source_order.source_number,
                lines.line_number,
                lines.line_kind = 'arrival' desc nulls last
        ) as event_number
    from lines
    semi join reused_ids
        on
            lines.host = reused_ids.host
            and lines.queue_id = reused_ids.queue_id
    inner join staging.qmgr_instances as qmgr_instances
        on
            lines.host = qmgr_instances.host
            and lines.instance = qmgr_instances.logging_instance
    inner join staging.source_order as source_order
        on lines.source_id = source_order.source_id
),

marked as (
    select
        *,
        event_number > 1
        and (
            line_kind = 'arrival'
            or (
                line_kind = 'sign_of_life'
                and lag(line_kind ignore nulls) over (
                    partition by host, instance, queue_id
                    order by event_number
                ) = 'end'
            )
        ) as is_first
    from ordered
),

numbered as (
    select
        host,
        source_id,
        line_number,
        count(*) filter (where is_first) over (
            partition by host, instance, queue_id
            order by event_number
            rows unbounded preceding
        ) as lifetime
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
