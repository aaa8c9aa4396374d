-- One row per host, with its product and zone and how much was read.
select
    hosts.host,
    hosts.product,
    hosts.build,
    hosts.time_zone,
    hosts.time_zone_source,
    count(source_files.source_id) as source_file_count,
    coalesce(sum(source_files.line_count), 0) as line_count,
    coalesce(sum(source_files.unparsed_line_count), 0) as unparsed_line_count,
    min(source_files.first_logged_at) as first_logged_at,
    max(source_files.last_logged_at) as last_logged_at
from fleet.hosts as hosts
left join ops.source_files as source_files on hosts.host = source_files.host
group by all
order by hosts.host
