-- One row per host and span of time that its maillog covers without a gap.
-- Silence for longer than gap_after_seconds is a gap: a verdict that needs lines from it stays unknown.
with line_spans as (
    select
        host,
        span,
        min(first_logged_at) as first_logged_at,
        max(last_logged_at) as last_logged_at
    from ops.line_counts
    where log_kind = 'maillog' and first_logged_at is not null
    group by host, span
),

gap_marks as (
    select
        line_spans.host,
        line_spans.first_logged_at,
        line_spans.last_logged_at,
        line_spans.first_logged_at
        > lag(line_spans.last_logged_at) over (partition by line_spans.host order by line_spans.span)
        + to_seconds(thresholds.gap_after_seconds) as is_after_gap
    from line_spans
    cross join config.thresholds as thresholds
),

numbered as (
    select
        host,
        first_logged_at,
        last_logged_at,
        count(*) filter (where is_after_gap) over (
            partition by host
            order by first_logged_at
            rows unbounded preceding
        ) as span_number
    from gap_marks
)

select
    host,
    span_number,
    min(first_logged_at) as covered_from,
    max(last_logged_at) as covered_until,
    span_number = max(span_number) over (partition by host) as is_last
from numbered
group by host, span_number
