-- One row per queue entry: a message in a mail queue of a host, under one queue id, from its arrival until
-- it left. Every message is here, deferred or not, with a number in the order of the arrivals.
-- An entry without its own end in the log (sendmail logs none) is done when every recipient was seen to get
-- it or to be refused. A client that gives up before the end of its message leaves an entry that was never
-- active. Of several message ids (resent mail) the first of the alphabet is taken: it is the same at
-- every hop.
with recipients as (
    select
        attempts.host,
        attempts.instance,
        attempts.queue_id,
        attempts.recipient,
        later_lifetimes.lifetime,
        min(attempts.logged_at - to_milliseconds(cast(1000 * attempts.delay_seconds as bigint)))
            as attempted_from,
        min(attempts.logged_at) as first_logged_at,
        max(attempts.logged_at) as last_attempted_at,
        bool_or(attempts.status in ('sent', 'bounced')) as is_done,
        bool_or(attempts.status = 'bounced') as is_bounced
    from events.delivery_attempts as attempts
    left join staging.later_lifetimes as later_lifetimes
        on
            attempts.source_id = later_lifetimes.source_id
            and attempts.line_number = later_lifetimes.line_number
    group by
        attempts.host, attempts.instance, attempts.queue_id, attempts.recipient, later_lifetimes.lifetime
),

lines as (
    select
        clients.host,
        clients.instance,
        clients.queue_id,
        clients.source_id,
        clients.line_number,
        clients.client_host,
        clients.client_address,
        clients.original_queue_id,
        clients.sender,
        clients.logged_at as client_at,
        source_order.source_number as client_source_number,
        clients.line_number as client_line_number,
        clients.logged_at as first_logged_at
    from events.clients as clients
    inner join staging.source_order as source_order
        on clients.source_id = source_order.source_id
    where clients.queue_id is not null

    union all by name

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        message_id,
        logged_at as first_logged_at
    from events.message_ids

    union all by name

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        sender,
        size_bytes,
        recipient_count,
        logged_at as first_logged_at
    from events.queue_activations

    union all by name

    select
        host,
        instance,
        queue_id,
        source_id,
        line_number,
        removal_kind = 'expired' as is_expired,
        removal_kind = 'deleted' as is_deleted,
        removal_kind = 'requeued' as is_requeued,
        if(removal_kind in ('removed', 'deleted', 'requeued'), logged_at, null) as removed_at,
        logged_at as first_logged_at
    from events.queue_removals
),

queue_events as (
    select
        lines.*,
        later_lifetimes.lifetime
    from lines
    left join staging.later_lifetimes as later_lifetimes
        on
            lines.source_id = later_lifetimes.source_id
            and lines.line_number = later_lifetimes.line_number

    union all by name

    select
        *,
        coalesce(recipient, '') as named_recipient,
        if(is_done, 1, 0) as done_count
    from recipients
),

entries as (
    select
        queue_events.host,
        qmgr_instances.instance,
        queue_events.queue_id,
        coalesce(queue_events.lifetime, 0) as lifetime,
        min(queue_events.message_id) as message_id,
        min(queue_events.sender) as sender,
        min(queue_events.named_recipient) as first_recipient,
        min(queue_events.client_host) as client_host,
        min(queue_events.client_address) as client_address,
        min(queue_events.original_queue_id) as original_queue_id,
        min(queue_events.size_bytes) as size_bytes,
        -- A later activation is for those who did not get it yet.
        max(queue_events.recipient_count) as activated_recipient_count,
        -- A recipient without an address (`to=,`) is one as well.
        count(queue_events.done_count) as logged_recipient_count,
        coalesce(sum(queue_events.done_count), 0) as done_recipient_count,
        bool_or(queue_events.is_bounced) as is_bounced,
        bool_or(queue_events.is_expired) as is_expired,
        bool_or(queue_events.is_deleted) as is_deleted,
        bool_or(queue_events.is_requeued) as is_requeued,
        min(queue_events.client_at) as client_at,
        min(queue_events.client_source_number) as client_source_number,
        min(queue_events.client_line_number) as client_line_number,
        min(queue_events.attempted_from) as attempted_from,
        min(queue_events.first_logged_at) as first_logged_at,
        max(queue_events.last_attempted_at) as last_attempted_at,
        max(queue_events.removed_at) as removed_at
    from queue_events
    inner join staging.qmgr_instances as qmgr_instances
        on
            queue_events.host = qmgr_instances.host
            and queue_events.instance = qmgr_instances.logging_instance
    group by
        queue_events.host,
        qmgr_instances.instance,
        queue_events.queue_id,
        coalesce(queue_events.lifetime, 0)
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
