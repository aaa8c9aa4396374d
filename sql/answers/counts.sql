-- One row, with how many log files, hosts and lines were read.
select
    count(*) as source_file_count,
    count(distinct host) as host_count,
    coalesce(sum(line_count), 0) as line_count,
    coalesce(sum(unparsed_line_count), 0) as unparsed_line_count,
    count(*) filter (where status = 'quarantined') as quarantined_file_count,
    count(*) filter (where status = 'damaged') as damaged_file_count
from ops.source_files
