-- One row per message (host, instance, queue_id, lifetime) that was ever deferred, with its end.
-- A message without its own end in the log (sendmail logs none) is pending, unless every recipient was seen
-- to get it or to be refused.
with messages as (
    select
        host,
        instance,
        queue_id,
        lifetime,
        arg_min(message_id, event_number) filter (where event_kind = 'message_id') as message_id,
        arg_min(sender, event_number) filter (where event_kind = 'activation') as sender,
        arg_min(size_bytes, event_number) filter (where event_kind = 'activation') as size_bytes,
        arg_min(recipient_count, event_number) filter (where event_kind = 'activation')
            as activated_recipient_count,
        -- A recipient without an address (`to=,`) is one as well.
        count(distinct coalesce(recipient, '')) filter (where event_kind in ('deferral', 'attempt'))
            as logged_recipient_count,
        count(distinct coalesce(recipient, '')) filter (where status in ('sent', 'bounced'))
            as done_recipient_count,
        min(logged_at) filter (where event_kind = 'arrival') as client_at,
        min(logged_at - to_milliseconds(cast(1000 * delay_seconds as bigint))) as attempted_from,
        min(logged_at) as first_logged_at,
        max(logged_at) as last_logged_at,
        bool_or(event_kind = 'expired') as is_expired,
        bool_or(event_kind = 'deleted') as is_deleted,
        bool_or(event_kind = 'requeued') as is_requeued,
        coalesce(bool_or(status = 'bounced'), false) as is_bounced,
        max(logged_at) filter (where event_kind in ('removed', 'deleted', 'requeued')) as removed_at
    from staging.message_events
    group by host, instance, queue_id, lifetime
)

select
    host,
    instance,
    queue_id,
    lifetime,
    message_id,
    sender,
    size_bytes,
    coalesce(activated_recipient_count, logged_recipient_count) as recipient_count,
    case
        when is_expired then 'expired'
        when is_deleted then 'deleted'
        when is_requeued then 'requeued'
        when removed_at is not null and is_bounced then 'bounced'
        when removed_at is not null then 'delivered'
        when done_recipient_count >= activated_recipient_count and is_bounced then 'bounced'
        when done_recipient_count >= activated_recipient_count then 'delivered'
        else 'pending'
    end as outcome,
    coalesce(client_at, attempted_from, first_logged_at) as arrived_at,
    last_logged_at,
    removed_at
from messages
