-- One row per local date on which any host of the fleet logged: all that one host needs to know of the
-- others.
-- This model runs over all hosts; all other models run over a batch of hosts at a time.
select distinct cast(timezone(hosts.time_zone, line_counts.span) as date) as date
from ops.line_counts as line_counts
inner join fleet.hosts as hosts
    on line_counts.host = hosts.host
-- The date of an inventory file is no day of the logs.
where
    line_counts.span is not null
    and line_counts.log_kind is distinct from 'inventory'
    and line_counts.log_kind is distinct from 'queue_snapshot'
    and line_counts.log_kind is distinct from 'system_log'
