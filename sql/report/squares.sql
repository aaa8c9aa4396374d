-- One row per host and day that the page shows: missing flushes, or why there are none to tell.
-- kind: `missing`; `unknown` (of some restart nobody knows, and none is known to be missing); `flushed`;
-- `nothing_waited` (after any restart); `no_restart`; `no_log`.
select
    daily.host,
    daily.date,
    daily.restart_count,
    daily.missing_flush_count,
    case
        when daily.missing_flush_count > 0 then 'missing'
        when daily.unknown_restart_count > 0 then 'unknown'
        when daily.judged_restart_count > 0 then 'flushed'
        when daily.restart_count > 0 then 'nothing_waited'
        when coalesce(daily.coverage_share, 0) = 0 then 'no_log'
        else 'no_restart'
    end as kind,
    coalesce(daily.coverage_share, 0) as coverage_share
from marts.fleet_daily as daily
semi join report.days as days on daily.date = days.date
order by daily.host, daily.date
