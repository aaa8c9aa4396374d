"""The lake's current files to one DuckDB catalog that analysts open: views, comments, one rename."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import polars as pl

from transforms.contracts import Contract
from transforms.events import LINE_COUNTS
from transforms.patterns import EVENT_TABLES

CATALOG_NAME = "maillag.duckdb"
# The version of the file format: DuckDB 1.5 clients read it as well.
STORAGE_VERSION = "v1.5.0"

LAKE_SCHEMAS: dict[str, pl.Schema] = {
    **{f"events.{name}": schema for name, schema in EVENT_TABLES.items()},
    "ops.line_counts": LINE_COUNTS,
}


def create_views(
    connection: duckdb.DuckDBPyConnection, lake: Path, files: Mapping[str, Iterable[str]]
) -> None:
    """Create a view over the explicit files of each table of the lake; one without files is empty."""
    for table in LAKE_SCHEMAS.keys() | files.keys():
        _create_schema_of(connection, table)
        paths = [str(lake.resolve() / path) for path in files.get(table, ())]
        if paths:
            listed = ", ".join(_literal(path) for path in paths)
            query = f"select * from read_parquet([{listed}], hive_partitioning = false)"
        else:
            query = _empty_query(connection, LAKE_SCHEMAS[table])
        connection.execute(f"create view {table} as {query}")


def create_tables(connection: duckdb.DuckDBPyConnection, frames: Mapping[str, pl.DataFrame]) -> None:
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
    frames: Mapping[str, pl.DataFrame],
    contracts: Iterable[Contract],
    run_id: str,
) -> Path:
    """Build the catalog aside and put it in place by one rename; readers see the old or the new one."""
    aside = lake / f"{CATALOG_NAME}.{run_id}"
    aside.unlink(missing_ok=True)
    with duckdb.connect(str(aside), config={"storage_compatibility_version": STORAGE_VERSION}) as connection:
        create_views(connection, lake, files)
        create_tables(connection, frames)
        for contract in contracts:
            kind = "table" if contract.table in frames else "view"
            connection.execute(f"comment on {kind} {contract.table} is {_literal(contract.comment)}")
            for column, meaning in contract.columns.items():
                connection.execute(
                    f'comment on column {contract.table}."{column}" is {_literal(meaning.description)}'
                )
    published = lake / CATALOG_NAME
    aside.replace(published)
    return published


def _create_schema_of(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    connection.execute(f"create schema if not exists {table.split('.')[0]}")


def _empty_query(connection: duckdb.DuckDBPyConnection, schema: pl.Schema) -> str:
    connection.register("empty", schema.to_frame().to_arrow())
    described = connection.execute("describe empty").fetchall()
    connection.unregister("empty")
    columns = ", ".join(f'cast(null as {row[1]}) as "{row[0]}"' for row in described)
    return f"select {columns} where false"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
