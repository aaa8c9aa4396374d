-- One row per day that the page shows: the latest `$days` of the days for which any host has a row.
select distinct date
from marts.fleet_daily
order by date desc
limit $days
