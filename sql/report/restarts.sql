-- One row per restart that the page shows: those of its days, or only `$restart_id` if it is given.
-- Days and local times are those of the host, as in marts.fleet_daily; `..._after_seconds` is since down_at.
-- outcome is what charts colour: `missing` (not flushed), `effective`, or `other`.
with placed as (
    select
        restarts.*,
        timezone(hosts.time_zone, restarts.down_at) as local_down_at,
        epoch(restarts.down_at) as down_epoch
    from marts.restarts as restarts
    inner join fleet.hosts as hosts on restarts.host = hosts.host
)

select
    placed.restart_id,
    placed.host,
    placed.flush_verdict,
    coalesce(placed.missing_reason, placed.verdict_reason) as reason,
    case
        when missing_flushes.restart_id is not null then 'missing'
        when placed.flush_verdict = 'effective' then 'effective'
        else 'other'
    end as outcome,
    coalesce(placed.restart_trigger, 'none') as restart_trigger,
    placed.build_verdict,
    placed.confidence,
    placed.outage_seconds,
    placed.held_message_count,
    placed.delayed_over_5_min_count,
    placed.restart_delay_p50_seconds,
    placed.restart_delay_max_seconds,
    missing_flushes.avoidable_delay_total_seconds,
    missing_flushes.avoidable_delay_max_seconds,
    missing_flushes.restart_id is not null as is_missing,
    placed.is_up_at_estimated,
    placed.is_overlong,
    placed.down_at,
    placed.local_down_at,
    cast(placed.local_down_at as date) as local_date,
    hour(placed.local_down_at) as local_hour,
    epoch(placed.down_at_earliest) - placed.down_epoch as down_earliest_after_seconds,
    epoch(placed.down_at_latest) - placed.down_epoch as down_latest_after_seconds,
    epoch(placed.up_at) - placed.down_epoch as up_after_seconds,
    epoch(placed.up_at_earliest) - placed.down_epoch as up_earliest_after_seconds,
    epoch(placed.up_at_latest) - placed.down_epoch as up_latest_after_seconds,
    epoch(missing_flushes.expected_flush_at) - placed.down_epoch as due_after_seconds,
    epoch(placed.flush_commanded_at) - placed.down_epoch as ordered_after_seconds,
    epoch(placed.flush_marked_at) - placed.down_epoch as marked_after_seconds,
    epoch(placed.flush_observed_at) - placed.down_epoch as flushed_after_seconds,
    epoch(placed.last_released_at) - placed.down_epoch as last_released_after_seconds
from placed
left join marts.missing_flushes as missing_flushes on placed.restart_id = missing_flushes.restart_id
where
    placed.restart_id = $restart_id
    or (
        cast($restart_id as varchar) is null
        and cast(placed.local_down_at as date) in (select days.date from report.days as days)
    )
