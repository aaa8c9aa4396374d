-- One row per queue entry: a message in a mail queue of a host, under one queue id, from its arrival until
-- it left.
-- Every message is here, deferred or not, with a number in the order of the arrivals.
-- An entry without an end in the log (sendmail logs none) is finished when every recipient was served or
-- refused. A client that gives up before the end of its message leaves an entry that was never active.
with entries as (
    select
        *,
        coalesce(done_recipient_count >= activated_recipient_count, false) as are_all_done
    from staging.entry_facts
)

select
    entry_number,
    host,
    instance,
    queue_id,
    lifetime,
    message_id,
    coalesce(sender, client_sender) as sender,
    client_host,
    client_address,
    original_queue_id,
    relay_host || coalesce('[' || relay_address || ']', '')
    || coalesce(':' || relay_port, '') as relay,
    queued_as,
    notification_queue_id,
    case
        when is_expired then 'expired'
        when is_deleted then 'deleted'
        when is_requeued then 'requeued'
        when removed_at is not null and is_bounced then 'bounced'
        when removed_at is not null and last_attempted_at is null then 'removed'
        when removed_at is not null then 'delivered'
        when are_all_done and is_bounced then 'bounced'
        when are_all_done then 'delivered'
        when activated_recipient_count is null and last_attempted_at is null
            then 'abandoned'
        else 'pending'
    end as outcome,
    size_bytes,
    coalesce(activated_recipient_count, attempted_recipient_count, 0) as recipient_count,
    is_loopback(client_address) as is_from_loopback,
    is_deferred,
    is_reactivated,
    is_scan_hop,
    is_scanned,
    scan_began_from,
    coalesce(told_arrival_at, first_logged_at) as arrived_at,
    coalesce(removed_at, if(are_all_done, last_attempted_at, null)) as left_at
from entries
