-- One row per queue entry with an earlier hop, with the first hop of its trace and its position from there.
with recursive ways as (
    select distinct
        links.child_number as entry_number,
        links.parent_number as root_number,
        cast(2 as bigint) as hop_number
    from staging.entry_links as links
    anti join staging.entry_links as earlier_links
        on links.parent_number = earlier_links.child_number

    union all

    select
        links.child_number as entry_number,
        ways.root_number,
        ways.hop_number + 1 as hop_number
    from ways
    inner join staging.entry_links as links
        on ways.entry_number = links.parent_number
)

select
    entry_number,
    root_number,
    hop_number
from ways
