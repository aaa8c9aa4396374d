-- One row per host with source files that have grown, with the first stamp of their new lines.
select
    lines.host,
    min(lines.logged_at) as first_logged_at
from recent.lines as lines
inner join settled.grown as grown
    on lines.source_id = grown.source_id and lines.line_number > grown.line_count
group by lines.host
