-- One row per notice of lost lines whose gap may hide something of the restart.
select
    notices.event_kind as role,
    notices.source_id,
    notices.line_number
from events.service_events as notices
cross join explain.restart as restart
cross join config.thresholds as thresholds
where
    notices.event_kind = 'lines_lost'
    and notices.logged_at
    >= coalesce(restart.down_at_earliest, restart.down_at) - to_seconds(thresholds.loss_window_seconds)
    and notices.logged_at
    < coalesce(restart.window_until + to_seconds(thresholds.loss_window_seconds), 'infinity')
