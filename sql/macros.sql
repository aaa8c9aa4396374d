-- Rules that several models share, as functions: each is stated here and nowhere else.

-- Whether an address is loopback, false if it is NULL. sendmail may write an IPv6 address in full, and puts
-- `IPv6:` before it.
create or replace macro is_loopback(address) as coalesce(
    if(
        starts_with(address, '127.'),
        regexp_matches(address, '^127(\.[0-9]{1,3}){3}$'),
        address in ('::1', '0:0:0:0:0:0:0:1', 'IPv6:::1', 'IPv6:0:0:0:0:0:0:0:1')
    ),
    false
);

-- Whether a setting is known, by the source of its value: the value of any other source is a default that is
-- only assumed.
create or replace macro is_known_setting(source) as (
    source in ('fleet_file', 'inventory', 'fleet_defaults')
);

-- How many seconds an instant is away from the nearest queue run, if one was due at phase_at and then every
-- interval_seconds.
create or replace macro seconds_off_rhythm(instant, phase_at, interval_seconds) as abs(
    (epoch(instant - phase_at) + interval_seconds / 2) % interval_seconds - interval_seconds / 2
);

-- Whether a verdict says that mail waited and was not flushed.
create or replace macro is_not_flushed(flush_verdict) as (
    flush_verdict in ('missing', 'ineffective')
);

-- Whether a verdict shows that the product flushed the queue: a flush that the manager did not order is
-- somebody else's, and proves nothing.
create or replace macro is_flushed(flush_verdict, flush_order) as (
    flush_verdict = 'effective' and flush_order <> 'not_ordered'
);

-- The instant so many microseconds before another, rounded to whole ones. To subtract an interval takes five
-- times as long, because DuckDB then asks a calendar.
create or replace macro microseconds_before(instant, microseconds) as make_timestamptz(
    epoch_us(instant) - cast(microseconds as bigint)
);

-- The mean time from one retry of a deferred message to the next: its backoff, and half a queue_run_delay
-- until the next queue run (qmgr_active.c). NULL if a setting is unknown.
create or replace macro retry_interval_seconds(
    age_seconds, minimal_backoff_seconds, maximal_backoff_seconds, queue_run_delay_seconds
) as (
    if(
        minimal_backoff_seconds is null or maximal_backoff_seconds is null,
        null,
        greatest(least(age_seconds, maximal_backoff_seconds), minimal_backoff_seconds)
        + queue_run_delay_seconds / 2
    )
);
