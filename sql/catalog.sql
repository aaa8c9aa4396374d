-- Functions of the published catalog, for analysts: the text above each is its comment in the catalog and its
-- entry in the data dictionary. DuckDB 1.1 must run them. A function of rows shows all columns of its table.

-- The host's clock at an instant: a TIMESTAMP without a zone. `time_zone` is an IANA name, or an offset such
-- as GMT+09:00, which manager logs write and not every DuckDB knows. NULL if either is NULL.
create macro local_time(instant, time_zone) as (
    case
        when time_zone like 'GMT_%:%'
            then
                timezone('UTC', instant)
                + to_minutes(
                    60 * cast(substr(time_zone, 4, 3) as integer)
                    + cast(substr(time_zone, 4, 1) || substr(time_zone, 8, 2) as integer)
                )
        else timezone(time_zone, instant)
    end
);

-- The rows of marts.restarts with down_at from `since` on and before `until`. Both are instants, or texts
-- such as '2026-11-24 12:00:00+09'; without an offset they are in the zone of the session. A date is its
-- midnight; NULL sets no bound.
create macro restarts_between(since, until) as table (
    select * -- noqa: AM04
    from marts.restarts
    where
        down_at >= coalesce(cast(since as timestamptz), '-infinity')
        and down_at < coalesce(cast(until as timestamptz), 'infinity')
);

-- How long delays are, as one structure: delay_count, p50_seconds, p90_seconds, p95_seconds, p99_seconds
-- (interpolated, as in the marts) and max_seconds. An aggregate: it takes any column of seconds, such as
-- restart_delay_seconds, in any grouping. NULL delays, of mail that was not released, do not count.
create macro delay_percentiles(delay_seconds) as {
    'delay_count': count(delay_seconds),
    'p50_seconds': quantile_cont(delay_seconds, 0.5),
    'p90_seconds': quantile_cont(delay_seconds, 0.9),
    'p95_seconds': quantile_cont(delay_seconds, 0.95),
    'p99_seconds': quantile_cont(delay_seconds, 0.99),
    'max_seconds': max(delay_seconds)
};

-- The rows of marts.held_messages that waited at an instant, which is given as in restarts_between: deferred
-- by then, and neither released nor removed yet. `waited_seconds` is their wait until then. Where
-- `is_end_known` is false, the log does not show how the wait ended: the message may have left before. It
-- has no row after the last line of its host's maillogs.
create macro waiting_at(instant) as table (
    with logged as (
        select
            host,
            max(last_logged_at) as logged_until
        from ops.source_files
        where log_kind = 'maillog'
        group by host
    ),

    held_mail as (
        select
            held_messages.*, -- noqa: AM04
            coalesce(held_messages.released_at, held_messages.removed_at) as ended_at,
            logged.logged_until
        from marts.held_messages as held_messages
        left join logged on held_messages.host = logged.host
    )

    select
        * exclude (ended_at, logged_until), -- noqa: AM04
        date_diff('millisecond', first_deferred_at, cast(instant as timestamptz)) / 1000 as waited_seconds,
        ended_at is not null as is_end_known
    from held_mail
    where
        first_deferred_at <= cast(instant as timestamptz)
        and (cast(instant as timestamptz) < ended_at or ended_at is null)
        and (cast(instant as timestamptz) <= logged_until or ended_at is not null)
);
