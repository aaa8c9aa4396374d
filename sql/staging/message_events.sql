-- One row per queue event of every message in staging.deferred_lines, with the message's lifetime.
-- Within one second events are in the order of lines; within a line, arrival, activation, other events.
-- An activation that the log lacks is computed (is_computed). Each delivery of Postfix shows how long the
-- message had been active (delays=a/b/c/d: b, c and d): a message that became active more than
-- computed_activation_seconds after the last delivery of the previous round was activated again. So was a
-- message of which a recipient is tried for the second time in a round, unless such an activation lies
-- between the two tries: the other recipients follow within the same activation. If the parts are not
-- logged, it was activated at the delivery at the latest.
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

postfix_lines as (
    select
        host,
        instance,
        queue_id,
        event_kind,
        recipient,
        source_number,
        line_number,
        lifetime,
        logged_at,
        logged_at - to_milliseconds(cast(1000 * active_seconds as bigint)) as active_from,
        count(*) filter (where event_kind = 'activation') over (
            partition by host, instance, queue_id, lifetime
            order by logged_at, source_number, line_number
        ) as logged_round
    from staging.deferred_lines
    where not is_by_sendmail and event_kind in ('activation', 'deferral', 'attempt')
),

postfix_attempts as (
    select
        lines.*,
        lag(lines.logged_at) over in_round as previous_at,
        lines.active_from
        > lag(lines.logged_at) over in_round + to_seconds(thresholds.computed_activation_seconds)
            as is_long_after,
        row_number() over in_round as place,
        row_number() over of_recipient as recipient_try
    from postfix_lines as lines
    cross join config.thresholds as thresholds
    where lines.event_kind <> 'activation'
    window
        in_round as (
            partition by lines.host, lines.instance, lines.queue_id, lines.lifetime, lines.logged_round
            order by lines.logged_at, lines.source_number, lines.line_number, lines.recipient
        ),
        of_recipient as (
            partition by
                lines.host,
                lines.instance,
                lines.queue_id,
                lines.lifetime,
                lines.logged_round,
                lines.recipient
            order by lines.logged_at, lines.source_number, lines.line_number
        )
),

tries as (
    select
        *,
        lag(place) over (
            partition by host, instance, queue_id, lifetime, logged_round, recipient
            order by recipient_try
        ) as previous_try_place,
        max(place) filter (where is_long_after) over up_to_it as last_long_after_place,
        max(recipient_try) over before_it as most_tries_before
    from postfix_attempts
    window
        up_to_it as (
            partition by host, instance, queue_id, lifetime, logged_round
            order by place
            rows unbounded preceding
        ),
        before_it as (
            partition by host, instance, queue_id, lifetime, logged_round
            order by place
            rows between unbounded preceding and 1 preceding
        )
),

computed_rounds as (
    select
        attempts.host,
        attempts.instance,
        attempts.queue_id,
        attempts.source_number,
        attempts.line_number,
        attempts.lifetime,
        greatest(coalesce(attempts.active_from, attempts.logged_at), attempts.previous_at) as activated_at
    from tries as attempts
    where
        attempts.is_long_after
        or (
            attempts.recipient_try > 1
            and attempts.recipient_try > attempts.most_tries_before
            and coalesce(attempts.last_long_after_place <= attempts.previous_try_place, true)
            and coalesce(attempts.active_from > attempts.previous_at, true)
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
        false as is_computed,
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
        false as is_computed,
        source_number,
        line_number,
        lifetime,
        began_at as logged_at
    from sendmail_rounds

    union all by name

    select
        host,
        instance,
        queue_id,
        'activation' as event_kind,
        false as is_by_sendmail,
        true as is_computed,
        source_number,
        line_number,
        lifetime,
        activated_at as logged_at
    from computed_rounds
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
    is_computed,
    event_number,
    source_number,
    line_number,
    lifetime,
    logged_at
from ordered
