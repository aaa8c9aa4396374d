-- One row per log line about a message that the restart held, from its first deferral to its release or its
-- end, with its role.
with held_messages as (
    select held_messages.*
    from marts.held_messages as held_messages
    semi join explain.restart as restart
        on held_messages.restart_id = restart.restart_id
),

-- One attempt may have been logged in several lines, and one line may tell of several recipients.
held_attempts as (
    select distinct
        attempts.instance,
        attempts.queue_id,
        attempts.lifetime,
        attempts.recipient,
        attempts.logged_at
    from staging.held_attempts as attempts
    semi join explain.restart as restart
        on attempts.restart_id = restart.restart_id
),

roles as (
    select
        held_messages.instance,
        held_messages.queue_id,
        held_messages.lifetime,
        held_messages.released_at,
        events.event_number,
        maillogs.source_id,
        events.line_number,
        events.logged_at,
        case
            when held_attempts.queue_id is not null then 'deferral'
            when scan_attempts.queue_id is not null
                then if(events.logged_at = held_messages.released_at, 'release', 'answer')
            when events.event_kind = 'activation' and not events.is_by_sendmail then 'reactivation'
            when events.event_kind = 'skipped' then 'still_being_delivered'
            when
                held_messages.released_at is null
                and events.event_kind in ('held', 'expired', 'removed', 'deleted', 'requeued')
                then events.event_kind
        end as role
    from staging.message_events as events
    inner join held_messages
        on
            events.instance = held_messages.instance
            and events.queue_id = held_messages.queue_id
            and events.lifetime = held_messages.lifetime
            and events.logged_at >= held_messages.first_deferred_at
            and events.logged_at <= coalesce(held_messages.released_at, 'infinity')
    inner join explain.maillogs as maillogs
        on events.source_number = maillogs.source_number
    left join staging.scan_attempts as scan_attempts
        on
            events.event_kind in ('deferral', 'attempt')
            and events.source_number = scan_attempts.source_number
            and events.line_number = scan_attempts.line_number
            and events.recipient is not distinct from scan_attempts.recipient
    left join held_attempts
        on
            scan_attempts.instance = held_attempts.instance
            and scan_attempts.queue_id = held_attempts.queue_id
            and events.lifetime = held_attempts.lifetime
            and scan_attempts.recipient is not distinct from held_attempts.recipient
            and scan_attempts.logged_at = held_attempts.logged_at
            and not scan_attempts.is_answered
),

-- Within the second of the first deferral and of the release, the order of the lines decides.
bounded as (
    select *
    from roles
    window message as (partition by instance, queue_id, lifetime)
    qualify
        event_number >= min(event_number) filter (where role = 'deferral') over message
        and event_number
        <= coalesce(max(event_number) filter (where role = 'release') over message, event_number)
)

select distinct
    role,
    source_id,
    line_number,
    instance,
    queue_id,
    lifetime
from bounded
where role is not null
