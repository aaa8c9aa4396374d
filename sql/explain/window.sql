-- One row: the window of the restart, how far the maillog covers it, within which bounds its queue runs
-- place minimal_backoff_time, and a poll of the manager.
-- polled_at is a poll from which the times of the others follow; NULL unless no poll can have been in the
-- outage.
with estimates as (
    select
        host,
        max(backoff_above_seconds) as backoff_above_seconds,
        min(backoff_up_to_seconds) as backoff_up_to_seconds
    from staging.backoff_estimates
    group by host
)

select
    restart.window_from,
    restart.window_until,
    coverage.is_start_covered,
    coverage.has_hiding_gap,
    coverage.covered_until,
    estimates.backoff_above_seconds,
    estimates.backoff_up_to_seconds,
    coalesce(unnoticed.earlier_poll_at, unnoticed.later_poll_at) as polled_at
from explain.restart as restart
inner join staging.restart_coverage as coverage
    on restart.restart_id = coverage.restart_id
left join staging.unnoticed_restarts as unnoticed
    on restart.restart_id = unnoticed.restart_id
left join estimates
    on restart.host = estimates.host
