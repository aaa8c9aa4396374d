-- One row: the restart to be explained, `$restart_id`; none if the lake's events no longer give it.
select
    restart_id,
    host,
    outage_number,
    down_at_earliest,
    down_at,
    up_at_earliest,
    up_at,
    up_at_latest,
    window_from,
    window_until
from staging.restarts
where restart_id = $restart_id
