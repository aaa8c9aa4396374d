"""Turns the lake's current files into one DuckDB catalog for analysts: views, comments, one rename."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import duckdb

from transforms.problems import MaillagError
from transforms.queries import catalog_functions, read_catalog_sql

# Only for types: these imports would cost readers of a published catalog 0.2 s.
if TYPE_CHECKING:
    import polars as pl

    from transforms.contracts.contracts import Contract

CATALOG_NAME = "maillag.duckdb"
# The version of the file format. DuckDB from 1.1 on reads it; the views call getvariable(), which 1.0 lacks.
STORAGE_VERSION = "v1.0.0"
HOST_PREFIX = "host="
# A name that is too long for a folder is split into nested folders.
LONG_HOST_PREFIX = "long_host="
FOLDER_BYTES = 255
# Which columns are shown, by the keys in the folders' names.
COLUMNS_BY_KEYS = {
    ("host",): "*",
    ("host", "date"): "* exclude (date)",
    ("host", "month"): "* exclude (month)",
    ("date",): "* exclude (date)",
    ("month",): "* exclude (month)",
}
# DuckDB's name for NULL in a folder's name, of a host or date.
NULL_NAME = "__HIVE_DEFAULT_PARTITION__"
# The variable that says where the lake is, if it was moved since its catalog was published.
PLACE = "lake"
NO_LIMITS: Mapping[str, frozenset[str]] = {}
PERIOD_FOLDER = re.compile(r"(?:date|month)=(?P<period>[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)")


def create_views(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    *,
    contracts: "Iterable[Contract]",
    files: Mapping[str, Iterable[str]],
    only: Mapping[str, frozenset[str]] = NO_LIMITS,
) -> None:
    """Create a view over the explicit files of each contract's table; a table without files is empty.

    Of a file in `only`, the view shows only the rows of these hosts.
    """
    for contract in contracts:
        _create_schema_of(connection, contract.table)
        if paths := list(files.get(contract.table, ())):
            show_files(connection, lake, contract.table, paths, only)
        else:
            columns = (
                f'cast(null as {column.data_type}) as "{name}"' for name, column in contract.columns.items()
            )
            connection.execute(f"create view {contract.table} as select {', '.join(columns)} where false")


def show_files(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    table: str,
    paths: Iterable[str],
    only: Mapping[str, frozenset[str]] = NO_LIMITS,
) -> None:
    """Create a view over one or more files of the lake; of a file in `only`, just the rows of these hosts.

    A query about one host opens that host's own files, because the folder names contain the host, and those
    that it shares, of which it reads the row groups with the host. If the lake was moved, `confine` sets its
    new place.
    """
    _create_schema_of(connection, table)
    by_keys: dict[tuple[tuple[str, ...], frozenset[str] | None], list[Path]] = {}
    root = lake.resolve()
    for path in paths:
        file = root / path
        keys = tuple(part.partition("=")[0] for part in file.parts if "=" in part)
        by_keys.setdefault((keys, only.get(path)), []).append(file)
    parts = []
    place = f"coalesce(getvariable('{PLACE}'), {literal(literally(root))})"
    for (keys, hosts), files in by_keys.items():
        names = ", ".join(literal(f"/{file.relative_to(root).as_posix()}") for file in files)
        # Without explicit types, DuckDB would also take a folder above the lake named x=y for a column.
        if columns := COLUMNS_BY_KEYS.get(keys):
            types = ", ".join(f"{key}: varchar" for key in keys)
            options = f"hive_partitioning = true, hive_types = {{{types}}}"
        else:
            columns, options = "*", "hive_partitioning = false"
        paths = f"list_transform([{names}], lambda name: {place} || name)"
        limit = "" if hosts is None else f" where host in ({', '.join(map(literal, sorted(hosts)))})"
        parts.append(f"select {columns} from read_parquet({paths}, {options}){limit}")
    connection.execute(f"create view {table} as {' union all by name '.join(parts)}")


def create_tables(connection: duckdb.DuckDBPyConnection, frames: "Mapping[str, pl.DataFrame]") -> None:
    """Create a table from each frame."""
    for table, frame in frames.items():
        _create_schema_of(connection, table)
        connection.register("frame", frame.to_arrow())
        connection.execute(f"create table {table} as select * from frame")
        connection.unregister("frame")


def create_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the functions that analysts call, with their comments. Needs the tables."""
    connection.execute(read_catalog_sql())
    for function in catalog_functions():
        kind = "macro table" if function.gives_rows else "macro"
        connection.execute(f"comment on {kind} {function.name} is {literal(function.comment)}")


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
    with create_database(aside) as connection:
        in_lake = [contract for contract in contracts if contract.table not in frames]
        create_views(connection, lake, contracts=in_lake, files=files)
        create_tables(connection, frames)
        create_functions(connection)
        comments = []
        for contract in contracts:
            kind = "table" if contract.table in frames else "view"
            comments.append(f"comment on {kind} {contract.table} is {literal(contract.comment)}")
            comments += [
                f'comment on column {contract.table}."{name}" is {literal(column.description)}'
                for name, column in contract.columns.items()
            ]
        connection.execute(";".join(comments))
    published = lake / CATALOG_NAME
    aside.replace(published)
    return published


@contextmanager
def create_database(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a new database, which is copied to the path once it is closed."""
    # Created elsewhere, because DuckDB cannot write a database to a folder with a `?` in its path.
    with TemporaryDirectory(prefix="maillag-") as folder:
        made = Path(folder, path.name)
        with duckdb.connect(
            str(made), config={"storage_compatibility_version": STORAGE_VERSION}
        ) as connection:
            # Hundreds of statements at once take half the time.
            connection.begin()
            yield connection
            connection.commit()
        copyfile(made, path)


def attach_published(lake: Path) -> duckdb.DuckDBPyConnection:
    """Open a database in memory with the catalog attached as `published`; no other files are accessible."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"attach {literal(str(lake / CATALOG_NAME))} as published (read_only)")
    confine(connection, lake)
    return connection


def confine(connection: duckdb.DuckDBPyConnection, lake: Path) -> None:
    """Point a catalog's views to the lake's present place, and lock out all other files permanently."""
    schemas = connection.execute(
        "select distinct schema_name from duckdb_schemas() where not internal"
    ).fetchall()
    root = lake.resolve()
    # DuckDB checks both the pattern and the file that it matches.
    places = (root, Path(literally(root)))
    connection.execute("set timezone = 'UTC'")
    connection.execute(f"set variable {PLACE} = {literal(literally(root))}")
    connection.execute(
        "set allowed_directories = ?", [[str(place / schema) for (schema,) in schemas for place in places]]
    )
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def literally(path: PurePath) -> str:
    """Return a DuckDB glob pattern that matches exactly this path, whatever characters it contains."""
    return re.sub(r"[*?[]", r"[\g<0>]", str(path))


def literal(text: str) -> str:
    """Return a text as a literal of SQL, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def host_folder(host: str) -> str:
    """Return the path of a host's folder below a table's folder; the host may have any name."""
    quoted = quote(host, safe="").replace(NULL_NAME, "%5F" + NULL_NAME[1:])
    if len(HOST_PREFIX + quoted) <= FOLDER_BYTES:
        return HOST_PREFIX + quoted
    step = FOLDER_BYTES - len(LONG_HOST_PREFIX)
    return LONG_HOST_PREFIX + "/".join(quoted[at : at + step] for at in range(0, len(quoted), step))


def host_of_file(path: str | PurePath) -> str | None:
    """Return the only host whose rows a file of the lake has; None for a file of several hosts or of none."""
    parts = PurePath(path).parent.parts
    starts = [at for at, part in enumerate(parts) if part.startswith((HOST_PREFIX, LONG_HOST_PREFIX))]
    if not starts:
        return None
    first, *more = parts[starts[-1] :]
    return unquote("".join([first.partition("=")[2], *(part for part in more if "=" not in part)]))


def period_of_file(path: str | PurePath) -> str | None:
    """Return the UTC day or month (ISO 8601) whose rows a file of the lake has; None for other files."""
    folder = PERIOD_FOLDER.fullmatch(PurePath(path).parent.name)
    return folder and folder["period"]


def published_files(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Return the lake's files that a table of the attached catalog shows; none for a table without files."""
    schema, name = table.split(".")
    views = connection.execute(
        "select sql from duckdb_views() "
        "where database_name = 'published' and schema_name = ? and view_name = ?",
        [schema, name],
    ).fetchall()
    if any("read_parquet(" in sql and f"getvariable('{PLACE}')" not in sql for (sql,) in views):
        raise MaillagError(
            f"{table}: was published by an older maillag. Publish it again: maillag run ARCHIVE"
        )
    return [
        quoted.replace("''", "'").removeprefix("/")
        for (sql,) in views
        if "read_parquet(" in sql
        for quoted in re.findall(r"'((?:[^']|'')*\.parquet)'", sql)
    ]


def _create_schema_of(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    connection.execute(f"create schema if not exists {table.split('.')[0]}")
