-- One row per span of time that a maillog tells twice, because the host's clock was set back.
-- Lines of a file come in the order in which they were written. Where their stamps fall back by more than
-- clock_step_seconds the clock was set back: of stamps that occur before that point as well as after it,
-- nobody can tell which came first. Daylight saving is no such case, as stamps are instants here, nor are
-- lines that were written twice, as they are here once.
with attempts as (
    select
        attempts.host,
        attempts.source_id,
        attempts.line_number,
        attempts.logged_at,
        coalesce(
            attempts.logged_at
            < lag(attempts.logged_at)
                over (
                    partition by attempts.host, attempts.source_id
                    order by attempts.line_number
                )
            - to_seconds(thresholds.clock_step_seconds),
            false
        ) as is_set_back
    from events.delivery_attempts as attempts
    cross join config.thresholds as thresholds
),

sources as (
    select distinct
        host,
        source_id
    from attempts
    where is_set_back
),

numbered as (
    select
        attempts.*,
        count(*) filter (where attempts.is_set_back) over (
            partition by attempts.host, attempts.source_id
            order by attempts.line_number
        ) as stretch_number
    from attempts
    semi join sources
        on attempts.host = sources.host and attempts.source_id = sources.source_id
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
        greatest(began_at, lag(began_at) over in_order) as told_twice_from,
        least(ended_at, lag(ended_at) over in_order) + to_seconds(1) as told_twice_until,
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
where before_ended_at is not null and told_twice_from < told_twice_until
