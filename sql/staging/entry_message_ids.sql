-- One row per queue entry of which a message id was logged.
-- Of several message ids (resent mail) the first of the alphabet is taken: it is the same at every hop.
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
