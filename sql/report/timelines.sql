-- One row per mark on the timeline of a restart that held mail; times are seconds since down_at.
-- Mail: `deferred`, and `flush_release`, `queue_run_release`, `unknown_release` by what led to the release,
-- counted in steps of a `$steps`th of the time. Spans: `outage` (down for sure) and `unsure` (down or up, the
-- log does not tell). Instants: `down`, `due`, `ordered`, `marked`, `flush`, `queue_run`. is_told: has a
-- label; of the queue runs, the `$told` that took most mail have one. `end` is where the picture ends.
with held as (
    select
        held_messages.restart_id,
        held_messages.instance,
        held_messages.queue_id,
        coalesce(held_messages.released_by, 'unknown') as released_by,
        floor(epoch(held_messages.first_deferred_at) - epoch(restarts.down_at)) as deferred_after_seconds,
        floor(epoch(held_messages.reactivated_at) - epoch(restarts.down_at)) as reactivated_after_seconds,
        floor(epoch(held_messages.released_at) - epoch(restarts.down_at)) as released_after_seconds,
        greatest(1, ceil(restarts.last_released_after_seconds / $steps)) as step_seconds
    from marts.held_messages as held_messages
    inner join report.restarts as restarts on held_messages.restart_id = restarts.restart_id
),

mail_steps as (
    select
        restart_id,
        'deferred' as kind,
        floor(deferred_after_seconds / step_seconds) * step_seconds as at_seconds
    from held
    union all
    select
        restart_id,
        released_by || '_release' as kind,
        floor(released_after_seconds / step_seconds) * step_seconds as at_seconds
    from held
    where released_after_seconds is not null
),

mail as (
    select
        restart_id,
        kind,
        at_seconds,
        count(*) as message_count
    from mail_steps
    group by restart_id, kind, at_seconds
),

-- Queue runs of several instances within two seconds are one mark.
run_seconds as (
    select
        restart_id,
        reactivated_after_seconds as at_seconds,
        count(*) as message_count,
        lag(reactivated_after_seconds) over (partition by restart_id order by reactivated_after_seconds)
            as before_seconds
    from held
    where released_by = 'queue_run' and reactivated_after_seconds >= deferred_after_seconds
    group by restart_id, reactivated_after_seconds
),

numbered_runs as (
    select
        restart_id,
        at_seconds,
        message_count,
        count(*) filter (where before_seconds is null or at_seconds - before_seconds > 2)
            over (partition by restart_id order by at_seconds) as run_number
    from run_seconds
),

queue_runs as (
    select
        restart_id,
        min(at_seconds) as at_seconds,
        sum(message_count) as message_count,
        row_number() over (
            partition by restart_id
            order by sum(message_count) desc, min(at_seconds)
        ) <= $told as is_told
    from numbered_runs
    group by restart_id, run_number
),

flushes as (
    select
        restart_id,
        count(*) filter (where released_by = 'flush') as message_count,
        max(deferred_after_seconds) as last_deferred_after_seconds
    from held
    group by restart_id
),

-- The picture ends behind whatever is last, with a margin.
spans as (
    select
        restarts.*,
        flushes.message_count as flushed_count,
        1.03 * greatest(
            60,
            coalesce(restarts.last_released_after_seconds, 0),
            flushes.last_deferred_after_seconds,
            coalesce(restarts.up_latest_after_seconds, 0),
            coalesce(restarts.due_after_seconds, 0),
            coalesce(restarts.flushed_after_seconds, 0)
        ) as end_after_seconds
    from report.restarts as restarts
    inner join flushes on restarts.restart_id = flushes.restart_id
),

marks as (
    select
        restart_id,
        kind,
        at_seconds,
        null as until_seconds,
        message_count,
        false as is_told
    from mail
    union all
    select
        restart_id,
        'queue_run' as kind,
        at_seconds,
        null as until_seconds,
        message_count,
        is_told
    from queue_runs
    union all
    select
        restart_id,
        'outage' as kind,
        coalesce(down_latest_after_seconds, 0) as at_seconds,
        greatest(
            coalesce(up_earliest_after_seconds, up_after_seconds, end_after_seconds),
            coalesce(down_latest_after_seconds, 0)
        ) as until_seconds,
        0 as message_count,
        false as is_told
    from spans
    union all
    -- The last answer before it may be hours older: the picture is of the wait.
    select
        restart_id,
        'unsure' as kind,
        greatest(down_earliest_after_seconds, -0.25 * end_after_seconds) as at_seconds,
        down_latest_after_seconds as until_seconds,
        0 as message_count,
        false as is_told
    from spans
    where down_earliest_after_seconds < down_latest_after_seconds
    union all
    select
        restart_id,
        'unsure' as kind,
        up_earliest_after_seconds as at_seconds,
        up_latest_after_seconds as until_seconds,
        0 as message_count,
        false as is_told
    from spans
    where up_earliest_after_seconds < up_latest_after_seconds
    union all
    select
        restart_id,
        'down' as kind,
        0 as at_seconds,
        null as until_seconds,
        0 as message_count,
        true as is_told
    from spans
    union all
    select
        restart_id,
        'due' as kind,
        due_after_seconds as at_seconds,
        null as until_seconds,
        0 as message_count,
        true as is_told
    from spans
    union all
    select
        restart_id,
        if(ordered_after_seconds is null, 'marked', 'ordered') as kind,
        coalesce(ordered_after_seconds, marked_after_seconds) as at_seconds,
        null as until_seconds,
        0 as message_count,
        true as is_told
    from spans
    union all
    select
        restart_id,
        'flush' as kind,
        flushed_after_seconds as at_seconds,
        null as until_seconds,
        flushed_count as message_count,
        true as is_told
    from spans
    union all
    select
        restart_id,
        'end' as kind,
        end_after_seconds as at_seconds,
        null as until_seconds,
        0 as message_count,
        false as is_told
    from spans
)

select
    restart_id,
    kind,
    cast(at_seconds as double) as at_seconds,
    cast(until_seconds as double) as until_seconds,
    cast(message_count as bigint) as message_count,
    is_told
from marks
where at_seconds is not null
