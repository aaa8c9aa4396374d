-- One row per change of a host's settings since the first day of the page, the worst before it first.
select
    changes.host,
    changes.host || '  ' || strftime(timezone(hosts.time_zone, changes.changed_at), '%Y-%m-%d %H:%M') as name,
    changes.changes,
    changes.missing_share_before as before,
    changes.missing_share_after as after,
    changes.missing_flush_count_before,
    changes.missing_flush_count_after,
    changes.judged_before_count,
    changes.judged_after_count,
    changes.restart_delay_p50_seconds_before,
    changes.restart_delay_p50_seconds_after,
    timezone(hosts.time_zone, changes.changed_at) as local_changed_at
from marts.fleet_changes as changes
inner join fleet.hosts as hosts on changes.host = hosts.host
where
    cast(timezone(hosts.time_zone, changes.changed_at) as date)
    >= (select min(days.date) from report.days as days)
order by before desc nulls last, changes.host asc, changes.changed_at asc
