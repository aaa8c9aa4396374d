"""A user's SQL to rows: it reads the catalog and nothing else, writes nothing, and ends within its bounds."""

import json
import math
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any

import duckdb

from flows.answer import Values, open_catalog
from transforms.problems import MaillagError

# What does not fit in memory goes to a folder of the query's own, which ends with it.
SPILL_GIB = 10
# DuckDB counts what it keeps, but not all that it works on: texts and lists as they are made.
COUNTED_SHARE = 0.5
# DuckDB cannot interrupt one call of a function, such as levenshtein() of two long texts.
GRACE_SECONDS = 5
ROWS_AT_ONCE = 256
# All others read files, change what the process does, or run SQL that is not looked at.
TABLE_FUNCTIONS = {
    "duckdb_columns",
    "duckdb_functions",
    "duckdb_keywords",
    "duckdb_schemas",
    "duckdb_tables",
    "duckdb_types",
    "duckdb_views",
    "generate_series",
    "json_each",
    "json_tree",
    "pragma_table_info",
    "range",
    "repeat",
    "repeat_row",
    "unnest",
}
# DuckDB takes INSERT, UPDATE and DELETE in a `with` as well.
READING = {"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE", "RECURSIVE_CTE_NODE"}
EXPLAIN = re.compile(r"\s*explain\s+(?:analyze\s+)?", re.IGNORECASE)
NO_SELECT = "query: is not one SELECT, alone or behind EXPLAIN. The catalog is for reading."


@dataclass(frozen=True)
class Sandbox:
    """The catalog as a user's SQL may see it, and the bounds of each query: 0 seconds are no bound."""

    connection: duckdb.DuckDBPyConnection
    timeout_seconds: float
    memory_mib: int

    def select(self, sql: str) -> tuple[list[str], Iterator[Values]]:
        """Run a query; return its columns, of which some may have the same name, and rows as they come.

        Raises MaillagError if it is not one SELECT over the catalog, and, also between two rows, if it
        fails, takes too long or needs too much memory.
        """
        give_up_at = time.monotonic() + (self.timeout_seconds or math.inf)
        with self._errors_of_query():
            self.connection.execute(_checked(self.connection, sql))
            columns = [column[0] for column in self.connection.description or ()]
            # An error that the first rows show comes before anything is printed.
            first = self.connection.fetchmany(ROWS_AT_ONCE)
        return columns, self._from(first, give_up_at)

    def _from(self, rows: list[Values], give_up_at: float) -> Iterator[Values]:
        while rows:
            yield from rows
            with self._errors_of_query():
                # DuckDB is ahead of who takes the rows, and done in time.
                if time.monotonic() > give_up_at:
                    raise duckdb.InterruptException
                rows = self.connection.fetchmany(ROWS_AT_ONCE)

    @contextmanager
    def _errors_of_query(self) -> Iterator[None]:
        try:
            yield
        except duckdb.InterruptException:
            raise MaillagError(_too_long(self.timeout_seconds)) from None
        except (duckdb.OutOfMemoryException, MemoryError):
            raise MaillagError(
                f"query: needs more than {self.memory_mib} MiB of memory. "
                "Ask for less, or give it more with --memory MIB."
            ) from None
        except RecursionError:
            raise MaillagError("query: is nested too deeply. Take its steps apart with `with`.") from None
        # An interval of millions of years is none for Python.
        except (duckdb.Error, OverflowError) as error:
            raise MaillagError(f"query: {error}") from None


@contextmanager
def open_sandbox(
    lake: Path, *, timeout_seconds: float, memory_mib: int, may_exit: bool = False
) -> Iterator[Sandbox]:
    """Open the published catalog for the SQL of users.

    With `may_exit` what cannot be interrupted ends with this process (exit code 2), soon after its time.
    Raises MaillagError if nothing was published there yet.
    """
    with TemporaryDirectory(prefix="maillag-query-") as spill:
        config = {
            "max_execution_time": math.ceil(timeout_seconds * 1000),
            "memory_limit": f"{memory_mib * COUNTED_SHARE} MiB",
            "temp_directory": spill,
            "max_temp_directory_size": f"{SPILL_GIB} GiB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # No variable of this program is a table.
            "python_enable_replacements": False,
        }
        watch = _last_resort(timeout_seconds, spill) if may_exit and timeout_seconds else nullcontext()
        with open_catalog(lake, config) as connection, _bounded_process(memory_mib), watch:
            yield Sandbox(connection, timeout_seconds, memory_mib)


@contextmanager
def _last_resort(timeout_seconds: float, spill: str) -> Iterator[None]:
    timer = Timer(timeout_seconds + GRACE_SECONDS, _exit, (timeout_seconds, spill))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _exit(timeout_seconds: float, spill: str) -> None:
    shutil.rmtree(spill, ignore_errors=True)
    sys.stderr.write(f"maillag: {_too_long(timeout_seconds)}\n")
    os._exit(2)


def _too_long(timeout_seconds: float) -> str:
    return (
        f"query: took longer than {timeout_seconds:g} s. Ask for less, or give it more time with "
        "--timeout SECONDS (0 is no end)."
    )


def _checked(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return the one SELECT that a text holds, with its EXPLAIN. Raises MaillagError for anything else."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise MaillagError(NO_SELECT)
    text = statements[0].query
    explain = ""
    if statements[0].type == duckdb.StatementType.EXPLAIN and (start := EXPLAIN.match(text)):
        # What is explained is run as well: it is looked at by itself, and put behind the word again.
        explain, text = start[0], text[start.end() :]
        statements = connection.extract_statements(text)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise MaillagError(NO_SELECT)
    ((parsed,),) = connection.execute("select json_serialize_sql(?)", [text]).fetchall()
    tree = json.loads(parsed)
    if tree["error"]:
        raise MaillagError(f"query: {tree['error_message']}")
    _check_tree(tree)
    return explain + text


def _check_tree(tree: dict[str, Any]) -> None:
    """Raise MaillagError if a parsed SELECT does anything but read tables by their names."""
    pending: list[Any] = [tree]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending += part
        if not isinstance(part, dict):
            continue
        pending += part.values()
        kind = part.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in READING:
            raise MaillagError(NO_SELECT)
        if (
            kind == "TABLE_FUNCTION"
            and (name := part["function"]["function_name"]).lower() not in TABLE_FUNCTIONS
        ):
            raise MaillagError(f"query: {name}() cannot be used here. The tables of the catalog can be read.")
        if kind == "BASE_TABLE" and re.search(r"[./\\]", name := part["table_name"]):
            raise MaillagError(f"query: {name!r} is a file. The tables of the catalog can be read.")


@contextmanager
def _bounded_process(more_mib: int) -> Iterator[None]:
    """Let this process take that much more memory than it has: what would take more fails."""
    data_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    limit = data_pages * os.sysconf("SC_PAGE_SIZE") + more_mib * 2**20
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = [one for one in (limit, before, most) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(allowed), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))
