"""Turns what is new in the lake since its marts were made into the time from which each host is rebuilt."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from transforms.contracts.contracts import Contract
from transforms.lake.catalog import create_tables, create_views
from transforms.lake.files import write_table
from transforms.lake.records import LakeFile, Rows
from transforms.marts.database import create_table, execute
from transforms.marts.mart_files import show_marts
from transforms.marts.settled import LINE_SPAN, MAIL_EVENTS, Settled, may_hold
from transforms.parse.tables import UTC_TIME
from transforms.queries import read_query

# Events are read from this long before the first rebuilt row, so that whatever was under way then is
# complete; and from this many answers of the scan service before it, because the last answer bounds a
# restart.
RUN_UP = timedelta(hours=6)
ANSWERS_BEFORE = 20
# If there are as many answers within this time, older mail is not considered.
ANSWERED_WITHIN = timedelta(days=3)
BASIS = ("basis.rules", "basis.source_files", "basis.host_history", "basis.log_dates")
LATE = datetime(9999, 1, 1, tzinfo=UTC)
ALWAYS = timedelta(days=100 * 365)
NEWS_SCHEMA = pl.Schema({"host": pl.String(), "since": UTC_TIME})
GROWN_SCHEMA = pl.Schema({"source_id": pl.String(), "line_count": pl.Int64()})
WINDOWS_SCHEMA = pl.Schema({"host": pl.String(), "kept_before": UTC_TIME, "read_from": UTC_TIME})
# The columns that determine the events of a source file: not its name, which rotation changes, nor the run.
_TELLING = (
    "host", "log_kind", "status", "content_hash", "line_count", "event_line_count", "noise_line_count",
    "unparsed_line_count", "time_zone", "first_logged_at", "last_logged_at", "covered_from", "covered_until",
)  # fmt: skip
# The columns that do not change when a file grows.
_LASTING = ("host", "log_kind", "time_zone", "first_logged_at", "covered_from")


@dataclass(frozen=True)
class News:
    """What is new for a host: everything (`since` is None), or lines from an instant on.

    `grown`: how many lines the source files had before that have grown since.
    """

    host: str
    since: datetime | None = None
    grown: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Basis:
    """What the marts were built from, besides events: rules, source files, settings and days at that time."""

    rules: str
    source_files: pl.DataFrame
    host_history: pl.DataFrame
    log_dates: pl.DataFrame


def read_basis(lake: Path, files: Mapping[str, list[str]]) -> Basis | None:
    """Return what the lake's marts were built from; None if there are no marts."""
    if any(table not in files for table in BASIS):
        return None
    rules, *others = (pl.read_parquet(lake / files[table][0], glob=False) for table in BASIS)
    return Basis(rules.item(), *others)


def write_basis(lake: Path, basis: Basis, run_id: str) -> list[LakeFile]:
    """Write what new marts are built from beside the marts."""
    rules = pl.DataFrame({"rules": [basis.rules]})
    frames = (rules, basis.source_files, basis.host_history, basis.log_dates)
    return [write_table(lake, table, rows, run_id) for table, rows in zip(BASIS, frames, strict=True)]


def news_since(
    basis: Basis | None,
    now: Basis,
    hosts: Iterable[str],
    grown_from: Mapping[str, str],
    stale_hosts: Collection[str] = (),
) -> list[News] | None:
    """Return what is new for hosts since their marts were built; None if the rules changed.

    `grown_from`: the old content_hash of files that have only grown (Ledger.grown_sources). For
    `stale_hosts`, whose marts have lost a file, everything is new.
    """
    if basis is None or basis.rules != now.rules:
        return None
    hosts = sorted(hosts)
    news = {item.host: item for item in find_news(hosts, now.source_files, basis.source_files, grown_from)}
    histories = (basis.host_history, now.host_history)
    before, after = (_by_host_and_time(history) for history in histories)
    for host in hosts:
        if host in stale_hosts or before.get(host) != after.get(host):
            news[host] = News(host)
    return list(news.values())


def _by_host_and_time(history: pl.DataFrame) -> dict[str, list[tuple[Any, ...]]]:
    rows: dict[str, list[tuple[Any, ...]]] = {}
    at = history.columns.index("host")
    for row in history.sort("valid_from", nulls_last=False).iter_rows():
        rows.setdefault(row[at], []).append(row)
    return rows


def find_news(
    hosts: Iterable[str], sources: pl.DataFrame, before: pl.DataFrame, grown_from: Mapping[str, str]
) -> list[News]:
    """Return what is new for the hosts, given ops.source_files now and before.

    `grown_from`: the old content_hash of files that have only grown (Ledger.grown_sources).
    """
    columns = ["source_id", *_TELLING]
    both = sources.select(columns).join(before.select(columns), on="source_id", how="full", suffix="_before")
    is_changed = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_before")) for name in _TELLING)
    changed_of: dict[str, list[dict[str, Any]]] = {}
    for row in both.filter(is_changed).rows(named=True):
        for host in {row["host"], row["host_before"]} - {None}:
            changed_of.setdefault(host, []).append(row)
    known_before = set(before["host"])
    return [
        _news_of_host(host, changed_of[host], grown_from) if host in known_before else News(host)
        for host in hosts
        if host in changed_of
    ]


def _news_of_host(host: str, changed: Iterable[Mapping[str, Any]], grown_from: Mapping[str, str]) -> News:
    instants, grown = [LATE], {}
    for row in changed:
        source_id = row["source_id"]
        if row["source_id_before"] is None:
            instants += filter(None, (row["first_logged_at"], row["covered_from"]))
        elif (
            source_id is not None
            and row["status"] == row["status_before"] == "loaded"
            and grown_from.get(source_id) == row["content_hash_before"]
            and all(row[name] == row[f"{name}_before"] for name in _LASTING)
        ):
            grown[source_id] = row["line_count_before"]
            instants += filter(None, [row["last_logged_at_before"]])
        else:
            return News(host)
    return News(host, min(instants), grown)


def settle(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    news: Iterable[News],
    rows: Rows,
    *,
    contracts: Mapping[str, Contract],
) -> dict[str, Settled]:
    """Return from when on the marts of hosts are rebuilt. A host without an entry is rebuilt as a whole.

    `rows` are those of these hosts. The connection needs the present staging.log_gaps, ops.line_counts and
    the thresholds. Raises duckdb.Error for files that cannot be read.
    """
    dated = {item.host: item for item in news if item.since is not None}
    if not dated:
        return {}
    since = pl.DataFrame([(host, item.since) for host, item in dated.items()], NEWS_SCHEMA, orient="row")
    first = min(filter(None, (item.since for item in dated.values())))
    grown = [(source_id, count) for item in dated.values() for source_id, count in item.grown.items()]
    create_tables(
        connection,
        {"settled.news": since, "settled.grown": pl.DataFrame(grown, GROWN_SCHEMA, orient="row")},
    )
    show_marts(connection, lake, rows, contracts, schema="before")
    _show_recent(connection, lake, rows, contracts, first - timedelta(days=1))
    create_table(connection, "settled.grown_lines")
    create_table(connection, "settled.changed_gaps")
    create_table(connection, "settled.changed_since")
    create_table(connection, "settled.new_ids")
    create_table(connection, "settled.changed_restarts", line_span_seconds=LINE_SPAN.total_seconds())
    return _settled(connection)


def _show_recent(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    rows: Rows,
    contracts: Mapping[str, Contract],
    since: datetime,
) -> None:
    """Create views of the events since an instant: their lines, those about mail, and queue snapshots."""
    # The lines of a file are nearly, but not quite, in the order of their stamps.
    tables = [table for table in contracts if table.startswith("events.")]
    recent = {
        f"recent.{table.removeprefix('events.')}": [
            path for path in rows.paths.get(table, ()) if may_hold(path, since.date())
        ]
        for table in tables
    }
    shown = [replace(contracts[table], table=view) for table, view in zip(tables, recent, strict=True)]
    create_views(connection, lake, contracts=shown, files=recent, only=rows.only)
    lines = " union all ".join(
        f"select host, source_id, line_number, logged_at from {view}" for view in recent
    )
    connection.execute(f"create view recent.lines as {lines}")
    mail = " union all ".join(
        f"select host, queue_id, logged_at from recent.{name}" for name in (*MAIL_EVENTS, "queue_snapshots")
    )
    connection.execute(f"create view recent.mail as {mail}")


def _settled(connection: duckdb.DuckDBPyConnection) -> dict[str, Settled]:
    """Return which rows of hosts may change (settled.changed_restarts), and which events these depend on."""
    changed = _by_host(
        connection, "select host, min(changed_from) from settled.changed_restarts group by host"
    )
    news_since = _by_host(connection, "select host, news_since from settled.changed_since")
    kept_before = {
        host: (min(since, changed.get(host, since)) - LINE_SPAN).replace(microsecond=0)
        for host, since in news_since.items()
    }
    read_from = {host: kept - RUN_UP for host, kept in kept_before.items()}
    _create_windows(connection, kept_before, read_from)
    for host, arrived_at in _answered_before(connection).items():
        read_from[host] = min(read_from[host], arrived_at)
    _create_windows(connection, kept_before, read_from)
    for host, began_at in _by_host(connection, read_query("settled.under_way")).items():
        read_from[host] = min(read_from[host], began_at - LINE_SPAN)
    return {
        host: Settled(host, kept_before[host], read_from[host], since) for host, since in news_since.items()
    }


def _create_windows(
    connection: duckdb.DuckDBPyConnection,
    kept_before: Mapping[str, datetime],
    read_from: Mapping[str, datetime],
) -> None:
    rows = [(host, kept, read_from[host]) for host, kept in kept_before.items()]
    connection.execute("drop table if exists settled.windows")
    create_tables(connection, {"settled.windows": pl.DataFrame(rows, WINDOWS_SCHEMA, orient="row")})


def _answered_before(connection: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Return, by host, the earliest arrival of the mail that the scan service answered last."""
    found: dict[str, datetime] = {}
    ((host_count,),) = execute(connection, "select count(*) from settled.windows")
    for arrived_within in (ANSWERED_WITHIN, ALWAYS):
        parameters = {
            "arrived_within_seconds": arrived_within.total_seconds(),
            "answer_count": ANSWERS_BEFORE,
        }
        rows = execute(connection, read_query("settled.answered_mail"), parameters)
        is_last = arrived_within == ALWAYS
        enough = {host: arrived_at for host, arrived_at, count in rows if is_last or count == ANSWERS_BEFORE}
        found = enough | found
        if len(found) == host_count:
            break
    return found


def _by_host(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, datetime]:
    """Return the instants that a query gives by host, without NULLs."""
    return {host: instant for host, instant in execute(connection, query) if instant is not None}


def hosts_without_marts(lake: Path, files: Mapping[str, list[str]]) -> set[str]:
    """Return the hosts whose marts could not be built from their latest events."""
    known, made = (
        {host for path in files.get(f"{schema}.host_history", ()) for host in _hosts_in(lake / path)}
        for schema in ("fleet", "basis")
    )
    return known - made if "basis.host_history" in files else set()


def _hosts_in(path: Path) -> list[str]:
    return pl.read_parquet(path, columns=["host"], glob=False)["host"].to_list()
