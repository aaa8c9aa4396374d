-- One row per message that the restart held, with whether a flush took it; `$message_limit` rows at most,
-- or all if that is NULL.
-- First the messages that never left, then those that a flush took in vain or missed, then the longest
-- waits.
with flushed as (
    select
        held_waits.instance,
        held_waits.queue_id,
        held_waits.lifetime,
        bool_or(coalesce(held_waits.is_flush, false)) as is_flushed,
        bool_or(coalesce(held_waits.is_flush, false) and held_waits.is_failed_again)
            as is_failed_after_flush
    from staging.held_waits as held_waits
    semi join explain.restart as restart
        on held_waits.restart_id = restart.restart_id
    group by held_waits.instance, held_waits.queue_id, held_waits.lifetime
)

select
    held_messages.restart_id,
    held_messages.host,
    held_messages.instance,
    held_messages.queue_id,
    held_messages.lifetime,
    held_messages.message_id,
    held_messages.sender,
    held_messages.first_cause,
    held_messages.outcome,
    held_messages.released_by,
    held_messages.size_bytes,
    held_messages.recipient_count,
    held_messages.held_recipient_count,
    held_messages.failed_attempt_count,
    held_messages.restart_delay_seconds,
    held_messages.total_delay_seconds,
    held_messages.is_never_tried,
    held_messages.is_interrupted,
    held_messages.is_hop_inferred,
    held_messages.is_pending_proved,
    held_messages.arrived_at,
    held_messages.first_deferred_at,
    held_messages.last_deferred_at,
    held_messages.reactivated_at,
    held_messages.released_at,
    held_messages.removed_at,
    coalesce(flushed.is_flushed, false) as is_flushed,
    coalesce(flushed.is_failed_after_flush, false) as is_failed_after_flush
from marts.held_messages as held_messages
inner join explain.restart as restart
    on held_messages.restart_id = restart.restart_id
left join flushed
    on
        held_messages.instance = flushed.instance
        and held_messages.queue_id = flushed.queue_id
        and held_messages.lifetime = flushed.lifetime
order by
    held_messages.released_at is not null asc,
    is_failed_after_flush desc,
    is_flushed asc,
    held_messages.restart_delay_seconds desc,
    held_messages.first_deferred_at asc,
    held_messages.queue_id asc
limit $message_limit
