"""The lake's current files to one DuckDB catalog that analysts open: views, comments, one rename."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import duckdb

# For types alone: who reads a published catalog would wait 0.2 s for them.
if TYPE_CHECKING:
    import polars as pl

    from transforms.contracts import Contract

CATALOG_NAME = "maillag.duckdb"
# The version of the file format: DuckDB 1.5 clients read it as well.
STORAGE_VERSION = "v1.5.0"
HOST_PREFIX = "host="
# What is shown of files by the keys in their folders' names.
COLUMNS_BY_KEYS = {
    ("host",): "*",
    ("host", "date"): "* exclude (date)",
    ("host", "month"): "* exclude (month)",
}
# How DuckDB calls a folder of rows without a host.
NO_HOST = "__HIVE_DEFAULT_PARTITION__"
PERIOD_FOLDER = re.compile(r"(?:date|month)=(?P<period>[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)")

# DuckDB 1.5 knows IANA zones, but not the GMT+09:00 that a manager log writes.
MACROS = """
create macro local_time(instant, time_zone) as
    case
        when time_zone like 'GMT_%:%'
            then
                timezone('UTC', instant)
                + to_minutes(
                    60 * cast(substr(time_zone, 4, 3) as integer)
                    + cast(substr(time_zone, 4, 1) || substr(time_zone, 8, 2) as integer)
                )
        else timezone(time_zone, instant)
    end
"""


def create_views(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    *,
    contracts: "Iterable[Contract]",
    files: Mapping[str, Iterable[str]],
) -> None:
    """Create a view over the explicit files of each contract's table; one without files is empty."""
    for contract in contracts:
        _create_schema_of(connection, contract.table)
        if paths := list(files.get(contract.table, ())):
            show_files(connection, lake, contract.table, paths)
        else:
            columns = (
                f'cast(null as {column.data_type}) as "{name}"' for name, column in contract.columns.items()
            )
            connection.execute(f"create view {contract.table} as select {', '.join(columns)} where false")


def show_files(connection: duckdb.DuckDBPyConnection, lake: Path, table: str, paths: Iterable[str]) -> None:
    """Create a view over files of the lake, of which there is at least one.

    A query about one host opens that host's files alone: the folders tell which they are.
    """
    _create_schema_of(connection, table)
    by_keys: dict[tuple[str, ...], list[Path]] = {}
    root = lake.resolve()
    for path in paths:
        file = root / path
        keys = tuple(part.partition("=")[0] for part in file.parts if "=" in part)
        by_keys.setdefault(keys, []).append(file)
    parts = []
    for keys, files in by_keys.items():
        literals = ", ".join(_literal(str(file)) for file in files)
        # DuckDB would take a folder above the lake that is called x=y for a column, too.
        if columns := COLUMNS_BY_KEYS.get(keys):
            types = ", ".join(f"{key}: varchar" for key in keys)
            options = f"hive_partitioning = true, hive_types = {{{types}}}"
        else:
            columns, options = "*", "hive_partitioning = false"
        parts.append(f"select {columns} from read_parquet([{literals}], {options})")
    connection.execute(f"create view {table} as {' union all by name '.join(parts)}")


def create_tables(connection: duckdb.DuckDBPyConnection, frames: "Mapping[str, pl.DataFrame]") -> None:
    """Create a table from each frame."""
    for table, frame in frames.items():
        _create_schema_of(connection, table)
        connection.register("frame", frame.to_arrow())
        connection.execute(f"create table {table} as select * from frame")
        connection.unregister("frame")


def publish(
    lake: Path,
    *,
    files: Mapping[str, Iterable[str]],
    frames: "Mapping[str, pl.DataFrame]",
    contracts: "Iterable[Contract]",
    run_id: str,
) -> Path:
    """Build the catalog aside and put it in place by one rename; readers see the old or the new one."""
    contracts = list(contracts)
    aside = lake / f"{CATALOG_NAME}.{run_id}"
    aside.unlink(missing_ok=True)
    with duckdb.connect(str(aside), config={"storage_compatibility_version": STORAGE_VERSION}) as connection:
        in_lake = [contract for contract in contracts if contract.table not in frames]
        create_views(connection, lake, contracts=in_lake, files=files)
        create_tables(connection, frames)
        connection.execute(MACROS)
        for contract in contracts:
            kind = "table" if contract.table in frames else "view"
            connection.execute(f"comment on {kind} {contract.table} is {_literal(contract.comment)}")
            for name, column in contract.columns.items():
                connection.execute(
                    f'comment on column {contract.table}."{name}" is {_literal(column.description)}'
                )
    published = lake / CATALOG_NAME
    aside.replace(published)
    return published


def attach_published(lake: Path) -> duckdb.DuckDBPyConnection:
    """Open an empty database in memory, the catalog as `published` beside it, and only its files in reach."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"attach {_literal(str(lake / CATALOG_NAME))} as published (read_only)")
    confine(connection, lake)
    return connection


def confine(connection: duckdb.DuckDBPyConnection, lake: Path) -> None:
    """Let a connection to the catalog reach the folders of its tables and no other file, for good."""
    schemas = connection.execute("select distinct schema_name from duckdb_schemas() where not internal")
    folders = [str(lake.resolve() / schema) for (schema,) in schemas.fetchall()]
    connection.execute("set timezone = 'UTC'")
    connection.execute("set allowed_directories = ?", [folders])
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def host_folder(host: str) -> str:
    """Return the name of the lake's folders for a host, which may be called anything."""
    return f"{HOST_PREFIX}{quote(host, safe='').replace(NO_HOST, '%5F' + NO_HOST[1:])}"


def host_of_file(path: str) -> str | None:
    """Return the host whose events a file of the lake has, None for a table that is not kept by host."""
    _, _, folder, *_ = path.split("/")
    return unquote(folder.removeprefix(HOST_PREFIX)) if folder.startswith(HOST_PREFIX) else None


def files_by_host(files: Mapping[str, Iterable[str]]) -> dict[str | None, dict[str, list[str]]]:
    """Return each host's files of the lake by table; those of no host under None."""
    by_host: dict[str | None, dict[str, list[str]]] = {}
    for table, paths in files.items():
        for path in paths:
            by_host.setdefault(host_of_file(path), {}).setdefault(table, []).append(path)
    return by_host


def period_of_file(path: str | PurePath) -> str | None:
    """Return the UTC day or month, as in ISO 8601, whose events a file of the lake has; None for others."""
    folder = PERIOD_FOLDER.fullmatch(PurePath(path).parent.name)
    return folder and folder["period"]


def published_files(connection: duckdb.DuckDBPyConnection, table: str) -> list[Path]:
    """Return the files that a table of the attached catalog shows; none if it is no view over files."""
    schema, name = table.split(".")
    views = connection.execute(
        "select sql from duckdb_views() "
        "where database_name = 'published' and schema_name = ? and view_name = ?",
        [schema, name],
    ).fetchall()
    return [
        Path(literal.replace("''", "'"))
        for (sql,) in views
        if "read_parquet(" in sql
        for literal in re.findall(r"'((?:[^']|'')*\.parquet)'", sql)
    ]


def _create_schema_of(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    connection.execute(f"create schema if not exists {table.split('.')[0]}")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
