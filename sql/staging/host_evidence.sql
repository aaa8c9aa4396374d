-- One row per host, with its present settings and what its restarts showed.
-- Columns that begin with current_ cover the restarts since the product, its build, the wrapper or the MTA
-- last changed (current_from, NULL: never): a patched host is judged by its behaviour since the patch. The
-- other counts cover all restarts; missing_wait_ covers the current restarts under the present retry
-- settings.
with changed as (
    select
        host,
        max(changed_at) filter (
            where setting in ('product', 'version', 'build', 'wrapper_md5', 'mta')
        ) as current_from,
        max(changed_at) filter (
            where
            setting in ('queue_run_delay_seconds', 'minimal_backoff_seconds', 'maximal_backoff_seconds')
        ) as retry_from
    from staging.setting_changes
    group by host
),

restarts as (
    select
        restarts.*,
        is_not_flushed(restarts.flush_verdict) as is_missing,
        is_flushed(restarts.flush_verdict, restarts.flush_order) as is_flushed,
        coalesce(restarts.down_at >= changed.current_from, true) as is_current,
        coalesce(restarts.down_at >= changed.retry_from, true) as is_under_retry
    from marts.restarts as restarts
    left join changed
        on restarts.host = changed.host
),

counts as (
    select
        host,
        count(*) as restart_count,
        count(*) filter (where held_message_count > 0) as restarts_with_held_mail_count,
        count(*) filter (where is_missing) as missing_flush_count,
        count(*) filter (where missing_reason = 'not_noticed') as not_noticed_count,
        count(*) filter (where missing_reason = 'wrapper_defect') as wrapper_defect_count,
        count(*) filter (where missing_reason = 'order_without_effect') as order_without_effect_count,
        count(*) filter (where is_overlong) as overlong_count,
        count(*) filter (where is_current) as current_restart_count,
        count(*) filter (where is_current and is_flushed) as current_flushed_count,
        count(*) filter (where is_current and is_missing) as current_missing_count,
        count(*) filter (where is_current and missing_reason = 'not_noticed')
            as current_not_noticed_count,
        count(*) filter (where is_current and missing_reason = 'order_without_effect')
            as current_order_without_effect_count,
        count(*) filter (where is_current and is_overlong) as current_overlong_count,
        count(*) filter (where is_current and is_under_retry and is_missing) as missing_wait_count,
        max(restart_delay_max_seconds) filter (where is_current and is_under_retry and is_missing)
            as missing_wait_max_seconds
    from restarts
    group by host
),

held as (
    select
        host,
        count(*) as held_message_count,
        count(*) filter (where released_at is null and outcome in ('expired', 'bounced'))
            as lost_message_count,
        count(*) filter (where released_at is null and outcome in ('expired', 'bounced') and sender = '')
            as lost_bounce_count,
        quantile_cont(restart_delay_seconds, 0.5) as restart_delay_p50_seconds,
        quantile_cont(restart_delay_seconds, 0.95) as restart_delay_p95_seconds,
        max(restart_delay_seconds) as restart_delay_max_seconds
    from marts.held_messages
    group by host
),

hosts as (
    select
        host_history.*,
        build_verdicts.build_verdict,
        build_verdicts.advice as build_advice,
        build_verdicts.is_intermittent,
        build_verdicts.is_retry_short,
        changed.current_from,
        thresholds.longest_restart_seconds,
        -- least() skips what is unknown, and nobody is told to wait longer.
        least(host_history.queue_run_delay_seconds, thresholds.advised_retry_seconds)
            as advised_queue_run_delay_seconds,
        least(host_history.minimal_backoff_seconds, thresholds.advised_retry_seconds)
            as advised_minimal_backoff_seconds,
        -- A message that is deferred once waits for minimal_backoff_time, then for the next queue run.
        host_history.minimal_backoff_seconds + host_history.queue_run_delay_seconds
            as retry_wait_max_seconds
    from fleet.host_history as host_history
    cross join config.thresholds as thresholds
    inner join staging.build_verdicts as build_verdicts
        on host_history.host = build_verdicts.host and build_verdicts.valid_until is null
    left join changed
        on host_history.host = changed.host
    where host_history.valid_until is null
)

select
    hosts.host,
    hosts.product,
    hosts.version,
    hosts.build,
    hosts.wrapper_md5,
    hosts.mta,
    hosts.build_verdict,
    hosts.build_advice,
    hosts.queue_run_delay_seconds,
    hosts.minimal_backoff_seconds,
    hosts.maximal_backoff_seconds,
    hosts.bounce_queue_lifetime_seconds,
    hosts.retry_wait_max_seconds,
    hosts.advised_queue_run_delay_seconds,
    hosts.advised_minimal_backoff_seconds,
    hosts.advised_queue_run_delay_seconds + hosts.advised_minimal_backoff_seconds
        as advised_wait_max_seconds,
    hosts.longest_restart_seconds,
    coalesce(counts.restart_count, 0) as restart_count,
    coalesce(counts.restarts_with_held_mail_count, 0) as restarts_with_held_mail_count,
    coalesce(counts.missing_flush_count, 0) as missing_flush_count,
    coalesce(counts.not_noticed_count, 0) as not_noticed_count,
    coalesce(counts.wrapper_defect_count, 0) as wrapper_defect_count,
    coalesce(counts.order_without_effect_count, 0) as order_without_effect_count,
    coalesce(counts.overlong_count, 0) as overlong_count,
    coalesce(held.held_message_count, 0) as held_message_count,
    coalesce(held.lost_message_count, 0) as lost_message_count,
    coalesce(held.lost_bounce_count, 0) as lost_bounce_count,
    coalesce(counts.current_restart_count, 0) as current_restart_count,
    coalesce(counts.current_flushed_count, 0) as current_flushed_count,
    coalesce(counts.current_missing_count, 0) as current_missing_count,
    coalesce(counts.current_not_noticed_count, 0) as current_not_noticed_count,
    coalesce(counts.current_order_without_effect_count, 0) as current_order_without_effect_count,
    coalesce(counts.current_overlong_count, 0) as current_overlong_count,
    coalesce(counts.missing_wait_count, 0) as missing_wait_count,
    counts.missing_wait_max_seconds,
    held.restart_delay_p50_seconds,
    held.restart_delay_p95_seconds,
    held.restart_delay_max_seconds,
    hosts.is_intermittent,
    hosts.is_retry_short,
    coalesce(hosts.product_source = 'guess', false) as is_product_guessed,
    is_known_setting(hosts.bounce_queue_lifetime_seconds_source) is not true as is_lifetime_assumed,
    is_known_setting(hosts.queue_run_delay_seconds_source) is not true
    or is_known_setting(hosts.minimal_backoff_seconds_source) is not true as is_retry_assumed,
    hosts.current_from
from hosts
left join counts
    on hosts.host = counts.host
left join held
    on hosts.host = held.host
