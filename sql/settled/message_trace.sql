-- One row per row of marts.message_trace: mail of settled days from the old marts, all other mail from the
-- rebuild.
-- Reopened mail of settled days is rebuilt with the rest of its trace.
select * exclude (placed_at) -- noqa: AM04, RF02
from settled.made as made
where
    not exists (
        select 1
        from settled.hosts as hosts
        where made.host = hosts.host and made.placed_at < hosts.kept_before
    )
    or exists (
        select 1
        from settled.reopened as reopened
        where
            made.host = reopened.host
            and made.instance = reopened.instance
            and made.queue_id = reopened.queue_id
            and made.arrived_at = reopened.arrived_at
    )

union all by name

select * exclude (placed_at) -- noqa: RF02
from settled.kept as kept
semi join settled.hosts as hosts
    on kept.host = hosts.host and kept.placed_at < hosts.kept_before
anti join settled.reopened as reopened
    on
        kept.host = reopened.host
        and kept.instance = reopened.instance
        and kept.queue_id = reopened.queue_id
        and kept.arrived_at = reopened.arrived_at
