-- One row per message and hop: every queue entry of a host, with the trace that it is part of.
-- A trace is the path of one mail through the queues of a host, from its first hop (hop 1) on; mail that
-- the scan service splits has several rows with one hop_number. To count mail, count the rows with
-- hop_number = 1. Of mail that was offered to the scan service, however often, one row is counted
-- (is_counted): the one that left its queue first.
select
    entries.host || '-' || coalesce(earlier_hops.instance, entries.instance)
    || '-' || coalesce(earlier_hops.queue_id, entries.queue_id) || '-'
    || strftime(
        make_timestamp(epoch_us(coalesce(earlier_hops.arrived_at, entries.arrived_at))), '%Y%m%dT%H%M%SZ'
    )
    || coalesce('-' || if(earlier_hops.hop_number is null, namesakes.place, earlier_hops.place), '')
        as trace_id,
    coalesce(earlier_hops.hop_number, 1) as hop_number,
    entries.host,
    entries.instance,
    entries.queue_id,
    entries.lifetime,
    entries.message_id,
    entries.sender,
    coalesce(proxied_clients.client_host, entries.client_host) as client_host,
    coalesce(proxied_clients.client_address, entries.client_address) as client_address,
    entries.relay,
    case
        when entries.outcome <> 'delivered' then entries.outcome
        when next_hops.next_queue_id is not null then 'passed_on'
        when ended_at_scan.entry_number is not null then 'ended_at_scan'
        when entries.is_scanned then 'scanned'
        else 'delivered'
    end as status,
    earlier_hops.previous_queue_id,
    coalesce(next_hops.next_queue_id, entries.queued_as) as next_queue_id,
    coalesce(next_hops.link, if(entries.queued_as is not null, 'queued_as', null)) as link,
    entries.notification_queue_id,
    entries.size_bytes,
    entries.recipient_count,
    coalesce(next_hops.next_hop_count, 0) as next_hop_count,
    entries.is_scan_hop,
    entries.is_scan_hop and later_offers.entry_number is null as is_counted,
    entries.arrived_at,
    entries.left_at
from staging.queue_entries as entries
left join staging.later_offers as later_offers
    on entries.entry_number = later_offers.entry_number
left join staging.earlier_hops as earlier_hops
    on entries.entry_number = earlier_hops.entry_number
left join staging.namesakes as namesakes
    on entries.entry_number = namesakes.entry_number
left join staging.next_hops as next_hops
    on entries.entry_number = next_hops.parent_number
left join staging.ended_at_scan as ended_at_scan
    on entries.entry_number = ended_at_scan.entry_number
left join staging.proxied_clients as proxied_clients
    on entries.entry_number = proxied_clients.entry_number
where entries.entry_number > $after_entry and entries.entry_number <= $until_entry
