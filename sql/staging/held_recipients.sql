-- One row per held message, recipient and restart, with the hold of this recipient.
-- The hold begins with the recipient's first failure in the restart. It ends at the recipient's next attempt
-- that the service answered, or that failed in a later restart (which then holds it); without such an
-- attempt, end_number and released_at are NULL.
with first_failures as (
    select
        restart_id,
        host,
        instance,
        queue_id,
        lifetime,
        recipient,
        any_value(down_at) as down_at,
        min(attempt_number) as attempt_number,
        arg_min(logged_at, attempt_number) as first_deferred_at
    from staging.held_attempts
    where restart_id is not null
    group by restart_id, host, instance, queue_id, lifetime, recipient
)

select
    first_failures.restart_id,
    first_failures.host,
    first_failures.instance,
    first_failures.queue_id,
    first_failures.lifetime,
    first_failures.recipient,
    min(attempts.attempt_number) as end_number,
    first_failures.first_deferred_at,
    arg_min(attempts.logged_at, attempts.attempt_number) as released_at
from first_failures
left join staging.held_attempts as attempts
    on
        first_failures.host = attempts.host
        and first_failures.instance = attempts.instance
        and first_failures.queue_id = attempts.queue_id
        and first_failures.lifetime = attempts.lifetime
        and first_failures.recipient is not distinct from attempts.recipient
        and first_failures.attempt_number < attempts.attempt_number
        and (attempts.is_answered or first_failures.down_at < attempts.down_at)
group by
    first_failures.restart_id,
    first_failures.host,
    first_failures.instance,
    first_failures.queue_id,
    first_failures.lifetime,
    first_failures.recipient,
    first_failures.first_deferred_at
