-- One row per change of a host's settings, with the restarts before and after it.
-- Each side extends to the neighbouring change, so that the settings are constant within it. Delays are
-- those of the held messages of these restarts, NULL if none was released; missing shares are of the
-- restarts after which mail waited and whose verdict is known, NULL without any.
with changes as (
    select
        host,
        list(
            setting || ': ' || coalesce(old_value, 'unknown') || ' -> ' || coalesce(new_value, 'unknown')
            order by setting
        ) as changes,
        changed_at
    from staging.setting_changes
    group by host, changed_at
),

neighbours as (
    select
        host,
        changes,
        changed_at,
        lag(changed_at) over (partition by host order by changed_at) as changed_before_at,
        lead(changed_at) over (partition by host order by changed_at) as changed_again_at
    from changes
),

sided_restarts as (
    select
        neighbours.host,
        neighbours.changed_at,
        restarts.restart_id,
        restarts.held_message_count,
        is_not_flushed(restarts.flush_verdict) as is_missing,
        is_flushed(restarts.flush_verdict, restarts.flush_order) as is_flushed,
        restarts.down_at >= neighbours.changed_at as is_after
    from neighbours
    inner join marts.restarts as restarts
        on
            neighbours.host = restarts.host
            and restarts.down_at >= coalesce(neighbours.changed_before_at, '-infinity')
            and restarts.down_at < coalesce(neighbours.changed_again_at, 'infinity')
),

counts as (
    select
        host,
        changed_at,
        count(*) filter (where not is_after) as restart_count_before,
        count(*) filter (where is_after) as restart_count_after,
        count(*) filter (where not is_after and held_message_count > 0)
            as restarts_with_held_mail_count_before,
        count(*) filter (where is_after and held_message_count > 0)
            as restarts_with_held_mail_count_after,
        count(*) filter (where not is_after and is_missing) as missing_flush_count_before,
        count(*) filter (where is_after and is_missing) as missing_flush_count_after,
        count(*) filter (where not is_after and (is_missing or is_flushed)) as judged_before_count,
        count(*) filter (where is_after and (is_missing or is_flushed)) as judged_after_count
    from sided_restarts
    group by host, changed_at
),

delays as (
    select
        restarts.host,
        restarts.changed_at,
        quantile_cont(held_messages.restart_delay_seconds, 0.5) filter (where not restarts.is_after)
            as restart_delay_p50_seconds_before,
        quantile_cont(held_messages.restart_delay_seconds, 0.5) filter (where restarts.is_after)
            as restart_delay_p50_seconds_after,
        quantile_cont(held_messages.restart_delay_seconds, 0.95) filter (where not restarts.is_after)
            as restart_delay_p95_seconds_before,
        quantile_cont(held_messages.restart_delay_seconds, 0.95) filter (where restarts.is_after)
            as restart_delay_p95_seconds_after,
        max(held_messages.restart_delay_seconds) filter (where not restarts.is_after)
            as restart_delay_max_seconds_before,
        max(held_messages.restart_delay_seconds) filter (where restarts.is_after)
            as restart_delay_max_seconds_after
    from sided_restarts as restarts
    inner join marts.held_messages as held_messages
        on restarts.restart_id = held_messages.restart_id
    group by restarts.host, restarts.changed_at
)

select
    neighbours.host,
    neighbours.changed_at,
    neighbours.changes,
    coalesce(counts.restart_count_before, 0) as restart_count_before,
    coalesce(counts.restart_count_after, 0) as restart_count_after,
    coalesce(counts.restarts_with_held_mail_count_before, 0) as restarts_with_held_mail_count_before,
    coalesce(counts.restarts_with_held_mail_count_after, 0) as restarts_with_held_mail_count_after,
    coalesce(counts.missing_flush_count_before, 0) as missing_flush_count_before,
    coalesce(counts.missing_flush_count_after, 0) as missing_flush_count_after,
    coalesce(counts.judged_before_count, 0) as judged_before_count,
    coalesce(counts.judged_after_count, 0) as judged_after_count,
    counts.missing_flush_count_before / nullif(counts.judged_before_count, 0) as missing_share_before,
    counts.missing_flush_count_after / nullif(counts.judged_after_count, 0) as missing_share_after,
    delays.restart_delay_p50_seconds_before,
    delays.restart_delay_p50_seconds_after,
    delays.restart_delay_p95_seconds_before,
    delays.restart_delay_p95_seconds_after,
    delays.restart_delay_max_seconds_before,
    delays.restart_delay_max_seconds_after,
    neighbours.changed_before_at,
    neighbours.changed_again_at
from neighbours
left join counts
    on neighbours.host = counts.host and neighbours.changed_at = counts.changed_at
left join delays
    on neighbours.host = delays.host and neighbours.changed_at = delays.changed_at
