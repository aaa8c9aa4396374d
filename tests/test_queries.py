"""The queries of sql/ that are no models, and the macros, against cases of given rows.

A case is sql/<schema>.<query>/<case>.yaml, as test_sql.py describes it, with `given` rows and `parameters`.
Instants among the parameters are written in full.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import duckdb
import polars as pl
import pytest

from tests.test_sql import CASES, QUERIES, Case, assert_rows, connect, schemas, typed_rows
from transforms.lake.catalog import create_tables
from transforms.marts.build import config_tables
from transforms.marts.database import create_macros
from transforms.marts.models import tables_in
from transforms.marts.news import GROWN_SCHEMA, NEWS_SCHEMA, WINDOWS_SCHEMA
from transforms.marts.settled import HOSTS_SCHEMA
from transforms.parse.tables import UTC_TIME
from transforms.queries import read_query
from transforms.thresholds import Thresholds


@pytest.mark.parametrize("case", [case for case in CASES if case.table in QUERIES], ids=str)
def test_query_gives_these_rows_of_the_given_ones(case: Case) -> None:
    with connect_for_query() as connection:
        create_query_inputs(connection, case)
        assert_query_rows(connection, case, read_query(case.table))


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("IPv6:::1", True),
        ("IPv6:0:0:0:0:0:0:0:1", True),
        ("127.example.com", False),
        ("127.0.0.1.example.com", False),
        ("192.0.2.127", False),
        ("::10", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback_is_an_address_and_never_a_name(address: str | None, is_loopback: bool) -> None:
    with connect() as connection:
        create_macros(connection)
        ((found,),) = connection.execute("select is_loopback($address)", {"address": address}).fetchall()
    assert found is is_loopback


# Tables that queries read, and that Python gives or shows.
LINE_OF = {"host": pl.String(), "logged_at": UTC_TIME}
GIVEN = {
    "settled.hosts": HOSTS_SCHEMA,
    "settled.news": NEWS_SCHEMA,
    "settled.grown": GROWN_SCHEMA,
    "settled.windows": WINDOWS_SCHEMA,
    "recent.mail": pl.Schema({**LINE_OF, "queue_id": pl.String()}),
    "recent.lines": pl.Schema({**LINE_OF, "source_id": pl.String(), "line_number": pl.Int64()}),
}


def connect_for_query() -> duckdb.DuckDBPyConnection:
    """Open an empty database that is called as a published catalog is, with the macros."""
    connection = connect()
    connection.execute("attach ':memory:' as published")
    connection.execute("use published")
    create_macros(connection)
    return connection


def create_query_inputs(connection: duckdb.DuckDBPyConnection, case: Case) -> None:
    """Create all tables that a case's query reads, empty where the case gives no rows, and the settings."""
    given, inputs = case.given or {}, query_inputs(case.table)
    assert given.keys() <= inputs.keys(), f"{case.table} does not read {given.keys() - inputs}"
    frames = {
        name: pl.DataFrame(typed_rows(given.get(name, []), schema, where=name), schema=schema)
        for name, schema in inputs.items()
    }
    create_tables(connection, frames)
    create_tables(connection, config_tables(replace(Thresholds(), **(case.thresholds or {}))))


def assert_query_rows(connection: duckdb.DuckDBPyConnection, case: Case, sql: str) -> None:
    """Compare the rows that a query gives of a case's tables and parameters."""
    values = {name: parameter(value) for name, value in (case.parameters or {}).items()}
    assert_rows(connection.sql(sql, params=values).pl(), case, is_in_order="\norder by " in sql)


def query_inputs(query: str) -> dict[str, pl.Schema]:
    """Return the columns of all tables that a query reads, short of the settings."""
    tables = tables_in(read_query(query), where=query)
    return {table: input_schema(table, query) for table in tables if not table.startswith("config.")}


def input_schema(table: str, query: str) -> pl.Schema:
    """Return the columns of a table that a query reads."""
    schema, _, name = table.partition(".")
    if table in {"settled.made", "settled.kept"}:
        of_query = query.partition(".")[2]
        like = mart_schema("restarts" if of_query == "rows" else of_query)
        return pl.Schema({**like, "placed_at": pl.Date() if of_query == "fleet_daily" else UTC_TIME})
    if schema in {"before", "kept"}:
        return mart_schema(name)
    if schema == "all_of":
        return schemas()[f"events.{name}"]
    if table in GIVEN:
        return GIVEN[table]
    if schema == "recent":
        return schemas()[f"events.{name}"]
    return query_schema(table) if table in QUERIES else schemas()[table]


def mart_schema(name: str) -> pl.Schema:
    """Return the columns of a table of the marts, or of one that is handed on with them."""
    known = schemas()
    return known[f"marts.{name}"] if f"marts.{name}" in known else known[f"staging.{name}"]


@cache
def query_schema(query: str) -> pl.Schema:
    """Return the columns that a query gives, from running it on nothing."""
    sql = read_query(query)
    with connect_for_query() as connection:
        create_tables(connection, {name: schema.to_frame() for name, schema in query_inputs(query).items()})
        create_tables(connection, config_tables(Thresholds()))
        nothing = dict.fromkeys(re.findall(r"\$([a-z_]+)", sql))
        rows: pl.DataFrame = connection.sql(sql, params=nothing).pl()
    return rows.schema


def parameter(value: Any) -> Any:
    """Return a parameter's value as a query takes it: an instant in full is in UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
