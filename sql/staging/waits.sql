-- One row per wait of a message in the deferred queue, with whether it was too short for a queue run.
-- Postfix retries a message no earlier than minimal_backoff_time after its last deferral
-- (qmgr_active.c): a shorter wait is early. If that setting is only assumed, the queue runs may reveal it
-- (staging.backoff_estimates); otherwise an early wait must be shorter still. A wait that would be early by
-- one possible value and due by another proves nothing (is_unsettled). A computed re-activation is as
-- precise as the rounded parts of a delay: computed_activation_seconds.
-- sendmail tries all mail in every queue run, however young: is_early is NULL there.
with timed as (
    select
        waits.*,
        is_known_setting(host_history.minimal_backoff_seconds_source) as is_backoff_known,
        if(
            is_backoff_known,
            host_history.minimal_backoff_seconds - thresholds.backoff_margin_seconds,
            coalesce(
                estimates.backoff_above_seconds - thresholds.backoff_margin_seconds,
                least(
                    host_history.minimal_backoff_seconds - thresholds.backoff_margin_seconds,
                    thresholds.assumed_backoff_seconds
                )
            )
        ) as earliest_run_seconds,
        if(
            is_backoff_known,
            earliest_run_seconds,
            coalesce(
                estimates.backoff_up_to_seconds,
                host_history.minimal_backoff_seconds - thresholds.backoff_margin_seconds
            )
        ) as due_seconds,
        if(waits.is_computed, thresholds.computed_activation_seconds, 0) as blur_seconds
    from staging.deferred_waits as waits
    inner join fleet.host_history as host_history
        on
            waits.host = host_history.host
            and waits.deferred_at >= coalesce(host_history.valid_from, '-infinity')
            and waits.deferred_at < coalesce(host_history.valid_until, 'infinity')
    cross join config.thresholds as thresholds
    left join staging.backoff_estimates as estimates
        on waits.host = estimates.host and waits.instance = estimates.instance
)

select
    host,
    instance,
    queue_id,
    lifetime,
    round_number,
    scan_number,
    waited_seconds,
    earliest_run_seconds,
    is_backoff_known,
    is_by_sendmail,
    is_computed,
    if(is_by_sendmail, null, waited_seconds < earliest_run_seconds - blur_seconds) as is_early,
    coalesce(
        waited_seconds >= earliest_run_seconds - blur_seconds
        and waited_seconds < due_seconds + blur_seconds,
        false
    ) as is_unsettled,
    deferred_at,
    reactivated_at,
    waited_until,
    seen_until,
    due_by
from timed
