-- One row per queue entry that became others, with how many, and the first of them.
with children as (
    select
        parent_number,
        min(child_number) as child_number,
        arg_min(link, child_number) as link,
        count(*) as next_hop_count
    from staging.entry_links
    where parent_number > $after_entry and parent_number <= $until_entry
    group by parent_number
)

select
    children.parent_number,
    entries.queue_id as next_queue_id,
    children.link,
    children.next_hop_count
from children
inner join staging.queue_entries as entries
    on children.child_number = entries.entry_number
