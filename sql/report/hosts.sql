-- One row per host, with its restarts of the days shown and with its whole diagnosis, the worst first.
with counted as (
    select
        host,
        count(*) as restart_count,
        count(*) filter (where is_missing) as missing_count,
        count(*) filter (where flush_verdict = 'unknown') as unknown_count,
        sum(held_message_count) as held_count,
        max(restart_delay_max_seconds) as longest_seconds,
        sum(avoidable_delay_total_seconds) as avoidable_seconds
    from report.restarts
    group by host
),

logs as (
    select
        host,
        max(last_logged_at) as last_logged_at
    from ops.source_files
    where log_kind = 'maillog'
    group by host
)

select
    diagnosis.host,
    diagnosis.product,
    diagnosis.version,
    diagnosis.build,
    diagnosis.build_verdict,
    diagnosis.behaviour,
    coalesce(counted.restart_count, 0) as restart_count,
    coalesce(counted.missing_count, 0) as missing_count,
    coalesce(counted.unknown_count, 0) as unknown_count,
    cast(coalesce(counted.held_count, 0) as bigint) as held_count,
    counted.longest_seconds,
    coalesce(counted.avoidable_seconds, 0) as avoidable_seconds,
    timezone(hosts.time_zone, logs.last_logged_at) as local_until
from marts.host_diagnosis as diagnosis
left join counted on diagnosis.host = counted.host
left join logs on diagnosis.host = logs.host
left join fleet.hosts as hosts on diagnosis.host = hosts.host
order by missing_count desc, diagnosis.host asc
