-- One row per message and restart that interrupted it at the end of its data, where it may have been
-- delivered twice.
-- The scan service may have passed the message on before the reply was lost, and gets it again. If the log
-- shows mail coming back from the scan service, the message must have come back twice, once near the
-- interruption; otherwise a duplicate stays possible.
with interrupted as (
    select distinct
        held.restart_id,
        held.host,
        held.instance,
        held.queue_id,
        held.lifetime,
        held.recipient,
        attempts.began_at,
        attempts.logged_at
    from staging.held_attempts as held
    inner join staging.scan_attempts as attempts
        on
            held.host = attempts.host
            and held.instance = attempts.instance
            and held.queue_id = attempts.queue_id
            and held.recipient is not distinct from attempts.recipient
            and held.logged_at = attempts.logged_at
            and attempts.is_possible_duplicate
    where held.restart_id is not null
),

came_back as (
    select
        interrupted.*,
        children.arrived_at >= interrupted.began_at - to_seconds(1)
        and children.arrived_at <= interrupted.logged_at + to_seconds(thresholds.reinjection_seconds)
            as is_about_interruption
    from interrupted
    inner join staging.queue_entries as entries
        on
            interrupted.host = entries.host
            and interrupted.instance = entries.instance
            and interrupted.queue_id = entries.queue_id
            and interrupted.lifetime = entries.lifetime
    inner join staging.entry_links as links
        on entries.entry_number = links.parent_number and links.is_scan_hop
    inner join staging.queue_entries as children
        on links.child_number = children.entry_number
    cross join config.thresholds as thresholds
    -- One delivery of several may be interrupted: what became of the others is no duplicate.
    where exists (
        select 1 from staging.entry_attempts as attempts
        where
            attempts.entry_number = children.entry_number
            and coalesce(attempts.recipient, '') = coalesce(interrupted.recipient, '')
    )
),

came_back_twice as (
    select
        restart_id,
        host,
        instance,
        queue_id,
        lifetime
    from came_back
    group by restart_id, host, instance, queue_id, lifetime, recipient, began_at, logged_at
    having
        count(*) > 1
        and bool_or(is_about_interruption)
),

unseen as (
    select
        interrupted.restart_id,
        interrupted.host,
        interrupted.instance,
        interrupted.queue_id,
        interrupted.lifetime
    from interrupted
    anti join staging.reinjection_spans as spans
        on
            interrupted.host = spans.host
            and interrupted.logged_at >= spans.covered_from
            and interrupted.logged_at <= spans.covered_until
)

select
    restart_id,
    host,
    instance,
    queue_id,
    lifetime
from came_back_twice

union

select
    restart_id,
    host,
    instance,
    queue_id,
    lifetime
from unseen
