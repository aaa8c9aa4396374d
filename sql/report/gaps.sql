-- One row per gap of a log that reaches into the days shown, the longest first.
select
    coverage.host,
    coverage.log_kind,
    coverage.reason,
    epoch(coverage.gap_until) - epoch(coverage.gap_from) as gap_seconds,
    timezone(hosts.time_zone, coverage.gap_from) as local_from,
    timezone(hosts.time_zone, coverage.gap_until) as local_until
from marts.coverage as coverage
inner join fleet.hosts as hosts on coverage.host = hosts.host
where
    cast(timezone(hosts.time_zone, coverage.gap_until) as date)
    >= (select min(days.date) from report.days as days)
order by gap_seconds desc, coverage.host asc, coverage.gap_from asc
