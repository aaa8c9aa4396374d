-- One row per row of marts.fleet_daily: settled days from the old marts, all others from the rebuild.
-- A settled day that the host did not have before comes from the rebuild, too: logs of another host begin
-- on it.
with settled_days as (
    select
        known.host,
        known.date
    from before.fleet_daily as known
    inner join settled.hosts as hosts
        on known.host = hosts.host and known.date < hosts.days_kept_before
)

select * exclude (placed_at) -- noqa: AM04, RF02
from settled.made as made
anti join settled_days
    on made.host = settled_days.host and made.date = settled_days.date

union all by name

select * exclude (placed_at) -- noqa: RF02
from settled.kept as kept
semi join settled.hosts as hosts
    on kept.host = hosts.host and kept.placed_at < hosts.days_kept_before
