-- One row: the span of log lines about the restart `$restart_id` and the mail that it held, by the
-- published marts.
select
    least(
        any_value(restarts.down_at_earliest),
        any_value(restarts.down_at),
        min(held_messages.arrived_at)
    ) as first_at,
    greatest(
        any_value(restarts.down_at),
        any_value(restarts.up_at),
        max(held_messages.last_deferred_at),
        max(held_messages.released_at)
    ) as last_at
from published.marts.restarts as restarts
left join published.marts.held_messages as held_messages
    on restarts.restart_id = held_messages.restart_id
where restarts.restart_id = $restart_id
