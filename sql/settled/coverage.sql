-- One row per row of marts.coverage: gaps of settled days as they were, all others as they were made.
-- Gaps that lines show are known only of the days that were read. Those that files and syslog daemons tell
-- are known of all days, unless their events expired.
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
