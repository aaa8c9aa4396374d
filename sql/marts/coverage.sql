-- One row per host, log kind and gap: time of which the log does not tell although it tells of before and
-- after.
-- Beside what the files and the syslog daemons tell (staging.log_gaps), a maillog has a gap where lines about
-- a message are visibly missing (staging.lost_lines), and where the clock was set back (staging.clock_steps).
select
    host,
    log_kind,
    reason,
    gap_from,
    gap_until
from staging.log_gaps

union all

select
    host,
    'maillog' as log_kind,
    'missing_lines' as reason,
    lost_from as gap_from,
    lost_until as gap_until
from staging.lost_lines

union all

select
    host,
    'maillog' as log_kind,
    'clock_set_back' as reason,
    told_twice_from as gap_from,
    told_twice_until as gap_until
from staging.clock_steps
