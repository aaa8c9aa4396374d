"""SQL files to tables: finds the models, derives their order from the SQL, and runs them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb

from transforms.problems import MaillagError

SQL_FOLDER = Path(__file__).parents[1] / "sql"
# What the models read but do not make: the lake's events, the fleet, the ledger and the settings.
INPUT_SCHEMAS = ("events", "fleet", "ops", "config")


@dataclass(frozen=True)
class Model:
    """One SQL file with one SELECT: its path is the name of the table that it defines."""

    name: str
    sql: str
    inputs: frozenset[str]


def load_models(folder: Path = SQL_FOLDER) -> list[Model]:
    """Return all models, each after those that it reads.

    Raises MaillagError for a table that nobody makes, or for models that need each other.
    """
    models = {}
    for path in sorted(folder.glob("*/*.sql")):
        name = f"{path.parent.name}.{path.stem}"
        sql = path.read_text(encoding="utf-8")
        models[name] = Model(
            name, sql, frozenset(tables_in(sql, where=f"sql/{path.parent.name}/{path.name}"))
        )
    for model in models.values():
        for table in model.inputs - models.keys():
            if table.split(".")[0] not in INPUT_SCHEMAS:
                raise MaillagError(f"sql: {model.name} reads {table}, which no model makes.")
    graph = {model.name: model.inputs & models.keys() for model in models.values()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise MaillagError(f"sql: these models need each other: {', '.join(error.args[1])}.") from None
    return [models[name] for name in order]


def needed_models(models: list[Model], tables: Iterable[str]) -> list[Model]:
    """Return the models that make these tables, and all that they rest on, in the given order."""
    needed = set(tables)
    for model in reversed(models):
        if model.name in needed:
            needed |= model.inputs
    return [model for model in models if model.name in needed]


def run_models(connection: duckdb.DuckDBPyConnection, models: list[Model]) -> None:
    """Make every model's table in the connection, whose input tables must be there already."""
    for model in models:
        make_table(connection, model)


def make_table(connection: duckdb.DuckDBPyConnection, model: Model) -> None:
    """Make a model's table, whose input tables must be there already."""
    connection.execute(f"create schema if not exists {model.name.split('.')[0]}")
    connection.execute(f"create table {model.name} as {model.sql}")


def last_uses(models: list[Model]) -> Iterator[tuple[Model, list[str]]]:
    """Yield each model with the staging tables that none after it reads."""
    last = {table: model.name for model in models for table in model.inputs}
    for model in models:
        yield (
            model,
            [table for table in model.inputs if table.startswith("staging.") and last[table] == model.name],
        )


def tables_in(sql: str, *, where: str) -> set[str]:
    """Return the `schema.table` names that a SELECT reads, by DuckDB's own parser."""
    (serialized,) = duckdb.execute("select json_serialize_sql(?)", [sql]).fetchall()[0]
    tree = json.loads(serialized)
    if tree["error"]:
        raise MaillagError(f"{where}: {tree['error_message']} (position {tree.get('position')}).")
    return {
        f"{node['schema_name']}.{node['table_name']}"
        for node in _nodes(tree)
        if node.get("type") == "BASE_TABLE" and node["schema_name"]
    }


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)
