-- One row per host and table of events that are needed from the last line before read_from on: a start may
-- belong to a stop long before it.
with tables as (
    select
        'system_events' as table_name,
        $system_events_seconds as earlier_seconds

    union all

    select
        'manager_log' as table_name,
        $manager_log_seconds as earlier_seconds
),

lines as (
    select
        'system_events' as table_name,
        host,
        logged_at
    from all_of.system_events

    union all

    select
        'manager_log' as table_name,
        host,
        logged_at
    from all_of.manager_log
)

select
    hosts.host,
    tables.table_name,
    coalesce(max(lines.logged_at), hosts.read_from - to_seconds(tables.earlier_seconds)) as read_from
from settled.hosts as hosts
cross join tables
left join lines
    on
        hosts.host = lines.host
        and tables.table_name = lines.table_name
        and lines.logged_at < hosts.read_from - to_seconds(tables.earlier_seconds)
group by hosts.host, tables.table_name, hosts.read_from, tables.earlier_seconds
