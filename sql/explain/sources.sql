-- One row per source file that may have lines about the restart.
select
    sources.path,
    sources.log_kind,
    sources.status,
    sources.line_count,
    sources.first_logged_at,
    sources.last_logged_at
from ops.source_files as sources
cross join explain.restart as restart
where
    sources.log_kind in ('maillog', 'manager_log', 'system_events')
    and coalesce(sources.covered_until, sources.last_logged_at)
    >= coalesce(restart.down_at_earliest, restart.down_at)
    and coalesce(sources.covered_from, sources.first_logged_at)
    < coalesce(restart.window_until, 'infinity')
order by sources.log_kind, sources.first_logged_at, sources.path
