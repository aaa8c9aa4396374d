-- One row: how much mail still waited once the service was up again, and how much of it was never seen to
-- leave.
with waiting as (
    select
        held_waits.instance,
        held_waits.queue_id,
        held_waits.lifetime,
        bool_or(held_waits.waited_until is null) as is_unended,
        bool_or(held_waits.waited_until is null and held_waits.due_by < coverage.covered_until) as is_lost
    from staging.held_waits as held_waits
    inner join explain.restart as restart
        on held_waits.restart_id = restart.restart_id
    inner join staging.restart_coverage as coverage
        on restart.restart_id = coverage.restart_id
    where coalesce(restart.up_at < held_waits.waited_until, true)
    group by held_waits.instance, held_waits.queue_id, held_waits.lifetime
)

select
    count(*) as waiting_count,
    count(*) filter (where is_unended) as unended_count,
    count(*) filter (where is_lost) as lost_count
from waiting
