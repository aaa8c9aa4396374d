-- One row per chosen host with Postfix, settings and at least a day of maillog, and one for all of them
-- (host NULL), with retries and queue runs a day: as they were, and with other settings.
-- `$queue_run_delay_seconds`, `$minimal_backoff_seconds` and `$maximal_backoff_seconds` are null for the
-- host's own. As in marts.retry_advice, mail waits as long as it did, with one retry for each backoff and
-- half a queue_run_delay.
with settings as (
    select
        host,
        queue_run_delay_seconds as own_queue_run_delay_seconds,
        minimal_backoff_seconds as own_minimal_backoff_seconds,
        maximal_backoff_seconds as own_maximal_backoff_seconds,
        coalesce($queue_run_delay_seconds, queue_run_delay_seconds) as queue_run_delay_seconds,
        coalesce($minimal_backoff_seconds, minimal_backoff_seconds) as minimal_backoff_seconds,
        coalesce($maximal_backoff_seconds, maximal_backoff_seconds) as maximal_backoff_seconds
    from fleet.hosts
    where
        mta = 'postfix'
        and (len($hosts) = 0 or list_contains($hosts, host))
        and queue_run_delay_seconds + minimal_backoff_seconds + maximal_backoff_seconds is not null
),

days as (
    select
        host,
        sum(coverage_share) as day_count
    from marts.fleet_daily
    group by host
    having sum(coverage_share) >= 1
),

retries as (
    select
        retries.host,
        sum(retries.retry_count) as retry_count,
        sum(
            retries.waited_seconds
            / (
                greatest(
                    least(retries.age_class_seconds, settings.own_maximal_backoff_seconds),
                    settings.own_minimal_backoff_seconds
                )
                + settings.own_queue_run_delay_seconds / 2
            )
        ) as own_retry_count,
        sum(
            retries.waited_seconds
            / (
                greatest(
                    least(retries.age_class_seconds, settings.maximal_backoff_seconds),
                    settings.minimal_backoff_seconds
                )
                + settings.queue_run_delay_seconds / 2
            )
        ) as other_retry_count
    from marts.retries as retries
    inner join settings
        on retries.host = settings.host
    group by retries.host
)

select
    settings.host,
    sum(coalesce(retries.retry_count, 0) / days.day_count) as daily_retry_count,
    sum(
        if(retries.host is null, 0, retries.other_retry_count - retries.own_retry_count) / days.day_count
    ) as daily_extra_retry_count,
    sum(epoch(interval 1 day) / settings.own_queue_run_delay_seconds) as daily_queue_run_count,
    sum(
        epoch(interval 1 day) / settings.queue_run_delay_seconds
        - epoch(interval 1 day) / settings.own_queue_run_delay_seconds
    ) as daily_extra_queue_run_count
from settings
inner join days
    on settings.host = days.host
left join retries
    on settings.host = retries.host
group by grouping sets ((settings.host), ())
order by settings.host nulls last
