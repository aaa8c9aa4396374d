-- One row per restart in the list of the page, at most `$count`: those without a flush first, then those of
-- which nobody knows, then the newest.
with ranked as (
    select
        restarts.*,
        row_number() over (
            order by
                array_position(
                    ['missing', 'ineffective', 'unknown', 'effective', 'not_needed'], restarts.flush_verdict
                ) asc,
                restarts.down_at desc,
                restarts.restart_id asc
        ) as place
    from report.restarts as restarts
)

select
    restart_id,
    host,
    flush_verdict,
    reason,
    restart_trigger,
    build_verdict,
    confidence,
    outage_seconds,
    held_message_count,
    delayed_over_5_min_count,
    restart_delay_p50_seconds,
    restart_delay_max_seconds,
    avoidable_delay_total_seconds,
    is_missing,
    is_up_at_estimated,
    is_overlong,
    epoch(down_at) as down_epoch,
    epoch(local_down_at) as local_down_epoch,
    up_after_seconds
from ranked
where place <= $count
order by down_at, host, restart_id
