-- One row per reason why the logs do not tell what became of restarts, the commonest first.
select
    reason,
    count(*) as restart_count,
    count(distinct host) as host_count
from report.restarts
where flush_verdict = 'unknown'
group by reason
order by restart_count desc, reason asc
