-- One row per restart after which waiting mail was not flushed, with what a flush would have saved.
-- The avoidable delay begins at the later of expected_flush_at and the message's first deferral. advice is
-- the first step for the build at that time, else shorter retries, unless they are already short. Changing
-- the wrapper script does not help if the manager did not notice the restart, nor if the order had no
-- effect though the script is sound.
with avoidable as (
    select
        restarts.restart_id,
        restarts.up_at + to_seconds(thresholds.expected_flush_seconds) as expected_flush_at,
        greatest(
            0,
            date_diff(
                'millisecond',
                greatest(expected_flush_at, held_messages.first_deferred_at),
                held_messages.released_at
            ) / 1000
        ) as avoidable_delay_seconds
    from marts.restarts as restarts
    cross join config.thresholds as thresholds
    left join marts.held_messages as held_messages
        on
            restarts.restart_id = held_messages.restart_id
            and held_messages.released_at is not null
    where is_not_flushed(restarts.flush_verdict)
),

totals as (
    select
        restart_id,
        expected_flush_at,
        sum(avoidable_delay_seconds) as avoidable_delay_total_seconds,
        max(avoidable_delay_seconds) as avoidable_delay_max_seconds
    from avoidable
    group by restart_id, expected_flush_at
)

select
    restarts.restart_id,
    restarts.host,
    restarts.flush_verdict,
    restarts.flush_order,
    restarts.missing_reason,
    restarts.build_verdict,
    case
        when build_verdicts.mta = 'sendmail' then build_verdicts.advice[1]
        when restarts.missing_reason = 'order_without_effect' then 'check_order'
        -- Its md5 tells on a build of which nothing else is known.
        when restarts.missing_reason = 'wrapper_defect' and len(build_verdicts.advice) = 0
            then 'edit_wrapper'
        when restarts.missing_reason = 'not_noticed' and not build_verdicts.is_intermittent
            then 'flush_after_restart'
        when len(build_verdicts.advice) > 0 then build_verdicts.advice[1]
        when not build_verdicts.is_retry_short then 'shorten_retry'
        when restarts.build_verdict = 'fixed' then 'check_flush'
        when restarts.build_verdict = 'unspecified' then 'apply_latest_patch'
        else 'find_build'
    end as advice,
    restarts.held_message_count,
    totals.avoidable_delay_total_seconds,
    totals.avoidable_delay_max_seconds,
    restarts.down_at,
    restarts.up_at,
    totals.expected_flush_at
from marts.restarts as restarts
inner join totals
    on restarts.restart_id = totals.restart_id
inner join staging.build_verdicts as build_verdicts
    on
        restarts.host = build_verdicts.host
        and restarts.down_at >= coalesce(build_verdicts.valid_from, '-infinity')
        and restarts.down_at < coalesce(build_verdicts.valid_until, 'infinity')
