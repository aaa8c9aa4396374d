"""The questions whose answers are the log lines and numbers behind one restart, `$restart_id`.

A query for lines gives role, source_id and line_number; everything else about a line stands in its event.
"""

# Attempts and message events name their file by its place among the host's maillogs.
_MAILLOGS = """
    select source_order.source_id, source_order.source_number
    from staging.source_order as source_order
    inner join ops.source_files as source_files on source_order.source_id = source_files.source_id
    where source_files.log_kind = 'maillog'
"""
_RESTART = "select * from staging.restarts where restart_id = $restart_id"

# What shows when the service went down and came back.
SERVICE_LINES = f"""
with restart as ({_RESTART}),
maillogs as ({_MAILLOGS}),

attempts as (
    select
        attempts.*,
        maillogs.source_id,
        restart.down_at_earliest,
        restart.up_at_earliest,
        restart.up_at_latest,
        failures.line_number is not null as is_failure
    from staging.scan_attempts as attempts
    inner join maillogs on attempts.source_number = maillogs.source_number
    cross join restart
    left join staging.scan_failures as failures
        on
            restart.outage_number = failures.outage_number
            and attempts.source_number = failures.source_number
            and attempts.line_number = failures.line_number
            and attempts.recipient is not distinct from failures.recipient
),

roles as (
    select
        source_id,
        source_number,
        line_number,
        logged_at,
        case
            when is_answered and is_fresh_connection and began_at = down_at_earliest then 'last_answer'
            when is_failure then 'failure'
            when
                is_answered and is_fresh_connection
                and began_at >= coalesce(up_at_earliest, '-infinity') and logged_before = up_at_latest
                then 'first_answer'
        end as role
    from attempts
),

ranked as (
    select
        *,
        row_number() over (
            partition by role
            order by logged_at, source_number, line_number
        ) as number_from_first,
        row_number() over (
            partition by role
            order by logged_at desc, source_number desc, line_number desc
        ) as number_from_last
    from roles
    where role is not null
),

told as (
    select source_id, line_number, logged_at, event_kind, restart_trigger
    from events.system_events
    union all
    select source_id, line_number, logged_at, null as event_kind, restart_trigger
    from events.manager_log
)

select
    case
        when role <> 'failure' then role
        when number_from_first = 1 then 'first_failure'
        else 'last_failure'
    end as role,
    source_id,
    line_number
from ranked
where number_from_first = 1 or (role = 'failure' and number_from_last = 1)

union all

select
    coalesce(told.restart_trigger, told.event_kind) as role,
    told.source_id,
    told.line_number
from told
cross join restart
cross join config.thresholds as thresholds
where
    (told.restart_trigger is not null or told.event_kind in ('scan_stopped', 'scan_started'))
    and told.logged_at
    >= coalesce(restart.down_at_earliest, restart.down_at - to_seconds(thresholds.trigger_window_seconds))
    and told.logged_at < coalesce(restart.window_until, 'infinity')
"""

# Claims that the queue was flushed, in the window of the restart.
ORDER_LINES = """
select
    if(order_kind = 'commanded', 'flush_commanded', 'flush_marker') as role,
    source_id,
    line_number
from staging.restart_orders
where restart_id = $restart_id
"""

# Notices of lost lines whose gap may hide something of the restart.
LOSS_LINES = f"""
with restart as ({_RESTART})

select notices.event_kind as role, notices.source_id, notices.line_number
from events.service_events as notices
cross join restart
cross join config.thresholds as thresholds
where
    notices.event_kind = 'lines_lost'
    and notices.logged_at
    >= coalesce(restart.down_at_earliest, restart.down_at) - to_seconds(thresholds.loss_window_seconds)
    and notices.logged_at
    < coalesce(restart.window_until + to_seconds(thresholds.loss_window_seconds), 'infinity')
"""

# The mail that it held: first what never left or what a flush missed or failed, then what waited longest.
MESSAGES = """
with flushed as (
    select
        instance,
        queue_id,
        lifetime,
        bool_or(coalesce(is_flush, false)) as is_flushed,
        bool_or(coalesce(is_flush, false) and is_failed_again) as is_failed_after_flush
    from staging.held_waits
    where restart_id = $restart_id
    group by instance, queue_id, lifetime
)

select
    held_messages.*,
    coalesce(flushed.is_flushed, false) as is_flushed,
    coalesce(flushed.is_failed_after_flush, false) as is_failed_after_flush
from marts.held_messages as held_messages
left join flushed
    on
        held_messages.instance = flushed.instance
        and held_messages.queue_id = flushed.queue_id
        and held_messages.lifetime = flushed.lifetime
where held_messages.restart_id = $restart_id
order by
    held_messages.released_at is not null,
    is_failed_after_flush desc,
    is_flushed,
    held_messages.restart_delay_seconds desc,
    held_messages.first_deferred_at,
    held_messages.queue_id
limit $message_limit
"""

# What the log says of each held message, from its first deferral to its release or its end.
MESSAGE_LINES = f"""
with maillogs as ({_MAILLOGS}),
held_messages as (select * from marts.held_messages where restart_id = $restart_id),

-- One attempt may have been logged in several lines, and one line may tell of several recipients.
held_attempts as (
    select distinct instance, queue_id, lifetime, recipient, logged_at
    from staging.held_attempts
    where restart_id = $restart_id
),

roles as (
    select
        held_messages.instance,
        held_messages.queue_id,
        held_messages.lifetime,
        held_messages.released_at,
        events.event_number,
        maillogs.source_id,
        events.line_number,
        events.logged_at,
        case
            when held_attempts.queue_id is not null then 'deferral'
            when scan_attempts.queue_id is not null
                then if(events.logged_at = held_messages.released_at, 'release', 'answer')
            when events.event_kind = 'activation' and not events.is_by_sendmail then 'reactivation'
            when events.event_kind = 'skipped' then 'still_being_delivered'
            when
                held_messages.released_at is null
                and events.event_kind in ('held', 'expired', 'removed', 'deleted', 'requeued')
                then events.event_kind
        end as role
    from staging.message_events as events
    inner join held_messages
        on
            events.instance = held_messages.instance
            and events.queue_id = held_messages.queue_id
            and events.lifetime = held_messages.lifetime
            and events.logged_at >= held_messages.first_deferred_at
            and events.logged_at <= coalesce(held_messages.released_at, 'infinity')
    inner join maillogs on events.source_number = maillogs.source_number
    left join staging.scan_attempts as scan_attempts
        on
            events.event_kind in ('deferral', 'attempt')
            and events.source_number = scan_attempts.source_number
            and events.line_number = scan_attempts.line_number
            and events.recipient is not distinct from scan_attempts.recipient
    left join held_attempts
        on
            scan_attempts.instance = held_attempts.instance
            and scan_attempts.queue_id = held_attempts.queue_id
            and events.lifetime = held_attempts.lifetime
            and scan_attempts.recipient is not distinct from held_attempts.recipient
            and scan_attempts.logged_at = held_attempts.logged_at
            and not scan_attempts.is_answered
),

-- Within the second of the first deferral and of the release, the order of the lines tells.
bounded as (
    select *
    from roles
    window message as (partition by instance, queue_id, lifetime)
    qualify
        event_number >= min(event_number) filter (where role = 'deferral') over message
        and event_number
        <= coalesce(max(event_number) filter (where role = 'release') over message, event_number)
)

select distinct role, source_id, line_number, instance, queue_id, lifetime
from bounded
where role is not null
"""

# The scans of the deferred queue that took mail of the restart, each with the youngest mail that it took:
# whether a queue run could have taken that one tells a flush.
SCANS = f"""
with restart as ({_RESTART}),

scans as (
    select
        scans.host,
        scans.instance,
        scans.scan_number,
        scans.is_flush,
        scans.is_at_qmgr_start,
        scans.is_queue_run,
        scans.early_count,
        scans.left_behind_count,
        scans.maybe_left_count,
        scans.doubt,
        scans.reactivated_count,
        scans.began_at,
        scans.ended_at,
        count(distinct (held_waits.queue_id, held_waits.lifetime)) as held_message_count
    from staging.queue_scans as scans
    inner join staging.held_waits as held_waits
        on scans.instance = held_waits.instance and scans.scan_number = held_waits.scan_number
    where held_waits.restart_id = $restart_id
    group by all
)

select
    scans.*,
    waits.queue_id,
    waits.lifetime,
    waits.waited_seconds,
    waits.round_number,
    waits.is_backoff_known,
    waits.is_by_sendmail,
    waits.earliest_run_seconds,
    scans.began_at >= restart.window_from
    and scans.began_at < coalesce(restart.window_until, 'infinity') as is_in_window
from scans
cross join restart
inner join staging.waits as waits
    on scans.instance = waits.instance and scans.scan_number = waits.scan_number
qualify
    row_number() over (
        partition by scans.instance, scans.scan_number
        order by waits.waited_seconds, waits.queue_id, waits.lifetime
    ) = 1
order by scans.began_at, scans.instance
"""

# The line of the re-activation that ended a round; sendmail has none, so that it is that of the attempt.
REACTIVATION_LINE = f"""
with maillogs as ({_MAILLOGS})

select 'reactivation' as role, maillogs.source_id, events.line_number
from staging.message_events as events
inner join maillogs on events.source_number = maillogs.source_number
where
    events.event_kind = 'activation'
    and events.instance = $instance
    and events.queue_id = $queue_id
    and events.lifetime = $lifetime
qualify row_number() over (order by events.event_number) = $round_number + 1
"""

QMGR_START_LINES = """
select 'qmgr_start' as role, starts.source_id, starts.line_number
from staging.qmgr_starts as starts
cross join config.thresholds as thresholds
where
    starts.instance = $instance
    and starts.started_at >= $began_at - to_seconds(thresholds.qmgr_start_seconds)
    and starts.started_at <= $ended_at
"""

# How much mail waited after the service was up again, and how much of it was never seen to leave.
WAITING = """
with waiting as (
    select
        held_waits.instance,
        held_waits.queue_id,
        held_waits.lifetime,
        bool_or(held_waits.waited_until is null) as is_unended,
        bool_or(held_waits.waited_until is null and held_waits.due_by < coverage.covered_until) as is_lost
    from staging.held_waits as held_waits
    inner join staging.restarts as restarts on held_waits.restart_id = restarts.restart_id
    inner join staging.restart_coverage as coverage on restarts.restart_id = coverage.restart_id
    where
        held_waits.restart_id = $restart_id
        and coalesce(restarts.up_at < held_waits.waited_until, true)
    group by held_waits.instance, held_waits.queue_id, held_waits.lifetime
)

select
    count(*) as waiting_count,
    count(*) filter (where is_unended) as unended_count,
    count(*) filter (where is_lost) as lost_count
from waiting
"""

# For which spans the logs are there, as far as they touch the restart.
SPANS = f"""
with restart as ({_RESTART})

select spans.log_kind, spans.covered_from, spans.covered_until
from staging.covered_spans as spans
cross join restart
where
    spans.covered_until >= coalesce(restart.down_at_earliest, restart.down_at)
    and spans.covered_from < coalesce(restart.window_until, 'infinity')
order by spans.log_kind, spans.covered_from
"""

SOURCES = f"""
with restart as ({_RESTART})

select
    sources.path,
    sources.log_kind,
    sources.status,
    sources.line_count,
    sources.first_logged_at,
    sources.last_logged_at
from ops.source_files as sources
cross join restart
where
    sources.log_kind in ('maillog', 'manager_log', 'system_events')
    and coalesce(sources.covered_until, sources.last_logged_at)
    >= coalesce(restart.down_at_earliest, restart.down_at)
    and coalesce(sources.covered_from, sources.first_logged_at) < coalesce(restart.window_until, 'infinity')
order by sources.log_kind, sources.first_logged_at, sources.path
"""

# The host as it was when the service went down.
HOST = f"""
with restart as ({_RESTART})

select host_history.*
from fleet.host_history as host_history
cross join restart
where
    restart.down_at >= coalesce(host_history.valid_from, '-infinity')
    and restart.down_at < coalesce(host_history.valid_until, 'infinity')
"""

# The window of the restart, how far the maillog covers it, what its queue runs tell of minimal_backoff_time,
# and the poll of the manager that tells when the others are (only where none can have been in the outage).
WINDOW = f"""
with restart as ({_RESTART})

select
    restart.window_from,
    restart.window_until,
    coverage.is_start_covered,
    coverage.has_hiding_gap,
    coverage.covered_until,
    estimates.backoff_above_seconds,
    estimates.backoff_up_to_seconds,
    coalesce(unnoticed.earlier_poll_at, unnoticed.later_poll_at) as polled_at
from restart
inner join staging.restart_coverage as coverage on restart.restart_id = coverage.restart_id
left join staging.unnoticed_restarts as unnoticed on restart.restart_id = unnoticed.restart_id
left join (
    select
        host,
        max(backoff_above_seconds) as backoff_above_seconds,
        min(backoff_up_to_seconds) as backoff_up_to_seconds
    from staging.backoff_estimates
    group by host
) as estimates on restart.host = estimates.host
"""

THRESHOLDS = "select * from config.thresholds"
