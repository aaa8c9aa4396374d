-- One row per scan that contradicts the minimal_backoff_time that is assumed: it took early mail and left
-- other mail behind.
select
    host,
    instance,
    began_at
from staging.scans
where not is_backoff_known and early_count > 0 and left_behind_count > 0 and not is_at_qmgr_start
