-- One row: the line of the re-activation that ended round `$round_number` of a message; none if the log
-- lacks it, as sendmail's does.
select
    'reactivation' as role,
    maillogs.source_id,
    events.line_number
from staging.message_events as events
inner join explain.maillogs as maillogs
    on events.source_number = maillogs.source_number
where
    events.event_kind = 'activation'
    and events.instance = $instance
    and events.queue_id = $queue_id
    and events.lifetime = $lifetime
qualify row_number() over (order by events.event_number) = $round_number + 1
