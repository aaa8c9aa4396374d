-- One row per host, log kind and span of time that the maillog or the manager log covers without a gap.
-- A span is closed: it ends with the last line before a gap, or before the log's end, and the next one
-- begins with the gap's end. A verdict that depends on a gap stays unknown.
with logs as (
    select
        host,
        'maillog' as log_kind,
        min(first_logged_at) as log_from,
        max(last_logged_at) as log_until
    from ops.line_counts
    where log_kind = 'maillog' and first_logged_at is not null
    group by host

    union all

    select
        host,
        'manager_log' as log_kind,
        min(covered_from) as log_from,
        max(covered_until) as log_until
    from ops.source_files
    where
        log_kind = 'manager_log'
        and covered_from is not null
        and status is distinct from 'quarantined'
    group by host
),

beginnings as (
    select
        host,
        log_kind,
        log_from as covered_from
    from logs

    union

    select
        host,
        log_kind,
        gap_until as covered_from
    from staging.log_gaps
),

-- No span begins within another gap; with the last line before a gap one may, and ends there.
free_beginnings as (
    select
        beginnings.host,
        beginnings.log_kind,
        beginnings.covered_from
    from beginnings
    anti join staging.log_gaps as gaps
        on
            beginnings.host = gaps.host
            and beginnings.log_kind = gaps.log_kind
            and beginnings.covered_from > gaps.gap_from
            and beginnings.covered_from < gaps.gap_until
),

spans as (
    select
        free_beginnings.host,
        free_beginnings.log_kind,
        free_beginnings.covered_from,
        least(min(gaps.gap_from), any_value(logs.log_until)) as covered_until
    from free_beginnings
    inner join logs
        on free_beginnings.host = logs.host and free_beginnings.log_kind = logs.log_kind
    left join staging.log_gaps as gaps
        on
            free_beginnings.host = gaps.host
            and free_beginnings.log_kind = gaps.log_kind
            and free_beginnings.covered_from < gaps.gap_until
    group by free_beginnings.host, free_beginnings.log_kind, free_beginnings.covered_from
)

select
    host,
    log_kind,
    covered_from,
    covered_until
from spans
where covered_from <= covered_until
