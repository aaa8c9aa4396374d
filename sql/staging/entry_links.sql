-- One row per queue entry that an earlier entry of the same host became, with that one and what tells so.
-- In this order: the reply to the delivery names the entry (`queued_as`); the entry's arrival names the
-- earlier one (`orig_queue_id`: what the client told, or postsuper -r); it came over loopback with the
-- message id of mail that the scan service had just taken, to the same recipient if that can be told
-- (`message_id`). An entry never comes before the one that became it, so that no way leads in a circle.
with local_deliveries as (
    select *
    from staging.entry_attempts
    where is_local_hop and is_taken
),

named as (
    select
        deliveries.entry_number as parent_number,
        deliveries.queued_as,
        deliveries.is_scan_hop,
        entries.entry_number as child_number
    from local_deliveries as deliveries
    inner join staging.queue_entries as entries
        on
            deliveries.host = entries.host
            and deliveries.queued_as = entries.queue_id
            and deliveries.message_id = entries.message_id
            and deliveries.entry_number < entries.entry_number
            and entries.arrived_at >= deliveries.began_at - to_seconds(1)
            and entries.arrived_at <= deliveries.logged_at + to_seconds(1)
),

-- The hop may have changed or added the message id.
named_otherwise as (
    select
        deliveries.entry_number as parent_number,
        deliveries.queued_as,
        deliveries.is_scan_hop,
        entries.entry_number as child_number
    from (
        select local_deliveries.* from local_deliveries
        anti join named
            on
                local_deliveries.entry_number = named.parent_number
                and local_deliveries.queued_as = named.queued_as
    ) as deliveries
    inner join staging.queue_entries as entries
        on
            deliveries.host = entries.host
            and deliveries.queued_as = entries.queue_id
            and deliveries.entry_number < entries.entry_number
            and entries.arrived_at >= deliveries.began_at - to_seconds(1)
            and entries.arrived_at <= deliveries.logged_at + to_seconds(1)
),

by_reply as (
    select * from named
    union all
    select * from named_otherwise
),

by_client as (
    select
        children.entry_number as child_number,
        max(parents.entry_number) as parent_number,
        arg_max(parents.outcome, parents.entry_number) <> 'requeued' as is_scan_hop
    from staging.queue_entries as children
    inner join staging.queue_entries as parents
        on
            children.host = parents.host
            and children.original_queue_id = parents.queue_id
            and children.entry_number > parents.entry_number
            and (
                parents.outcome = 'requeued'
                or coalesce(parents.left_at >= children.arrived_at - to_seconds(1), true)
            )
    group by children.entry_number
),

-- What the scan service took, or may have taken, and no reply or client tells what it became.
untold_deliveries as (
    select deliveries.*
    from staging.entry_attempts as deliveries
    anti join by_reply
        on
            deliveries.entry_number = by_reply.parent_number
            and deliveries.queued_as = by_reply.queued_as
    where deliveries.is_scan_hop and deliveries.is_taken and deliveries.message_id not in ('', '<>')
),

untold_arrivals as (
    select entries.*
    from staging.queue_entries as entries
    anti join by_reply
        on entries.entry_number = by_reply.child_number
    anti join by_client
        on entries.entry_number = by_client.child_number
    anti join staging.proxied_clients as proxied_clients
        on entries.entry_number = proxied_clients.entry_number
    where starts_with(entries.client_address, '127.') or entries.client_address = '::1'
),

for_recipient as (
    select
        arrivals.entry_number as child_number,
        arrivals.arrived_at,
        deliveries.entry_number as parent_number
    from untold_arrivals as arrivals
    asof inner join untold_deliveries as deliveries
        on
            arrivals.host = deliveries.host
            and arrivals.message_id = deliveries.message_id
            and arrivals.first_recipient = deliveries.recipient
            and arrivals.entry_number > deliveries.entry_number
),

for_anybody as (
    select
        arrivals.entry_number as child_number,
        arrivals.arrived_at,
        deliveries.entry_number as parent_number
    from (
        select untold_arrivals.* from untold_arrivals
        anti join for_recipient
            on untold_arrivals.entry_number = for_recipient.child_number
    ) as arrivals
    asof inner join untold_deliveries as deliveries
        on
            arrivals.host = deliveries.host
            and arrivals.message_id = deliveries.message_id
            and arrivals.entry_number > deliveries.entry_number
),

by_message_id as (
    select distinct
        likely.child_number,
        likely.parent_number
    from (
        select * from for_recipient
        union all
        select * from for_anybody
    ) as likely
    inner join untold_deliveries as deliveries
        on likely.parent_number = deliveries.entry_number
    cross join config.thresholds as thresholds
    where
        likely.arrived_at >= deliveries.began_at - to_seconds(1)
        and likely.arrived_at <= deliveries.logged_at + to_seconds(thresholds.reinjection_seconds)
),

links as (
    select
        child_number,
        parent_number,
        'queued_as' as link,
        is_scan_hop
    from by_reply

    union all

    select
        by_client.child_number,
        by_client.parent_number,
        'orig_queue_id' as link,
        by_client.is_scan_hop
    from by_client
    anti join by_reply
        on by_client.child_number = by_reply.child_number

    union all

    select
        child_number,
        parent_number,
        'message_id' as link,
        true as is_scan_hop
    from by_message_id
)

select
    child_number,
    min(parent_number) as parent_number,
    link,
    bool_or(is_scan_hop) as is_scan_hop
from links
group by child_number, link
