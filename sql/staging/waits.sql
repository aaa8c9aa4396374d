-- One row per wait of a message in the deferred queue, from the end of a round of deliveries to its
-- re-activation.
-- A round that left nothing deferred is followed by no wait: what becomes active after it was active
-- already (a restarted qmgr logs such mail again). A wait is early if it was too short for a queue run:
-- Postfix retries a message no earlier than minimal_backoff_time after its last deferral
-- (qmgr_active.c). Where that setting is only assumed, an early wait must be shorter still, and a wait
-- between the two proves nothing (is_unsettled). Nor does the wait of a message that a restarting qmgr found
-- still being delivered (is_skipped): it comes back after 60 s, whatever minimal_backoff_time is.
-- sendmail tries all mail in every queue run, however young: is_early is NULL there.
-- waited_until: re-activation, or the end of the waiting by hold or removal; NULL if not seen.
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
        max(logged_at) filter (where event_kind in ('deferral', 'attempt')) as last_attempted_at,
        min(logged_at) filter (where event_kind in ('held', 'removed', 'deleted', 'requeued'))
            as taken_out_at,
        count(*) filter (where event_kind = 'deferral') as deferral_count,
        bool_or(event_kind = 'skipped') as is_skipped,
        bool_or(is_by_sendmail) as is_by_sendmail
    from numbered
    group by host, instance, queue_id, lifetime, round_number
),

followed as (
    select
        *,
        lead(activated_at) over (
            partition by host, instance, queue_id, lifetime
            order by round_number
        ) as reactivated_at
    from rounds
),

timed as (
    select
        followed.*,
        date_diff('millisecond', followed.last_attempted_at, followed.reactivated_at) / 1000
            as waited_seconds,
        host_history.minimal_backoff_seconds - thresholds.backoff_margin_seconds
            as earliest_run_seconds,
        thresholds.assumed_backoff_seconds,
        host_history.minimal_backoff_seconds_source in ('fleet_file', 'inventory', 'fleet_defaults')
            as is_backoff_known
    from followed
    inner join fleet.host_history as host_history
        on
            followed.host = host_history.host
            and followed.last_attempted_at >= coalesce(host_history.valid_from, '-infinity')
            and followed.last_attempted_at < coalesce(host_history.valid_until, 'infinity')
    cross join config.thresholds as thresholds
    where followed.deferral_count > 0
)

select
    host,
    instance,
    queue_id,
    lifetime,
    round_number,
    waited_seconds,
    is_backoff_known,
    is_skipped,
    is_by_sendmail,
    if(
        is_by_sendmail,
        null,
        waited_seconds
        < if(is_backoff_known, earliest_run_seconds, least(earliest_run_seconds, assumed_backoff_seconds))
    ) as is_early,
    not is_backoff_known
    and waited_seconds >= assumed_backoff_seconds
    and waited_seconds < earliest_run_seconds as is_unsettled,
    last_attempted_at as deferred_at,
    reactivated_at,
    coalesce(taken_out_at, reactivated_at) as waited_until
from timed
