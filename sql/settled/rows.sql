-- One row per row of a table that is placed in time: those of settled days as they were, all later ones as
-- they were made.
-- settled.made and settled.kept are views of the same columns and of placed_at: the rows that were made, and
-- those of before among which some stay.
select * exclude (placed_at) -- noqa: AM04, RF02
from settled.made as made
anti join settled.hosts as hosts
    on made.host = hosts.host and made.placed_at < hosts.kept_before

union all by name

select * exclude (placed_at) -- noqa: RF02
from settled.kept as kept
semi join settled.hosts as hosts
    on kept.host = hosts.host and kept.placed_at < hosts.kept_before
