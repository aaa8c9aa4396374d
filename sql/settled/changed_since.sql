-- One row per host with news, with the earliest instant about which its log now says something different.
-- What the last old lines say, such as that the log is covered, holds until the new lines.
with instants as (
    select
        host,
        since as changed_at
    from settled.news

    union all

    select
        host,
        first_logged_at as changed_at
    from settled.grown_lines

    union all

    select
        host,
        gap_from as changed_at
    from settled.changed_gaps
),

first_changes as (
    select
        host,
        min(changed_at) as changed_at
    from instants
    group by host
),

last_lines as (
    select
        line_counts.host,
        max(line_counts.last_logged_at) as last_logged_at
    from ops.line_counts as line_counts
    inner join first_changes
        on line_counts.host = first_changes.host and line_counts.last_logged_at < first_changes.changed_at
    where line_counts.log_kind = 'maillog'
    group by line_counts.host
)

select
    first_changes.host,
    least(first_changes.changed_at, last_lines.last_logged_at) as news_since
from first_changes
left join last_lines
    on first_changes.host = last_lines.host
