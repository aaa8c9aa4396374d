-- One row per host with settled days, with the earliest arrival of the last `$answer_count` messages that the
-- scan service answered before these days end, and how many there were.
-- Mail that arrived more than `$arrived_within_seconds` before that is not considered.
with answered as (
    select
        entries.host,
        entries.arrived_at
    from before.message_trace as entries
    inner join settled.windows as windows
        on
            entries.host = windows.host
            and entries.left_at < windows.kept_before
            and entries.arrived_at >= windows.kept_before - to_seconds($arrived_within_seconds)
    where
        entries.is_scan_hop
        and entries.status in ('passed_on', 'delivered', 'scanned', 'ended_at_scan')
    qualify row_number() over (partition by entries.host order by entries.left_at desc) <= $answer_count
)

select
    host,
    min(arrived_at) as first_arrived_at,
    count(*) as answer_count
from answered
group by host
