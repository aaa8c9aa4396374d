-- One row per row of marts.coverage: gaps of settled days from the old marts, all others from the rebuild.
-- Gaps derived from lines are known only for the days that were read. Gaps known from files and syslog
-- daemons are known for all days, unless their events have expired.
select * exclude (placed_at) -- noqa: AM04, RF02
from settled.made as made
anti join settled.hosts as hosts
    on
        made.host = hosts.host
        and made.placed_at
        < if(
            made.reason in ('missing_lines', 'clock_set_back'), hosts.kept_before, hosts.frozen_before
        )

union all by name

select * exclude (placed_at) -- noqa: RF02
from settled.kept as kept
semi join settled.hosts as hosts
    on
        kept.host = hosts.host
        and kept.placed_at
        < if(
            kept.reason in ('missing_lines', 'clock_set_back'), hosts.kept_before, hosts.frozen_before
        )
