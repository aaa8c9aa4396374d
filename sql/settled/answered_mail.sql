-- One row per message that arrived since `$arrived_since` and that the scan service answered, of the
-- `$answer_count` that left last before `$kept_before`.
select arrived_at
from before.message_trace
where
    is_scan_hop
    and status in ('passed_on', 'delivered', 'scanned', 'ended_at_scan')
    and arrived_at >= $arrived_since
    and left_at < $kept_before
order by left_at desc
limit $answer_count
