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
        answered.began_at as next_began_at,
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
        max_by(next_began_at, (logged_at, source_number, line_number)) as up_began_at,
        max_by(next_reply_before, (logged_at, source_number, line_number)) as up_reply_before
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
cross join config.thresholds as thresholds
where
    not (
        with_last_answer.failure_count = 1
        and with_last_answer.cause in ('timed_out', 'session_lost')
        and coalesce(
            with_last_answer.last_answer_began_at
            >= with_last_answer.first_failed_at - to_seconds(thresholds.slow_scanner_seconds)
            and with_last_answer.up_reply_before
            <= with_last_answer.last_failed_at + to_seconds(thresholds.slow_scanner_seconds + 1),
            false
        )
    )
