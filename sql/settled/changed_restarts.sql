-- One row per restart of the old marts that later lines may change, with the time from which on its rows
-- depend on the log.
-- What happened `$line_span_seconds` before the news is over, with these exceptions: mail that the restart
-- held and that has new lines, or that a new queue snapshot may list; a restart that is not over or whose
-- verdict waits for the log's next lines; and missing flushes, as later polls of the manager may give their
-- reason.
with hosts as (
    select
        host,
        news_since,
        news_since - to_seconds($line_span_seconds) as over_by
    from settled.changed_since
),

-- The latest snapshot lists all pending mail.
new_snapshots as (
    select distinct snapshots.host
    from recent.queue_snapshots as snapshots
    inner join hosts
        on snapshots.host = hosts.host
    where coalesce(snapshots.logged_at >= date_trunc('day', hosts.news_since), true)
),

unfinished as (
    select held_messages.restart_id
    from before.held_messages as held_messages
    inner join hosts
        on held_messages.host = hosts.host
    left join new_snapshots
        on held_messages.host = new_snapshots.host
    left join settled.new_ids as new_ids
        on held_messages.host = new_ids.host and held_messages.queue_id = new_ids.queue_id
    where
        greatest(held_messages.last_deferred_at, held_messages.released_at, held_messages.removed_at)
        >= hosts.over_by
        or (
            held_messages.removed_at is null
            and (new_snapshots.host is not null or new_ids.queue_id is not null)
        )
)

select
    restarts.host,
    restarts.restart_id,
    least(restarts.down_at, restarts.window_from) as changed_from
from before.restarts as restarts
inner join hosts
    on restarts.host = hosts.host
cross join config.thresholds as thresholds
where
    coalesce(restarts.window_until >= hosts.over_by, true)
    or restarts.up_at is null
    or restarts.verdict_reason = 'log_end'
    or (
        restarts.missing_reason is not null
        and restarts.down_at >= hosts.over_by - to_seconds(thresholds.poll_phase_seconds)
    )
    or restarts.restart_id in (select unfinished.restart_id from unfinished)
