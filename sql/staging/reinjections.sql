-- One row per host, span of its maillog without a gap, and UTC day on which mail came back from the scan
-- service, with when it first did.
select
    entries.host,
    min(entries.arrived_at) as arrived_at
from staging.entry_links as links
inner join staging.queue_entries as entries
    on links.child_number = entries.entry_number
inner join staging.covered_spans as spans
    on
        entries.host = spans.host
        and spans.log_kind = 'maillog'
        and entries.arrived_at >= spans.covered_from
        and entries.arrived_at <= spans.covered_until
where links.is_scan_hop
group by entries.host, spans.covered_from, date_trunc('day', entries.arrived_at)
