-- One row per delivery and queue entry that its reply may name: the entry has the queue id of the reply, and
-- arrived while the delivery was made.
-- Two entries may have had the queue id within the time.
select
    deliveries.entry_number as parent_number,
    deliveries.queued_as,
    deliveries.is_scan_hop,
    children.entry_number as child_number
from staging.entry_attempts as deliveries
inner join staging.queue_entries as children
    on
        deliveries.host = children.host
        and deliveries.queued_as = children.queue_id
        and deliveries.entry_number < children.entry_number
        and children.arrived_at >= deliveries.began_from - to_seconds(1)
        and children.arrived_at <= deliveries.logged_at + to_seconds(1)
where deliveries.queued_as is not null
