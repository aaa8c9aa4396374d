-- One row per restart, with how far the logs cover what is needed to judge its flush.
-- A verdict needs the maillog from the last sign of the service before the restart to the end of the
-- window. The time before the log's beginning, a missing file or lost lines may hide mail that waited, or a
-- flush. Silence, or the log's end, does not affect mail whose end was logged before: covered_until. A
-- command alone indicates a restart that ended at most flush_window_seconds before it.
with needed as (
    select
        restarts.restart_id,
        restarts.host,
        restarts.down_at,
        restarts.up_at_earliest,
        restarts.window_until,
        case
            when
                restarts.outage_number is null
                and restarts.stopped_at is null
                and restarts.started_at is null
                then
                    restarts.down_at
                    - to_seconds(thresholds.flush_window_seconds + thresholds.longest_restart_seconds)
            when restarts.stopped_at <= restarts.down_at
                then greatest(restarts.stopped_at, restarts.down_at_earliest)
            else restarts.down_at_earliest
        end as needed_from
    from staging.restarts as restarts
    cross join config.thresholds as thresholds
),

logs as (
    select
        host,
        min(covered_from) as log_from,
        max(covered_until) as log_until
    from staging.covered_spans
    where log_kind = 'maillog'
    group by host
),

gaps as (
    select
        needed.restart_id,
        bool_or(coverage.reason <> 'silence') as has_hiding_gap,
        min(coverage.reason) filter (
            where coverage.reason in ('clock_set_back', 'several_hosts')
        ) as odd_reason,
        min(coverage.gap_from) filter (where coverage.gap_until > needed.down_at) as gap_from
    from needed
    inner join marts.coverage as coverage
        on
            needed.host = coverage.host
            and coverage.log_kind = 'maillog'
            and coverage.gap_until > coalesce(needed.needed_from, needed.down_at)
            and coverage.gap_from < coalesce(needed.window_until, needed.down_at)
    group by needed.restart_id
),

manager_logs as (
    select needed.restart_id
    from needed
    inner join staging.covered_spans as spans
        on
            needed.host = spans.host
            and spans.log_kind = 'manager_log'
            and spans.covered_from <= coalesce(needed.up_at_earliest, needed.down_at)
            and spans.covered_until >= coalesce(needed.window_until, needed.down_at)
)

select
    needed.restart_id,
    coalesce(needed.down_at >= logs.log_from and needed.down_at <= logs.log_until, false)
    or coalesce(gaps.has_hiding_gap, false) as has_maillog,
    manager_logs.restart_id is not null as has_manager_log,
    coalesce(needed.needed_from >= logs.log_from, false) as is_start_covered,
    coalesce(gaps.has_hiding_gap, false) as has_hiding_gap,
    gaps.odd_reason,
    gaps.gap_from is null as is_log_end,
    least(gaps.gap_from, logs.log_until) as covered_until
from needed
left join logs
    on needed.host = logs.host
left join gaps
    on needed.restart_id = gaps.restart_id
left join manager_logs
    on needed.restart_id = manager_logs.restart_id
