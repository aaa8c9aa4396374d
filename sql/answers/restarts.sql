-- One row per restart of the chosen hosts (all, if the list `$hosts` is empty) and days.
-- `$since` and `$until` are days in the time of the host, or null. A wider span of whole UTC days needs no
-- time zone and lets DuckDB skip distant rows without reading them.
-- All columns of the mart, whatever they are.
select restarts.*  -- noqa: AM04
from marts.restarts as restarts
inner join fleet.hosts as hosts on restarts.host = hosts.host
where
    (len($hosts) = 0 or list_contains($hosts, restarts.host))
    and coalesce(cast(timezone(hosts.time_zone, restarts.down_at) as date) >= $since, true)
    and coalesce(cast(timezone(hosts.time_zone, restarts.down_at) as date) <= $until, true)
    and (
        cast($since as date) is null
        or restarts.down_at >= timezone('UTC', cast($since as date) - interval 1 day)
    )
    and (
        cast($until as date) is null
        or restarts.down_at < timezone('UTC', cast($until as date) + interval 2 days)
    )
