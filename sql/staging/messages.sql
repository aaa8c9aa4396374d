-- One row per message (host, instance, queue_id, lifetime) that was ever deferred, with its end.
-- Its facts come from its entry in staging.queue_entries, so that marts.held_messages and
-- marts.message_trace never contradict each other. last_logged_at is its latest line, removed_at the line
-- that took it out of the queue: sendmail logs none.
with last_lines as (
    select
        host,
        instance,
        queue_id,
        lifetime,
        max(logged_at) as last_logged_at
    from staging.message_events
    group by host, instance, queue_id, lifetime
)

select
    entries.host,
    entries.instance,
    entries.queue_id,
    entries.lifetime,
    entries.message_id,
    entries.sender,
    entries.size_bytes,
    entries.recipient_count,
    entries.outcome,
    entries.arrived_at,
    last_lines.last_logged_at,
    facts.removed_at
from staging.queue_entries as entries
inner join last_lines
    on
        entries.host = last_lines.host
        and entries.instance = last_lines.instance
        and entries.queue_id = last_lines.queue_id
        and entries.lifetime = last_lines.lifetime
inner join staging.entry_facts as facts
    on entries.entry_number = facts.entry_number
