-- One row per host with a restart that was under way when its events begin to be read, with when the first
-- of them began: an outage is rebuilt as a whole or not at all.
select
    restarts.host,
    min(least(restarts.down_at, restarts.down_at_earliest, restarts.window_from)) as began_at
from before.restarts as restarts
inner join settled.windows as windows
    on restarts.host = windows.host and restarts.down_at < windows.kept_before
where coalesce(greatest(restarts.up_at, restarts.up_at_latest) >= windows.read_from, true)
group by restarts.host
