-- One row per host with Postfix, with the retry settings that are recommended for it, why, and at what cost.
-- Settings are never lengthened. They stay as they are where they are short enough, where no flush is
-- missing or in doubt, and where shorter ones would add more retries a day than costly_retry_percent of the
-- mail of a day: then only a flush helps.
-- The gain is simulated (marts.retry_what_if, scenario short_retry) for the restarts without a flush, of
-- which everything that the simulation needs is known. The cost counts all deferred mail of the host: it
-- waits as long as it did, with one retry for each interval that its age and the settings give. A mean wait
-- for the next queue run is half of queue_run_delay. Less than a day of maillog tells nothing about a day.
with retries as (
    select
        retries.host,
        sum(retries.retry_count) as retry_count,
        sum(
            retries.waited_seconds
            / retry_interval_seconds(
                retries.age_class_seconds,
                evidence.minimal_backoff_seconds,
                evidence.maximal_backoff_seconds,
                evidence.queue_run_delay_seconds
            )
        ) as present_retry_count,
        sum(
            retries.waited_seconds
            / retry_interval_seconds(
                retries.age_class_seconds,
                evidence.advised_minimal_backoff_seconds,
                evidence.maximal_backoff_seconds,
                evidence.advised_queue_run_delay_seconds
            )
        ) as advised_retry_count
    from marts.retries as retries
    inner join staging.host_evidence as evidence
        on retries.host = evidence.host
    group by retries.host
),

days as (
    select
        host,
        sum(coverage_share) as day_count,
        sum(message_count) as message_count
    from marts.fleet_daily
    group by host
    having sum(coverage_share) >= 1
),

unflushed as (
    select
        restarts.host,
        count(*) as restart_count,
        cast(sum(what_if.message_count) as bigint) as message_count,
        max(as_it_was.restart_delay_max_seconds) as longest_wait_seconds,
        sum(as_it_was.restart_delay_total_seconds) as total_wait_seconds,
        max(what_if.restart_delay_max_at_most_seconds) as advised_longest_wait_at_most_seconds,
        sum(what_if.restart_delay_total_at_least_seconds) as advised_total_wait_at_least_seconds,
        sum(what_if.restart_delay_total_at_most_seconds) as advised_total_wait_at_most_seconds
    from marts.restarts as restarts
    inner join marts.retry_what_if as as_it_was
        on restarts.restart_id = as_it_was.restart_id and as_it_was.scenario = 'as_it_was'
    inner join staging.host_evidence as evidence
        on restarts.host = evidence.host
    inner join marts.retry_what_if as what_if
        on restarts.restart_id = what_if.restart_id and what_if.scenario = 'short_retry'
    where
        is_not_flushed(restarts.flush_verdict)
        and restarts.flush_observed_at is null
        and what_if.restart_delay_max_at_most_seconds is not null
        and not evidence.is_retry_short
        and what_if.queue_run_delay_seconds = evidence.advised_queue_run_delay_seconds
        and what_if.minimal_backoff_seconds = evidence.advised_minimal_backoff_seconds
    group by restarts.host
),

costs as (
    select
        evidence.host,
        evidence.is_retry_short,
        evidence.build_verdict = 'known_defective' or evidence.current_missing_count > 0 as is_flush_in_doubt,
        evidence.queue_run_delay_seconds,
        evidence.minimal_backoff_seconds,
        evidence.advised_queue_run_delay_seconds,
        evidence.advised_minimal_backoff_seconds,
        thresholds.costly_retry_percent,
        days.day_count,
        days.message_count / days.day_count as daily_message_count,
        coalesce(retries.retry_count, 0) / days.day_count as daily_retry_count,
        if(
            retries.host is null or retries.advised_retry_count < retries.present_retry_count,
            0,
            retries.advised_retry_count - retries.present_retry_count
        )
        / days.day_count as daily_extra_retry_count
    from staging.host_evidence as evidence
    cross join config.thresholds as thresholds
    left join days
        on evidence.host = days.host
    left join retries
        on evidence.host = retries.host
    where evidence.mta = 'postfix'
),

judged as (
    select
        *,
        case
            when is_retry_short then 'short_enough'
            when not is_flush_in_doubt then 'no_need'
            when daily_extra_retry_count * 100 > daily_message_count * costly_retry_percent then 'costly'
            else 'shorter_waits'
        end as reason,
        reason = 'shorter_waits' as is_changed
    from costs
)

select
    judged.host,
    judged.reason,
    judged.queue_run_delay_seconds,
    judged.minimal_backoff_seconds,
    if(judged.is_changed, judged.advised_queue_run_delay_seconds, judged.queue_run_delay_seconds)
        as recommended_queue_run_delay_seconds,
    if(judged.is_changed, judged.advised_minimal_backoff_seconds, judged.minimal_backoff_seconds)
        as recommended_minimal_backoff_seconds,
    coalesce(unflushed.restart_count, 0) as simulated_restart_count,
    coalesce(unflushed.message_count, 0) as simulated_message_count,
    unflushed.longest_wait_seconds,
    unflushed.total_wait_seconds,
    unflushed.advised_longest_wait_at_most_seconds,
    unflushed.advised_total_wait_at_least_seconds,
    unflushed.advised_total_wait_at_most_seconds,
    judged.day_count,
    judged.daily_message_count,
    judged.daily_retry_count,
    judged.daily_extra_retry_count,
    epoch(interval 1 day) / judged.queue_run_delay_seconds as daily_queue_run_count,
    epoch(interval 1 day) / judged.advised_queue_run_delay_seconds as advised_daily_queue_run_count
from judged
left join unflushed
    on judged.host = unflushed.host
