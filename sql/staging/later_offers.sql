-- One row per queue entry by which mail was offered to the scan service again.
-- Mail that came to the scan service again counts where it left its queue first.
with offered_again as (
    select
        ways.root_number,
        ways.entry_number,
        entries.left_at,
        entries.arrived_at
    from staging.entry_ways as ways
    inner join staging.queue_entries as entries
        on ways.entry_number = entries.entry_number
    where entries.is_scan_hop
),

offers as (
    select * from offered_again

    union all

    select
        entries.entry_number as root_number,
        entries.entry_number,
        entries.left_at,
        entries.arrived_at
    from staging.queue_entries as entries
    semi join offered_again
        on entries.entry_number = offered_again.root_number
    where entries.is_scan_hop
)

select entry_number
from offers
qualify
    row_number() over (
        partition by root_number
        order by coalesce(left_at, arrived_at), arrived_at, entry_number
    ) > 1
