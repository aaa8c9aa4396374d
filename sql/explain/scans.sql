-- One row per scan of the deferred queue that took mail of the restart, with the youngest mail that it took:
-- if no queue run could have taken that one, the scan is a flush.
with held_mail as (
    select
        held_waits.instance,
        held_waits.scan_number,
        count(distinct struct_pack(held_waits.queue_id, held_waits.lifetime)) as held_message_count
    from staging.held_waits as held_waits
    inner join explain.restart as restart
        on held_waits.restart_id = restart.restart_id
    group by held_waits.instance, held_waits.scan_number
)

select
    scans.host,
    scans.instance,
    scans.scan_number,
    scans.is_flush,
    scans.is_at_qmgr_start,
    scans.is_queue_run,
    scans.early_count,
    scans.left_behind_count,
    scans.maybe_left_count,
    scans.doubt,
    scans.reactivated_count,
    scans.began_at,
    scans.ended_at,
    held_mail.held_message_count,
    waits.queue_id,
    waits.lifetime,
    waits.waited_seconds,
    waits.round_number,
    waits.is_backoff_known,
    waits.is_by_sendmail,
    waits.earliest_run_seconds,
    scans.began_at >= restart.window_from
    and scans.began_at < coalesce(restart.window_until, 'infinity') as is_in_window
from staging.queue_scans as scans
inner join held_mail
    on scans.instance = held_mail.instance and scans.scan_number = held_mail.scan_number
cross join explain.restart as restart
inner join staging.waits as waits
    on scans.instance = waits.instance and scans.scan_number = waits.scan_number
qualify
    row_number() over (
        partition by scans.instance, scans.scan_number
        order by waits.waited_seconds, waits.queue_id, waits.lifetime
    ) = 1
order by scans.began_at, scans.instance
