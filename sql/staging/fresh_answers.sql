-- One row per host and instant at which attempts at the scan service began, each on a fresh connection, that
-- were answered: the service was up then.
-- Split deliveries of one message begin together.
select
    host,
    began_at,
    min(began_before) as began_before,
    min(logged_before) as logged_before
from staging.scan_attempts
where is_answered and is_fresh_connection
group by host, began_at
