"""Turns what is new in the lake since its marts were made into the time from which each host is rebuilt."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from transforms.contracts.contracts import Contract
from transforms.lake.catalog import literally
from transforms.lake.files import write_table
from transforms.lake.records import LakeFile
from transforms.marts.mart_files import show_marts
from transforms.marts.settled import LINE_SPAN, MAIL_EVENTS, Settled, may_hold
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
    for host in hosts:
        before, after = (
            history.filter(pl.col("host") == host).sort("valid_from", nulls_last=False)
            for history in (basis.host_history, now.host_history)
        )
        if host in stale_hosts or not before.equals(after):
            news[host] = News(host)
    return list(news.values())


def find_news(
    hosts: Iterable[str], sources: pl.DataFrame, before: pl.DataFrame, grown_from: Mapping[str, str]
) -> list[News]:
    """Return what is new for the hosts, given ops.source_files now and before.

    `grown_from`: the old content_hash of files that have only grown (Ledger.grown_sources).
    """
    columns = ["source_id", *_TELLING]
    both = sources.select(columns).join(before.select(columns), on="source_id", how="full", suffix="_before")
    rows_of: dict[str, list[dict[str, Any]]] = {}
    for row in both.rows(named=True):
        for host in {row["host"], row["host_before"]} - {None}:
            rows_of.setdefault(host, []).append(row)
    found = []
    for host in hosts:
        rows = rows_of.get(host, [])
        changed = [row for row in rows if any(row[name] != row[f"{name}_before"] for name in _TELLING)]
        if changed and len(changed) == sum(row["source_id_before"] is None for row in rows) == len(rows):
            found.append(News(host))
        elif changed:
            found.append(_news_of_host(host, changed, grown_from))
    return found


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
    *,
    files: Mapping[str | None, Mapping[str, list[str]]],
    contracts: Mapping[str, Contract],
) -> dict[str, Settled]:
    """Return from when on the marts of hosts are rebuilt. A host without an entry is rebuilt as a whole.

    `files` are those of each host, by table. The connection needs the present staging.log_gaps, and the
    tables of the fleet, the ledger and the thresholds.
    """
    settled = {}
    for item in news:
        if item.since is not None:
            of_host = files.get(item.host, {})
            # Nothing is carried over from files that cannot be read.
            with suppress(duckdb.Error):
                show_marts(connection, lake, of_host, contracts, schema="before")
                since = _changed_since(connection, lake, item, of_host)
                settled[item.host] = _settled(connection, lake, item.host, since, of_host)
    return settled


def _changed_since(
    connection: duckdb.DuckDBPyConnection, lake: Path, news: News, of_host: Mapping[str, list[str]]
) -> datetime:
    """Return the earliest instant about which the host's log now says something different."""
    instants = [news.since or LATE]
    # The lines of a file are nearly, but not quite, in the order of their stamps.
    for table, paths in of_host.items():
        recent = [p for p in paths if may_hold(p, (instants[0] - timedelta(days=1)).date())]
        if news.grown and table.startswith("events.") and recent:
            query = """
                select min(rows.logged_at)
                from read_parquet($paths, hive_partitioning = false) as rows
                inner join (select unnest($source_ids) as source_id, unnest($counts) as line_count) as grown
                    on rows.source_id = grown.source_id and rows.line_number > grown.line_count
            """
            parameters = {
                "paths": [literally(lake / path) for path in recent],
                "source_ids": list(news.grown),
                "counts": list(news.grown.values()),
            }
            instants += _one(connection, query, parameters)
    gaps = read_query("settled.changed_gaps")
    instants += _one(connection, f"select min(gap_from) from ({gaps})", {"host": news.host})
    # What the last old lines say, such as that the log is covered, holds until the new lines.
    instants += _one(
        connection,
        """
        select max(last_logged_at) from ops.line_counts
        where host = $host and log_kind = 'maillog' and last_logged_at < $since
        """,
        {"host": news.host, "since": min(instants)},
    )
    return min(instants)


def _settled(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    host: str,
    since: datetime,
    of_host: Mapping[str, list[str]],
) -> Settled:
    """Return which rows of the host lines since then may change, and which events these depend on."""
    changed = _changed_restarts_from(connection, lake, since, of_host)
    kept_before = min([since, *changed]) - LINE_SPAN
    kept_before = kept_before.replace(microsecond=0)
    read_from = min([kept_before - RUN_UP, *_answered_before(connection, kept_before)])
    # An outage is rebuilt as a whole or not at all.
    under_way = _one(
        connection,
        """
        select min(least(down_at, down_at_earliest, window_from)) from before.restarts
        where coalesce(greatest(up_at, up_at_latest) >= $read_from, true) and down_at < $kept_before
        """,
        {"read_from": read_from, "kept_before": kept_before},
    )
    read_from = min([read_from, *(at - LINE_SPAN for at in under_way)])
    return Settled(host, kept_before, read_from, since)


def _changed_restarts_from(
    connection: duckdb.DuckDBPyConnection, lake: Path, since: datetime, of_host: Mapping[str, list[str]]
) -> list[datetime]:
    """Return when the first restart begins that may change because of lines since then; None without one."""
    recent = {
        name: [
            literally(lake / path)
            for path in of_host.get(f"events.{name}", ())
            if may_hold(path, since.date())
        ]
        for name in (*MAIL_EVENTS, "queue_snapshots")
    }
    new_ids = " union ".join(
        f"select queue_id from read_parquet(${name}, hive_partitioning = false) where logged_at >= $since"
        for name, paths in recent.items()
        if paths
    )
    connection.execute("create schema if not exists settled")
    connection.execute(
        "create or replace table settled.new_ids as "
        + (new_ids or "select cast(null as varchar) as queue_id where $since is null"),
        {"since": since, **{name: paths for name, paths in recent.items() if paths}},
    )
    parameters = {
        "over_by": since - LINE_SPAN,
        # The latest snapshot lists all pending mail.
        "is_snapshot_new": bool(recent["queue_snapshots"]),
    }
    restarts = read_query("settled.changed_restarts")
    return _one(connection, f"select min(changed_from) from ({restarts})", parameters)


def _answered_before(connection: duckdb.DuckDBPyConnection, kept_before: datetime) -> list[datetime]:
    """Return the earliest arrival of the mail that the scan service answered last; None without such mail."""
    mail = read_query("settled.answered_mail")
    for arrived_since in (kept_before - ANSWERED_WITHIN, datetime.min.replace(tzinfo=UTC)):
        parameters = {
            "kept_before": kept_before,
            "arrived_since": arrived_since,
            "answer_count": ANSWERS_BEFORE,
        }
        ((first, count),) = connection.execute(
            f"select min(arrived_at), count(*) from ({mail})", parameters
        ).fetchall()
        if count == ANSWERS_BEFORE:
            break
    return [first] if first else []


def _one(connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any]) -> list[datetime]:
    """Return the instant that a query gives; None if it is NULL."""
    ((instant,),) = connection.execute(query, dict(parameters)).fetchall()
    return [] if instant is None else [instant]


def hosts_without_marts(lake: Path, files: Mapping[str, list[str]]) -> set[str]:
    """Return the hosts whose marts could not be built from their latest events."""
    known, made = (
        {host for path in files.get(f"{schema}.host_history", ()) for host in _hosts_in(lake / path)}
        for schema in ("fleet", "basis")
    )
    return known - made if "basis.host_history" in files else set()


def _hosts_in(path: Path) -> list[str]:
    return pl.read_parquet(path, columns=["host"], glob=False)["host"].to_list()
