"""The published catalog to the rows that the page, its charts and their pictures show."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from flows.catalog import Row, fetch, open_catalog
from transforms.lake.catalog import attach_published
from transforms.queries import read_query

REPORT_NAME = "report.html"
DAYS = 30
# A timeline is about 600 pixels wide: nobody sees finer steps.
TIMELINE_STEPS = 600
# Labels of queue runs in a timeline.
RUNS_TOLD = 4


@contextmanager
def choose_restarts(
    lake: Path, *, days: int = DAYS, restart_id: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a lake's catalog with report.days and report.restarts beside it: the latest days, or one restart.

    The queries of sql/report read these tables. Raises MaillagError if nothing was published there yet.
    """
    open_catalog(lake).close()
    with attach_published(lake) as connection:
        connection.execute("attach ':memory:' as report")
        connection.execute("use published")
        for table, parameters in (
            ("report.days", {"days": days}),
            ("report.restarts", {"restart_id": restart_id}),
        ):
            connection.execute(f"create table {table} as {read_query(table)}", parameters)
        yield connection


def fetch_waits(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the rows of `charts.waits_chart`."""
    return fetch(connection, read_query("report.waits"))


def fetch_hours(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the rows of `charts.hours_chart`."""
    return fetch(connection, read_query("report.hours"))


def fetch_changes(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the changes of hosts; those with both shares are the rows of `charts.changes_chart`."""
    return fetch(connection, read_query("report.changes"))


def fetch_what_if(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the rows of `charts.what_if_chart`: those of all hosts."""
    return [row for row in fetch(connection, read_query("report.what_if")) if row["host"] is None]


def fetch_timelines(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the marks of all timelines; those of one restart are the rows of `charts.timeline_chart`."""
    parameters = {"steps": TIMELINE_STEPS, "told": RUNS_TOLD}
    return fetch(connection, read_query("report.timelines"), parameters)
