-- One row per run, for the last five runs, the latest first.
select
    run_id,
    status,
    source_file_count,
    line_count,
    finding_count,
    started_at,
    finished_at
from ops.runs
order by started_at desc
limit 5
