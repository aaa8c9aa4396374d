-- One row per restart that a log line explains, with what made the service restart.
-- These are lines of the manager log or the system events that match a configured pattern. The last line
-- counts that came at most trigger_window_seconds before the service was down, or while it was down.
with trigger_lines as (
    select
        host,
        restart_trigger,
        logged_at
    from events.manager_log
    where restart_trigger is not null

    union all

    select
        host,
        restart_trigger,
        logged_at
    from events.system_events
    where restart_trigger is not null
)

select
    restarts.restart_id,
    trigger_lines.restart_trigger
from staging.restarts as restarts
cross join config.thresholds as thresholds
inner join trigger_lines
    on
        restarts.host = trigger_lines.host
        and restarts.down_at - to_seconds(thresholds.trigger_window_seconds) <= trigger_lines.logged_at
        and coalesce(restarts.up_at, restarts.down_at) >= trigger_lines.logged_at
qualify
    row_number() over (
        partition by restarts.restart_id
        order by trigger_lines.logged_at desc, trigger_lines.restart_trigger asc
    ) = 1
