-- One row per wait of a held message during its hold, with the scan that ended it and whether the message
-- failed again after it.
select
    held_messages.restart_id,
    held_messages.host,
    held_messages.instance,
    held_messages.queue_id,
    held_messages.lifetime,
    waits.is_early,
    waits.deferred_at,
    waits.reactivated_at,
    waits.waited_until,
    waits.due_by,
    scans.scan_number,
    scans.is_flush,
    coalesce(scans.doubt, if(waits.is_unsettled, 'settings_unknown', null)) as doubt,
    scans.is_at_qmgr_start,
    scans.is_queue_run,
    scans.left_behind_count,
    scans.began_at as scan_began_at,
    -- What has left the queue did not fail again, though the answer to it may be lost.
    held_messages.released_at is not null or held_messages.outcome <> 'pending' as is_ended,
    lead(waits.deferred_at) over (
        partition by held_messages.restart_id, waits.instance, waits.queue_id, waits.lifetime
        order by waits.deferred_at, waits.round_number
    ) is not null as is_failed_again
from marts.held_messages as held_messages
inner join staging.waits as waits
    on
        held_messages.host = waits.host
        and held_messages.instance = waits.instance
        and held_messages.queue_id = waits.queue_id
        and held_messages.lifetime = waits.lifetime
        and held_messages.first_deferred_at <= waits.deferred_at
        and coalesce(held_messages.released_at > waits.deferred_at, true)
left join staging.queue_scans as scans
    on
        waits.host = scans.host
        and waits.instance = scans.instance
        and waits.scan_number = scans.scan_number
