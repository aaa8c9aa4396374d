-- One row: the restart of `$host` to which `$instant` belongs, the latest one if there are several.
select restart_id
from marts.restarts
where
    host = $host
    and $instant >= window_from
    and $instant < coalesce(window_until, 'infinity')
order by down_at desc, restart_id asc
limit 1
