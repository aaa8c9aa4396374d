-- One row per reason for which lines were not parsed, the commonest first.
select
    reason,
    count(*) as line_count,
    count(distinct host) as host_count,
    max(logged_at) as last_logged_at
from events.unparsed_lines
group by reason
order by line_count desc, reason asc
