"""Turns models into tables: finds the SQL files, derives their order from the SQL, and runs them."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb

from transforms.marts import queue_entries, what_if
from transforms.marts.database import create_macros, execute
from transforms.problems import MaillagError
from transforms.queries import SQL_FOLDER

# The folders of the models. Queries in other folders are read by name (queries.read_query).
MODEL_SCHEMAS = ("staging", "marts")
# The schemas that models read but do not build: the lake's events, the fleet, the ledger and the settings.
INPUT_SCHEMAS = ("events", "fleet", "ops", "config")
# Models that only name what the columns of one table mean, a row for a row: their columns are computed where
# they are read, which takes less time and memory than to store them.
VIEWS = frozenset({"staging.queue_entries"})
# Models with these parameters are built some queue entries at a time, in the order of arrivals: all of a
# large host's at once would take too much memory to join.
AFTER, UNTIL = "after_entry", "until_entry"
ENTRIES_AT_ONCE = 1_000_000
# All numbers of entries lie between them.
ENTRY_NUMBERS = -(10**38) + 1, 10**38 - 1


@dataclass(frozen=True)
class Model:
    """One SQL file with one SELECT, or a function: it builds tables from other tables.

    The path of an SQL file gives the name of the table.
    """

    tables: tuple[str, ...]
    inputs: frozenset[str]
    source: str
    """The SELECT, or the source code of the function's modules."""
    function: Callable[[duckdb.DuckDBPyConnection], None] | None = None

    @property
    def name(self) -> str:
        """The name of the model's first table."""
        return self.tables[0]


def load_models(folder: Path = SQL_FOLDER) -> list[Model]:
    """Return all models, each after the models whose tables it reads.

    Raises MaillagError for a table that no model builds, or for models that need each other.
    """
    models = [
        Model(
            module.TABLES,
            module.INPUTS,
            "".join(Path(source).read_text(encoding="utf-8") for source in module.MODULES),
            make,
        )
        for module, make in (
            (queue_entries, queue_entries.make_queue_entries),
            (what_if, what_if.make_retry_what_if),
        )
    ]
    for path in sorted(path for schema in MODEL_SCHEMAS for path in folder.glob(f"{schema}/*.sql")):
        sql = path.read_text(encoding="utf-8")
        inputs = tables_in(sql, where=f"sql/{path.parent.name}/{path.name}")
        models.append(Model((f"{path.parent.name}.{path.stem}",), frozenset(inputs), sql))
    maker_of = {table: model for model in models for table in model.tables}
    for model in models:
        for table in model.inputs - maker_of.keys():
            if table.split(".")[0] not in INPUT_SCHEMAS:
                raise MaillagError(f"sql: {model.name} reads {table}, which no model makes.")
    try:
        order = list(TopologicalSorter(_graph(models)).static_order())
    except CycleError as error:
        raise MaillagError(f"sql: these models need each other: {', '.join(error.args[1])}.") from None
    return [maker_of[name] for name in order]


def _graph(models: list[Model]) -> dict[str, list[str]]:
    """Return by name the names of the other models whose tables a model reads."""
    maker_of = {table: model.name for model in models for table in model.tables}
    return {
        model.name: sorted({maker_of[table] for table in model.inputs & maker_of.keys()}) for model in models
    }


def settled_sql(folder: Path = SQL_FOLDER) -> dict[str, str]:
    """Return the SQL, by file, that shapes the marts besides the models: macros and sql/settled."""
    paths = [folder / "macros.sql", *folder.glob("settled/*.sql")]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def needed_models(models: list[Model], tables: Iterable[str]) -> list[Model]:
    """Return the models of these tables and all models that they need, in the given order."""
    needed = set(tables)
    for model in reversed(models):
        if needed.intersection(model.tables):
            needed |= model.inputs
    return [model for model in models if needed.intersection(model.tables)]


def run_models(connection: duckdb.DuckDBPyConnection, models: list[Model]) -> None:
    """Build the tables of all models. The connection must already have the input tables."""
    create_macros(connection)
    for model in models:
        run_model(connection, model)


def run_model(connection: duckdb.DuckDBPyConnection, model: Model, source: str | None = None) -> None:
    """Build a model's tables, with another SELECT if given. Needs the input tables and the macros.

    Errors have the model's name as a note.
    """
    execute(connection, f"create schema if not exists {model.name.split('.')[0]}")
    try:
        if model.function:
            model.function(connection)
        elif f"${UNTIL}" in model.source:
            verb = f"create table {model.name} as"
            for after, until in _spans(connection):
                execute(connection, f"{verb} {source or model.source}", {AFTER: after, UNTIL: until})
                verb = f"insert into {model.name}"
        else:
            kind = "view" if model.name in VIEWS else "table"
            execute(connection, f"create {kind} {model.name} as {source or model.source}")
    except Exception as error:
        error.add_note(model.name)
        raise


def _spans(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, int]]:
    """Return spans of the numbers of queue entries, each of about ENTRIES_AT_ONCE entries at most."""
    ((count,),) = execute(connection, "select count(*) from staging.queue_entries")
    parts = count // ENTRIES_AT_ONCE + 1
    cuts: list[int] = []
    if parts > 1:
        ((cuts,),) = execute(
            connection,
            "select approx_quantile(entry_number, cast($shares as float[])) from staging.queue_entries",
            {"shares": [part / parts for part in range(1, parts)]},
        )
    first, last = ENTRY_NUMBERS
    return pairwise([first, *cuts, last])


def run_side_by_side(
    connection: duckdb.DuckDBPyConnection,
    models: list[Model],
    run: Callable[[duckdb.DuckDBPyConnection, Model], None],
    *,
    at_once: int,
) -> Iterator[Model]:
    """Call `run(cursor, model)` for each model once the tables that it reads are there; yield it when done.

    Many models are too small, or use arrays too much, to keep several cores busy: several run at once, each
    with a connection of its own to the same database. Raises the first error once the others are done.
    """
    of_name = {model.name: model for model in models}
    graph = _graph(models)
    # What most others wait for comes first.
    awaited: Counter[str] = Counter()
    for model in reversed(models):
        for name in graph[model.name]:
            awaited[name] += 1 + awaited[model.name]
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    ready: list[str] = []
    running: dict[Future[None], Model] = {}

    def run_one(model: Model) -> None:
        with connection.cursor() as cursor:
            run(cursor, model)

    with ThreadPoolExecutor(at_once) as pool:
        while sorter.is_active():
            ready = sorted([*ready, *sorter.get_ready()], key=awaited.__getitem__)
            while ready and len(running) < at_once:
                model = of_name[ready.pop()]
                running[pool.submit(run_one, model)] = model
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                model = running.pop(future)
                future.result()
                sorter.done(model.name)
                yield model


def readers_of_staging(models: list[Model]) -> dict[str, set[str]]:
    """Return by staging table the names of the models that read it, themselves or by a view."""
    of_views = {model.name: model.inputs for model in models if model.name in VIEWS}
    readers: dict[str, set[str]] = {}
    for model in models:
        for name in model.inputs:
            for table in of_views.get(name, {name}):
                if table.startswith("staging."):
                    readers.setdefault(table, set()).add(model.name)
    return readers


def take_unused(readers: dict[str, set[str]], model: Model) -> list[str]:
    """Take a model that has run out of `readers_of_staging`; return the tables that nobody reads any more."""
    for names in readers.values():
        names.discard(model.name)
    unused = [table for table, names in readers.items() if not names]
    for table in unused:
        del readers[table]
    return unused


def tables_in(sql: str, *, where: str) -> set[str]:
    """Return the `schema.table` names that a SELECT reads, according to DuckDB's parser."""
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
