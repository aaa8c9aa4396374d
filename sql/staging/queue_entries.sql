-- One row per queue entry: a message in a mail queue of a host, under one queue id, from its arrival until
-- it left. Every message is here, deferred or not, with a number in the order of the arrivals.
-- An entry without its own end in the log (sendmail logs none) is done when every recipient was seen to get
-- it or to be refused. A client that gives up before the end of its message leaves an entry that was never
-- active.
with queues as (
    select distinct
        queue_number,
        host,
        instance
    from staging.qmgr_instances
),

-- Every arrival begins a lifetime.
arrivals as (
    select
        qmgr_instances.queue_number,
        clients.queue_id,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        clients.original_queue_id,
        coalesce(starts_with(clients.client_address, '127.') or clients.client_address = '::1', false)
            as is_from_loopback,
        source_order.source_number,
        clients.line_number,
        clients.logged_at as client_at
    from events.clients as clients
    inner join staging.source_order as source_order
        on clients.source_id = source_order.source_id
    inner join staging.qmgr_instances as qmgr_instances
        on
            clients.host = qmgr_instances.host
            and clients.instance = qmgr_instances.logging_instance
    left join staging.later_lifetimes as later_lifetimes
        on
            clients.source_id = later_lifetimes.source_id
            and clients.line_number = later_lifetimes.line_number
    where clients.queue_id is not null
),

removals as (
    select
        qmgr_instances.queue_number,
        removals.queue_id,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        bool_or(removals.removal_kind = 'expired') as is_expired,
        bool_or(removals.removal_kind = 'deleted') as is_deleted,
        bool_or(removals.removal_kind = 'requeued') as is_requeued,
        max(removals.logged_at) filter (where removals.removal_kind in ('removed', 'deleted', 'requeued'))
            as removed_at,
        min(removals.logged_at) as first_logged_at
    from events.queue_removals as removals
    inner join staging.qmgr_instances as qmgr_instances
        on
            removals.host = qmgr_instances.host
            and removals.instance = qmgr_instances.logging_instance
    left join staging.later_lifetimes as later_lifetimes
        on
            removals.source_id = later_lifetimes.source_id
            and removals.line_number = later_lifetimes.line_number
    group by qmgr_instances.queue_number, removals.queue_id, coalesce(later_lifetimes.lifetime, 0)
),

attempts as (
    select
        queue_number,
        queue_id,
        lifetime,
        coalesce(
            min(relay) filter (where is_scan_hop and is_taken),
            min(relay) filter (where is_taken)
        ) as relay,
        min(queued_as) as queued_as,
        bool_or(is_bounced) as is_bounced,
        bool_or(is_scan_hop) as is_scan_hop,
        bool_or(is_scan_hop and is_sent) as is_scanned,
        min(arrived_at) as attempted_from,
        min(began_at) filter (where is_scan_hop and is_taken) as scan_began_at,
        min(logged_at) as first_logged_at,
        max(logged_at) as last_attempted_at
    from staging.entry_attempts
    group by queue_number, queue_id, lifetime
),

entries as (
    select
        queue_number,
        queue_id,
        lifetime,
        arrivals.original_queue_id,
        attempts.relay,
        attempts.queued_as,
        activations.recipient_count as activated_recipient_count,
        attempts.is_bounced,
        removals.is_expired,
        removals.is_deleted,
        removals.is_requeued,
        coalesce(arrivals.is_from_loopback, false) as is_from_loopback,
        coalesce(attempts.is_scan_hop, false) as is_scan_hop,
        coalesce(attempts.is_scanned, false) as is_scanned,
        arrivals.source_number as client_source_number,
        arrivals.line_number as client_line_number,
        attempts.scan_began_at,
        coalesce(arrivals.client_at, attempts.attempted_from) as told_arrival_at,
        least(
            arrivals.client_at,
            message_ids.first_logged_at,
            activations.first_logged_at,
            removals.first_logged_at,
            attempts.first_logged_at
        ) as first_logged_at,
        attempts.last_attempted_at,
        removals.removed_at
    from arrivals
    full join staging.entry_message_ids as message_ids using (queue_number, queue_id, lifetime)
    full join staging.entry_activations as activations using (queue_number, queue_id, lifetime)
    full join removals using (queue_number, queue_id, lifetime)
    full join attempts using (queue_number, queue_id, lifetime)
),

-- Where the qmgr did not count the recipients, or did not take the message out of the queue.
recipients as (
    select
        attempts.queue_number,
        attempts.queue_id,
        attempts.lifetime,
        -- A recipient without an address (`to=,`) is one as well.
        count(distinct coalesce(attempts.recipient, '')) as recipient_count,
        count(distinct coalesce(attempts.recipient, '')) filter (
            where attempts.is_sent or attempts.is_bounced
        ) >= any_value(activations.recipient_count) as are_all_done
    from staging.entry_attempts as attempts
    left join staging.entry_activations as activations using (queue_number, queue_id, lifetime)
    anti join (
        select removals.* from removals
        semi join staging.entry_activations using (queue_number, queue_id, lifetime)
        where removals.removed_at is not null
    ) as counted using (queue_number, queue_id, lifetime)
    group by attempts.queue_number, attempts.queue_id, attempts.lifetime
),

numbered as (
    select
        row_number() over (
            order by
                -- A computed arrival may be later than the first line, by the rounding of the delay.
                least(entries.told_arrival_at, entries.first_logged_at),
                entries.client_source_number,
                entries.client_line_number,
                entries.queue_id,
                entries.queue_number,
                entries.lifetime
        ) as entry_number,
        entries.queue_number,
        entries.queue_id,
        entries.lifetime,
        entries.original_queue_id,
        entries.relay,
        entries.queued_as,
        case
            when entries.is_expired then 'expired'
            when entries.is_deleted then 'deleted'
            when entries.is_requeued then 'requeued'
            when entries.removed_at is not null and entries.is_bounced then 'bounced'
            when entries.removed_at is not null and entries.last_attempted_at is null then 'removed'
            when entries.removed_at is not null then 'delivered'
            when recipients.are_all_done and entries.is_bounced then 'bounced'
            when recipients.are_all_done then 'delivered'
            when entries.activated_recipient_count is null and entries.last_attempted_at is null
                then 'abandoned'
            else 'pending'
        end as outcome,
        coalesce(entries.activated_recipient_count, recipients.recipient_count, 0) as recipient_count,
        entries.is_from_loopback,
        entries.is_scan_hop,
        entries.is_scanned,
        entries.scan_began_at,
        coalesce(entries.told_arrival_at, entries.first_logged_at) as arrived_at,
        coalesce(entries.removed_at, if(recipients.are_all_done, entries.last_attempted_at, null)) as left_at
    from entries
    left join recipients
        on
            entries.queue_number = recipients.queue_number
            and entries.queue_id = recipients.queue_id
            and entries.lifetime = recipients.lifetime
)

select
    numbered.entry_number,
    numbered.queue_number,
    queues.host,
    queues.instance,
    numbered.queue_id,
    numbered.lifetime,
    numbered.original_queue_id,
    numbered.relay,
    numbered.queued_as,
    numbered.outcome,
    numbered.recipient_count,
    numbered.is_from_loopback,
    numbered.is_scan_hop,
    numbered.is_scanned,
    numbered.scan_began_at,
    numbered.arrived_at,
    numbered.left_at
from numbered
inner join queues
    on numbered.queue_number = queues.queue_number
