-- One row per queue entry that seems to have arrived in the same second as an earlier one with its queue id,
-- with its place among them.
-- A queue id is not used twice within one second. But where an arrival was not logged, it is computed from
-- stamps that were cut to the second.
select
    entries.entry_number,
    count(*) + 1 as place
from staging.queue_entries as entries
inner join staging.queue_entries as earlier
    on
        entries.host = earlier.host
        and entries.instance = earlier.instance
        and entries.queue_id = earlier.queue_id
        and entries.lifetime > earlier.lifetime
        and epoch_us(entries.arrived_at) // 1000000 = epoch_us(earlier.arrived_at) // 1000000
where entries.lifetime > 0
group by entries.entry_number
