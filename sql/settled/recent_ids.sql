-- One row per host and queue id with lines since `$read_from`.
select distinct
    host,
    queue_id
from recent.mail
where queue_id is not null and logged_at >= $read_from
