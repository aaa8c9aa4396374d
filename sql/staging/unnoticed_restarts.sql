-- One row per restart that certainly began and ended between two polls of the manager.
-- The manager checks the services once a minute (KA-0010256), always in the same second: its flush commands
-- show in which. The nearest commands before and after the restart count if they are of one process and at
-- most a day away, and if they agree on the second. A restart whose bounds contain a poll, or are unknown,
-- may have been noticed.
with spans as (
    select
        restarts.restart_id,
        restarts.host,
        restarts.down_at,
        if(
            restarts.stopped_at <= restarts.down_at, restarts.stopped_at, restarts.down_at_earliest
        ) - to_seconds(thresholds.poll_margin_seconds) as maybe_down_from,
        coalesce(restarts.started_at, restarts.up_at_latest)
        + to_seconds(thresholds.poll_margin_seconds) as maybe_down_until,
        thresholds.poll_seconds,
        thresholds.poll_margin_seconds,
        thresholds.poll_phase_seconds
    from staging.restarts as restarts
    cross join config.thresholds as thresholds
),

commands as (
    select distinct
        host,
        pid,
        logged_at as polled_at
    from events.manager_log
    where event_kind = 'flush_commanded'
),

polls as (
    select
        spans.*,
        before_it.pid as before_pid,
        after_it.pid as after_pid,
        before_it.polled_at as before_polled_at,
        after_it.polled_at as after_polled_at
    from spans
    asof left join commands as before_it
        on spans.host = before_it.host and spans.down_at >= before_it.polled_at
    asof left join commands as after_it
        on spans.host = after_it.host and spans.down_at < after_it.polled_at
),

near_polls as (
    select
        *,
        if(
            before_polled_at >= down_at - to_seconds(poll_phase_seconds), before_polled_at, null
        ) as earlier_poll_at,
        if(
            after_polled_at <= down_at + to_seconds(poll_phase_seconds), after_polled_at, null
        ) as later_poll_at
    from polls
),

-- How far each end of the restart is from a known poll, in polls, and the later known poll, in the seconds
-- beyond whole polls.
in_polls as (
    select
        *,
        epoch(maybe_down_from - coalesce(earlier_poll_at, later_poll_at)) / poll_seconds
            as from_polls,
        epoch(maybe_down_until - coalesce(earlier_poll_at, later_poll_at)) / poll_seconds
            as until_polls,
        epoch(later_poll_at - earlier_poll_at) % poll_seconds as seconds_off
    from near_polls
)

select
    restart_id,
    earlier_poll_at,
    later_poll_at
from in_polls
where
    ceil(from_polls) > floor(until_polls)
    and (
        seconds_off is null
        or (
            before_pid = after_pid
            and least(seconds_off, poll_seconds - seconds_off) <= poll_margin_seconds
        )
    )
