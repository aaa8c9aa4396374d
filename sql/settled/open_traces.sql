-- One row per trace of which a part was in a queue at `$read_from`, or has lines since then.
-- Few rows pass the first conditions, which DuckDB can check while it reads the files.
select distinct entries.trace_id
from before.message_trace as entries
where
    entries.arrived_at < $read_from
    and (entries.left_at >= $read_from or entries.left_at is null)
    and (
        entries.left_at is not null
        or exists (
            select 1
            from settled.recent_ids as recent
            where entries.host = recent.host and entries.queue_id = recent.queue_id
        )
    )
