-- One row per host and local day of the host, for every day on which any host of the fleet logged.
-- A restart belongs to the day of its down_at, a row of marts.message_trace to the day on which it left the
-- queue (a pending one to the day it arrived), or to the next day if no host logged on that day.
with local_counts as (
    select
        line_counts.host,
        cast(timezone(hosts.time_zone, line_counts.span) as date) as date,
        line_counts.table_name,
        line_counts.line_count
    from ops.line_counts as line_counts
    inner join fleet.hosts as hosts
        on line_counts.host = hosts.host
    where
        line_counts.span is not null
        and line_counts.log_kind is distinct from 'inventory'
        and line_counts.log_kind is distinct from 'queue_snapshot'
        and line_counts.log_kind is distinct from 'system_log'
),

days as (
    select
        hosts.host,
        dates.date,
        timezone(hosts.time_zone, cast(dates.date as timestamp)) as day_from,
        timezone(hosts.time_zone, cast(dates.date + 1 as timestamp)) as day_until,
        lag(day_until, 1, '-infinity') over (partition by hosts.host order by dates.date) as last_day_until
    from fleet.hosts as hosts
    cross join staging.log_dates as dates
),

lines as (
    select
        host,
        date,
        sum(line_count) as line_count,
        sum(line_count) filter (where table_name = 'unparsed_lines') as unparsed_count
    from local_counts
    group by host, date
),

covered as (
    select
        days.host,
        days.date,
        sum(
            date_diff(
                'second',
                greatest(days.day_from, spans.covered_from),
                least(days.day_until, spans.covered_until)
            )
        ) as covered_seconds
    from days
    inner join staging.covered_spans as spans
        on
            days.host = spans.host
            and spans.log_kind = 'maillog'
            and days.day_from < spans.covered_until
            and days.day_until > spans.covered_from
    group by days.host, days.date
),

mail as (
    select
        host,
        hop_number,
        status,
        is_counted,
        coalesce(left_at, arrived_at) as counted_at
    from marts.message_trace
    where status <> 'abandoned'
),

messages as (
    select
        days.host,
        days.date,
        count(*) filter (where mail.hop_number = 1) as received_count,
        -- Each mail once, however often it came to the scan service and under which queue ids.
        count(*) filter (where mail.is_counted) as message_count,
        count(*) filter (where mail.status = 'delivered') as delivered_count,
        count(*) filter (where mail.status = 'ended_at_scan') as ended_at_scan_count,
        count(*) filter (where mail.status = 'scanned') as not_seen_again_count,
        count(*) filter (where mail.status in ('bounced', 'expired')) as returned_count,
        count(*) filter (where mail.status = 'pending') as pending_count
    from days
    inner join mail
        on
            days.host = mail.host
            and days.last_day_until <= mail.counted_at
            and days.day_until > mail.counted_at
    group by days.host, days.date
),

restarts as (
    select
        days.host,
        days.date,
        count(*) as restart_count,
        count(*) filter (where restarts.held_message_count > 0) as restarts_with_held_mail_count,
        count(*) filter (where is_not_flushed(restarts.flush_verdict)) as missing_flush_count,
        count(*) filter (where restarts.flush_verdict <> 'unknown') as judged_restart_count,
        count(*) filter (where restarts.flush_verdict = 'unknown') as unknown_restart_count
    from days
    inner join marts.restarts as restarts
        on
            days.host = restarts.host
            and days.day_from <= restarts.down_at
            and days.day_until > restarts.down_at
    group by days.host, days.date
),

held as (
    select
        days.host,
        days.date,
        count(*) as held_message_count,
        quantile_cont(held_messages.restart_delay_seconds, 0.5) as restart_delay_p50_seconds,
        quantile_cont(held_messages.restart_delay_seconds, 0.95) as restart_delay_p95_seconds,
        max(held_messages.restart_delay_seconds) as restart_delay_max_seconds,
        sum(held_messages.restart_delay_seconds) as restart_delay_total_seconds
    from days
    inner join marts.restarts as restarts
        on
            days.host = restarts.host
            and days.day_from <= restarts.down_at
            and days.day_until > restarts.down_at
    inner join marts.held_messages as held_messages
        on restarts.restart_id = held_messages.restart_id
    group by days.host, days.date
)

select
    days.host,
    days.date,
    host_history.product,
    host_history.build,
    build_verdicts.build_verdict,
    coalesce(restarts.restart_count, 0) as restart_count,
    coalesce(restarts.restarts_with_held_mail_count, 0) as restarts_with_held_mail_count,
    coalesce(restarts.judged_restart_count, 0) as judged_restart_count,
    coalesce(restarts.unknown_restart_count, 0) as unknown_restart_count,
    coalesce(restarts.missing_flush_count, 0) as missing_flush_count,
    coalesce(held.held_message_count, 0) as held_message_count,
    coalesce(messages.received_count, 0) as received_count,
    coalesce(messages.message_count, 0) as message_count,
    coalesce(messages.delivered_count, 0) as delivered_count,
    coalesce(messages.ended_at_scan_count, 0) as ended_at_scan_count,
    coalesce(messages.not_seen_again_count, 0) as not_seen_again_count,
    coalesce(messages.returned_count, 0) as returned_count,
    coalesce(messages.pending_count, 0) as pending_count,
    held.restart_delay_p50_seconds,
    held.restart_delay_p95_seconds,
    held.restart_delay_max_seconds,
    held.restart_delay_total_seconds,
    coalesce(lines.unparsed_count, 0) / lines.line_count as unparsed_share,
    coalesce(covered.covered_seconds, 0) / date_diff('second', days.day_from, days.day_until)
        as coverage_share
from days
inner join fleet.host_history as host_history
    on
        days.host = host_history.host
        and days.day_from >= coalesce(host_history.valid_from, '-infinity')
        and days.day_from < coalesce(host_history.valid_until, 'infinity')
inner join staging.build_verdicts as build_verdicts
    on
        days.host = build_verdicts.host
        and days.day_from >= coalesce(build_verdicts.valid_from, '-infinity')
        and days.day_from < coalesce(build_verdicts.valid_until, 'infinity')
left join restarts
    on days.host = restarts.host and days.date = restarts.date
left join held
    on days.host = held.host and days.date = held.date
left join messages
    on days.host = messages.host and days.date = messages.date
left join lines
    on days.host = lines.host and days.date = lines.date
left join covered
    on days.host = covered.host and days.date = covered.date
