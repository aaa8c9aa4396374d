-- One row: the host as it was when the service went down.
select
    host_history.host,
    host_history.product,
    host_history.product_source,
    host_history.version,
    host_history.version_source,
    host_history.build,
    host_history.build_source,
    host_history.patch,
    host_history.patch_source,
    host_history.wrapper_md5,
    host_history.wrapper_md5_source,
    host_history.mta,
    host_history.mta_source,
    host_history.sender_filter,
    host_history.sender_filter_source,
    host_history.time_zone,
    host_history.time_zone_source,
    host_history.scan_port,
    host_history.scan_port_source,
    host_history.queue_run_delay_seconds,
    host_history.queue_run_delay_seconds_source,
    host_history.minimal_backoff_seconds,
    host_history.minimal_backoff_seconds_source,
    host_history.maximal_backoff_seconds,
    host_history.maximal_backoff_seconds_source,
    host_history.maximal_queue_lifetime_seconds,
    host_history.maximal_queue_lifetime_seconds_source,
    host_history.bounce_queue_lifetime_seconds,
    host_history.bounce_queue_lifetime_seconds_source,
    host_history.valid_from,
    host_history.valid_until
from fleet.host_history as host_history
cross join explain.restart as restart
where
    restart.down_at >= coalesce(host_history.valid_from, '-infinity')
    and restart.down_at < coalesce(host_history.valid_until, 'infinity')
