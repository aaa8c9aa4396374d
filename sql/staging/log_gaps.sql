-- One row per host, log kind and gap: a time without log lines between times with lines.
-- A gap is a missing or damaged member of a rotation (up to the file after it), a loss notice of a syslog
-- daemon (from the notice that it drops lines, else some minutes before the notice), or silence of a
-- maillog for longer than gap_after_seconds. A day's file of the manager log covers the day, also where the
-- manager wrote nothing: a gap there is a day, or a numbered part of a day, without its file.
-- If the queues of two hosts are logged under one name in the same hour, it is unknown what happened to
-- either: that is a gap as well. Hosts are distinguished by the first part of their names.
with members as (
    select
        host,
        log_kind,
        -- maillog.2.gz, maillog-20261124.gz, maillog-2026-11-24 and maillog are of one rotation, as are
        -- mail.log.2.gz, mail-20261124.log and mail.log.
        regexp_replace(
            path,
            '(\.log)?([-._]([0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2})[0-9T_:.-]*|\.[0-9]{1,4})*'
            || '(\.[a-z][a-z0-9]+)*$',
            ''
        ) as stem,
        -- maillog-20261124.1 is another rotation of that day.
        case
            when name_date is null
                then
                    coalesce(
                        try_cast(regexp_extract(path, '\.([0-9]{1,3})(\.[a-z][a-z0-9]+)?$', 1) as integer), 0
                    )
            else 0
        end as rotation_number,
        try_cast(regexp_extract(path, '\.([0-9]{4})(\.[a-z][a-z0-9]+)?$', 1) as integer) as part_number,
        name_date,
        status,
        first_logged_at,
        last_logged_at,
        covered_from,
        covered_until
    from ops.source_files
    where status is distinct from 'quarantined'
),

maillog_neighbours as (
    select
        host,
        stem,
        rotation_number,
        lag(rotation_number) over rotation as older_number,
        date_diff('day', lag(name_date) over rotation, name_date) as day_count,
        lag(status) over rotation as older_status,
        lag(last_logged_at) over rotation as older_logged_at,
        first_logged_at
    from members
    where log_kind = 'maillog' and first_logged_at is not null
    window rotation as (
        partition by host, stem
        order by first_logged_at asc, last_logged_at asc, rotation_number desc
    )
),

-- The greater the number, the older the file. A dated one is missing where the days between two files are
-- more than usual and the log is silent as well: a rotation by size has no days.
lacking_members as (
    select
        neighbours.host,
        if(neighbours.older_status = 'damaged', 'damaged_file', 'missing_file') as reason,
        neighbours.older_logged_at as gap_from,
        neighbours.first_logged_at as gap_until
    from (
        select
            *,
            min(day_count) filter (where day_count > 0) over (partition by host, stem) as usual_day_count
        from maillog_neighbours
    ) as neighbours
    cross join config.thresholds as thresholds
    where
        neighbours.older_logged_at < neighbours.first_logged_at
        and (
            neighbours.older_status = 'damaged'
            or neighbours.older_number - neighbours.rotation_number > 1
            or (
                neighbours.day_count > neighbours.usual_day_count
                and neighbours.older_logged_at + to_seconds(thresholds.gap_after_seconds)
                < neighbours.first_logged_at
            )
        )
),

loss_notices as (
    select
        notices.host,
        notices.logged_at,
        notices.lost_line_count is null as is_beginning,
        lag(notices.logged_at) over in_time as previous_at,
        lag(notices.lost_line_count is null) over in_time as is_previous_beginning,
        lead(notices.logged_at) over in_time as next_at,
        lead(notices.lost_line_count is null) over in_time as is_next_beginning,
        to_seconds(thresholds.loss_window_seconds) as loss_window
    from events.service_events as notices
    cross join config.thresholds as thresholds
    where notices.event_kind = 'lines_lost'
    window in_time as (
        partition by notices.host, notices.program
        order by notices.logged_at, notices.lost_line_count nulls first
    )
),

losses as (
    select distinct
        host,
        case
            when is_beginning then logged_at
            when is_previous_beginning then previous_at
            else logged_at - loss_window
        end as gap_from,
        case
            when not is_beginning then logged_at + to_seconds(1)
            when is_next_beginning is false then next_at + to_seconds(1)
            else logged_at + loss_window
        end as gap_until
    from loss_notices
),

line_spans as (
    select
        host,
        span,
        min(first_logged_at) as first_logged_at,
        max(last_logged_at) as last_logged_at
    from ops.line_counts
    where log_kind = 'maillog' and first_logged_at is not null
    group by host, span
),

silences as (
    select
        line_spans.host,
        lag(line_spans.last_logged_at) over (
            partition by line_spans.host
            order by line_spans.span
        ) as gap_from,
        line_spans.first_logged_at as gap_until
    from line_spans
    cross join config.thresholds as thresholds
    qualify gap_until > gap_from + to_seconds(thresholds.gap_after_seconds)
),

logging_hosts as (
    select
        host,
        date_trunc('hour', span) as hour,
        min(first_logged_at) as first_logged_at,
        max(last_logged_at) as last_logged_at
    from ops.line_counts
    where
        log_kind = 'maillog'
        and table_name in ('queue_activations', 'delivery_attempts')
        and logging_host is not null
    group by host, date_trunc('hour', span)
    having count(distinct lower(split_part(logging_host, '.', 1))) > 1
),

manager_days as (
    select
        host,
        covered_from as gap_until,
        max(covered_until) over (
            partition by host
            order by covered_from, covered_until
            rows between unbounded preceding and 1 preceding
        ) as gap_from
    from members
    where log_kind = 'manager_log' and covered_from is not null
),

-- imssmgr.20261124.0001, .0002: the parts of one day. What follows the damage of one may reach to the next.
manager_parts as (
    select
        host,
        part_number,
        status,
        first_logged_at,
        coalesce(last_logged_at, covered_from) as told_until,
        coalesce(lead(first_logged_at) over parts, covered_until) as next_told_from,
        lag(part_number, 1, 0) over parts as earlier_number,
        coalesce(lag(last_logged_at) over parts, covered_from) as earlier_told_until
    from members
    where log_kind = 'manager_log' and name_date is not null
    window parts as (
        partition by host, name_date
        order by part_number, first_logged_at
    )
),

gaps as (
    select
        host,
        'maillog' as log_kind,
        reason,
        gap_from,
        gap_until
    from lacking_members

    union all

    select
        host,
        'maillog' as log_kind,
        'lost_lines' as reason,
        gap_from,
        gap_until
    from losses

    union all

    select
        silences.host,
        'maillog' as log_kind,
        'silence' as reason,
        silences.gap_from,
        silences.gap_until
    from silences
    anti join lacking_members
        on
            silences.host = lacking_members.host
            and silences.gap_from = lacking_members.gap_from
            and silences.gap_until = lacking_members.gap_until

    union all

    select
        host,
        'maillog' as log_kind,
        'several_hosts' as reason,
        first_logged_at as gap_from,
        last_logged_at + to_seconds(1) as gap_until
    from logging_hosts

    union all

    select
        host,
        'manager_log' as log_kind,
        'missing_file' as reason,
        gap_from,
        gap_until
    from manager_days
    where gap_from < gap_until

    union all

    select
        host,
        'manager_log' as log_kind,
        'missing_file' as reason,
        earlier_told_until as gap_from,
        first_logged_at as gap_until
    from manager_parts
    where part_number - earlier_number > 1 and earlier_told_until < first_logged_at

    union all

    select
        host,
        'manager_log' as log_kind,
        'damaged_file' as reason,
        told_until as gap_from,
        next_told_from as gap_until
    from manager_parts
    where status = 'damaged' and told_until < next_told_from
)

select
    host,
    log_kind,
    reason,
    gap_from,
    gap_until
from gaps
