-- One row per restart of the scan service, with the mail that it held up and whether the queue was
-- flushed after it.
with held_messages as (
    select
        held_messages.*,
        held_messages.restart_delay_seconds > thresholds.long_delay_seconds as is_delayed_long
    from marts.held_messages as held_messages
    cross join config.thresholds as thresholds
),

held as (
    select
        restart_id,
        count(*) as held_message_count,
        cast(sum(held_recipient_count) as bigint) as held_recipient_count,
        count(*) filter (where is_never_tried) as never_tried_count,
        count(*) filter (where is_interrupted) as interrupted_count,
        -- What a queue snapshot does not list has left the queue, though no line tells how.
        count(*) filter (
            where released_at is null and outcome = 'pending' and is_pending_proved is distinct from false
        ) as pending_count,
        count(*) filter (where released_at is null and outcome in ('expired', 'bounced'))
            as lost_message_count,
        count(*) filter (where is_delayed_long) as delayed_over_5_min_count,
        quantile_cont(restart_delay_seconds, 0.5) as restart_delay_p50_seconds,
        quantile_cont(restart_delay_seconds, 0.95) as restart_delay_p95_seconds,
        max(restart_delay_seconds) as restart_delay_max_seconds,
        sum(restart_delay_seconds) as restart_delay_total_seconds,
        min(first_deferred_at) as first_deferred_at,
        max(released_at) as last_released_at
    from held_messages
    group by restart_id
),

-- Mail that a queue run took before a flush came, or that none came for.
queue_runs as (
    select
        restarts.restart_id,
        count(*) as queue_run_count
    from staging.restarts as restarts
    inner join staging.flush_verdicts as flush_verdicts
        on restarts.restart_id = flush_verdicts.restart_id
    inner join held_messages
        on
            restarts.restart_id = held_messages.restart_id
            and held_messages.released_by = 'queue_run'
            and restarts.up_at < held_messages.reactivated_at
            and coalesce(flush_verdicts.flush_observed_at > held_messages.reactivated_at, true)
    group by restarts.restart_id
),

duplicates as (
    select
        restart_id,
        count(*) as possible_duplicate_count
    from staging.possible_duplicates
    group by restart_id
),

restarts as (
    select
        restarts.*,
        flush_verdicts.flush_verdict,
        flush_verdicts.verdict_reason,
        flush_verdicts.flush_order,
        flush_verdicts.flush_missed_count,
        flush_verdicts.flush_failed_count,
        flush_verdicts.flush_commanded_at,
        flush_verdicts.flush_marked_at,
        flush_verdicts.flush_observed_at,
        build_verdicts.product,
        build_verdicts.build,
        build_verdicts.build_verdict,
        build_verdicts.time_zone,
        -- What KA-0010256 says of the wrapper script is about IMSS; on IMSVA the polls are at fault.
        coalesce(
            build_verdicts.is_md5_defective
            or (build_verdicts.build_verdict = 'known_defective' and not build_verdicts.is_intermittent),
            false
        ) as is_wrapper_defective,
        thresholds.close_bounds_seconds,
        thresholds.longest_restart_seconds,
        -- A restart that only the manager's command or the service's start tells of has no known length.
        if(
            restarts.failure_count > 0 or restarts.stopped_at is not null,
            date_diff('millisecond', restarts.down_at, restarts.up_at) / 1000,
            null
        ) as outage_seconds,
        date_diff('millisecond', restarts.up_at_earliest, restarts.up_at_latest) / 1000
            as up_at_span_seconds,
        if(
            restarts.up_at_earliest is not null or restarts.started_at is not null,
            date_diff(
                'millisecond',
                restarts.down_at_latest,
                least(greatest(restarts.up_at_earliest, restarts.started_at), restarts.up_at_latest)
            ) / 1000,
            null
        ) as certain_outage_seconds,
        if(restarts.failure_count > 0, ['maillog'], [])
        || if(restarts.stopped_at is not null or restarts.started_at is not null, ['system_event'], [])
        || if(flush_verdicts.flush_commanded_at is not null, ['manager_log'], []) as evidence
    from staging.restarts as restarts
    inner join staging.flush_verdicts as flush_verdicts
        on restarts.restart_id = flush_verdicts.restart_id
    inner join staging.build_verdicts as build_verdicts
        on
            restarts.host = build_verdicts.host
            and restarts.down_at >= coalesce(build_verdicts.valid_from, '-infinity')
            and restarts.down_at < coalesce(build_verdicts.valid_until, 'infinity')
    cross join config.thresholds as thresholds
)

select
    restarts.restart_id,
    restarts.host,
    restarts.flush_verdict,
    restarts.verdict_reason,
    restarts.flush_order,
    case
        when not is_not_flushed(restarts.flush_verdict) then null
        when restarts.flush_order = 'ordered' and restarts.flush_observed_at is null
            then if(restarts.is_wrapper_defective, 'wrapper_defect', 'order_without_effect')
        when restarts.flush_order = 'not_ordered' and unnoticed_restarts.restart_id is not null
            then 'not_noticed'
        when restarts.flush_order = 'not_ordered' then 'not_ordered'
        else 'unknown'
    end as missing_reason,
    restarts.product,
    restarts.build,
    restarts.build_verdict,
    restarts.time_zone,
    case
        when len(restarts.evidence) > 1 then 'certain'
        when restarts.failure_count > 1 or restarts.evidence = ['system_event'] then 'likely'
        else 'possible'
    end as confidence,
    restarts.evidence,
    coalesce(restart_triggers.restart_trigger, 'unknown') as restart_trigger,
    restarts.outage_seconds,
    coalesce(held.held_message_count, 0) as held_message_count,
    coalesce(held.held_recipient_count, 0) as held_recipient_count,
    coalesce(held.never_tried_count, 0) as never_tried_count,
    coalesce(held.interrupted_count, 0) as interrupted_count,
    coalesce(duplicates.possible_duplicate_count, 0) as possible_duplicate_count,
    coalesce(held.pending_count, 0) as pending_count,
    coalesce(held.lost_message_count, 0) as lost_message_count,
    coalesce(queue_runs.queue_run_count, 0) as queue_run_count,
    coalesce(held.delayed_over_5_min_count, 0) as delayed_over_5_min_count,
    restarts.flush_missed_count,
    restarts.flush_failed_count,
    held.restart_delay_p50_seconds,
    held.restart_delay_p95_seconds,
    held.restart_delay_max_seconds,
    held.restart_delay_total_seconds,
    coalesce(restarts.up_at_span_seconds > restarts.close_bounds_seconds, true)
    and restarts.started_at is null
    and restarts.up_at is not null as is_up_at_estimated,
    coalesce(restarts.certain_outage_seconds > restarts.longest_restart_seconds, false)
        as is_overlong,
    restarts.down_at,
    restarts.down_at_earliest,
    restarts.down_at_latest,
    restarts.up_at,
    restarts.up_at_earliest,
    restarts.up_at_latest,
    restarts.window_from,
    restarts.window_until,
    held.first_deferred_at,
    held.last_released_at,
    restarts.flush_commanded_at,
    restarts.flush_marked_at,
    restarts.flush_observed_at
from restarts
left join held
    on restarts.restart_id = held.restart_id
left join staging.unnoticed_restarts as unnoticed_restarts
    on restarts.restart_id = unnoticed_restarts.restart_id
left join queue_runs
    on restarts.restart_id = queue_runs.restart_id
left join duplicates
    on restarts.restart_id = duplicates.restart_id
left join staging.restart_triggers as restart_triggers
    on restarts.restart_id = restart_triggers.restart_id
