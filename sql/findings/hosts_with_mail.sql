-- One row per host with lines in one of `$tables`.
select distinct host
from ops.line_counts
where list_contains($tables, table_name) and line_count > 0
