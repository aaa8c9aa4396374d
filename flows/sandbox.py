"""SQL of users to rows: a query reads only the catalog, writes nothing and stays within its bounds."""

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
from typing import TYPE_CHECKING, Any

import duckdb

from flows.catalog import Values, open_catalog
from transforms.problems import MaillagError

# Most queries need no Arrow, whose import takes 0.3 s.
if TYPE_CHECKING:
    import pyarrow as pa

# What does not fit in memory is spilled to a temporary folder, which is removed with the query.
SPILL_GIB = 10
# DuckDB does not count all memory that it uses: texts and lists under construction are left out.
COUNTED_SHARE = 0.5
# DuckDB cannot interrupt a single call of a function, such as levenshtein() of two long texts.
GRACE_SECONDS = 5
ROWS_AT_ONCE = 256
# All others read files, change the state of the process, or run SQL that nothing has checked.
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
# A `with` may hold INSERT, UPDATE and DELETE in DuckDB.
READING = {"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE", "RECURSIVE_CTE_NODE"}
EXPLAIN = re.compile(r"\s*explain\s+(?:analyze\s+)?", re.IGNORECASE)
NO_SELECT = "query: is not a single SELECT, with or without EXPLAIN. The catalog can only be read."


@dataclass(frozen=True)
class Sandbox:
    """The catalog for the SQL of users, and the bounds of each query; 0 seconds are no limit."""

    connection: duckdb.DuckDBPyConnection
    timeout_seconds: float
    memory_mib: int

    def select(self, sql: str) -> tuple[list[str], Iterator[Values]]:
        """Run a query; return its column names, which may repeat, and its rows as they come.

        Raises MaillagError if it is not a single SELECT over the catalog. Raises it as well, even between two
        rows, if the query fails, takes too long or needs too much memory.
        """
        give_up_at = time.monotonic() + (self.timeout_seconds or math.inf)
        with self.errors_of_query():
            self.connection.execute(_checked(self.connection, sql))
            columns = [column[0] for column in self.connection.description or ()]
            # An error in the first rows is raised before anything is printed.
            first = self.connection.fetchmany(ROWS_AT_ONCE)
        return columns, self._from(first, give_up_at)

    def _from(self, rows: list[Values], give_up_at: float) -> Iterator[Values]:
        while rows:
            yield from rows
            with self.errors_of_query():
                # DuckDB works ahead of the reader, and may have finished in time.
                if time.monotonic() > give_up_at:
                    raise duckdb.InterruptException
                rows = self.connection.fetchmany(ROWS_AT_ONCE)

    def batches(self, sql: str, row_count: int) -> "pa.RecordBatchReader":
        """Run a query and return its rows as Arrow batches; read them within `errors_of_query`.

        Raises MaillagError as `select` does.
        """
        with self.errors_of_query():
            rows: pa.RecordBatchReader = self.connection.sql(_checked(self.connection, sql)).to_arrow_reader(
                row_count
            )
            return rows

    @contextmanager
    def errors_of_query(self) -> Iterator[None]:
        """Turn what goes wrong with a query into MaillagError."""
        try:
            yield
        except duckdb.InterruptException:
            raise MaillagError(_too_long(self.timeout_seconds)) from None
        except (duckdb.OutOfMemoryException, MemoryError):
            raise MaillagError(
                f"query: needs more than {self.memory_mib} MiB of memory. "
                "Ask for less, or allow more with --memory MIB."
            ) from None
        except RecursionError:
            raise MaillagError("query: is nested too deeply. Split it into steps with `with`.") from None
        # Python has no interval of millions of years.
        except (duckdb.Error, OverflowError) as error:
            raise MaillagError(f"query: {error}") from None


@contextmanager
def open_sandbox(
    lake: Path, *, timeout_seconds: float, memory_mib: int, may_exit: bool = False
) -> Iterator[Sandbox]:
    """Open the published catalog for the SQL of users.

    With `may_exit`, a query that cannot be interrupted ends this process (exit code 2) soon after its time.
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
            # Python variables must not be readable as tables.
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
        f"query: took longer than {timeout_seconds:g} s. Ask for less, or allow more with "
        "--timeout SECONDS (0 is no limit)."
    )


def _checked(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return the single SELECT of a text, with its EXPLAIN. Raises MaillagError for anything else."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise MaillagError(NO_SELECT)
    text = statements[0].query
    explain = ""
    if statements[0].type == duckdb.StatementType.EXPLAIN and (start := EXPLAIN.match(text)):
        # EXPLAIN ANALYZE runs what it explains, so that is checked by itself and put behind EXPLAIN again.
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
            raise MaillagError(f"query: {name}() cannot be used here. Query the tables of the catalog.")
        if kind == "BASE_TABLE" and re.search(r"[./\\]", name := part["table_name"]):
            raise MaillagError(f"query: {name!r} is a file. Query the tables of the catalog.")


@contextmanager
def _bounded_process(more_mib: int) -> Iterator[None]:
    """Limit this process to that much memory beyond what it has; allocations past it fail."""
    data_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    limit = data_pages * os.sysconf("SC_PAGE_SIZE") + more_mib * 2**20
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [bound for bound in (limit, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
