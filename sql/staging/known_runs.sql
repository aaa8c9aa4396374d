-- One row per scan that was certainly a queue run: it took no early mail and left younger mail behind.
-- Each shows the rhythm of the later queue runs, however long ago it was.
select
    host,
    instance,
    began_at
from staging.scans
where early_count = 0 and left_behind_count > 0 and not is_at_qmgr_start and not is_by_sendmail
