"""Runs the SQL of sql/ in a DuckDB database in memory that spills to disk what does not fit."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition
from typing import Any, TypeVar

import duckdb

from transforms.cores import thread_count
from transforms.problems import MaillagError
from transforms.queries import SQL_FOLDER, read_query

Result = TypeVar("Result")

# How much a query gets that needs more than it has, in what it has.
MORE_MEMORY = 1.5
# The units that DuckDB prints.
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class _Memory:
    """What queries in several threads share, until one needs more and waits until it has it alone."""

    def __init__(self) -> None:
        self._is_free = Condition()
        self._query_count = 0
        self._is_alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._is_free:
            self._is_free.wait_for(lambda: not self._is_alone)
            self._query_count += 1
        try:
            yield
        finally:
            with self._is_free:
                self._query_count -= 1
                self._is_free.notify_all()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Wait for all other queries, and yield whether there were any."""
        with self._is_free:
            was_shared = self._is_alone or self._query_count > 0
            self._is_free.wait_for(lambda: not self._is_alone)
            self._is_alone = True
            self._is_free.wait_for(lambda: self._query_count == 0)
        try:
            yield was_shared
        finally:
            with self._is_free:
                self._is_alone = False
                self._is_free.notify_all()


_MEMORY = _Memory()


@contextmanager
def open_database(spill: Path, **settings: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database; what does not fit into memory goes into a folder that is removed afterwards."""
    config = {
        "preserve_insertion_order": False,
        "threads": thread_count(),
        # Rows that are held back for each day that is written: with the default, eight times as many, a day
        # of a million rows is spilled first.
        "partitioned_write_flush_threshold": 65_536,
        # Compressing temporary tables is not worth while.
        "checkpoint_threshold": "1 TiB",
        "temp_directory": str(spill),
        # DuckDB compares all rows with each other where it takes one side of an ASOF join for tiny, and
        # guesses wrong.
        "asof_loop_join_threshold": 0,
        # Frames then share strings without copying.
        "arrow_output_version": "1.5",
        "produce_arrow_string_view": True,
        **settings,
    }
    spill.mkdir(parents=True, exist_ok=True)
    try:
        with duckdb.connect(":memory:", config=config) as connection:
            # For its cursors too, which would otherwise have the time zone of the machine.
            connection.execute("set global timezone = 'UTC'")
            create_macros(connection)
            yield connection
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def spill_folder(connection: duckdb.DuckDBPyConnection) -> Path | None:
    """Return the folder for what does not fit into memory; None if it was not opened by `open_database`."""
    ((setting,),) = connection.execute("select current_setting('temp_directory')").fetchall()
    return Path(setting) if Path(setting).is_dir() else None


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create or replace the functions that the models call (sql/macros.sql)."""
    connection.execute((SQL_FOLDER / "macros.sql").read_text(encoding="utf-8"))


def create_table(connection: duckdb.DuckDBPyConnection, table: str, **parameters: object) -> None:
    """Create or replace a table from a query in sql/ with these parameters."""
    execute(connection, f"create or replace table {table} as {read_query(table)}", parameters)


def execute(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, object] | None = None
) -> list[tuple[Any, ...]]:
    """Execute a query and return its rows, with as much memory as it needs (`with_memory`)."""
    return with_memory(connection, lambda: connection.execute(query, parameters).fetchall())


def with_memory(connection: duckdb.DuckDBPyConnection, run: Callable[[], Result]) -> Result:
    """Run a query by a function and return its result; if memory runs out, alone, and then with ever more.

    Tables spill to disk, and so does nearly everything that joins and sorts gather; the rest grows with the
    largest host. Later queries have memory_limit again. Raises MaillagError if the machine does not have that
    much memory.
    """
    with suppress(duckdb.OutOfMemoryException), _MEMORY.shared():
        return run()
    with _MEMORY.alone() as was_shared:
        usual = _memory_limit(connection)
        try:
            if was_shared:
                with suppress(duckdb.OutOfMemoryException):
                    return run()
            while True:
                setting = _memory_limit(connection)
                number, unit = setting.split()
                limit = MORE_MEMORY * float(number) * _UNITS[unit]
                if limit > machine_bytes():
                    raise MaillagError(
                        f"A query needs more than {setting} of memory, and this machine does not have "
                        f"{limit / 2**30:.1f} GiB. Run maillag on a machine with more."
                    )
                connection.execute(f"set memory_limit = '{limit / 2**20:.1f} MiB'")
                with suppress(duckdb.OutOfMemoryException):
                    return run()
        finally:
            connection.execute(f"set memory_limit = '{usual}'")


def _memory_limit(connection: duckdb.DuckDBPyConnection) -> str:
    ((setting,),) = connection.execute("select current_setting('memory_limit')").fetchall()
    return str(setting)


def machine_bytes() -> int:
    """Return how much memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
