-- One row per queue entry of settled days that is rebuilt nevertheless, because its trace may have changed.
-- Entries that arrived on frozen days stay as they are.
select
    entries.host,
    entries.instance,
    entries.queue_id,
    entries.arrived_at
from before.message_trace as entries
semi join settled.changed_traces as traces
    on entries.trace_id = traces.trace_id
inner join settled.hosts as hosts
    on entries.host = hosts.host
where
    entries.arrived_at >= $first_arrived_at
    and entries.arrived_at < hosts.kept_before
    and coalesce(entries.arrived_at >= hosts.frozen_before, true)
