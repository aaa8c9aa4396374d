-- One row per queue entry of an open trace: all its lines are read, from its arrival on.
select distinct
    entries.host,
    entries.queue_id,
    entries.arrived_at
from before.message_trace as entries
semi join settled.open_traces as traces
    on entries.trace_id = traces.trace_id
where entries.arrived_at >= $first_arrived_at
