"""The models against cases: given rows, or the log lines of a story, to the rows they must give.

A case is sql/<schema>.<table>/<case>.yaml. Its `name` is a sentence that is true, `expect` the rows
of the table, all of them, in the columns that they name. Either `given` has rows of the model's
inputs, with only the columns that matter, and `thresholds` what differs from the defaults; or `log`
has the log files of some hosts and `fleet` their fleet.toml, and everything from reading to that
table is run. Cases of queries, which are no models, are in the same form; test_queries.py runs them.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml

from tests.conftest import create_event_tables
from transforms.fleet.fleet import Fleet, read_fleet
from transforms.fleet.history import HISTORY_SCHEMA, latest_hosts
from transforms.lake.catalog import create_tables
from transforms.lake.ledger import Ledger
from transforms.marts import models as marts_models
from transforms.marts.build import config_tables
from transforms.marts.mart_files import handed_on
from transforms.marts.models import (
    MODEL_SCHEMAS,
    Model,
    load_models,
    readers_of_staging,
    run_models,
    take_unused,
)
from transforms.parse.line_counts import LINE_COUNTS
from transforms.parse.tables import EVENT_TABLES
from transforms.problems import Problem
from transforms.queries import SQL_FOLDER
from transforms.thresholds import Thresholds

FOLDER = Path(__file__).parent / "sql"
ALL_MODELS = load_models()
MODELS = {table: model for model in ALL_MODELS for table in model.tables}
# Those of sql/answers have cases of another form (test_answer_queries.py).
QUERIES = sorted(
    f"{path.parent.name}.{path.stem}"
    for path in SQL_FOLDER.glob("*/*.sql")
    if path.parent.name not in (*MODEL_SCHEMAS, "answers")
)

DAY = date(2026, 11, 24)
# A log whose name bears no date gets its year from the time of its last change.
WRITTEN_AT = datetime(2026, 11, 25, tzinfo=UTC).timestamp()
HEADERS = {
    "maillog": "Nov 24 {time} {host} {text}",
    "imssmgr": "2026/11/24 {time} GMT+00:00 {text}",
    "sysevt": "2026/11/24 {time} {text}",
}
# `10:00:05 4A01B7 refused to=b@example.com` is a word of words.yaml with a queue id and a value.
STORY_LINE = re.compile(
    r"(?P<time>\d\d:\d\d:\d\d) +(?:(?P<id>[0-9A-F]{6,}) +)?(?P<word>[a-z_]+)"
    r"(?P<values>( +[a-z]+=\S*)*)"
)


@dataclass(frozen=True)
class Case:
    """One case, of the table that its folder is named for."""

    table: str
    slug: str
    name: str
    expect: list[dict[str, Any]]
    given: Mapping[str, list[dict[str, Any]]] | None = None
    thresholds: Mapping[str, int] | None = None
    parameters: Mapping[str, Any] | None = None
    log: Mapping[str, Mapping[str, str | None] | str] | None = None
    fleet: str = ""
    open: str = ""
    """Why the models do not make these rows yet; the test fails once they do."""

    def __str__(self) -> str:
        return f"{self.table}/{self.slug}"


@dataclass(frozen=True)
class Told:
    """A database with every table of some stories, and what could not be read of them."""

    connection: duckdb.DuckDBPyConnection
    problems: list[Problem]


def read_case(path: Path) -> Case:
    """Read a case; raises TypeError for a key that no case has, or one that it lacks."""
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Case(table=path.parent.name, slug=path.stem, **case)


# What another model's rule is made of: its cases give what these are made of.
STEPS = {*handed_on(), "staging.fresh_answers", "staging.reply_links", "staging.scans"}
CASES = [read_case(path) for path in sorted(FOLDER.glob("*.*/*.yaml"))]


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Tell the stories of all chosen cases at once: hosts do not depend on each other."""
    chosen = {
        item.callspec.id
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    }
    cases = [case for case in CASES if case.log is not None and str(case) in chosen]
    with connect() as connection, pytest.MonkeyPatch.context() as patch:
        # As of a large host, not all at once.
        patch.setattr(marts_models, "ENTRIES_AT_ONCE", 40)
        problems = tell_stories(connection, cases, tmp_path_factory.mktemp("stories"))
        create_tables(connection, config_tables(Thresholds()))
        run_models(connection, ALL_MODELS)
        yield Told(connection, problems)


def parameters(form: str) -> list[Any]:
    """Return the cases of a form, `given` or `log`; an open one is expected to fail."""
    return [
        pytest.param(case, id=str(case), marks=[pytest.mark.xfail(reason=case.open)] if case.open else [])
        for case in CASES
        if getattr(case, form) is not None
    ]


@pytest.mark.parametrize("case", [p for p in parameters("given") if p.values[0].table in MODELS])
def test_model_makes_these_rows_of_the_given_ones(case: Case) -> None:
    with connect() as connection:
        models = models_of(case)
        create_given_tables(connection, case, models)
        run_models(connection, models)
        assert_rows(connection.sql(f"select * from {case.table}").pl(), case)


@pytest.mark.parametrize("case", parameters("log"))
def test_models_make_these_rows_of_the_story(case: Case, told: Told) -> None:
    problems = [problem for problem in told.problems if problem.where.startswith(f"{case}/")]
    assert not problems, "the story cannot be read: " + " ".join(map(str, problems))
    assert_story_rows(told.connection, case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case_is_named_by_its_sentence(case: Case) -> None:
    assert case.slug == "_".join(re.findall("[a-z0-9]+", case.name.lower()))
    assert case.table in MODELS or case.table in QUERIES
    assert case.table in QUERIES or case.parameters is None
    assert (case.given is None) != (case.log is None)
    assert case.log is None or case.thresholds is None


@pytest.mark.house
@pytest.mark.parametrize("table", [*MODELS, *QUERIES])
def test_table_has_a_case(table: str) -> None:
    assert any(case.table == table for case in CASES), f"{table} has no case: add one in tests/sql/{table}/"


def test_a_table_behind_a_view_is_unused_after_the_last_model_that_reads_the_view() -> None:
    (table,) = MODELS["staging.queue_entries"].inputs
    *_, last = (model for model in ALL_MODELS if model.inputs & {"staging.queue_entries", table})
    readers = readers_of_staging(ALL_MODELS)
    unused = {model.name: take_unused(readers, model) for model in ALL_MODELS}
    assert [name for name, tables in unused.items() if table in tables] == [last.name]
    assert not any("staging.queue_entries" in tables for tables in unused.values())


def connect() -> duckdb.DuckDBPyConnection:
    """Open an empty database as the models find it."""
    connection = duckdb.connect(":memory:", config={"preserve_insertion_order": "false"})
    connection.execute("set timezone = 'UTC'")
    return connection


@cache
def schemas() -> dict[str, pl.Schema]:
    """Return the columns of all tables; those of the models come from running them on nothing."""
    inputs = {
        **{f"events.{name}": schema for name, schema in EVENT_TABLES.items()},
        "ops.line_counts": LINE_COUNTS,
        "ops.source_files": Ledger.schema("source_files"),
        "fleet.host_history": HISTORY_SCHEMA,
        "fleet.hosts": latest_hosts(HISTORY_SCHEMA.to_frame()).schema,
    }
    with connect() as connection:
        create_tables(connection, {name: schema.to_frame() for name, schema in inputs.items()})
        create_tables(connection, config_tables(Thresholds()))
        run_models(connection, ALL_MODELS)
        made = {name: connection.sql(f"select * from {name}").pl().schema for name in MODELS}
    return inputs | made


def models_of(case: Case) -> list[Model]:
    """Return the case's model, after those of handed_on() and their like that it is a step of."""
    needed = {case.table}
    for model in reversed(ALL_MODELS):
        if needed.intersection(model.tables) and (model.name == case.table or model.name in STEPS):
            needed |= model.inputs & STEPS
    return [model for model in ALL_MODELS if needed.intersection(model.tables)]


def create_given_tables(connection: duckdb.DuckDBPyConnection, case: Case, models: Iterable[Model]) -> None:
    """Create all input tables of the case's models, and the settings."""
    create_tables(connection, given_frames(case, models))
    create_tables(connection, config_tables(replace(Thresholds(), **(case.thresholds or {}))))


def given_frames(case: Case, models: Iterable[Model]) -> dict[str, pl.DataFrame]:
    """Return all input tables of the case's models, empty where it gives no rows."""
    made = {table for model in models for table in model.tables}
    read = {name for model in models for name in model.inputs - made}
    inputs = {name for name in read if not name.startswith("config.")}
    given = case.given or {}
    assert given.keys() <= inputs, f"{case.table} does not read {given.keys() - inputs}"
    return {
        name: pl.DataFrame(
            typed_rows(given.get(name, []), schemas()[name], where=name), schema=schemas()[name]
        )
        for name in inputs
    }


def typed_rows(rows: Iterable[Mapping[str, Any]], schema: pl.Schema, *, where: str) -> list[dict[str, Any]]:
    """Return YAML rows with their times as UTC instants."""
    typed = []
    for row in rows:
        assert row.keys() <= schema.keys(), f"{where} has no {row.keys() - schema.keys()}"
        typed.append(
            {
                name: instant(value) if isinstance(schema[name], pl.Datetime) else value
                for name, value in row.items()
            }
        )
    return typed


def instant(value: Any) -> datetime | None:
    """Return the UTC instant of `10:00:05` on the day of the cases, or of `2026-11-25 10:00:05`.

    YAML takes the former for a number to base 60, unless it begins with a zero.
    """
    match value:
        case int() | float():
            return datetime.combine(DAY, time(), UTC) + timedelta(seconds=value)
        case str():
            return datetime.combine(DAY, time.fromisoformat(value), UTC)
        case datetime():
            return value.replace(tzinfo=UTC)
    return None


def assert_story_rows(connection: duckdb.DuckDBPyConnection, case: Case) -> None:
    """Compare the rows of a case's table, in a database with every table of its story."""
    rows = connection.sql(
        f"select * from {case.table} where starts_with(host, $prefix)",
        params={"prefix": f"{case}/"},
    )
    assert_rows(rows.pl().with_columns(pl.col(pl.String).str.strip_prefix(f"{case}/")), case)


def assert_rows(actual: pl.DataFrame, case: Case, *, is_in_order: bool = False) -> None:
    """Compare all rows, in any order unless they have one, on the columns that the expected rows name."""
    expected = typed_rows(case.expect, actual.schema, where=case.table)
    columns = list(dict.fromkeys(name for row in expected for name in row)) or actual.columns
    expected_rows = [{name: row.get(name) for name in columns} for row in expected]
    found = plain_rows(actual.select(columns).rows(named=True))
    ordered = list if is_in_order else in_text_order
    assert ordered(found) == ordered(plain_rows(expected_rows))


def plain_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with instants as text and fractions to the microsecond."""
    return [{name: plain_value(value) for name, value in row.items()} for row in rows]


def in_text_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: [str(value) for value in row.values()])


def plain_value(value: Any) -> Any:
    match value:
        case float():
            return round(value, 6)
        case datetime():
            return value.astimezone(UTC).isoformat(" ")
        case list():
            return [plain_value(item) for item in value]
    return value


def tell_stories(connection: duckdb.DuckDBPyConnection, cases: Iterable[Case], folder: Path) -> list[Problem]:
    """Write the log files of stories, read them as any archive is read, and create the tables.

    Hosts are named `<case>/<host>`. Returns what could not be read.
    """
    archive, lake = folder / "archive", folder / "lake"
    hosts = []
    for case in cases:
        case_folder = archive / str(case)
        case_folder.mkdir(parents=True)
        (case_folder / "fleet.toml").write_text(case.fleet)
        for host, logs in (case.log or {}).items():
            (case_folder / host).mkdir()
            for name, story in as_files(logs).items():
                lines = story_lines(story or "", host, re.split("[-.]", name)[0])
                log = case_folder / host / name
                log.write_text("".join(f"{line}\n" for line in lines))
                os.utime(log, (WRITTEN_AT, WRITTEN_AT))
        for of_fleet in read_fleet(case_folder).hosts:
            name = f"{case}/{of_fleet.name}"
            hosts.append(replace(of_fleet, name=name, path=of_fleet.path or name))
    return create_event_tables(connection, archive, lake, Fleet(tuple(hosts)))


def as_files(logs: Mapping[str, str | None] | str) -> Mapping[str, str | None]:
    """Return a host's log files by name; where there is but one text, it is the maillog."""
    return {"maillog-20261124": logs} if isinstance(logs, str) else logs


def story_lines(story: str, host: str, log: str) -> Iterator[str]:
    """Yield the log lines of a story: words are spelt out, other lines are taken as they are."""
    for line in story.splitlines():
        if match := STORY_LINE.fullmatch(line.strip()):
            values = words()["values"] | dict(v.split("=", 1) for v in match["values"].split())
            text = words()[log][match["word"]].format(id=match["id"], **values)
            yield HEADERS[log].format(time=match["time"], host=host, text=text)
        else:
            yield line


@cache
def words() -> dict[str, Any]:
    """Return the words that stand for log lines, and the values they take where none is given."""
    return dict(yaml.safe_load((FOLDER / "words.yaml").read_text(encoding="utf-8")))
