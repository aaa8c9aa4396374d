-- One row per scenario of marts.retry_what_if and host with held mail that was simulated, and one for all
-- hosts (host NULL), in the order in which scenarios are shown.
-- Only restarts that can be simulated count. A scenario that lacks an answer for one of them has no figures,
-- so that all figures of a host are about the same mail. Mail that expires has no wait.
with simulated as (
    select what_if.*
    from marts.retry_what_if as what_if
    inner join report.restarts as restarts
        on what_if.restart_id = restarts.restart_id
    where
        exists (
            select 1
            from marts.retry_what_if as answers
            where
                what_if.restart_id = answers.restart_id
                and answers.scenario = 'postfix_defaults'
                and coalesce(answers.reason = 'bounds_only', true)
        )
),

summed as (
    select
        host,
        scenario,
        bool_and(coalesce(reason = 'bounds_only', true)) as is_answered,
        cast(sum(message_count) as bigint) as message_count,
        sum(message_count - coalesce(expired_count, 0)) as waiting_count,
        sum(restart_delay_total_at_least_seconds) as at_least_seconds,
        sum(restart_delay_total_at_most_seconds) as at_most_seconds,
        max(restart_delay_max_at_least_seconds) as max_at_least_seconds,
        max(restart_delay_max_at_most_seconds) as max_at_most_seconds
    from simulated
    group by grouping sets ((host, scenario), (scenario))
)

select
    host,
    scenario,
    message_count,
    if(is_answered, at_least_seconds / nullif(waiting_count, 0), null) as mean_at_least_seconds,
    if(is_answered, at_most_seconds / nullif(waiting_count, 0), null) as mean_at_most_seconds,
    if(is_answered, max_at_least_seconds, null) as max_at_least_seconds,
    if(is_answered, max_at_most_seconds, null) as max_at_most_seconds
from summed
order by
    host nulls first,
    list_position(
        [
            'as_it_was',
            'as_configured',
            'flushed',
            'short_retry',
            'postfix_defaults',
            'imsva_defaults',
            'not_throttled'
        ],
        scenario
    )
