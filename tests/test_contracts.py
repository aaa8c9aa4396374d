"""The contracts against what is really made: every table, column, type and value, and rules that trip."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.conftest import SAMPLE, run_job
from tests.test_lines import PATTERNS
from transforms.contracts import dictionary
from transforms.contracts.contracts import (
    CONTRACT_FOLDER,
    ROWS_SHOWN,
    Checker,
    Column,
    Contract,
    kept_tables,
    load_contracts,
    rule_in_words,
)
from transforms.contracts.dictionary import render_dictionary
from transforms.fleet.history import HISTORY_SCHEMA, latest_hosts
from transforms.lake.catalog import CATALOG_NAME, create_tables
from transforms.lake.ledger import Ledger
from transforms.marts.build import config_tables
from transforms.marts.mart_files import marts
from transforms.marts.models import load_models, run_models
from transforms.parse.line_counts import LINE_COUNTS
from transforms.parse.tables import EVENT_TABLES, NOISE
from transforms.problems import MaillagError
from transforms.publish import PUBLISHED_OF_LEDGER
from transforms.queries import CatalogFunction
from transforms.run import Job
from transforms.thresholds import Thresholds

CONTRACTS = load_contracts()

BROKEN_ROWS: Mapping[str, list[dict[str, Any]]] = {
    table: yaml.safe_load((CONTRACT_FOLDER / f"{table}.yaml").read_text(encoding="utf-8")).get(
        "broken_rows", []
    )
    for table in CONTRACTS
}
# What rows that break the rules on one column have in common.
BREAKING = {
    "expect_column_values_to_be_unique": "true qualify count({column}) over (partition by {column}) > 1",
    "expect_column_values_to_be_in_set": "not list_contains({value_set}, {column})",
}
PUBLIC = [contract for contract in CONTRACTS.values() if contract.is_public]


@pytest.fixture(scope="module")
def made_tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return the type of every column of every table with a contract, as the code makes it from nothing."""
    history = HISTORY_SCHEMA.to_frame()
    frames = {
        "config.thresholds": config_tables(Thresholds())["config.thresholds"],
        **{f"events.{name}": schema.to_frame() for name, schema in EVENT_TABLES.items()},
        "ops.line_counts": LINE_COUNTS.to_frame(),
        **{f"ops.{name}": Ledger.schema(name).to_frame() for name in (*PUBLISHED_OF_LEDGER, "frozen_days")},
        "fleet.host_history": history,
        "fleet.hosts": latest_hosts(history),
    }
    models = load_models()
    with duckdb.connect(":memory:") as connection:
        create_tables(connection, frames | config_tables(Thresholds()))
        run_models(connection, models)
        made = {table for model in models for table in model.tables}
        return {table: described(connection, table) for table in (*frames, *(made & kept_tables().keys()))}


def described(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return the type of each column, in the table's order."""
    return {row[0]: row[1] for row in connection.execute(f"describe {table}").fetchall()}


def allowed_values(table: str, column: str) -> set[str]:
    """Return the values that a contract allows a column."""
    (values,) = (
        rule["kwargs"]["value_set"]
        for rule in CONTRACTS[table].expectations
        if rule["type"] == "expect_column_values_to_be_in_set" and rule["kwargs"]["column"] == column
    )
    return set(values)


@pytest.fixture(scope="module")
def broken_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database in which rows break every rule."""
    database = tmp_path_factory.mktemp("broken") / "broken.duckdb"
    with duckdb.connect(str(database)) as connection:
        for table in CONTRACTS:
            create_broken_table(connection, table)
    return database


def create_broken_table(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Create a table of the rows that break its rules."""
    columns = (f'"{name}" {column.data_type}' for name, column in CONTRACTS[table].columns.items())
    connection.execute(f"create schema if not exists {table.split('.')[0]}")
    connection.execute(f"create table {table} ({', '.join(columns)})")
    for row in BROKEN_ROWS[table]:
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        connection.execute(f"insert into {table} ({names}) values ({marks})", list(row.values()))


@pytest.mark.house
def test_every_table_has_a_contract_and_every_contract_a_table(
    made_tables: dict[str, dict[str, str]],
) -> None:
    for table in made_tables.keys() - CONTRACTS.keys():
        pytest.fail(f"table {table} has no contract: write expectations/{table}.yaml")
    for table in CONTRACTS.keys() - made_tables.keys():
        pytest.fail(
            f"expectations/{table}.yaml: nothing makes this table. If a model does, write meta.kept; else "
            "remove the file"
        )


@pytest.mark.house
@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.table)
def test_contract_has_the_columns_and_types_of_its_table(
    contract: Contract, made_tables: dict[str, dict[str, str]]
) -> None:
    if contract.table not in made_tables:
        pytest.skip("no table of this name, which is another test's failure")
    promised = {name: column.data_type for name, column in contract.columns.items()}
    # Which of several messages had a queue id is told to other models by a number that nobody sees.
    made = {name: kind for name, kind in made_tables[contract.table].items() if name != "lifetime"}
    wrong_type = {name for name in made.keys() & promised.keys() if made[name] != promised[name]}
    assert list(promised.items()) == list(made.items()), (
        f"expectations/{contract.table}.yaml: meta.columns are not the table's columns in their order. "
        f"Lacking: {made.keys() - promised.keys()}; unknown: {promised.keys() - made.keys()}; "
        f"of another type: {wrong_type}"
    )


@pytest.mark.house
@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.table)
def test_contract_has_a_grain_meanings_and_rules_in_words(contract: Contract) -> None:
    file = f"expectations/{contract.table}.yaml"
    assert contract.grain.startswith("One row per "), f"{file}: meta.grain has to begin with 'One row per '"
    assert contract.expectations or not contract.is_public, f"{file}: has no rule: write expectations"
    for text in (contract.grain, *(column.description for column in contract.columns.values())):
        assert text.endswith("."), f"{file}, or fields.yaml: no sentence with a full stop: {text}"
    assert render_dictionary({contract.table: contract}, ())


@pytest.mark.house
@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.table)
def test_every_allowed_value_is_explained(contract: Contract) -> None:
    for rule in contract.expectations:
        if rule["type"] == "expect_column_values_to_be_in_set":
            column = rule["kwargs"]["column"]
            meaning = contract.columns[column].description
            silent = [value for value in rule["kwargs"]["value_set"] if f"`{value}`" not in meaning]
            assert not silent, (
                f"expectations/{contract.table}.yaml, or fields.yaml: the meaning of {column} does not "
                f"explain the values {silent}. Write them in backticks"
            )


@pytest.mark.house
def test_every_field_is_used_by_a_table() -> None:
    fields = yaml.safe_load((CONTRACT_FOLDER / "fields.yaml").read_text(encoding="utf-8"))
    used = {
        (name, column.description)
        for contract in CONTRACTS.values()
        for name, column in contract.columns.items()
    }
    unused = [name for name, field in fields.items() if (name, field["is"]) not in used]
    assert not unused, f"expectations/fields.yaml: no table has {unused}. Remove them"


@pytest.mark.house
def test_contracts_allow_just_the_kinds_that_patterns_give() -> None:
    kinds: dict[tuple[str, str], set[str]] = {}
    for pattern in (pattern for _, patterns in PATTERNS.values() for pattern in patterns):
        for column, value in pattern.constants.items():
            if not column.endswith("_kind"):
                continue
            kinds.setdefault((f"events.{pattern.table}", column), set()).add(value)
    for (table, column), given in kinds.items():
        allowed = allowed_values(table, column)
        lacking, unused = sorted(given - allowed), sorted(allowed - given)
        assert not lacking, f"expectations/{table}.yaml: the value_set of {column} lacks {lacking}"
        assert not unused, f"expectations/{table}.yaml: no pattern gives the {column} {unused}. Remove them"


@pytest.mark.house
def test_line_counts_allow_just_the_tables_that_lines_go_to() -> None:
    assert allowed_values("ops.line_counts", "table_name") == {*EVENT_TABLES, NOISE}


def test_a_column_without_a_meaning_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "fields.yaml").write_text("host: {type: VARCHAR, is: Name of the gateway.}")
    (tmp_path / "marts.restarts.yaml").write_text(
        "name: marts.restarts\nmeta: {grain: One row per restart., columns: [host, colour]}"
    )
    with pytest.raises(MaillagError, match="column colour has no meaning"):
        load_contracts(tmp_path)


def test_the_dictionary_tells_grain_columns_rules_and_functions() -> None:
    contract = Contract(
        table="marts.restarts",
        grain="One row per restart.",
        description="Of the scan service.",
        columns={"restart_id": Column("VARCHAR", "Host | time.")},
        expectations=(
            {
                "type": "expect_column_values_to_be_unique",
                "kwargs": {"column": "restart_id"},
                "severity": "critical",
            },
            {
                "type": "unexpected_rows_expectation",
                "kwargs": {"unexpected_rows_query": "select * from {batch} where false"},
                "severity": "warning",
                "description": "All is well.",
            },
        ),
    )
    functions = [
        CatalogFunction("local_time", "instant, time_zone", False, "The host's clock."),
        CatalogFunction("waiting_at", "instant", True, "What waited then."),
    ]
    rendered = render_dictionary({contract.table: contract}, functions)
    assert rendered.startswith("<!-- Generated by 'make docs' from expectations/ and sql/catalog.sql; do not")
    assert rendered.endswith(
        """\
- [marts.restarts](#martsrestarts): One row per restart.

## marts.restarts

One row per restart.

Of the scan service.

| column | type | meaning |
|---|---|---|
| `restart_id` | VARCHAR | Host \\| time. |

Rules:

- `restart_id` is unique. (critical)
- All is well. (warning)

## Functions

- `local_time(instant, time_zone)`: The host's clock.
- `from waiting_at(instant)`: What waited then.
"""
    )


def test_a_stale_dictionary_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dictionary, "DICTIONARY_FILE", tmp_path / "data-dictionary.md")
    assert dictionary.main(["--check"]) == 1
    assert "Run 'make docs'" in capsys.readouterr().err
    assert dictionary.main([]) == 0
    assert dictionary.main(["--check"]) == 0


@pytest.mark.slow
def test_the_sample_lake_keeps_its_promises(sample_lake: Path, checker: Checker) -> None:
    assert checker.check(sample_lake / CATALOG_NAME, PUBLIC) == []


@pytest.mark.slow
def test_great_expectations_is_not_loaded_where_no_rule_is_broken(tmp_path: Path) -> None:
    with Checker() as checker:
        run = run_job(Job(SAMPLE, tmp_path, hosts=("imsva91",)), checker)
        assert run.new_sources
        assert checker.worker is None


@pytest.mark.slow
def test_every_rule_trips_on_a_row_that_breaks_it(broken_tables: Path, checker: Checker) -> None:
    broken = checker.check(broken_tables, CONTRACTS.values())
    with duckdb.connect(str(broken_tables), read_only=True) as connection:
        expected = {
            (table, rule_in_words(rule), rule["severity"], *place): rows
            for table, contract in CONTRACTS.items()
            for rule in contract.expectations
            for place, rows in breaking_rows(connection, contract, rule).items()
        }
    assert {table: len({rule for of, rule, *_ in expected if of == table}) for table in CONTRACTS} == {
        table: len(contract.expectations) for table, contract in CONTRACTS.items()
    }
    found = [(each.table, each.rule, each.severity, each.host, each.source_id) for each in broken]
    assert Counter(found) == Counter(expected.keys())
    for finding, place in zip(broken, found, strict=True):
        shown, rows = json.loads(finding.rows), json.loads(json.dumps(expected[place], default=str))
        assert (finding.row_count, len(shown)) == (len(rows), min(len(rows), ROWS_SHOWN))
        assert all(row in rows for row in shown), (place, shown, rows)


def breaking_rows(
    connection: duckdb.DuckDBPyConnection, contract: Contract, rule: Mapping[str, Any]
) -> dict[tuple[str | None, str | None], list[dict[str, Any]]]:
    """Return the rows that break a rule by host and source file: for a rule on a column, key and column."""
    kwargs, query = rule["kwargs"], rule["kwargs"].get("unexpected_rows_query")
    if query is None:
        first = "source_id" if "source_id" in contract.columns else next(iter(contract.columns))
        key = [first, *({"host"} & contract.columns.keys() - {first})]
        column = kwargs["column"]
        # Great Expectations gives a column twice that is in the key as well.
        shown = [*key, f"{column} as {column}__1" if column in key else column]
        condition = BREAKING[rule["type"]].format(column=column, value_set=kwargs.get("value_set"))
        query = f"select {', '.join(shown)} from {{batch}} where {condition}"
    query = f"select broken from ({query.replace('{batch}', contract.table)}) as broken"
    by_place: dict[tuple[str | None, str | None], list[dict[str, Any]]] = {}
    for (row,) in connection.execute(query).fetchall():
        by_place.setdefault((row.get("host"), row.get("source_id")), []).append(row)
    return by_place


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        pytest.param("select * from {batch} where colour = 'red'", id="column that does not exist"),
        pytest.param("select * from {batch} where host = 'red' or", id="no SQL"),
        pytest.param("select * from {batch} where host::bigint > 1", id="fails on a row"),
        pytest.param("select host from {batch} group by restart_id", id="not about single rows"),
    ],
)
def test_a_rule_that_cannot_be_executed_is_named(query: str, broken_tables: Path, checker: Checker) -> None:
    restarts = CONTRACTS["marts.restarts"]
    rule = {
        "type": "unexpected_rows_expectation",
        "description": "No restart is red.",
        "severity": "critical",
        "kwargs": {"unexpected_rows_query": query},
    }
    first, *others = restarts.expectations
    with pytest.raises(MaillagError, match=r"'No restart is red\.' could not be checked"):
        checker.check(broken_tables, [replace(restarts, expectations=(first, rule, *others))])


@pytest.mark.slow
def test_rules_that_no_query_stands_for_are_checked_too(broken_tables: Path, checker: Checker) -> None:
    """Great Expectations checks them one by one."""
    bounds = {"column": "delay_seconds", "min_value": 0.5, "max_value": 1.5}
    rule = {"type": "expect_column_values_to_be_between", "severity": "info", "kwargs": bounds}
    contract = replace(CONTRACTS["events.delivery_attempts"], expectations=(rule,))
    (finding,) = checker.check(broken_tables, [contract])
    assert (finding.rule, finding.row_count) == ("`delay_seconds` is at least 0.5 and at most 1.5.", 1)


@pytest.mark.slow
def test_a_broken_rule_names_the_hosts_of_the_rows(tmp_path: Path, checker: Checker) -> None:
    """One host's marts are held back for it, and no other's."""
    database = tmp_path / "broken.duckdb"
    tables = {name: contract for name, contract in CONTRACTS.items() if name in marts()}
    with duckdb.connect(str(database)) as connection:
        for table, contract in tables.items():
            columns = (f'"{name}" {column.data_type}' for name, column in contract.columns.items())
            connection.execute("create schema if not exists marts")
            connection.execute(f"create table {table} ({', '.join(columns)})")
            for host in ("mx1", "mx2"):
                for row in BROKEN_ROWS[table]:
                    own = {**row, "host": host} | (
                        {"restart_id": f"{host}-{row['restart_id']}"} if "restart_id" in row else {}
                    )
                    names = ", ".join(f'"{name}"' for name in own)
                    marks = ", ".join("?" for _ in own)
                    connection.execute(f"insert into {table} ({names}) values ({marks})", list(own.values()))
    broken = checker.check(database, tables.values())
    nameless = [(finding.table, finding.rule) for finding in broken if finding.host is None]
    assert nameless == []
    assert {finding.table for finding in broken} == tables.keys()
    of_host = {
        host: {(found.table, found.rule, found.row_count) for found in broken if found.host == host}
        for host in ("mx1", "mx2")
    }
    assert of_host["mx1"] == of_host["mx2"]


def test_the_catalog_carries_the_meanings(sample_lake: Path) -> None:
    with duckdb.connect(str(sample_lake / CATALOG_NAME), read_only=True) as connection:
        rows = connection.execute(
            "select schema_name || '.' || table_name, column_name, comment from duckdb_columns() "
            "where schema_name in ('config', 'events', 'fleet', 'ops', 'marts')"
        ).fetchall()
    commented = {(table, column): comment for table, column, comment in rows}
    assert commented == {
        (contract.table, name): column.description
        for contract in PUBLIC
        for name, column in contract.columns.items()
    }
