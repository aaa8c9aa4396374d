-- One row per queue id of a host whose lines must be put in order: mail that was deferred, or an id that
-- another message may have had before (is_reused). Most mail is neither.
-- A queue id was used again where an arrival is not its first line, or where a message id or an activation
-- comes after the entry left the queue.
with lines as not materialized (
    select
        host,
        queue_id,
        source_id,
        line_number,
        if(status = 'deferred', 'deferral', null) as line_kind,
        logged_at
    from events.delivery_attempts

    union all

    select
        host,
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
        queue_id,
        source_id,
        line_number,
        'sign_of_life' as line_kind,
        logged_at
    from events.message_ids

    union all

    select
        host,
        queue_id,
        source_id,
        line_number,
        'sign_of_life' as line_kind,
        logged_at
    from events.queue_activations

    union all

    select
        host,
        queue_id,
        source_id,
        line_number,
        if(removal_kind in ('removed', 'deleted', 'requeued'), 'end', null) as line_kind,
        logged_at
    from events.queue_removals

    union all

    select
        host,
        queue_id,
        source_id,
        line_number,
        null as line_kind,
        logged_at
    from events.other_lines
    where line_kind in ('notification', 'still_being_delivered')
),

-- Stamp, file and line in one number of 128 bits, as comparing three columns takes twice as long.
placed as (
    select
        lines.host,
        lines.queue_id,
        lines.line_kind,
        (cast(epoch_us(lines.logged_at) as hugeint) << 72)
        + (cast(source_order.source_number as hugeint) << 40)
        + lines.line_number as place
    from lines
    inner join staging.source_order as source_order
        on lines.source_id = source_order.source_id
),

ids as (
    select
        host,
        queue_id,
        coalesce(bool_or(line_kind = 'deferral'), false) as is_deferred,
        coalesce(max(place) filter (where line_kind = 'arrival') > min(place), false)
        or coalesce(
            max(place) filter (where line_kind = 'sign_of_life')
            > min(place) filter (where line_kind = 'end'),
            false
        ) as is_reused
    from placed
    group by host, queue_id
)

select
    host,
    queue_id,
    is_deferred,
    is_reused
from ids
where is_deferred or is_reused
