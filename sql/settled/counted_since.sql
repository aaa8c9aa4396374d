-- One row: mail that left since then counts on a rebuilt day of marts.fleet_daily; NULL if all days are
-- rebuilt.
select
    if(
        bool_and(hosts.days_kept_before is not null),
        min(timezone(fleet.time_zone, cast(hosts.days_kept_before as timestamp))),
        null
    ) as counted_since
from settled.hosts as hosts
inner join fleet.hosts as fleet
    on hosts.host = fleet.host
