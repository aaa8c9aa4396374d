-- One row per host, log kind and gap: a time without log lines between times with lines.
-- Besides the gaps known from files and syslog daemons (staging.log_gaps), a maillog has a gap if lines
-- about a message are visibly missing (staging.lost_lines), and if the clock was set back
-- (staging.clock_steps).
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
