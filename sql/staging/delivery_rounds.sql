-- One row per round of deliveries of a message in staging.message_events: from an activation to the next.
-- Round 0 is what is logged before the first activation. taken_out_at: when the message left the deferred
-- queue other than by an activation.
with numbered as (
    select
        *,
        count(*) filter (where event_kind = 'activation') over (
            partition by host, instance, queue_id, lifetime
            order by event_number
            rows unbounded preceding
        ) as round_number
    from staging.message_events
),

rounds as (
    select
        host,
        instance,
        queue_id,
        lifetime,
        round_number,
        min(logged_at) filter (where event_kind = 'activation') as activated_at,
        coalesce(bool_or(is_computed), false) as is_computed,
        max(logged_at) filter (where event_kind in ('deferral', 'attempt')) as last_attempted_at,
        min(logged_at) filter (where event_kind in ('held', 'removed', 'deleted', 'requeued'))
            as taken_out_at,
        max(logged_at) filter (where event_kind = 'removed') as removed_at,
        count(*) filter (where event_kind in ('deferral', 'attempt')) as attempt_count,
        count(*) filter (where event_kind = 'deferral') as deferral_count,
        bool_or(event_kind = 'expired') as is_expired,
        bool_or(event_kind = 'skipped') as is_skipped,
        bool_or(is_by_sendmail) as is_by_sendmail
    from numbered
    group by host, instance, queue_id, lifetime, round_number
),

followed as (
    select
        *,
        lead(activated_at) over following_round as reactivated_at,
        lead(is_computed) over following_round as is_reactivation_computed
    from rounds
    window following_round as (
        partition by host, instance, queue_id, lifetime
        order by round_number
    )
)

select
    host,
    instance,
    queue_id,
    lifetime,
    round_number,
    attempt_count,
    deferral_count,
    is_computed,
    is_skipped,
    is_expired,
    is_by_sendmail,
    activated_at,
    last_attempted_at,
    taken_out_at,
    removed_at,
    reactivated_at,
    is_reactivation_computed
from followed
