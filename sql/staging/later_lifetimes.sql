-- One row per log line about a message whose queue id another message had before it, with its lifetime.
-- Short queue ids are used again. A lifetime begins with an arrival, or, where that was not logged, with the
-- first message id or activation after the entry left the queue. What else is logged then belongs to the
-- message that left: a delivery may be under way while an operator deletes or requeues its message. A line
-- that is not listed here belongs to lifetime 0. Within one second the order is that of the lines, within a
-- line the arrival comes first.
with ordered as (
    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        case
            when event_kind = 'arrival' then 'arrival'
            when event_kind in ('message_id', 'activation') then 'sign_of_life'
            when event_kind in ('removed', 'deleted', 'requeued') then 'end'
        end as line_kind,
        row_number() over (
            partition by host, instance, queue_id
            order by
                logged_at,
                source_number,
                line_number,
                event_kind = 'arrival' desc
        ) as event_number
    from staging.noted_lines
    where is_reused
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
