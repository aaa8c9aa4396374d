-- One row per row of a table with times: rows of settled days from the old marts, all later rows from the
-- rebuild. settled.made and settled.kept are views with the same columns and placed_at: the rebuilt rows,
-- and the old rows, some of which stay.
select * exclude (placed_at) -- noqa: AM04, RF02
from settled.made as made
anti join settled.hosts as hosts
    on made.host = hosts.host and made.placed_at < hosts.kept_before

union all by name

select * exclude (placed_at) -- noqa: RF02
from settled.kept as kept
semi join settled.hosts as hosts
    on kept.host = hosts.host and kept.placed_at < hosts.kept_before
