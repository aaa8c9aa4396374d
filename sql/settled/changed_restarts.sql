-- One row per restart of the old marts that later lines may change, with the time from which on its rows
-- depend on the log.
-- What happened before `$over_by` is over, with these exceptions: mail that the restart held and that has
-- new lines, or that a new queue snapshot may list; a restart that is not over or whose verdict waits for
-- the log's next lines; and missing flushes, as later polls of the manager may give their reason.
with unfinished as (
    select restart_id
    from before.held_messages
    where
        greatest(last_deferred_at, released_at, removed_at) >= $over_by
        or (
            removed_at is null
            and ($is_snapshot_new or queue_id in (select new_ids.queue_id from settled.new_ids as new_ids))
        )
)

select
    restarts.restart_id,
    least(restarts.down_at, restarts.window_from) as changed_from
from before.restarts as restarts
cross join config.thresholds as thresholds
where
    coalesce(restarts.window_until >= $over_by, true)
    or restarts.up_at is null
    or restarts.verdict_reason = 'log_end'
    or (
        restarts.missing_reason is not null
        and restarts.down_at >= $over_by - to_seconds(thresholds.poll_phase_seconds)
    )
    or restarts.restart_id in (select unfinished.restart_id from unfinished)
