-- One row per trace with mail of settled days of which a part may have changed.
-- `$over_by` is the earliest over_by of all hosts: few rows pass the first conditions, which DuckDB can
-- check while it reads the files.
select distinct entries.trace_id
from before.message_trace as entries
inner join settled.hosts as hosts
    on entries.host = hosts.host
where
    (entries.left_at >= $over_by or entries.left_at is null)
    and entries.arrived_at < hosts.kept_before
    and (
        entries.left_at >= hosts.over_by
        or (
            entries.left_at is null
            and exists (
                select 1
                from settled.recent_ids as recent
                where entries.host = recent.host and entries.queue_id = recent.queue_id
            )
        )
    )
