-- One row per activation by another process of an instance's queue manager than the one before.
-- A qmgr that was killed is started again by master, which need not say so. A qmgr ends for no other reason: it
-- serves for as long as Postfix runs (master.cf: qmgr, no max_use).
select
    host,
    instance,
    source_id,
    line_number,
    lag(logged_at) over in_time as previous_at,
    logged_at as began_at
from events.queue_activations
where pid is not null and ends_with(program, 'qmgr')
window
    in_time as (
        partition by host, instance
        order by logged_at, source_id, line_number
    )
qualify pid <> lag(pid) over in_time
