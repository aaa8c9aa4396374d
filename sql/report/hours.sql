-- One row per trigger, hour of the host's day and outcome, with its restarts; the commonest triggers first.
with counted as (
    select
        restart_trigger,
        local_hour as hour,
        outcome,
        count(*) as restart_count
    from report.restarts
    group by restart_trigger, local_hour, outcome
)

select
    restart_trigger,
    hour,
    outcome,
    restart_count
from counted
order by
    sum(restart_count) over (partition by restart_trigger) desc,
    restart_trigger asc,
    hour asc,
    outcome asc
