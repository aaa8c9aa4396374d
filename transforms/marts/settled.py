"""The marts before and the rows that were made anew to the new marts, and events to those that these rest on.

A host's marts rest on all its events, but nothing that a night brings changes what is long over: those days
are settled (news.py says which). Their rows are carried from the marts before. Of their events only those
are read that later rows may rest on: the last hours, all lines of mail that is still in a queue, and what
HANDED_ON has. Days whose events expired are settled for good (frozen). Where what was read does not tell the
rows for sure (NOT_PROVED), the host is made anew as a whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from transforms.contracts.contracts import instant_in, kept_tables
from transforms.lake.catalog import create_tables, create_views, period_of_file
from transforms.marts.database import execute
from transforms.parse.tables import UTC_TIME

if TYPE_CHECKING:
    from transforms.contracts.contracts import Contract
    from transforms.lake.ledger import FrozenDays


# Events about mail, of which there are many; and others that are not needed as a whole either, but from the
# last one on that came this long before.
MAIL_EVENTS = (
    "clients", "delivery_attempts", "message_ids", "other_lines", "queue_activations", "queue_removals",
)  # fmt: skip
EARLIER_EVENTS = {"system_events": timedelta(), "manager_log": timedelta(days=1)}


# What a line tells of is over after this, but for mail that waits longer, which is asked for by its queue id:
# a restart's window takes two minutes, an attempt ten at most.
MARGIN = timedelta(hours=1)


@dataclass(frozen=True)
class Settled:
    """From when on a host's rows are made anew and its events are read, and from when on lines are new."""

    host: str
    kept_before: datetime
    read_from: datetime
    news_since: datetime


def create_settled_hosts(
    connection: duckdb.DuckDBPyConnection,
    hosts: Iterable[str],
    settled: "Mapping[str, Settled]",
    frozen: "Mapping[str, FrozenDays]",
) -> None:
    """Create settled.hosts, until when which rows of hosts are kept, and settled.reopened without a row."""
    rows: list[tuple[object, ...]] = []
    for host in hosts:
        window, days = settled.get(host), frozen.get(host)
        frozen_day = days.frozen_before if days else None
        frozen_at = datetime.combine(frozen_day, time(), UTC) if frozen_day else None
        kept = max((at for at in (window and window.kept_before, frozen_at) if at), default=None)
        over_by = window and window.news_since - MARGIN
        since, read_from = (window.news_since, window.read_from) if window else (None, None)
        rows.append((host, kept, frozen_day, frozen_at, over_by, since, read_from))
    schema = {
        "host": pl.String(),
        "kept_before": UTC_TIME,
        "days_kept_before": pl.Date(),
        "frozen_before": UTC_TIME,
        "over_by": UTC_TIME,
        "news_since": UTC_TIME,
        "read_from": UTC_TIME,
    }
    create_tables(connection, {"settled.hosts": pl.DataFrame(rows, schema=schema, orient="row")})
    connection.execute(
        "create table settled.reopened "
        "(host varchar, instance varchar, queue_id varchar, arrived_at timestamptz)"
    )


def with_kept_rows(table: str, made: str) -> str:
    """Return the query of a table's new rows: those that were made anew, and those of `kept` that stay."""
    rows = kept_tables()[table]
    if table == "staging.log_instances":
        return f"""
            select
                host,
                instance,
                bool_or(is_by_sendmail) as is_by_sendmail,
                bool_or(is_qmgr) as is_qmgr,
                bool_or(has_relay_port) as has_relay_port
            from (from {made} union all by name from kept.log_instances)
            group by host, instance
        """
    if rows.instant is None:
        return f"from {made}"
    before = {
        # What the files and the syslog daemons tell is known of all days, what lines tell of those read.
        "marts.coverage": "if(reason in ('missing_lines', 'clock_set_back'), kept_before, frozen_before)",
        "marts.fleet_daily": "hosts.days_kept_before",
    }.get(table, "hosts.kept_before")
    is_kept = f"coalesce({rows.instant} < {before}, false)"
    if table == "marts.message_trace":
        is_kept += """ and not exists (
            select 1 from settled.reopened as reopened
            where
                rows.host = reopened.host
                and rows.instance = reopened.instance
                and rows.queue_id = reopened.queue_id
                and rows.arrived_at = reopened.arrived_at
        )"""
    is_made = f"not ({is_kept})"
    if table == "marts.fleet_daily":
        # Other hosts may have logs of days on which none had one before.
        is_made += """ or not exists (
            select 1 from before.fleet_daily as known
            where rows.host = known.host and rows.date = known.date
        )"""
    return f"""
        select rows.* from {made} as rows
        left join settled.hosts as hosts on rows.host = hosts.host
        where {is_made}

        union all by name

        select rows.* from kept.{table.partition(".")[2]} as rows
        inner join settled.hosts as hosts on rows.host = hosts.host
        where {is_kept}
    """


def show_events(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    *,
    files: Mapping[str, list[str]],
    contracts: "Mapping[str, Contract]",
) -> set[str]:
    """Create views of events that the rows to be made anew rest on, of the hosts in settled.hosts.

    Returns the names of these views; all other events are needed as a whole. Fills settled.reopened: the rows
    of marts.message_trace that are of settled days and made anew all the same, for their mail is of one trace
    with mail that was still in a queue.
    """
    ((read_from, over_by),) = connection.execute(
        "select min(read_from), min(over_by) from settled.hosts"
    ).fetchall()
    for name in MAIL_EVENTS:
        recent = _since(files.get(f"events.{name}", []), read_from)
        _show(connection, lake, f"recent.{name}", contracts[f"events.{name}"], recent)
    for name, earlier in EARLIER_EVENTS.items():
        contract = contracts[f"events.{name}"]
        _show(connection, lake, f"all_of.{name}", contract, files.get(f"events.{name}", []))
        # From the last one before on: a start may tell of a stop long before it.
        connection.execute(
            f"""
            create schema if not exists events;
            create view events.{name} as
            select rows.* from all_of.{name} as rows
            inner join (
                select
                    hosts.host,
                    coalesce(
                        max(earlier.logged_at),
                        any_value(hosts.read_from) - to_seconds({earlier.total_seconds():.0f})
                    ) as read_from
                from settled.hosts as hosts
                left join all_of.{name} as earlier
                    on
                        hosts.host = earlier.host
                        and earlier.logged_at
                        < hosts.read_from - to_seconds({earlier.total_seconds():.0f})
                group by hosts.host
            ) as hosts
                on rows.host = hosts.host and rows.logged_at >= hosts.read_from
            """
        )
    told = " union ".join(
        f"select host, queue_id from recent.{name} where queue_id is not null and logged_at >= $read_from"
        for name in MAIL_EVENTS
    )
    execute(connection, f"create table settled.recent_ids as {told}", {"read_from": read_from})
    execute(connection, _OPEN_TRACES, {"read_from": read_from})
    execute(connection, _OPEN_MAIL, {"first_arrived_at": _first_arrived_at(connection, "open_traces")})
    execute(connection, _CHANGED_TRACES, {"over_by": over_by})
    execute(connection, _REOPENED, {"first_arrived_at": _first_arrived_at(connection, "changed_traces")})
    ((opened_from,),) = connection.execute("select min(arrived_at) from settled.open_mail").fetchall()
    for name in MAIL_EVENTS:
        older = _since(files.get(f"events.{name}", []), opened_from) if opened_from else []
        _show(connection, lake, f"older.{name}", contracts[f"events.{name}"], older)
        connection.execute(
            f"""
            create view events.{name} as
            from recent.{name} where logged_at >= {_literal(read_from)}

            union all by name

            select older.* from older.{name} as older
            semi join settled.open_mail as open_mail
                on older.host = open_mail.host and older.queue_id = open_mail.queue_id
            where
                older.logged_at < {_literal(read_from)}
                and older.logged_at >= {_literal(opened_from or read_from)} - to_seconds(1)
            """
        )
    connection.execute(_DAYS_KEPT)
    return {f"events.{name}" for name in (*MAIL_EVENTS, *EARLIER_EVENTS)}


def is_counted_anew(connection: duckdb.DuckDBPyConnection) -> str:
    """Return which rows of marts.message_trace count on the days of marts.fleet_daily that are made anew."""
    ((since,),) = connection.execute(
        """
        select
            if(
                bool_and(hosts.days_kept_before is not null),
                min(timezone(fleet.time_zone, cast(hosts.days_kept_before as timestamp))),
                null
            )
        from settled.hosts as hosts
        inner join fleet.hosts as fleet on hosts.host = fleet.host
        """
    ).fetchall()
    return f"left_at >= {_literal(since)} or left_at is null" if since else "true"


def _first_arrived_at(connection: duckdb.DuckDBPyConnection, traces: str) -> datetime | None:
    """Return since when mail of some traces arrived: no hop does so before the first, which the ids tell."""
    first: datetime | None
    ((first,),) = connection.execute(f"select min({instant_in('trace_id')}) from settled.{traces}").fetchall()
    return first and first - MARGIN


def _show(
    connection: duckdb.DuckDBPyConnection, lake: Path, view: str, contract: "Contract", paths: list[str]
) -> None:
    create_views(connection, lake, contracts=[replace(contract, table=view)], files={view: paths})


def _since(paths: Iterable[str], instant: datetime) -> list[str]:
    return [path for path in paths if may_hold(path, instant.date())]


def may_hold(path: str, day: date) -> bool:
    """Tell whether a file of events may have some of a day, or of a later one."""
    period = period_of_file(path)
    return period is None or period >= f"{day}"[: len(period)]


def _literal(instant: datetime) -> str:
    return f"timestamptz '{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'"


_HAS_RECENT_LINES = """
    exists (
        select 1 from settled.recent_ids as recent
        where entries.host = recent.host and entries.queue_id = recent.queue_id
    )
"""
# Few rows pass the first conditions of these, which can be asked while the files are read.
# The traces of which a part was in a queue when the events begin that are read, and had lines since then.
_OPEN_TRACES = f"""
    create table settled.open_traces as
    select distinct entries.trace_id
    from before.message_trace as entries
    where
        entries.arrived_at < $read_from
        and (entries.left_at >= $read_from or entries.left_at is null)
        and (
            entries.left_at is not null
            or {_HAS_RECENT_LINES}
        )
"""
_OPEN_MAIL = """
    create table settled.open_mail as
    select distinct
        host,
        queue_id,
        arrived_at
    from before.message_trace
    where
        arrived_at >= $first_arrived_at
        and trace_id in (select trace_id from settled.open_traces)
"""
# The traces of which a part may have changed.
_CHANGED_TRACES = f"""
    create table settled.changed_traces as
    select distinct entries.trace_id
    from before.message_trace as entries
    inner join settled.hosts as hosts on entries.host = hosts.host
    where
        (entries.left_at >= $over_by or entries.left_at is null)
        and entries.arrived_at < hosts.kept_before
        and (
            entries.left_at >= hosts.over_by
            or (entries.left_at is null and {_HAS_RECENT_LINES})
        )
"""
_REOPENED = """
    insert into settled.reopened
    select
        entries.host,
        entries.instance,
        entries.queue_id,
        entries.arrived_at
    from before.message_trace as entries
    inner join settled.hosts as hosts on entries.host = hosts.host
    where
        entries.arrived_at >= $first_arrived_at
        and entries.trace_id in (select trace_id from settled.changed_traces)
        and entries.arrived_at < hosts.kept_before
        and coalesce(entries.arrived_at >= hosts.frozen_before, true)
"""
# Mail counts on the day on which it left; pending mail may count on another one once a day comes in between.
_DAYS_KEPT = """
    create or replace table settled.hosts as
    select hosts.* replace (
        greatest(
            hosts.days_kept_before,
            least(
                cast(timezone(fleet.time_zone, least(hosts.kept_before, reopened.arrived_at)) as date),
                new_days.date
            )
        ) as days_kept_before
    )
    from settled.hosts as hosts
    inner join fleet.hosts as fleet on hosts.host = fleet.host
    left join (
        select
            host,
            min(arrived_at) as arrived_at
        from settled.reopened
        group by host
    ) as reopened
        on hosts.host = reopened.host
    left join (
        select
            hosts.host,
            min(dates.date) as date
        from settled.hosts as hosts
        cross join staging.log_dates as dates
        anti join before.fleet_daily as known
            on hosts.host = known.host and dates.date = known.date
        group by hosts.host
    ) as new_days
        on hosts.host = new_days.host
"""
# The hosts of which the events that were read do not tell the rows for sure.
NOT_PROVED = """
    -- Whether the service was up before a restart.
    select restarts.host
    from staging.restarts as restarts
    inner join settled.hosts as hosts on restarts.host = hosts.host
    where
        restarts.down_at >= hosts.kept_before
        and not exists (
            select 1 from staging.scan_attempts as attempts
            where
                attempts.host = restarts.host
                and attempts.is_answered
                and attempts.is_fresh_connection
                and attempts.began_at >= hosts.read_from
                and attempts.began_before < hosts.kept_before
        )

    union

    -- The hop of a failure, which the same reason tells however long before.
    select attempts.host
    from staging.attempts as attempts
    inner join settled.hosts as hosts on attempts.host = hosts.host
    where attempts.is_hop_untold and attempts.logged_at >= hosts.kept_before

    union

    -- Which restart mail is suspended for, unless rows that are kept tell it.
    select attempts.host
    from staging.scan_attempts as attempts
    inner join settled.hosts as hosts on attempts.host = hosts.host
    where
        attempts.cause = 'suspended'
        and attempts.logged_at >= hosts.kept_before
        and not exists (
            select 1
            from staging.held_attempts as held
            inner join staging.restarts as restarts on held.restart_id = restarts.restart_id
            where
                held.host = attempts.host
                and held.queue_id = attempts.queue_id
                and held.logged_at = attempts.logged_at
                and restarts.down_at >= hosts.kept_before
        )
        and (
            attempts.logged_at >= hosts.over_by
            or exists (
                select 1 from staging.held_attempts as held
                where
                    held.host = attempts.host
                    and held.instance = attempts.instance
                    and held.queue_id = attempts.queue_id
            )
        )

    union

    -- Whose queue a line is about.
    select host from (from staging.log_instances except from before.log_instances)

    union

    -- What minimal_backoff_time is, where the whole log tells it.
    select host from (from staging.backoff_estimates except from before.backoff_estimates)

    union

    select host from (from before.backoff_estimates except from staging.backoff_estimates)

    union

    -- Whether the log contradicts it.
    select host from (from staging.refuted_settings except from before.refuted_settings)

    union

    select host from (from before.refuted_settings except from staging.refuted_settings)

    union

    -- Whether mail comes back from the scan service, which holds for all of a span without a gap.
    select spans.host
    from staging.reinjection_spans as spans
    inner join settled.hosts as hosts on spans.host = hosts.host
    where spans.covered_from < hosts.kept_before and spans.reinjected_from >= hosts.kept_before

    union

    -- Mail of settled days that no line told of, as its log comes late.
    select facts.host
    from staging.entry_facts as facts
    inner join settled.hosts as hosts on facts.host = hosts.host
    where
        facts.first_logged_at >= hosts.news_since
        and facts.told_arrival_at < hosts.kept_before

    union

    -- Mail that is another's now.
    select reopened.host
    from settled.reopened as reopened
    anti join marts.message_trace as entries
        on
            reopened.host = entries.host
            and reopened.instance = entries.instance
            and reopened.queue_id = entries.queue_id
            and reopened.arrived_at = entries.arrived_at
"""
