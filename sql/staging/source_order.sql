-- One row per source file, with its place among those of its host and log kind.
-- Lines with equal stamps are taken in rotation order, then by line number. Rotation order is the order
-- in time: a file that ends before another begins was rotated before it.
select
    source_id,
    host,
    row_number() over (
        partition by host, log_kind
        order by
            first_logged_at asc,
            last_logged_at asc,
            -- maillog.10.gz is older than maillog.2.gz, and maillog the newest.
            try_cast(regexp_extract(path, '\.([0-9]{1,3})(\.[a-z0-9]+)?$', 1) as integer) desc nulls last,
            path
    ) as source_number
from ops.source_files
