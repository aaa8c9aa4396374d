-- One row per restart of `$host`, the `$limit` nearest to `$instant`, nearest first.
select restart_id
from marts.restarts
where host = $host
order by abs(epoch(down_at) - epoch($instant)), down_at
limit $limit
