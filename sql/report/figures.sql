-- One row, with the key figures of the restarts that the page shows.
select
    count(*) as restart_count,
    count(*) filter (where held_message_count > 0) as holding_count,
    count(*) filter (where is_missing) as missing_count,
    count(*) filter (where outcome <> 'other') as judged_count,
    count(*) filter (where flush_verdict = 'unknown') as unknown_count,
    cast(coalesce(sum(held_message_count), 0) as bigint) as held_count,
    cast(coalesce(sum(held_message_count) filter (where is_missing), 0) as bigint) as missing_held_count,
    coalesce(sum(avoidable_delay_total_seconds), 0) as avoidable_seconds,
    coalesce(max(avoidable_delay_max_seconds), 0) as avoidable_max_seconds,
    max(restart_delay_max_seconds) as longest_seconds
from report.restarts
