-- One row per message and hop: every queue entry of a host, with the trace that it is part of.
-- A trace is the way of one mail through the queues of a host: from the hop that no other became (hop 1)
-- over what that one became, and so on; mail that the scan service splits has several rows of one
-- hop_number. It counts once: count the rows with hop_number = 1.
-- ended_at_scan needs a log that shows what comes back from the scan service and goes on long enough, and a
-- message id by which the mail would have been found; else mail that is not seen again is only `scanned`.
with children as (
    select
        links.parent_number,
        min(links.child_number) as child_number,
        count(*) as next_hop_count
    from staging.entry_links as links
    group by links.parent_number
),

attempts as (
    select
        entry_number,
        coalesce(
            min(relay) filter (where is_scan_hop and is_taken),
            min(relay) filter (where is_taken)
        ) as relay,
        min(queued_as) filter (where is_local_hop) as queued_as,
        bool_or(is_scan_hop and is_sent) as is_scanned,
        bool_or(is_scan_hop) as is_scan_hop,
        min(began_at) filter (where is_scan_hop and is_taken) as began_at
    from staging.entry_attempts
    group by entry_number
),

not_seen_again as (
    select
        entries.entry_number,
        entries.host,
        entries.message_id,
        attempts.began_at,
        entries.left_at + to_seconds(thresholds.reinjection_seconds) as awaited_until
    from staging.queue_entries as entries
    inner join attempts
        on entries.entry_number = attempts.entry_number
    anti join children
        on entries.entry_number = children.parent_number
    cross join config.thresholds as thresholds
    where
        entries.outcome = 'delivered'
        and attempts.is_scanned
        and attempts.queued_as is null
        and entries.message_id not in ('', '<>')
),

-- What may be theirs, as nothing but the message id tells whose it is.
uncertain_arrivals as (
    select entries.*
    from staging.queue_entries as entries
    left join staging.entry_links as links
        on entries.entry_number = links.child_number
    where
        (starts_with(entries.client_address, '127.') or entries.client_address = '::1')
        and (links.link is null or links.link = 'message_id')
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

notifications as (
    select
        notices.host,
        qmgr_instances.instance,
        notices.queue_id,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        min(
            regexp_extract(
                notices.message,
                '^sender (?:non-delivery|delay|delivery status) notification: ([0-9A-Za-z]{6,})$',
                1
            )
        ) as notification_queue_id
    from events.other_lines as notices
    inner join staging.qmgr_instances as qmgr_instances
        on
            notices.host = qmgr_instances.host
            and notices.instance = qmgr_instances.logging_instance
    left join staging.later_lifetimes as later_lifetimes
        on
            notices.source_id = later_lifetimes.source_id
            and notices.line_number = later_lifetimes.line_number
    where notices.line_kind = 'notification'
    group by all
),

-- A queue id is not used twice within one second. But where an arrival was not logged, it is computed from
-- stamps that were cut to the second, and may seem to be in the same one as the arrival before.
namesakes as (
    select
        entries.entry_number,
        count(*) + 1 as place
    from staging.queue_entries as entries
    inner join staging.queue_entries as earlier
        on
            entries.host = earlier.host
            and entries.instance = earlier.instance
            and entries.queue_id = earlier.queue_id
            and entries.lifetime > earlier.lifetime
            and date_trunc('second', entries.arrived_at) = date_trunc('second', earlier.arrived_at)
    where entries.lifetime > 0
    group by entries.entry_number
)

select
    roots.host || '-' || roots.instance || '-' || roots.queue_id || '-'
    || strftime(timezone('UTC', roots.arrived_at), '%Y%m%dT%H%M%SZ')
    || coalesce('-' || namesakes.place, '') as trace_id,
    coalesce(ways.hop_number, 1) as hop_number,
    entries.host,
    entries.instance,
    entries.queue_id,
    entries.lifetime,
    entries.message_id,
    entries.sender,
    coalesce(proxied_clients.client_host, entries.client_host) as client_host,
    coalesce(proxied_clients.client_address, entries.client_address) as client_address,
    attempts.relay,
    case
        when entries.outcome <> 'delivered' then entries.outcome
        when children.child_number is not null then 'passed_on'
        when ended.entry_number is not null then 'ended_at_scan'
        when attempts.is_scanned then 'scanned'
        else 'delivered'
    end as status,
    parents.queue_id as previous_queue_id,
    coalesce(nexts.queue_id, attempts.queued_as) as next_queue_id,
    coalesce(next_links.link, if(attempts.queued_as is not null, 'queued_as', null)) as link,
    nullif(notifications.notification_queue_id, '') as notification_queue_id,
    entries.size_bytes,
    entries.recipient_count,
    coalesce(children.next_hop_count, 0) as next_hop_count,
    coalesce(attempts.is_scan_hop, false) as is_scan_hop,
    entries.arrived_at,
    entries.left_at
from staging.queue_entries as entries
left join staging.entry_ways as ways
    on entries.entry_number = ways.entry_number
inner join staging.queue_entries as roots
    on coalesce(ways.root_number, entries.entry_number) = roots.entry_number
left join namesakes
    on roots.entry_number = namesakes.entry_number
left join staging.entry_links as links
    on entries.entry_number = links.child_number
left join staging.queue_entries as parents
    on links.parent_number = parents.entry_number
left join children
    on entries.entry_number = children.parent_number
left join staging.queue_entries as nexts
    on children.child_number = nexts.entry_number
left join staging.entry_links as next_links
    on children.child_number = next_links.child_number
left join attempts
    on entries.entry_number = attempts.entry_number
left join ended
    on entries.entry_number = ended.entry_number
left join staging.proxied_clients as proxied_clients
    on entries.entry_number = proxied_clients.entry_number
left join notifications
    on
        entries.host = notifications.host
        and entries.instance = notifications.instance
        and entries.queue_id = notifications.queue_id
        and entries.lifetime = notifications.lifetime
