-- One row per restart with held mail and queue, with what decides when Postfix retries that mail.
-- This is what marts.retry_what_if and `maillag what-if` simulate from. A setting that is only assumed is
-- NULL. A restart whose maillog may lack lines, or that was not over, has a no_answer_reason: nothing is
-- simulated.
-- The outage ends at the start that is logged, else after the last failure, and after a minute at the
-- latest, unless it is certainly longer: then by the first answer.
-- death_at_earliest and death_at_latest: the first suspension shows that the destination was dead, since
-- the last real failure before it at the earliest. NULL if no mail was suspended, or only after mail may
-- have been retried: when that happens depends on the settings.
-- phase_at: the latest queue run known for sure, or start of the qmgr, before the outage. A queue run takes
-- place queue_run_delay after the one before it, a little later if the qmgr is busy. qmgr_started_at has
-- the starts after it, until the restart's mail is released. phase_at is NULL if the time of a start is not
-- known to the second.
with held as (
    select
        restart_id,
        host,
        instance,
        count(*) as held_message_count,
        min(first_deferred_at) as first_deferred_at,
        max(released_at) as last_released_at
    from marts.held_messages
    group by restart_id, host, instance
),

suspensions as (
    select
        restart_id,
        instance,
        min(logged_at) as suspended_at
    from staging.held_attempts
    where restart_id is not null and cause = 'suspended'
    group by restart_id, instance
),

deaths as (
    select
        suspensions.restart_id,
        suspensions.instance,
        suspensions.suspended_at,
        max(attempts.logged_at) as failed_at
    from suspensions
    inner join staging.held_attempts as attempts
        on
            suspensions.restart_id = attempts.restart_id
            and suspensions.instance = attempts.instance
            and suspensions.suspended_at >= attempts.logged_at
            and attempts.cause <> 'suspended'
    group by suspensions.restart_id, suspensions.instance, suspensions.suspended_at
),

sendmail_queues as (
    select distinct
        host,
        instance
    from staging.log_instances
    where is_by_sendmail
),

conditions as (
    select
        held.restart_id,
        held.host,
        held.instance,
        case
            when sendmail_queues.host is not null then 'sendmail'
            when restarts.up_at is null then 'still_down'
            when restarts.verdict_reason not in ('settings_unknown', 'too_few_messages', 'qmgr_restart')
                then restarts.verdict_reason
        end as no_answer_reason,
        held.held_message_count,
        if(
            is_known_setting(host_history.queue_run_delay_seconds_source),
            host_history.queue_run_delay_seconds,
            null
        ) as queue_run_delay_seconds,
        if(
            is_known_setting(host_history.minimal_backoff_seconds_source),
            host_history.minimal_backoff_seconds,
            null
        ) as minimal_backoff_seconds,
        if(
            is_known_setting(host_history.maximal_backoff_seconds_source),
            host_history.maximal_backoff_seconds,
            null
        ) as maximal_backoff_seconds,
        if(
            is_known_setting(host_history.maximal_queue_lifetime_seconds_source),
            host_history.maximal_queue_lifetime_seconds,
            null
        ) as maximal_queue_lifetime_seconds,
        if(
            is_known_setting(host_history.bounce_queue_lifetime_seconds_source),
            host_history.bounce_queue_lifetime_seconds,
            null
        ) as bounce_queue_lifetime_seconds,
        held.first_deferred_at,
        staging_restarts.down_at,
        least(
            greatest(
                coalesce(staging_restarts.up_at_earliest, staging_restarts.down_at),
                staging_restarts.started_at
            ),
            staging_restarts.up_at
        ) as up_at_earliest,
        if(
            restarts.is_overlong and staging_restarts.started_at is null,
            coalesce(staging_restarts.up_at_latest, staging_restarts.up_at),
            staging_restarts.up_at
        ) as up_at_latest,
        outages.up_at_latest as answered_at,
        greatest(held.last_released_at, staging_restarts.window_until) as known_until,
        thresholds.assumed_backoff_seconds,
        thresholds.shortest_queue_run_seconds,
        thresholds.queue_run_slip_count
    from held
    inner join staging.restarts as staging_restarts
        on held.restart_id = staging_restarts.restart_id
    inner join marts.restarts as restarts
        on held.restart_id = restarts.restart_id
    left join staging.outages as outages
        on
            staging_restarts.host = outages.host
            and staging_restarts.outage_number = outages.outage_number
    inner join fleet.host_history as host_history
        on
            staging_restarts.host = host_history.host
            and staging_restarts.down_at >= coalesce(host_history.valid_from, '-infinity')
            and staging_restarts.down_at < coalesce(host_history.valid_until, 'infinity')
    cross join config.thresholds as thresholds
    left join sendmail_queues
        on held.host = sendmail_queues.host and held.instance = sendmail_queues.instance
),

starts as (
    select
        host,
        instance,
        bool_and(is_phase_known) as is_phase_known,
        started_at
    from staging.qmgr_starts
    group by host, instance, started_at
),

later_starts as (
    select
        conditions.restart_id,
        conditions.instance,
        list(starts.started_at order by starts.started_at) as qmgr_started_at,
        bool_and(starts.is_phase_known) as is_phase_known
    from conditions
    inner join starts
        on
            conditions.host = starts.host
            and conditions.instance = starts.instance
            and conditions.down_at < starts.started_at
            and conditions.known_until >= starts.started_at
    group by conditions.restart_id, conditions.instance
),

placed as (
    select
        conditions.*,
        coalesce(later_starts.qmgr_started_at, []) as qmgr_started_at,
        coalesce(known_runs.began_at < starts.started_at, starts.started_at is not null)
            as is_phase_of_start,
        if(
            later_starts.is_phase_known is distinct from false
            and (starts.is_phase_known or not is_phase_of_start),
            if(is_phase_of_start, starts.started_at, known_runs.began_at),
            null
        ) as phase_at
    from conditions
    asof left join staging.known_runs as known_runs
        on
            conditions.host = known_runs.host
            and conditions.instance = known_runs.instance
            and conditions.down_at >= known_runs.began_at
    asof left join starts
        on
            conditions.host = starts.host
            and conditions.instance = starts.instance
            and conditions.down_at >= starts.started_at
    left join later_starts
        on
            conditions.restart_id = later_starts.restart_id
            and conditions.instance = later_starts.instance
)

select
    placed.restart_id,
    placed.host,
    placed.instance,
    placed.no_answer_reason,
    placed.held_message_count,
    placed.queue_run_delay_seconds,
    placed.minimal_backoff_seconds,
    placed.maximal_backoff_seconds,
    placed.maximal_queue_lifetime_seconds,
    placed.bounce_queue_lifetime_seconds,
    -- The qmgr runs the queue within a second of its start, and each later run may slip.
    1 + date_diff('second', placed.phase_at, placed.down_at)
    // (
        coalesce(placed.queue_run_delay_seconds, placed.shortest_queue_run_seconds)
        * placed.queue_run_slip_count
    ) as phase_error_seconds,
    placed.is_phase_of_start,
    placed.up_at_earliest,
    placed.up_at_latest,
    placed.answered_at,
    deaths.failed_at as death_at_earliest,
    deaths.suspended_at as death_at_latest,
    placed.phase_at,
    placed.qmgr_started_at
from placed
left join deaths
    on
        placed.restart_id = deaths.restart_id
        and placed.instance = deaths.instance
        and deaths.suspended_at
        < placed.first_deferred_at
        + to_seconds(coalesce(placed.minimal_backoff_seconds, placed.assumed_backoff_seconds) - 1)
