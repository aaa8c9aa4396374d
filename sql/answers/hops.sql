-- One row per hop of the mail that `$wanted` names, once for each restart that held it there.
-- `$wanted` is a queue id, a trace id, a message id with or without its angle brackets, or the address of a
-- sender or recipient in any case; `$hosts` are the hosts to look at (all, if empty). With `$is_held` only
-- mail that a restart held, and with `$since` only mail that arrived on that day in the time of the host or
-- later; null is every day.
-- An attempt belongs to the hop in whose time it lies: stamps are whole seconds, arrivals may be computed.
with hops as (
    select * from marts.message_trace
    where len($hosts) = 0 or list_contains($hosts, host)
),

attempted as (
    select hops.trace_id
    from events.delivery_attempts as attempts
    inner join hops
        on
            attempts.host = hops.host
            and attempts.queue_id = hops.queue_id
            and attempts.logged_at >= hops.arrived_at - interval 1 second
            and coalesce(attempts.logged_at <= hops.left_at + interval 1 second, true)
    where
        lower($wanted) in (lower(attempts.recipient), lower(attempts.original_recipient))
),

wanted as (
    select trace_id
    from hops
    where
        $wanted in (queue_id, trace_id, message_id)
        or '<' || $wanted || '>' = message_id
        or lower($wanted) = lower(sender)

    union

    select trace_id
    from attempted
),

found as (
    select hops.*
    from hops
    semi join wanted on hops.trace_id = wanted.trace_id
),

held as (
    select found.trace_id
    from found
    semi join marts.held_messages as held_messages
        on
            found.host = held_messages.host
            and found.instance = held_messages.instance
            and found.queue_id = held_messages.queue_id
            and found.arrived_at = held_messages.arrived_at
),

chosen as (
    select found.*
    from found
    left join fleet.hosts as hosts on found.host = hosts.host
    where not $is_held or found.trace_id in (select held.trace_id from held)
    qualify
        coalesce(
            cast(
                min(timezone(hosts.time_zone, found.arrived_at)) over (partition by found.trace_id) as date
            ) >= $since,
            true
        )
),

recipients as (
    select
        chosen.trace_id,
        chosen.instance,
        chosen.queue_id,
        chosen.arrived_at,
        list(distinct attempts.recipient order by attempts.recipient)
        filter (where attempts.recipient is not null) as recipients
    from chosen
    inner join events.delivery_attempts as attempts
        on
            chosen.host = attempts.host
            and chosen.queue_id = attempts.queue_id
            and attempts.logged_at >= chosen.arrived_at - interval 1 second
            and coalesce(attempts.logged_at <= chosen.left_at + interval 1 second, true)
    group by all
)

-- All columns of the mart, whatever they are.
select
    chosen.*,  -- noqa: AM04
    recipients.recipients,
    held_messages.restart_id,
    held_messages.restart_delay_seconds,
    held_messages.first_deferred_at,
    held_messages.released_at
from chosen
left join recipients
    on
        chosen.trace_id = recipients.trace_id
        and chosen.instance = recipients.instance
        and chosen.queue_id = recipients.queue_id
        and chosen.arrived_at = recipients.arrived_at
left join marts.held_messages as held_messages
    on
        chosen.host = held_messages.host
        and chosen.instance = held_messages.instance
        and chosen.queue_id = held_messages.queue_id
        and chosen.arrived_at = held_messages.arrived_at
order by
    min(chosen.arrived_at) over (partition by chosen.trace_id),
    chosen.trace_id,
    chosen.hop_number,
    chosen.arrived_at,
    chosen.queue_id,
    held_messages.first_deferred_at
