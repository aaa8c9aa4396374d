"""A DuckDB database in memory, which puts what does not fit on disk, and the SQL of sql/ that runs in it."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from transforms.problems import MaillagError
from transforms.queries import SQL_FOLDER, read_query

# As DuckDB tells them.
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@contextmanager
def open_database(spill: Path, **settings: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database; what does not fit goes into a folder that is there no longer than it."""
    config = {
        "preserve_insertion_order": False,
        # What is made once and dropped again is not worth being compressed.
        "checkpoint_threshold": "1 TiB",
        "temp_directory": str(spill),
        # Frames take strings over as they are.
        "arrow_output_version": "1.5",
        "produce_arrow_string_view": True,
        **settings,
    }
    with duckdb.connect(":memory:", config=config) as connection:
        connection.execute("set timezone = 'UTC'")
        create_macros(connection)
        yield connection
    shutil.rmtree(spill, ignore_errors=True)


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create, or create again, the functions that the models call (sql/macros.sql)."""
    connection.execute((SQL_FOLDER / "macros.sql").read_text(encoding="utf-8"))


def create_table(connection: duckdb.DuckDBPyConnection, table: str, **parameters: object) -> None:
    """Create or replace a table by its query in sql/, with the values of the query's parameters."""
    execute(connection, f"create or replace table {table} as {read_query(table)}", parameters)


def execute(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object] | None = None
) -> list[tuple[Any, ...]]:
    """Execute a query and return its rows; where memory_limit is too low for it, with twice as much.

    Tables go to disk, and nearly all that joins and sorts gather; the rest grows with the largest host.
    Raises MaillagError where the machine has no more.
    """
    while True:
        try:
            return connection.execute(query, parameters).fetchall()
        except duckdb.OutOfMemoryException as error:
            ((told,),) = connection.execute("select current_setting('memory_limit')").fetchall()
            number, unit = told.split()
            limit = 2 * float(number) * _UNITS[unit]
            if limit > machine_bytes():
                raise MaillagError(
                    f"A query needs more than {told} of memory, and this machine has no "
                    f"{limit / 2**30:.1f} GiB. Run maillag on one with more."
                ) from error
            connection.execute(f"set memory_limit = '{limit / 2**20:.1f} MiB'")


def machine_bytes() -> int:
    """Return how much memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
