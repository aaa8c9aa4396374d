-- One row per kind of log and span that it covers, if the span touches the restart.
select
    spans.log_kind,
    spans.covered_from,
    spans.covered_until
from staging.covered_spans as spans
cross join explain.restart as restart
where
    spans.covered_until >= coalesce(restart.down_at_earliest, restart.down_at)
    and spans.covered_from < coalesce(restart.window_until, 'infinity')
order by spans.log_kind, spans.covered_from
