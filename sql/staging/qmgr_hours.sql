-- One row per instance of several queue managers and hour of their activations, with the first and the last
-- of them, and whether more than one process logged them.
-- Where one process did, no line in between tells of a change. To put all activations of a host in order
-- would take more memory than anything else.
with hours as (
    select
        host,
        instance,
        epoch_us(logged_at) // 3600000000 as hour_number,
        min(pid) as least_pid,
        max(pid) as greatest_pid,
        min(logged_at) as first_logged_at,
        max(logged_at) as last_logged_at
    from events.queue_activations
    where pid is not null and ends_with(program, 'qmgr')
    group by host, instance, hour_number
)

select
    host,
    instance,
    hour_number,
    least_pid < greatest_pid as is_changed,
    first_logged_at,
    last_logged_at
from hours
qualify
    min(least_pid) over (partition by host, instance) < max(greatest_pid) over (partition by host, instance)
