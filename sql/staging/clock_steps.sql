-- One row per span of time that occurs twice in a maillog, because the host's clock was set back.
-- The lines of a file are in the order in which they were written. If the stamps of its delivery attempts
-- go back by more than clock_step_seconds, the clock was set back: the order of stamps that occur before
-- that point as well as after it is unknown. Daylight saving does not matter, because stamps are instants
-- here; nor do lines that were written twice, because each occurs once here.
with attempts as (
    select
        host,
        source_id,
        line_number,
        logged_at,
        lag(logged_at) over in_file as previous_at
    from events.delivery_attempts
    window in_file as (
        partition by host, source_id
        order by line_number
    )
),

sources as (
    select distinct
        attempts.host,
        attempts.source_id
    from attempts
    cross join config.thresholds as thresholds
    where attempts.logged_at < attempts.previous_at - to_seconds(thresholds.clock_step_seconds)
),

lines as (
    select
        host,
        source_id,
        line_number,
        logged_at
    from events.delivery_attempts

    union all

    select
        host,
        source_id,
        line_number,
        logged_at
    from events.queue_activations

    union all

    select
        host,
        source_id,
        line_number,
        logged_at
    from events.service_events
    where event_kind <> 'lines_lost'
),

-- All lines of the few files that show such a step.
followed as (
    select
        lines.*,
        lag(lines.logged_at) over in_file as previous_at
    from lines
    semi join sources
        on lines.host = sources.host and lines.source_id = sources.source_id
    window in_file as (
        partition by lines.host, lines.source_id
        order by lines.line_number
    )
),

numbered as (
    select
        followed.*,
        count(*) filter (
            where followed.logged_at < followed.previous_at - to_seconds(thresholds.clock_step_seconds)
        ) over (
            partition by followed.host, followed.source_id
            order by followed.line_number
        ) as stretch_number
    from followed
    cross join config.thresholds as thresholds
),

stretches as (
    select
        host,
        source_id,
        stretch_number,
        min(logged_at) as began_at,
        max(logged_at) as ended_at
    from numbered
    group by host, source_id, stretch_number
),

told_twice as (
    select
        host,
        -- What was written behind it came after all before it, whatever its stamp.
        began_at as told_twice_from,
        least(ended_at, lag(ended_at) over in_order) + to_seconds(1) as told_twice_until,
        lag(began_at) over in_order as before_began_at,
        lag(ended_at) over in_order as before_ended_at
    from stretches
    window in_order as (
        partition by host, source_id
        order by stretch_number
    )
)

select distinct
    host,
    told_twice_from,
    told_twice_until
from told_twice
where before_ended_at >= told_twice_from and told_twice_until > before_began_at
