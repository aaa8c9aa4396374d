-- One row per host with unparsed lines, the most first.
select
    host,
    cast(sum(unparsed_line_count) as bigint) as unparsed_line_count,
    cast(sum(line_count) as bigint) as line_count
from ops.source_files
group by host
having sum(unparsed_line_count) > 0
order by unparsed_line_count desc, host asc
