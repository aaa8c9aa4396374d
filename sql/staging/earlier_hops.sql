-- One row per queue entry with an earlier hop, with the first hop of its trace and the hop before it.
select
    ways.entry_number,
    ways.hop_number,
    roots.instance,
    roots.queue_id,
    roots.arrived_at,
    namesakes.place,
    parents.queue_id as previous_queue_id
from staging.entry_ways as ways
inner join staging.queue_entries as roots
    on ways.root_number = roots.entry_number
left join staging.namesakes as namesakes
    on ways.root_number = namesakes.entry_number
inner join staging.entry_links as links
    on ways.entry_number = links.child_number
inner join staging.queue_entries as parents
    on links.parent_number = parents.entry_number
where ways.entry_number > $after_entry and ways.entry_number <= $until_entry
