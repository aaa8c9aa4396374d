-- One row per outage of the scan service that attempts or system events show, with its bounds.
-- An outage by attempts opens at a real failure and ends with the first attempt begun after its last one, on
-- a fresh connection, that got a reply. By system events it lies between the stop and the start, and the
-- answers about them bound it. An event says what has happened: the service is down when its stop is logged.
with failing as (
    select
        host,
        outage_number,
        any_value(stop_number) as stop_number,
        count(*) as failure_count,
        min(failed_at) as first_failed_at,
        min(failed_before) as first_failed_before,
        max(failed_at) as last_failed_at,
        -- The last failure's, also where no reply came after it.
        arg_max_null(reply_before, (failing_from, source_number, line_number)) as reply_before
    from staging.scan_failures
    where outage_number is not null
    group by host, outage_number
),

shown as (
    select
        coalesce(failing.host, stops.host) as host,
        failing.outage_number,
        coalesce(failing.failure_count, 0) as failure_count,
        failing.first_failed_at,
        failing.first_failed_before,
        failing.last_failed_at,
        failing.reply_before,
        stops.stopped_at,
        stops.started_at,
        least(failing.first_failed_at, coalesce(stops.stopped_at, stops.started_at)) as shown_from,
        coalesce(failing.last_failed_at, stops.started_at, stops.stopped_at) as shown_until
    from failing
    full join staging.scan_service_stops as stops
        on failing.host = stops.host and failing.stop_number = stops.stop_number
),

bounded as (
    select
        shown.*,
        last_answers.began_at as answered_from,
        before_stop.began_at as answered_before_stop_from,
        first_answers.logged_before as answered_before,
        -- An answer in between: the event was logged before the service went down.
        coalesce(last_answers.began_at > shown.stopped_at + to_seconds(1), false) as is_stop_early
    from shown
    -- The service was up at the start of the last attempt that surely began before it was down.
    asof left join staging.fresh_answers as last_answers
        on
            shown.host = last_answers.host
            and coalesce(shown.first_failed_at, shown.shown_from) >= last_answers.began_before
    asof left join staging.fresh_answers as before_stop
        on shown.host = before_stop.host and shown.shown_from >= before_stop.began_before
    asof left join staging.fresh_answers as first_answers
        on shown.host = first_answers.host and shown.shown_until <= first_answers.began_at
)

select
    host,
    outage_number,
    failure_count,
    first_failed_at,
    stopped_at,
    started_at,
    if(is_stop_early, answered_from, answered_before_stop_from) as down_at_earliest,
    if(
        is_stop_early,
        first_failed_before,
        least(first_failed_before, coalesce(stopped_at, started_at) + to_seconds(1))
    ) as down_at_latest,
    last_failed_at as up_at_earliest,
    if(failure_count > 0, reply_before, answered_before) as up_at_latest
from bounded
