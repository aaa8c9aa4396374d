"""The queries of the command line (sql/answers) against cases: given rows to the rows they must return.

answers/<query>.yaml is a list of cases. The `name` of a case is a sentence that is true. `given` has rows
of the tables that the query reads, with only the columns that matter. `parameters` are the values of its
$names. `expect` has all rows that it returns, in order, in the columns that these rows name.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from flows.catalog import Row, fetch
from transforms.contracts.contracts import load_contracts
from transforms.marts.models import tables_in
from transforms.queries import SQL_FOLDER, read_query

FOLDER = Path(__file__).parent / "answers"
QUERIES = sorted(path.stem for path in SQL_FOLDER.glob("answers/*.sql"))
CONTRACTS = load_contracts()


@dataclass(frozen=True)
class Case:
    """One case of a query."""

    query: str
    name: str
    given: dict[str, list[Row]]
    expect: list[Row]
    parameters: Row = field(default_factory=dict)


CASES = [
    Case(path.stem, **case)
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.query}: {case.name}")
def test_a_query_returns_these_rows_of_the_given_ones(case: Case) -> None:
    tables = tables_in(read_query(f"answers.{case.query}"), where=case.query)
    assert case.given.keys() <= tables
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for table in tables:
            create_table(connection, table, case.given.get(table, []))
        rows = fetch(connection, read_query(f"answers.{case.query}"), case.parameters)
    names = list(dict.fromkeys(name for row in case.expect for name in row))
    assert [{name: plain_value(row[name]) for name in names} for row in rows] == [
        {name: row.get(name) for name in names} for row in case.expect
    ]


@pytest.mark.house
@pytest.mark.parametrize("query", QUERIES)
def test_a_query_has_a_case_and_says_its_grain(query: str) -> None:
    assert any(case.query == query for case in CASES), (
        f"sql/answers/{query}.sql has no case: add one in tests/answers/{query}.yaml"
    )
    assert read_query(f"answers.{query}").startswith("-- One row"), (
        f"sql/answers/{query}.sql: the first line has to say what a row is: '-- One row ...'"
    )


def create_table(connection: duckdb.DuckDBPyConnection, table: str, rows: list[Row]) -> None:
    """Create a table with the columns of its contract."""
    columns = ", ".join(f"{name} {column.data_type}" for name, column in CONTRACTS[table].columns.items())
    connection.execute(f"create schema if not exists {table.split('.')[0]}")
    connection.execute(f"create table {table} ({columns})")
    for row in rows:
        marks = ", ".join("?" for _ in row)
        connection.execute(f"insert into {table} ({', '.join(row)}) values ({marks})", list(row.values()))


def plain_value(value: Any) -> Any:
    """Return an instant as `2026-11-24T10:00:00Z`, other values as they are."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value
