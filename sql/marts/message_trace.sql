-- One row per message and hop: every queue entry of a host, with the trace that it is part of.
-- A trace is the path of one mail through the queues of a host, from its first hop (hop 1) on; mail that
-- the scan service splits has several rows with one hop_number. To count mail, count the rows with
-- hop_number = 1. Of mail that was offered to the scan service, however often, one row is counted
-- (is_counted): the one that left its queue first. ended_at_scan needs a log that shows mail coming back
-- from the scan service and goes on long enough, and a message id by which the mail would have been found;
-- otherwise mail that is not seen again is only `scanned`.
with not_seen_again as (
    select
        entries.entry_number,
        entries.host,
        entries.message_id,
        entries.scan_began_from as began_at,
        entries.left_at + to_seconds(thresholds.reinjection_seconds) as awaited_until
    from staging.queue_entries as entries
    anti join staging.next_hops as next_hops
        on entries.entry_number = next_hops.parent_number
    cross join config.thresholds as thresholds
    where
        entries.outcome = 'delivered'
        and entries.is_scanned
        and entries.queued_as is null
        and entries.message_id not in ('', '<>')
),

-- What may be theirs, as nothing but the message id tells whose it is.
uncertain_arrivals as (
    select
        entries.entry_number,
        entries.host,
        entries.message_id,
        entries.arrived_at
    from staging.queue_entries as entries
    semi join not_seen_again
        on entries.message_id = not_seen_again.message_id
    left join staging.entry_links as links
        on entries.entry_number = links.child_number
    where entries.is_from_loopback and (links.link is null or links.link = 'message_id')
),

ended as (
    select not_seen_again.entry_number
    from not_seen_again
    inner join staging.reinjection_spans as spans
        on
            not_seen_again.host = spans.host
            and not_seen_again.began_at >= spans.covered_from
            and not_seen_again.awaited_until <= spans.covered_until
    asof left join (
        select * from events.service_events
        where event_kind = 'lines_lost'
    ) as losses
        on not_seen_again.host = losses.host and not_seen_again.began_at <= losses.logged_at
    asof left join uncertain_arrivals
        on
            not_seen_again.host = uncertain_arrivals.host
            and not_seen_again.message_id = uncertain_arrivals.message_id
            and not_seen_again.awaited_until >= uncertain_arrivals.arrived_at
    where
        coalesce(losses.logged_at > not_seen_again.awaited_until, true)
        and coalesce(
            uncertain_arrivals.arrived_at < not_seen_again.began_at - to_seconds(1)
            or uncertain_arrivals.entry_number <= not_seen_again.entry_number,
            true
        )
),

-- Mail that came to the scan service again counts where it came first.
offered_again as (
    select
        ways.root_number,
        ways.entry_number,
        entries.left_at,
        entries.arrived_at
    from staging.entry_ways as ways
    inner join staging.queue_entries as entries
        on ways.entry_number = entries.entry_number
    where entries.is_scan_hop
),

offers as (
    select * from offered_again

    union all

    select
        entries.entry_number as root_number,
        entries.entry_number,
        entries.left_at,
        entries.arrived_at
    from staging.queue_entries as entries
    semi join offered_again
        on entries.entry_number = offered_again.root_number
    where entries.is_scan_hop
),

later_offers as (
    select entry_number
    from offers
    qualify
        row_number() over (
            partition by root_number
            order by coalesce(left_at, arrived_at), arrived_at, entry_number
        ) > 1
)

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
        when ended.entry_number is not null then 'ended_at_scan'
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
left join later_offers
    on entries.entry_number = later_offers.entry_number
left join staging.earlier_hops as earlier_hops
    on entries.entry_number = earlier_hops.entry_number
left join staging.namesakes as namesakes
    on entries.entry_number = namesakes.entry_number
left join staging.next_hops as next_hops
    on entries.entry_number = next_hops.parent_number
left join ended
    on entries.entry_number = ended.entry_number
left join staging.proxied_clients as proxied_clients
    on entries.entry_number = proxied_clients.entry_number
