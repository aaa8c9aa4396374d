-- One row per message without an end in the log, if the host's latest queue snapshot shows whether it is
-- still there.
-- A queue entry is listed if the snapshot has its id and arrival. A snapshot is of one instance: if a host
-- has several, an unlisted message may be in another queue and has no row. Nor has a message whose last
-- line is later than the snapshot.
with snapshots as (
    select
        host,
        max(first_logged_at) as taken_at,
        arg_max(source_id, first_logged_at) as source_id
    from ops.source_files
    where log_kind = 'queue_snapshot' and status = 'loaded'
    group by host
),

instances as (
    select
        host,
        count(distinct instance) as instance_count
    from staging.qmgr_instances
    group by host
),

listed as (
    select distinct
        source_id,
        queue_id,
        arrived_at
    from events.queue_snapshots
)

select
    messages.host,
    messages.instance,
    messages.queue_id,
    messages.lifetime,
    bool_or(listed.source_id is not null) as is_listed
from staging.messages as messages
cross join config.thresholds as thresholds
inner join snapshots
    on messages.host = snapshots.host and messages.last_logged_at <= snapshots.taken_at
inner join instances
    on messages.host = instances.host
left join listed
    on
        snapshots.source_id = listed.source_id
        and messages.queue_id = listed.queue_id
        and abs(epoch(messages.arrived_at - listed.arrived_at)) <= thresholds.arrival_margin_seconds
where
    messages.outcome = 'pending'
    and (listed.source_id is not null or instances.instance_count = 1)
group by messages.host, messages.instance, messages.queue_id, messages.lifetime
