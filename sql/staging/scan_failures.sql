-- One row per real failure of an attempt at the scan service, with the outage that it is part of.
-- A failure shows that the service was down when it was logged, failed_at. A time-out may end long after
-- the service is back and is therefore placed by its start; if an attempt begun between its start and end
-- was answered, it shows only that the service was down at its start. Failures belong to one outage as long
-- as no attempt begun after one of them, on a fresh connection, was answered before the next. Sessions that
-- were under way when the service stopped may still succeed: they do not split it. Suspensions do not count
-- as failures: nothing was tried.
-- A stop in the system events makes one outage of the failures within it, and each further stop within one
-- outage begins another. The failures of a slow scanner belong to no outage (outage_number is NULL): a
-- single time-out or lost session, or time-outs alone, each with attempts begun and answered close by on
-- both sides. Stamps of whole seconds hide the order within a second: "after" means certainly after.
with answered as (
    select
        host,
        began_at,
        logged_before
    from staging.scan_attempts
    where is_answered
),

failures as (
    select
        host,
        cause,
        source_number,
        line_number,
        recipient,
        began_at,
        began_before,
        logged_at,
        logged_before,
        if(cause = 'timed_out', began_at, logged_at) as failing_from,
        if(cause = 'timed_out', began_before, logged_before) as failing_before
    from staging.scan_attempts
    where is_real_failure
),

failures_with_reply as (
    select
        failures.*,
        fresh_answers.began_before as reply_began_before,
        fresh_answers.logged_before as reply_before,
        row_number() over (
            partition by failures.host
            order by
                failures.failing_from,
                failures.source_number,
                failures.line_number,
                failures.recipient
        ) as failure_number
    from failures
    asof left join staging.fresh_answers as fresh_answers
        on failures.host = fresh_answers.host and failures.failing_before <= fresh_answers.began_at
),

followed as (
    select
        *,
        coalesce(
            reply_began_before <= lead(failing_from) over (
                partition by host
                order by failure_number
            ),
            false
        ) as is_answered_before_next
    from failures_with_reply
),

runs_of_failures as (
    select
        *,
        count(*) filter (where is_answered_before_next) over (
            partition by host
            order by failure_number
            rows between unbounded preceding and 1 preceding
        ) as run_number
    from followed
),

runs as (
    select
        host,
        run_number,
        min(failing_from) as failing_from,
        max(failing_from) as failing_until,
        arg_max_null(reply_before, failure_number) as reply_before
    from runs_of_failures
    group by host, run_number
),

-- The stops that a run of failures meets: close in time, or with no answer in between where the event that
-- would tell it is missing. A service that has just been started may still refuse for a while.
run_stops as (
    select
        runs.host,
        runs.run_number,
        stops.stop_number,
        coalesce(stops.stopped_at, stops.started_at) as stop_from,
        row_number() over (
            partition by runs.host, runs.run_number
            order by stops.stop_number
        ) as stop_rank
    from runs
    cross join config.thresholds as thresholds
    asof left join staging.fresh_answers as last_answers
        on runs.host = last_answers.host and runs.failing_from >= last_answers.began_before
    inner join staging.scan_service_stops as stops
        on
            runs.host = stops.host
            and (
                coalesce(stops.stopped_at, stops.started_at)
                <= runs.failing_until + to_seconds(thresholds.witness_margin_seconds)
                or (
                    stops.stopped_at is null
                    and stops.started_at < coalesce(runs.reply_before, 'infinity')
                )
            )
            and (
                coalesce(stops.started_at, stops.stopped_at)
                >= runs.failing_from - to_seconds(thresholds.witness_margin_seconds)
                or (
                    coalesce(
                        stops.started_at
                        >= runs.failing_from - to_seconds(thresholds.longest_restart_seconds),
                        true
                    )
                    and coalesce(
                        last_answers.began_at < coalesce(stops.started_at, stops.stopped_at), true
                    )
                )
            )
),

with_stop as (
    select
        runs_of_failures.*,
        coalesce(later.stop_number, first_stop.stop_number) as stop_number
    from runs_of_failures
    asof left join (
        select * from run_stops
        where stop_rank > 1
    ) as later
        on
            runs_of_failures.host = later.host
            and runs_of_failures.run_number = later.run_number
            and runs_of_failures.failing_from >= later.stop_from
    left join run_stops as first_stop
        on
            runs_of_failures.host = first_stop.host
            and runs_of_failures.run_number = first_stop.run_number
            and first_stop.stop_rank = 1
),

outages as (
    select
        *,
        min(failure_number) over one_outage as outage_number,
        count(*) over one_outage as failure_count,
        bool_and(cause = 'timed_out') over one_outage as is_timed_out_only
    from with_stop
    window one_outage as (
        partition by host, stop_number, if(stop_number is null, run_number, null)
    )
),

-- What may be a slow scanner's, each placed where it began, and a lone one also where it ended.
maybe_slow as (
    select
        host,
        outage_number,
        failure_number,
        began_at as from_at,
        began_before as until_at
    from outages
    where
        stop_number is null
        and (is_timed_out_only or (failure_count = 1 and cause in ('timed_out', 'session_lost')))

    union all

    select
        host,
        outage_number,
        failure_number,
        logged_at as from_at,
        logged_before as until_at
    from outages
    where stop_number is null and failure_count = 1 and cause in ('timed_out', 'session_lost')
),

-- A session in use is as good a sign of life as a new one.
slow_failures as (
    select distinct
        maybe_slow.host,
        maybe_slow.outage_number,
        maybe_slow.failure_number
    from maybe_slow
    cross join config.thresholds as thresholds
    asof inner join answered as before_it
        on maybe_slow.host = before_it.host and maybe_slow.from_at >= before_it.began_at
    inner join answered as after_it
        on
            maybe_slow.host = after_it.host
            and maybe_slow.until_at <= after_it.began_at
            and maybe_slow.until_at + to_seconds(thresholds.slow_scanner_seconds)
            >= after_it.logged_before
    where
        before_it.began_at >= maybe_slow.from_at - to_seconds(thresholds.slow_scanner_seconds)
),

slow_scans as (
    select
        outages.host,
        outages.outage_number
    from outages
    left join slow_failures
        on
            outages.host = slow_failures.host
            and outages.outage_number = slow_failures.outage_number
            and outages.failure_number = slow_failures.failure_number
    group by outages.host, outages.outage_number
    having bool_and(slow_failures.host is not null)
)

select
    outages.host,
    outages.cause,
    outages.source_number,
    outages.line_number,
    outages.recipient,
    if(slow_scans.host is null, outages.outage_number, null) as outage_number,
    outages.stop_number,
    outages.failing_from,
    -- The service may have been back when an old session timed out.
    if(outages.reply_began_before <= outages.logged_at, outages.failing_from, outages.logged_at)
        as failed_at,
    if(
        outages.reply_began_before <= outages.logged_at,
        outages.failing_before,
        outages.logged_before
    ) as failed_before,
    outages.logged_at,
    outages.reply_before
from outages
left join slow_scans
    on outages.host = slow_scans.host and outages.outage_number = slow_scans.outage_number
