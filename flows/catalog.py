"""The published catalog to rows: opens it read-only, and runs the queries of the command line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import duckdb

from flows.words import first_few
from transforms.lake.catalog import CATALOG_NAME, confine
from transforms.problems import HAS_MAIL_LINES, MaillagError
from transforms.queries import read_query

Row = dict[str, Any]
Values = tuple[Any, ...]


def newest_last(query: str) -> str:
    """Return a query for the `$newest` latest rows of another one that has down_at and host: all, if null."""
    return f"""
        select * from (select * from ({query}) order by down_at desc, host desc limit $newest)
        order by down_at, host
    """


# Parameters of the queries below: restarts of these hosts and days, and how many of the latest.
EVERYTHING: dict[str, Any] = {"hosts": [], "since": None, "until": None, "newest": None}
_CHOSEN = read_query("answers.restarts")
RESTARTS = newest_last(_CHOSEN)
UNKNOWN_RESTARTS = f"select * from ({RESTARTS}) where flush_verdict = 'unknown'"
MISSING_FLUSHES = newest_last(
    f"select * from marts.missing_flushes semi join ({_CHOSEN}) as chosen using (restart_id)"
)
RETRY_CONDITIONS = f"select * from marts.retry_conditions semi join ({_CHOSEN}) as chosen using (restart_id)"
NOT_FLUSHED = (
    f"select * from ({read_query('what_if.not_flushed')}) semi join ({_CHOSEN}) as chosen using (restart_id)"
)
# What people are shown of a restart: reading all columns of a year takes four times as long.
_SHOWN_COLUMNS = (
    "restart_id",
    "host",
    "down_at",
    "outage_seconds",
    "is_up_at_estimated",
    "held_message_count",
    "restart_delay_p50_seconds",
    "restart_delay_max_seconds",
    "flush_verdict",
    "flush_observed_at",
    "verdict_reason",
    "missing_reason",
)
SHOWN_RESTARTS = f"select {', '.join(_SHOWN_COLUMNS)} from ({RESTARTS})"


def open_catalog(lake: Path, config: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
    """Open the published catalog read-only, with these DuckDB settings and no other file within reach.

    Raises MaillagError if nothing was published there yet.
    """
    catalog = lake / CATALOG_NAME
    if not catalog.is_file():
        raise MaillagError(
            f"{catalog}: does not exist. Create it with: maillag run ARCHIVE --lake {quote(str(lake))}"
        )
    connection = duckdb.connect(str(catalog), read_only=True, config=dict(config or {}))
    confine(connection, lake)
    return connection


def fetch(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Row | None = None) -> list[Row]:
    """Return a query's rows as dictionaries."""
    return fetch_table(connection, sql, parameters)[1]


def fetch_table(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Row | None = None
) -> tuple[list[str], list[Row]]:
    """Return a query's column names, which are known without rows too, and its rows as dictionaries."""
    result = connection.execute(sql, parameters or {})
    columns = [column[0] for column in result.description or ()]
    return columns, [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def fetch_readable(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    """Return a query's rows; if a damaged file of the lake prevents that, one row that says so."""
    try:
        return fetch(connection, sql)
    except duckdb.Error as error:
        return [{"what": f"cannot be read ({str(error).splitlines()[0]})"}]


def fetch_zones(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the time zone of each host of the fleet."""
    rows = fetch(connection, "select host, time_zone from fleet.hosts order by host")
    return {row["host"]: row["time_zone"] for row in rows}


def fetch_sighted(connection: duckdb.DuckDBPyConnection, hosts: Sequence[str]) -> dict[str, bool]:
    """Return for each of these hosts (all, if none is given) whether its logs could show a restart."""
    parameters = {"hosts": list(hosts), "rule": HAS_MAIL_LINES}
    rows = fetch(connection, read_query("answers.sighted_hosts"), parameters)
    return {row["host"]: row["is_sighted"] for row in rows}


def count_rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Row | None = None) -> int:
    """Return how many rows a query has."""
    (row,) = fetch(connection, f"select count(*) as row_count from ({sql})", parameters)
    return int(row["row_count"])


def check_hosts(connection: duckdb.DuckDBPyConnection, hosts: Sequence[str]) -> None:
    """Raise MaillagError if one of these is no host of the fleet; the message names a few that are."""
    known = [row["host"] for row in fetch(connection, "select host from fleet.hosts order by host")]
    for host in hosts:
        if host not in known:
            # This import takes 1 ms, which no command needs that goes well.
            from difflib import get_close_matches

            near = get_close_matches(host, known, 1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise MaillagError(
                f"{host}: is no host of this lake.{meant} Its hosts: {first_few(known) or 'none'}."
            )
