"""Derives the verdict on a published restart again, and gathers its evidence with the log lines.

The models run again in a database in memory, over the events of one host and the days that matter; the
queries of sql/explain read their tables. A query for lines gives role, source_id and line_number; everything
else is in the line's event.
"""

import math
import re
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb

from transforms.archive.quotes import Place, Quotes, read_quotes
from transforms.contracts.contracts import load_contracts
from transforms.lake.catalog import (
    attach_published,
    create_views,
    host_of_file,
    period_of_file,
    published_files,
)
from transforms.marts.database import create_table
from transforms.marts.models import load_models, needed_models, run_models
from transforms.marts.repeats import show_lines_once
from transforms.names import given_host
from transforms.parse.tables import EVENT_TABLES
from transforms.problems import MaillagError
from transforms.queries import read_query

# Days before and after a restart and its mail that may still matter to it.
TIME_AROUND = timedelta(days=1)
# The number marks a second or third restart within one second.
RESTART_ID = re.compile(r"(?s)(?P<host>.+)-(?P<instant>[0-9]{8}T[0-9]{6}Z)(?P<number>-[0-9]+)?")
EVENTS = tuple(f"events.{name}" for name in EVENT_TABLES)
# How many restarts or hosts an error names if none was found.
NAMED = 5

Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A log line and what it stands for.

    `is_quoted`: read from the archive, else put together from its event. `queue_id` is None for a line that
    is about no message.
    """

    role: str
    path: str
    line_number: int
    logged_at: datetime
    queue_id: str | None
    text: str
    is_quoted: bool


@dataclass(frozen=True)
class Evidence:
    """A row of facts, such as a held message or a scan of the queue, and the lines that tell them."""

    facts: Row
    lines: list[Line]


@dataclass(frozen=True)
class Explanation:
    """The evidence for the verdict on one restart.

    `restart` is the published row of marts.restarts. `differences` are the columns for which the events now
    give another value, with the published and the present value (all None if the events no longer give the
    restart; then there is no evidence either).
    """

    restart: Row
    differences: dict[str, tuple[Any, Any]]
    host: Row
    thresholds: Row
    window: Row
    waiting: Row
    service: list[Line]
    messages: list[Evidence]
    orders: list[Line]
    scans: list[Evidence]
    spans: list[Row]
    sources: list[Row]
    losses: list[Line]


def find_restart(catalog: duckdb.DuckDBPyConnection, asked: str) -> str:
    """Return the id of a restart, given its id, or its host and any instant inside it.

    Raises MaillagError, which names the nearest restarts, if there is none.
    """
    match = RESTART_ID.fullmatch(asked)
    if match:
        asked = given_host(match["host"]) + asked[match.end("host") :]
    if catalog.execute("select 1 from marts.restarts where restart_id = $asked", {"asked": asked}).fetchone():
        return asked
    try:
        instant = match and datetime.strptime(match["instant"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        instant = None
    if match is None or instant is None:
        raise MaillagError(
            f"{asked}: names no restart. Write host and time (UTC) as in imsva91-20200203T010736Z; "
            "`maillag restarts` lists all."
        )
    host = given_host(match["host"])
    place = {"host": host, "instant": instant}
    if match["number"] is None and (
        found := catalog.execute(read_query("explain.restart_at"), place).fetchone()
    ):
        return str(found[0])
    nearest = catalog.execute(read_query("explain.nearest_restarts"), place | {"limit": NAMED}).fetchall()
    if nearest:
        raise MaillagError(f"{asked}: lies in no restart. The nearest: {_listed(nearest)}.")
    hosts = catalog.execute(
        "select distinct host from marts.restarts order by host limit $limit", {"limit": NAMED + 1}
    ).fetchall()
    raise MaillagError(
        f"{asked}: there is no restart of host {host}. Hosts with restarts: "
        f"{_listed(hosts[:NAMED]) or 'none'}{' and others' if len(hosts) > NAMED else ''}."
    )


def explain_restart(
    lake: Path, restart_id: str, *, archive: Path | None = None, message_limit: int | None = None
) -> Explanation:
    """Derive a published restart again and gather its evidence; `message_limit` None means all mail.

    A few days around the restart are nearly always enough; if they give another result, all days are used.
    """
    with closing(attach_published(lake)) as connection:
        restart = _published(connection, restart_id)
        days = _days(connection, restart_id)
        _run_models(connection, lake, restart["host"], days)
        differences = _differences(connection, restart)
        if not differences:
            return _gather(connection, restart, {}, archive=archive, message_limit=message_limit)
    with closing(attach_published(lake)) as connection:
        _run_models(connection, lake, restart["host"], None)
        differences = _differences(connection, restart)
        return _gather(connection, restart, differences, archive=archive, message_limit=message_limit)


def _published(connection: duckdb.DuckDBPyConnection, restart_id: str) -> Row:
    sql = "select * from published.marts.restarts where restart_id = $restart_id"
    (restart,) = _fetch(connection, sql, restart_id=restart_id)
    return restart


def _days(connection: duckdb.DuckDBPyConnection, restart_id: str) -> tuple[date, date]:
    ((first_at, last_at),) = connection.execute(
        read_query("explain.restart_span"), {"restart_id": restart_id}
    ).fetchall()
    return (first_at - TIME_AROUND).date(), (last_at + TIME_AROUND).date()


def _run_models(
    connection: duckdb.DuckDBPyConnection, lake: Path, host: str, days: tuple[date, date] | None
) -> None:
    """Build marts.restarts and everything it depends on, for one host and these UTC days (None: all)."""
    models = needed_models(load_models(), {"marts.restarts"})
    contracts = load_contracts()
    made = {table for model in models for table in model.tables}
    read = frozenset().union(*(model.inputs for model in models)) - made
    # The time of every line of evidence comes from its event.
    for table in sorted(read | set(EVENTS)):
        files = published_files(connection, table)
        if table in EVENTS or table.startswith(("events.", "ops.line_counts")):
            needed = [file for file in files if _may_be_of(file, host, days)]
            # Hosts may share a file without a host in its path.
            only = {file: frozenset({host}) for file in needed if host_of_file(file) is None}
            create_views(connection, lake, contracts=[contracts[table]], files={table: needed}, only=only)
        else:
            of_host = {"host": host} if "host" in contracts[table].columns else {}
            where = "where host = $host" if of_host else ""
            connection.execute(f"create schema if not exists {table.split('.')[0]}")
            connection.execute(f"create table {table} as select * from published.{table} {where}", of_host)
    show_lines_once(connection)
    run_models(connection, models)


def _may_be_of(file: str, host: str, days: tuple[date, date] | None) -> bool:
    if host_of_file(file) not in {host, None}:
        return False
    period = period_of_file(file)
    if days is None or period is None:
        return True
    first, last = (day.isoformat()[: len(period)] for day in days)
    return first <= period <= last


def _differences(connection: duckdb.DuckDBPyConnection, published: Row) -> dict[str, tuple[Any, Any]]:
    sql = "select * from marts.restarts where restart_id = $restart_id"
    derived = _fetch(connection, sql, restart_id=published["restart_id"])
    now = derived[0] if derived else dict.fromkeys(published)
    return {
        name: (value, now.get(name))
        for name, value in published.items()
        if not _is_same(value, now.get(name))
    }


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        # Sums of fractions depend on the order in which threads add them.
        return math.isclose(one, other, abs_tol=0.001)
    return bool(one == other)


def _gather(
    connection: duckdb.DuckDBPyConnection,
    restart: Row,
    differences: dict[str, tuple[Any, Any]],
    *,
    archive: Path | None,
    message_limit: int | None,
) -> Explanation:
    connection.execute("create schema explain")
    create_table(connection, "explain.restart", restart_id=restart["restart_id"])
    create_table(connection, "explain.maillogs")
    messages = _ask(connection, "messages", message_limit=message_limit)
    scans = _ask(connection, "scans")
    # All places of lines are collected first, so that each file is read once.
    by_message: dict[tuple[Any, ...], list[Row]] = {_message_key(message): [] for message in messages}
    for row in _ask(connection, "message_lines"):
        if (key := _message_key(row)) in by_message:
            by_message[key].append(row)
    by_scan = [_scan_lines(connection, scan) for scan in scans]
    service = _ask(connection, "service_lines")
    orders = _ask(connection, "order_lines")
    losses = _ask(connection, "loss_lines")
    found = [*service, *orders, *losses, *chain(*by_scan, *by_message.values())]
    book = _LineBook(connection, found, archive)
    (window,) = _ask(connection, "window") or [{}]
    (host,) = _ask(connection, "host") or [{}]
    (thresholds,) = _fetch(connection, "from config.thresholds")
    (waiting,) = _ask(connection, "waiting")
    return Explanation(
        restart=restart,
        differences=differences,
        host=host,
        thresholds=thresholds,
        window=window,
        waiting=waiting,
        service=book.lines(service),
        messages=[Evidence(message, book.lines(by_message[_message_key(message)])) for message in messages],
        orders=book.lines(orders),
        scans=[Evidence(scan, book.lines(rows)) for scan, rows in zip(scans, by_scan, strict=True)],
        spans=_ask(connection, "spans"),
        sources=_ask(connection, "sources"),
        losses=book.lines(losses),
    )


def _message_key(row: Row) -> tuple[Any, ...]:
    return row["instance"], row["queue_id"], row["lifetime"]


def _scan_lines(connection: duckdb.DuckDBPyConnection, scan: Row) -> list[Row]:
    def lines(query: str, *names: str) -> list[Row]:
        return _ask(connection, query, **{name: scan[name] for name in names})

    rows = lines("reactivation_line", "instance", "queue_id", "lifetime", "round_number")
    if scan["is_at_qmgr_start"]:
        rows += lines("qmgr_start_lines", "instance", "began_at", "ended_at")
    return rows


class _LineBook:
    """The events of all lines that are evidence, and their text if the archive has them."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, rows: Iterable[Row], archive: Path | None
    ) -> None:
        wanted = {(row["source_id"], row["line_number"]) for row in rows}
        self.files: dict[str, Row] = {
            row["source_id"]: row
            for row in _fetch(connection, "select source_id, path, log_kind from ops.source_files")
        }
        self.events = _events(connection, wanted)
        places = [
            Place(self.files[source]["path"], self.files[source]["log_kind"], number)
            for source, number in wanted
        ]
        self.quotes: Quotes = read_quotes(archive, places) if archive else {}

    def lines(self, rows: Iterable[Row]) -> list[Line]:
        """Return lines in order of time, and within a second in the order of their files."""
        return sorted(
            (self._line(row) for row in rows), key=lambda line: (line.logged_at, line.path, line.line_number)
        )

    def _line(self, row: Row) -> Line:
        source, number = row["source_id"], row["line_number"]
        event = self.events[source, number]
        quote = self.quotes.get((self.files[source]["path"], number))
        # Rotation may have given the name to another file: then the line does not belong to the event.
        is_quoted = quote is not None and str(event.get("queue_id") or event["message"]) in quote
        return Line(
            role=row["role"],
            path=self.files[source]["path"],
            line_number=number,
            logged_at=event["logged_at"],
            queue_id=event.get("queue_id"),
            text=quote if quote is not None and is_quoted else _rebuilt(event),
            is_quoted=is_quoted,
        )


def _events(
    connection: duckdb.DuckDBPyConnection, wanted: set[tuple[str, int]]
) -> dict[tuple[str, int], Row]:
    """Return the event of each line; if several recipients share a line, any of its events."""
    sources, numbers = [source for source, _ in wanted], [number for _, number in wanted]
    events = {}
    for table in EVENTS:
        rows = _fetch(
            connection,
            f"select * from {table} "
            "where (source_id, line_number) in (select (unnest($sources), unnest($numbers)))",
            sources=sources,
            numbers=numbers,
        )
        events.update({(row["source_id"], row["line_number"]): row for row in rows})
    return events


def _rebuilt(event: Row) -> str:
    """Return what the event kept of its line."""
    hidden = {"host", "logged_at", "source_id", "line_number", "year_source", "zone_source"}
    return " ".join(
        f"{name}={value}" for name, value in event.items() if value is not None and name not in hidden
    )


def _ask(connection: duckdb.DuckDBPyConnection, query: str, **parameters: Any) -> list[Row]:
    """Return the rows of a query of sql/explain."""
    return _fetch(connection, read_query(f"explain.{query}"), **parameters)


def _fetch(connection: duckdb.DuckDBPyConnection, sql: str, **parameters: Any) -> list[Row]:
    result = connection.execute(sql, parameters)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _listed(rows: list[tuple[Any, ...]]) -> str:
    return ", ".join(str(row[0]) for row in rows)
