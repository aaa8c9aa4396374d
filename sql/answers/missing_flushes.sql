-- One row per missing flush, newest first, with what people are told about it; `$newest` rows, all if NULL.
select
    missing_flushes.restart_id,
    missing_flushes.host,
    missing_flushes.flush_verdict,
    missing_flushes.missing_reason,
    missing_flushes.advice,
    restarts.time_zone,
    missing_flushes.held_message_count,
    restarts.restart_delay_max_seconds,
    missing_flushes.avoidable_delay_total_seconds,
    missing_flushes.down_at,
    missing_flushes.up_at
from marts.missing_flushes as missing_flushes
inner join marts.restarts as restarts
    on missing_flushes.restart_id = restarts.restart_id
order by missing_flushes.down_at desc, missing_flushes.restart_id asc
limit $newest
