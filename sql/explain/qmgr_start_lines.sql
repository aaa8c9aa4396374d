-- One row per start of an instance's queue manager during a scan, or just before it.
select
    'qmgr_start' as role,
    starts.source_id,
    starts.line_number
from staging.qmgr_starts as starts
cross join config.thresholds as thresholds
where
    starts.instance = $instance
    and starts.started_at >= $began_at - to_seconds(thresholds.qmgr_start_seconds)
    and starts.started_at <= $ended_at
