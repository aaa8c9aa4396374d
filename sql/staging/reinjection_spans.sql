-- One row per span of a host's maillog in which mail comes back from the scan service.
-- Elsewhere the hop behind the scan service is not logged, or nothing tells its mail from other mail: what
-- the scan service did with a message is not known there.
select distinct
    spans.host,
    spans.covered_from,
    spans.covered_until
from staging.reinjections as reinjections
inner join staging.covered_spans as spans
    on
        reinjections.host = spans.host
        and spans.log_kind = 'maillog'
        and reinjections.arrived_at >= spans.covered_from
        and reinjections.arrived_at <= spans.covered_until
