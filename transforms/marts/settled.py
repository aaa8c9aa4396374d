"""Merges carried-over and rebuilt rows of the marts, and selects the events that a rebuild needs.

A host's marts depend on all its events, but new lines do not change what has long been over: those days are
settled (news.py says which). Their rows are carried over from the previous marts. Of their events, a rebuild
reads only those that later rows may depend on: the last hours, all lines about mail that is still in a queue,
and tables that are handed on (mart_files.py). Days whose events have expired stay settled (frozen). If the
events that were read do not prove a host's rows (NOT_PROVED), the host is rebuilt as a whole. The queries are
in sql/settled.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import duckdb
import polars as pl

from transforms.contracts.contracts import Contract, instant_in, kept_tables
from transforms.lake.catalog import create_tables, create_views, period_of_file
from transforms.lake.records import FrozenDays, Rows
from transforms.marts.database import create_table
from transforms.parse.tables import UTC_TIME
from transforms.queries import read_query

# Events about mail, the bulk of all events; and other events that are not needed completely either, but only
# from the last one on that is this long before the rest.
MAIL_EVENTS = (
    "clients", "delivery_attempts", "message_ids", "other_lines", "queue_activations", "queue_removals",
)  # fmt: skip
EARLIER_EVENTS = {"system_events": timedelta(), "manager_log": timedelta(days=1)}
# Whatever a line is about is over after this: a restart's window takes two minutes, an attempt ten at most.
# Mail that waits longer is found by its queue id.
LINE_SPAN = timedelta(hours=1)
# For these tables, a separate query decides which rows stay.
KEPT_BY_RULES_OF_THEIR_OWN = frozenset({"coverage", "fleet_daily", "log_instances", "message_trace"})
HOSTS_SCHEMA = pl.Schema(
    {
        "host": pl.String(),
        "kept_before": UTC_TIME,
        "days_kept_before": pl.Date(),
        "frozen_before": UTC_TIME,
        "over_by": UTC_TIME,
        "news_since": UTC_TIME,
        "read_from": UTC_TIME,
    }
)
NOT_PROVED = read_query("settled.not_proved")


@dataclass(frozen=True)
class Settled:
    """From when on a host's rows are rebuilt, its events are read, and its lines are new."""

    host: str
    kept_before: datetime
    read_from: datetime
    news_since: datetime


def create_settled_hosts(
    connection: duckdb.DuckDBPyConnection,
    hosts: Iterable[str],
    settled: Mapping[str, Settled],
    frozen: Mapping[str, FrozenDays],
) -> None:
    """Create settled.hosts, which says until when a host's rows are kept, and an empty settled.reopened."""
    rows: list[tuple[object, ...]] = []
    for host in hosts:
        window, days = settled.get(host), frozen.get(host)
        frozen_day = days.frozen_before if days else None
        frozen_at = datetime.combine(frozen_day, time(), UTC) if frozen_day else None
        kept = max((at for at in (window and window.kept_before, frozen_at) if at), default=None)
        over_by = window and window.news_since - LINE_SPAN
        since, read_from = (window.news_since, window.read_from) if window else (None, None)
        rows.append((host, kept, frozen_day, frozen_at, over_by, since, read_from))
    create_tables(connection, {"settled.hosts": pl.DataFrame(rows, schema=HOSTS_SCHEMA, orient="row")})
    connection.execute(
        "create table settled.reopened "
        "(host varchar, instance varchar, queue_id varchar, arrived_at timestamptz)"
    )


def with_kept_rows(connection: duckdb.DuckDBPyConnection, table: str, made: str) -> str:
    """Return the query of a table's new rows: the rows of `made`, and the old rows that stay.

    `made` is a table or a subquery. The query reads the views settled.made and settled.kept, which the next
    call replaces.
    """
    kept = kept_tables()[table]
    name = table.partition(".")[2]
    if kept.instant is None and name not in KEPT_BY_RULES_OF_THEIR_OWN:
        return f"from {made}"
    for view, source in (("made", made), ("kept", f"kept.{name}")):
        connection.execute(
            f"create or replace view settled.{view} as select *, {kept.instant or 'null'} as placed_at "
            f"from {source}"
        )
    return read_query(f"settled.{name if name in KEPT_BY_RULES_OF_THEIR_OWN else 'rows'}")


def show_events(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    rows: Rows,
    *,
    contracts: Mapping[str, Contract],
) -> set[str]:
    """Create views of the events that a rebuild of the hosts in settled.hosts depends on.

    Returns the names of these views; all other events are needed completely. Fills settled.reopened: the rows
    of marts.message_trace on settled days that are rebuilt nevertheless, because another part of their trace
    was still in a queue.
    """
    _show_later_events(connection, lake, rows, contracts=contracts)
    _show_open_mail(connection, lake, rows, contracts=contracts)
    create_table(connection, "settled.hosts")
    return {f"events.{name}" for name in (*MAIL_EVENTS, *EARLIER_EVENTS)}


def _show_later_events(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    rows: Rows,
    *,
    contracts: Mapping[str, Contract],
) -> None:
    """Create views of the EARLIER_EVENTS."""
    for name in EARLIER_EVENTS:
        table = f"events.{name}"
        _show(connection, lake, f"all_of.{name}", contracts[table], rows, rows.paths.get(table, []))
    seconds = {f"{name}_seconds": before.total_seconds() for name, before in EARLIER_EVENTS.items()}
    create_table(connection, "settled.event_starts", **seconds)
    connection.execute("create schema if not exists events")
    for name in EARLIER_EVENTS:
        connection.execute(
            f"""
            create view events.{name} as
            select events.* from all_of.{name} as events
            semi join settled.event_starts as starts
                on
                    events.host = starts.host
                    and starts.table_name = '{name}'
                    and events.logged_at >= starts.read_from
            """
        )


def _show_open_mail(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    rows: Rows,
    *,
    contracts: Mapping[str, Contract],
) -> None:
    """Create views of the MAIL_EVENTS: all recent ones, and older ones about mail of open traces."""
    ((read_from, over_by),) = connection.execute(
        "select min(read_from), min(over_by) from settled.hosts"
    ).fetchall()
    for name in MAIL_EVENTS:
        recent = _since(rows.paths.get(f"events.{name}", []), read_from)
        _show(connection, lake, f"recent.{name}", contracts[f"events.{name}"], rows, recent)
    mail = " union all ".join(f"select host, queue_id, logged_at from recent.{name}" for name in MAIL_EVENTS)
    connection.execute(f"create view recent.mail as {mail}")
    create_table(connection, "settled.recent_ids", read_from=read_from)
    create_table(connection, "settled.open_traces", read_from=read_from)
    first_arrived_at = _first_arrived_at(connection, "open_traces")
    create_table(connection, "settled.open_mail", first_arrived_at=first_arrived_at)
    create_table(connection, "settled.changed_traces", over_by=over_by)
    first_arrived_at = _first_arrived_at(connection, "changed_traces")
    create_table(connection, "settled.reopened", first_arrived_at=first_arrived_at)
    ((opened_from,),) = connection.execute("select min(arrived_at) from settled.open_mail").fetchall()
    for name in MAIL_EVENTS:
        older = _since(rows.paths.get(f"events.{name}", []), opened_from) if opened_from else []
        _show(connection, lake, f"older.{name}", contracts[f"events.{name}"], rows, older)
        # A view takes no parameters.
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


def is_counted_anew(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the SQL condition for rows of marts.message_trace that count on rebuilt days of fleet_daily."""
    ((since,),) = connection.execute(read_query("settled.counted_since")).fetchall()
    return f"left_at >= {_literal(since)} or left_at is null" if since else "true"


def _first_arrived_at(connection: duckdb.DuckDBPyConnection, traces: str) -> datetime | None:
    """Return the earliest arrival in the ids of some traces: no hop is earlier than the first."""
    first: datetime | None
    ((first,),) = connection.execute(f"select min({instant_in('trace_id')}) from settled.{traces}").fetchall()
    return first and first - LINE_SPAN


def _show(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    view: str,
    contract: Contract,
    rows: Rows,
    paths: list[str],
) -> None:
    contracts = [replace(contract, table=view)]
    create_views(connection, lake, contracts=contracts, files={view: paths}, only=rows.only)


def _since(paths: Iterable[str], instant: datetime) -> list[str]:
    return [path for path in paths if may_hold(path, instant.date())]


def may_hold(path: str, day: date) -> bool:
    """Return whether a file may have events of this day or a later one."""
    return may_hold_period(period_of_file(path), day)


def may_hold_period(period: str | None, day: date) -> bool:
    """Return whether a UTC day or month (ISO 8601; None: unknown) has this day or a later one."""
    return period is None or period >= f"{day}"[: len(period)]


def _literal(instant: datetime) -> str:
    return f"timestamptz '{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'"
