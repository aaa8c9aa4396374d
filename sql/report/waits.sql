-- One row per outcome, flushed or not, and percent of its held messages: how long they waited at least.
-- At 0 s all of them wait.
with waited as (
    select
        restarts.outcome,
        -- noqa: disable=RF02
        quantile_cont(
            held_messages.restart_delay_seconds, [percent / 100.0 for percent in range(101)]
        ) as waited_seconds
        -- noqa: enable=RF02
    from marts.held_messages as held_messages
    inner join report.restarts as restarts on held_messages.restart_id = restarts.restart_id
    where held_messages.restart_delay_seconds is not null and restarts.outcome <> 'other'
    group by restarts.outcome
)

select
    outcome,
    unnest([0.0] || waited_seconds) as waited_seconds,
    1 - unnest([0] || range(101)) / 100 as waiting_share
from waited
