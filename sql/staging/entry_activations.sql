-- One row per queue entry that the qmgr took up, with what its lines say of the message.
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
