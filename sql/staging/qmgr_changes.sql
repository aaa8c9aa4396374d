-- One row per activation by another process of an instance's queue manager than the one before.
-- A qmgr that was killed is started again by master, which need not say so. It ends for no other reason, and
-- serves for as long as Postfix runs (master.cf: qmgr, no max_use). Where the process before goes on, there
-- are two queue managers, such as those of two hosts, and none was started.
with activations as (
    select
        host,
        instance,
        source_id,
        line_number,
        pid,
        lag(pid) over in_time as previous_pid,
        lag(logged_at) over in_time as previous_at,
        logged_at
    from events.queue_activations
    where pid is not null and ends_with(program, 'qmgr')
    window in_time as (
        partition by host, instance
        order by logged_at, source_id, line_number
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
