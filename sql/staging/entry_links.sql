-- One row per queue entry that an earlier entry of the same host became, with that entry and the evidence.
-- In this order: the reply to the delivery names the entry (`queued_as`); the entry's arrival names the
-- earlier one (`orig_queue_id`: given by the client, or by postsuper -r); it came over loopback with the
-- message id of mail that the scan service had just taken, to the same recipient if that is known
-- (`message_id`). An entry is never earlier than the entry that became it, so that there are no circles.
-- Where a reply may name two entries, the message id tells, unless the hop changed it.
with forks as (
    select links.* from staging.reply_links as links
    semi join (
        select candidates.parent_number
        from staging.reply_links as candidates
        group by candidates.parent_number
        having min(candidates.child_number) < max(candidates.child_number)
    ) as forked
        on links.parent_number = forked.parent_number
),

message_ids as (
    select
        entries.entry_number,
        entries.message_id
    from staging.queue_entries as entries
    semi join (
        select forks.parent_number as entry_number from forks

        union all

        select forks.child_number as entry_number from forks
    ) as numbers
        on entries.entry_number = numbers.entry_number
),

contested as (
    select
        forks.parent_number,
        forks.queued_as,
        forks.child_number,
        coalesce(parents.message_id = children.message_id, false) as is_of_same_message_id
    from forks
    inner join message_ids as parents
        on forks.parent_number = parents.entry_number
    inner join message_ids as children
        on forks.child_number = children.entry_number
),

lost as (
    select
        contested.parent_number,
        contested.child_number
    from contested
    where
        not contested.is_of_same_message_id
        and exists (
            select 1 from contested as others
            where
                contested.parent_number = others.parent_number
                and contested.queued_as = others.queued_as
                and others.is_of_same_message_id
        )
),

by_reply as not materialized (
    select links.* from staging.reply_links as links
    anti join lost
        on links.parent_number = lost.parent_number and links.child_number = lost.child_number
),

by_client as (
    select
        children.entry_number as child_number,
        max(parents.entry_number) as parent_number,
        arg_max(parents.outcome, parents.entry_number) <> 'requeued' as is_scan_hop
    from staging.queue_entries as children
    anti join by_reply
        on children.entry_number = by_reply.child_number
    inner join staging.queue_entries as parents
        on
            children.host = parents.host
            and children.original_queue_id = parents.queue_id
            and children.entry_number > parents.entry_number
            and (
                parents.outcome = 'requeued'
                or coalesce(parents.left_at >= children.arrived_at - to_seconds(1), true)
            )
    where children.original_queue_id is not null
    group by children.entry_number
),

untold_arrivals as (
    select
        entries.entry_number,
        entries.host,
        entries.message_id,
        entries.arrived_at
    from staging.queue_entries as entries
    anti join by_reply
        on entries.entry_number = by_reply.child_number
    anti join by_client
        on entries.entry_number = by_client.child_number
    anti join staging.proxied_clients as proxied_clients
        on entries.entry_number = proxied_clients.entry_number
    where entries.is_from_loopback and entries.message_id not in ('', '<>')
),

first_recipients as (
    select
        attempts.entry_number,
        min(coalesce(attempts.recipient, '')) as first_recipient
    from staging.entry_attempts as attempts
    semi join untold_arrivals
        on attempts.entry_number = untold_arrivals.entry_number
    group by attempts.entry_number
),

-- What the scan service took, or may have taken, of the mail with these message ids.
scanned as (
    select
        parents.entry_number,
        parents.host,
        parents.message_id,
        attempts.recipient,
        attempts.queued_as,
        attempts.began_from as began_at,
        attempts.logged_at
    from staging.queue_entries as parents
    semi join untold_arrivals
        on parents.message_id = untold_arrivals.message_id
    inner join staging.entry_attempts as attempts
        on parents.entry_number = attempts.entry_number
    where attempts.is_scan_hop and attempts.is_taken
),

-- No reply or client tells what it became.
untold_deliveries as (
    select scanned.* from scanned
    anti join by_reply
        on scanned.entry_number = by_reply.parent_number and scanned.queued_as = by_reply.queued_as
),

for_recipient as (
    select
        arrivals.entry_number as child_number,
        arrivals.arrived_at,
        deliveries.entry_number as parent_number
    from (
        select
            untold_arrivals.*,
            first_recipients.first_recipient
        from untold_arrivals
        inner join first_recipients
            on untold_arrivals.entry_number = first_recipients.entry_number
    ) as arrivals
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
        child_number,
        parent_number,
        'orig_queue_id' as link,
        is_scan_hop
    from by_client

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
