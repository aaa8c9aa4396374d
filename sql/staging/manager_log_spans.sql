-- One row per host and span of time that its manager log covers without a gap.
-- A day's file covers the day, also where the manager wrote nothing.
with marked as (
    select
        host,
        covered_from,
        covered_until,
        coalesce(
            covered_from > max(covered_until) over (
                partition by host
                order by covered_from, covered_until
                rows between unbounded preceding and 1 preceding
            ),
            true
        ) as is_first
    from ops.source_files
    where log_kind = 'manager_log' and covered_from is not null
),

numbered as (
    select
        host,
        covered_from,
        covered_until,
        count(*) filter (where is_first) over (
            partition by host
            order by covered_from, covered_until
            rows unbounded preceding
        ) as span_number
    from marked
)

select
    host,
    span_number,
    min(covered_from) as covered_from,
    max(covered_until) as covered_until
from numbered
group by host, span_number
