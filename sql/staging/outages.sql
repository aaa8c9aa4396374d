-- One row per outage of the scan service that delivery attempts show, with its bounds.
-- An outage opens at a real failure and ends with the first attempt begun after its last one, on a fresh
-- connection, that got a reply. Sessions that were under way when the service stopped may still succeed:
-- they do not split it. Suspensions neither open, extend nor end it. A lone timed_out or session_lost
-- with attempts begun and answered close by on both sides is a slow scanner, no outage.
-- Stamps of whole seconds hide the order within a second: "after" means surely after.
with answered as (
    select
        host,
        began_at,
        logged_at,
        logged_before
    from staging.scan_attempts
    where is_answered and is_fresh_connection
),

failures as (
    select
        host,
        cause,
        source_number,
        line_number,
        logged_at,
        logged_before,
        lead(logged_at) over in_line_order as next_failure_at
    from staging.scan_attempts
    where is_real_failure
    window in_line_order as (
        partition by host
        order by logged_at, source_number, line_number
    )
),

failures_with_reply as (
    select
        failures.*,
        answered.logged_before as next_reply_before,
        answered.began_at + (answered.logged_before - answered.logged_at)
        <= failures.next_failure_at as is_answered_before_next
    from failures
    asof left join answered
        on failures.host = answered.host and failures.logged_before <= answered.began_at
),

numbered as (
    select
        *,
        count(*) filter (where is_answered_before_next) over (
            partition by host
            order by logged_at, source_number, line_number
            rows between unbounded preceding and 1 preceding
        ) as outage_number
    from failures_with_reply
),

outages as (
    select
        host,
        outage_number,
        count(*) as failure_count,
        any_value(cause) as cause,
        min(logged_at) as first_failed_at,
        min(logged_before) as first_failed_before,
        max(logged_at) as last_failed_at,
        -- The last failure's, also where no reply came after it.
        arg_max_null(next_reply_before, (logged_at, source_number, line_number)) as up_reply_before
    from numbered
    group by host, outage_number
),

-- The service was up at the start of the last attempt that surely began before the first failure.
with_last_answer as (
    select
        outages.*,
        answered.began_at as last_answer_began_at
    from outages
    asof left join (
        select
            host,
            began_at,
            began_at + (logged_before - logged_at) as began_before
        from answered
    ) as answered
        on outages.host = answered.host and outages.first_failed_at >= answered.began_before
),

-- For a slow scanner a session in use is as good a sign of life as a new one.
alive as (
    select
        host,
        began_at,
        logged_before
    from staging.scan_attempts
    where is_answered
),

lone_timeouts as (
    select
        host,
        outage_number,
        first_failed_at,
        first_failed_before
    from with_last_answer
    where failure_count = 1 and cause in ('timed_out', 'session_lost')
),

slow_scans as (
    select
        lone_timeouts.host,
        lone_timeouts.outage_number
    from lone_timeouts
    cross join config.thresholds as thresholds
    asof left join alive as before_it
        on lone_timeouts.host = before_it.host and lone_timeouts.first_failed_at >= before_it.began_at
    asof left join alive as after_it
        on lone_timeouts.host = after_it.host and lone_timeouts.first_failed_before <= after_it.began_at
    where
        before_it.began_at
        >= lone_timeouts.first_failed_at - to_seconds(thresholds.slow_scanner_seconds)
        and after_it.logged_before
        <= lone_timeouts.first_failed_before + to_seconds(thresholds.slow_scanner_seconds)
)

select
    with_last_answer.host,
    with_last_answer.first_failed_at,
    with_last_answer.last_failed_at,
    with_last_answer.failure_count,
    with_last_answer.last_answer_began_at as down_at_earliest,
    with_last_answer.first_failed_before as down_at_latest,
    with_last_answer.last_failed_at as up_at_earliest,
    with_last_answer.up_reply_before as up_at_latest
from with_last_answer
anti join slow_scans
    on
        with_last_answer.host = slow_scans.host
        and with_last_answer.outage_number = slow_scans.outage_number
