-- One row per host, setting and instant at which it changed, with its values before and after.
-- Spans of fleet.host_history that differ only in the source of a setting are not a change. A setting that
-- became known counts as changed, because its earlier value is unknown.
with settings as (
    select
        host,
        valid_from,
        unnest(
            [
                'product',
                'version',
                'build',
                'patch',
                'wrapper_md5',
                'mta',
                'sender_filter',
                'scan_port',
                'queue_run_delay_seconds',
                'minimal_backoff_seconds',
                'maximal_backoff_seconds',
                'maximal_queue_lifetime_seconds',
                'bounce_queue_lifetime_seconds'
            ]
        ) as setting,
        unnest(
            [
                product,
                version,
                cast(build as varchar),
                patch,
                lower(wrapper_md5),
                mta,
                cast(sender_filter as varchar),
                cast(scan_port as varchar),
                cast(queue_run_delay_seconds as varchar),
                cast(minimal_backoff_seconds as varchar),
                cast(maximal_backoff_seconds as varchar),
                cast(maximal_queue_lifetime_seconds as varchar),
                cast(bounce_queue_lifetime_seconds as varchar)
            ]
        ) as value
    from fleet.host_history
),

spans as (
    select
        host,
        setting,
        lag(value) over (partition by host, setting order by valid_from nulls first) as old_value,
        value as new_value,
        valid_from as changed_at
    from settings
)

select
    host,
    setting,
    old_value,
    new_value,
    changed_at
from spans
where changed_at is not null and old_value is distinct from new_value
