-- One row per queue entry: a message in a mail queue of a host, under one queue id, from its arrival until
-- it left. Every message is here, deferred or not, with a number in the order of the arrivals.
-- An entry without its own end in the log (sendmail logs none) is done when every recipient was seen to get
-- it or to be refused. A client that gives up before the end of its message leaves an entry that was never
-- active. Of several message ids (resent mail) the first of the alphabet is taken: it is the same at
-- every hop.
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
        clients.client_host,
        clients.client_address,
        clients.original_queue_id,
        clients.sender,
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

message_ids as (
    select
        qmgr_instances.queue_number,
        message_ids.queue_id,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        min(message_ids.message_id) as message_id,
        min(message_ids.logged_at) as first_logged_at
    from events.message_ids as message_ids
    inner join staging.qmgr_instances as qmgr_instances
        on
            message_ids.host = qmgr_instances.host
            and message_ids.instance = qmgr_instances.logging_instance
    left join staging.later_lifetimes as later_lifetimes
        on
            message_ids.source_id = later_lifetimes.source_id
            and message_ids.line_number = later_lifetimes.line_number
    group by qmgr_instances.queue_number, message_ids.queue_id, coalesce(later_lifetimes.lifetime, 0)
),

activations as (
    select
        qmgr_instances.queue_number,
        activations.queue_id,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        min(activations.sender) as sender,
        min(activations.size_bytes) as size_bytes,
        -- A later activation is for those who did not get it yet.
        max(activations.recipient_count) as recipient_count,
        min(activations.logged_at) as first_logged_at
    from events.queue_activations as activations
    inner join staging.qmgr_instances as qmgr_instances
        on
            activations.host = qmgr_instances.host
            and activations.instance = qmgr_instances.logging_instance
    left join staging.later_lifetimes as later_lifetimes
        on
            activations.source_id = later_lifetimes.source_id
            and activations.line_number = later_lifetimes.line_number
    group by qmgr_instances.queue_number, activations.queue_id, coalesce(later_lifetimes.lifetime, 0)
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

recipients as (
    select
        qmgr_instances.queue_number,
        attempts.queue_id,
        coalesce(later_lifetimes.lifetime, 0) as lifetime,
        -- A recipient without an address (`to=,`) is one as well.
        coalesce(attempts.recipient, '') as recipient,
        bool_or(attempts.status in ('sent', 'bounced')) as is_done,
        bool_or(attempts.status = 'bounced') as is_bounced,
        min(attempts.logged_at - to_milliseconds(cast(1000 * attempts.delay_seconds as bigint)))
            as attempted_from,
        min(attempts.logged_at) as first_logged_at,
        max(attempts.logged_at) as last_attempted_at
    from events.delivery_attempts as attempts
    inner join staging.qmgr_instances as qmgr_instances
        on
            attempts.host = qmgr_instances.host
            and attempts.instance = qmgr_instances.logging_instance
    left join staging.later_lifetimes as later_lifetimes
        on
            attempts.source_id = later_lifetimes.source_id
            and attempts.line_number = later_lifetimes.line_number
    group by
        qmgr_instances.queue_number,
        attempts.queue_id,
        coalesce(later_lifetimes.lifetime, 0),
        coalesce(attempts.recipient, '')
),

attempts as (
    select
        queue_number,
        queue_id,
        lifetime,
        min(recipient) as first_recipient,
        count(*) as recipient_count,
        count(*) filter (where is_done) as done_recipient_count,
        bool_or(is_bounced) as is_bounced,
        min(attempted_from) as attempted_from,
        min(first_logged_at) as first_logged_at,
        max(last_attempted_at) as last_attempted_at
    from recipients
    group by queue_number, queue_id, lifetime
),

entries as (
    select
        queues.host,
        queues.instance,
        queue_id,
        lifetime,
        message_ids.message_id,
        least(arrivals.sender, activations.sender) as sender,
        attempts.first_recipient,
        arrivals.client_host,
        arrivals.client_address,
        arrivals.original_queue_id,
        activations.size_bytes,
        activations.recipient_count as activated_recipient_count,
        coalesce(attempts.recipient_count, 0) as logged_recipient_count,
        coalesce(attempts.done_recipient_count, 0) as done_recipient_count,
        attempts.is_bounced,
        removals.is_expired,
        removals.is_deleted,
        removals.is_requeued,
        arrivals.client_at,
        arrivals.source_number as client_source_number,
        arrivals.line_number as client_line_number,
        attempts.attempted_from,
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
    full join message_ids using (queue_number, queue_id, lifetime)
    full join activations using (queue_number, queue_id, lifetime)
    full join removals using (queue_number, queue_id, lifetime)
    full join attempts using (queue_number, queue_id, lifetime)
    inner join queues using (queue_number)
),

described as (
    select
        *,
        coalesce(done_recipient_count >= activated_recipient_count, false) as is_all_done,
        coalesce(client_at, attempted_from, first_logged_at) as arrived_at
    from entries
)

select
    row_number() over (
        order by
            -- A computed arrival may be later than the first line, by the rounding of the delay.
            least(arrived_at, first_logged_at),
            client_source_number,
            client_line_number,
            queue_id,
            host,
            instance,
            lifetime
    ) as entry_number,
    host,
    instance,
    queue_id,
    lifetime,
    message_id,
    sender,
    first_recipient,
    client_host,
    client_address,
    original_queue_id,
    case
        when is_expired then 'expired'
        when is_deleted then 'deleted'
        when is_requeued then 'requeued'
        when removed_at is not null and is_bounced then 'bounced'
        when removed_at is not null and last_attempted_at is null then 'removed'
        when removed_at is not null then 'delivered'
        when is_all_done and is_bounced then 'bounced'
        when is_all_done then 'delivered'
        when activated_recipient_count is null and last_attempted_at is null then 'abandoned'
        else 'pending'
    end as outcome,
    size_bytes,
    coalesce(activated_recipient_count, logged_recipient_count) as recipient_count,
    arrived_at,
    coalesce(removed_at, if(is_all_done, last_attempted_at, null)) as left_at
from described
