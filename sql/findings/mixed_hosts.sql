-- One row per host whose lines are from several mail queues, with the host names in the lines.
select
    coverage.host,
    array_agg(distinct line_counts.logging_host order by line_counts.logging_host) as names
from marts.coverage as coverage
inner join ops.line_counts as line_counts
    on
        coverage.host = line_counts.host
        and line_counts.table_name in ('queue_activations', 'delivery_attempts')
        and coverage.gap_from <= line_counts.last_logged_at
        and coverage.gap_until > line_counts.first_logged_at
where coverage.reason = 'several_hosts' and line_counts.logging_host is not null
group by coverage.host
order by coverage.host
