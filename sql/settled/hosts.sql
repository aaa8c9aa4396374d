-- One row per host, as settled.hosts had it, with the local day before which its rows of marts.fleet_daily
-- stay.
-- Mail counts on the day on which it left, so that reopened mail changes days from its arrival on. Pending
-- mail may count on another day if a day comes in between.
with reopened as (
    select
        host,
        min(arrived_at) as arrived_at
    from settled.reopened
    group by host
),

new_days as (
    select
        hosts.host,
        min(dates.date) as date
    from settled.hosts as hosts
    cross join staging.log_dates as dates
    anti join before.fleet_daily as known
        on hosts.host = known.host and dates.date = known.date
    group by hosts.host
)

select
    hosts.host,
    hosts.kept_before,
    greatest(
        hosts.days_kept_before,
        least(
            cast(timezone(fleet.time_zone, least(hosts.kept_before, reopened.arrived_at)) as date),
            new_days.date
        )
    ) as days_kept_before,
    hosts.frozen_before,
    hosts.over_by,
    hosts.news_since,
    hosts.read_from
from settled.hosts as hosts
inner join fleet.hosts as fleet
    on hosts.host = fleet.host
left join reopened
    on hosts.host = reopened.host
left join new_days
    on hosts.host = new_days.host
