-- One row per open finding, the critical ones first.
select
    severity,
    place,
    what,
    remedy,
    row_count,
    example_rows
from ops.quarantine
order by severity, place, rule
