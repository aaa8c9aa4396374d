-- One row per row of marts.retry_conditions of a restart that was not flushed for sure, and whose retry
-- settings are known: what the simulator is tried on.
select conditions.* -- noqa: AM04
from marts.retry_conditions as conditions
inner join marts.restarts as restarts
    on conditions.restart_id = restarts.restart_id
where
    restarts.flush_verdict <> 'unknown'
    and restarts.flush_observed_at is null
    and conditions.no_answer_reason is null
    and conditions.queue_run_delay_seconds is not null
    and conditions.minimal_backoff_seconds is not null
    and not exists (
        select 1
        from marts.held_messages as held_messages
        where conditions.restart_id = held_messages.restart_id and held_messages.released_by = 'flush'
    )
