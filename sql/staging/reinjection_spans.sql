-- One row per span of a host's maillog in which mail comes back from the scan service, with when it
-- first does.
-- Elsewhere the hop behind the scan service is not logged, or its mail cannot be distinguished from other
-- mail: what the scan service did with a message is unknown there.
select
    spans.host,
    spans.covered_from,
    spans.covered_until,
    min(reinjections.arrived_at) as reinjected_from
from staging.reinjections as reinjections
inner join staging.covered_spans as spans
    on
        reinjections.host = spans.host
        and spans.log_kind = 'maillog'
        and reinjections.arrived_at >= spans.covered_from
        and reinjections.arrived_at <= spans.covered_until
group by spans.host, spans.covered_from, spans.covered_until
