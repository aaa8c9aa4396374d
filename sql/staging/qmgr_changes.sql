-- One row per activation that another process of an instance's queue manager logged than the activation
-- before.
-- A killed qmgr is started again by master, which may not log that. A qmgr ends for no other reason while
-- Postfix runs (master.cf: qmgr, no max_use). If the previous process goes on, there are two queue
-- managers, such as those of two hosts, and none was started.
with activations as (
    select
        lines.host,
        lines.instance,
        lines.source_id,
        lines.line_number,
        lines.pid,
        lag(lines.pid) over in_time as previous_pid,
        lag(lines.logged_at) over in_time as previous_at,
        lines.logged_at
    from events.queue_activations as lines
    inner join staging.qmgr_hours as hours
        on
            lines.host = hours.host
            and lines.instance = hours.instance
            and epoch_us(lines.logged_at) // 3600000000 = hours.hour_number
            and (hours.is_changed or lines.logged_at in (hours.first_logged_at, hours.last_logged_at))
    where lines.pid is not null and ends_with(lines.program, 'qmgr')
    window in_time as (
        partition by lines.host, lines.instance
        order by lines.logged_at, lines.source_id, lines.line_number
    )
),

changes as (
    select
        *,
        lag(previous_pid) over in_time as pid_before_previous,
        lead(pid) over in_time as next_pid
    from activations
    where pid <> previous_pid
    window in_time as (
        partition by host, instance
        order by logged_at, source_id, line_number
    )
)

select
    host,
    instance,
    source_id,
    line_number,
    previous_at,
    logged_at as began_at
from changes
where pid is distinct from pid_before_previous and next_pid is distinct from previous_pid
