-- One row per scan that surely was a queue run: it took no early mail and left younger mail behind.
-- Each tells the rhythm of the queue runs after it, however long ago it was.
select
    host,
    instance,
    began_at
from staging.scans
where early_count = 0 and left_behind_count > 0 and not is_at_qmgr_start and not is_by_sendmail
