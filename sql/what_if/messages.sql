-- One row per message that the restarts `$restart_ids` held, as the retry simulator takes it: times in
-- seconds since 1970.
-- answer_seconds is how long the scan service took to answer once the queue let the message go. Mail that an
-- operator deleted or requeued did not wait for a retry, and is left out.
select
    held_messages.restart_id,
    held_messages.instance,
    held_messages.first_cause = 'suspended' as is_never_tried,
    coalesce(held_messages.sender = '', false) as is_null_sender,
    held_messages.released_at is null and held_messages.outcome = 'expired' as is_expired,
    held_messages.released_by,
    held_messages.restart_delay_seconds,
    coalesce(
        greatest(date_diff('millisecond', held_messages.reactivated_at, held_messages.released_at), 0) / 1000,
        0
    ) as answer_seconds,
    epoch(held_messages.first_deferred_at) as deferred_at,
    epoch(held_messages.arrived_at) as arrived_at,
    epoch(held_messages.reactivated_at) as reactivated_at
from marts.held_messages as held_messages
where
    held_messages.restart_id in (select unnest($restart_ids))
    and (held_messages.released_at is not null or held_messages.outcome not in ('deleted', 'requeued'))
