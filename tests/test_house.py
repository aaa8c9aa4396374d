"""What is too long, or is not registered where it has to be: each failure says what to write where.

`make check` runs these tests, and those of other modules that are marked `house`.
"""

import ast
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import duckdb
import pytest
import typer

from flows.cli import COMMANDS
from flows.init import QUESTIONS, TABLES, field_meanings
from flows.settings import Settings
from tests.test_contracts import CONTRACTS, create_broken_table
from tests.test_lines import PATTERNS
from tests.test_queries import query_schema
from transforms.contracts.contracts import kept_tables, rule_in_words
from transforms.contracts.screening import breaking_rows, screening_query
from transforms.fleet.fleet import HOST_KEYS
from transforms.fleet.history import HISTORY_SCHEMA
from transforms.fleet.host_settings import POSTFIX_SETTINGS, SETTING_NAMES
from transforms.fleet.inventory_settings import POSTFIX_TIMES
from transforms.marts.mart_files import refuse_unkept
from transforms.marts.models import load_models
from transforms.parse.patterns import Pattern
from transforms.problems import MaillagError
from transforms.thresholds import Thresholds

pytestmark = pytest.mark.house
PROJECT = Path(__file__).parents[1]
MOST_LINES = 400
MOST_LINES_OF_FUNCTION = 60
# Functions with this decorator are loops that numba compiles: they may be longer.
COMPILED = "compiled"
COMMANDS_DOCUMENT = (PROJECT / "docs" / "commands.md").read_text(encoding="utf-8")
SETTINGS_DOCUMENT = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
# Settings of hosts for which `maillag init` knows no command that shows them.
NOT_ASKED = {"product", "patch", "mta", "sender_filter", "scan_port"}


def refuse(problems: Iterable[str]) -> None:
    """Fail with the problems, one on a line, if there are any."""
    if found := [*problems]:
        pytest.fail("\n".join(found), pytrace=False)


def named(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (PROJECT / folder).rglob("*.py"))


def test_no_file_is_too_long() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in (*modules("transforms", "flows"), *sorted((PROJECT / "sql").rglob("*.sql")))
    }
    assert lengths
    refuse(
        f"{named(path)}: {count} lines, {MOST_LINES} at most. Make it two files, each with one purpose"
        for path, count in lengths.items()
        if count > MOST_LINES
    )


def test_no_function_is_too_long() -> None:
    functions = [
        (path, node, (node.end_lineno or 0) - node.lineno + 1)
        for path in modules("transforms", "flows")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert functions
    refuse(
        f"{named(path)}:{node.lineno}: {node.name} has {count} lines, {MOST_LINES_OF_FUNCTION} at most. Make "
        "it two functions, each named by what it returns or does"
        for path, node, count in functions
        if count > MOST_LINES_OF_FUNCTION and COMPILED not in map(ast.unparse, node.decorator_list)
    )


def test_every_path_in_the_documents_is_there() -> None:
    documents = [PROJECT / "CONTRIBUTING.md", PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]
    form = re.compile(r"`((?:transforms|flows|sql|tests|expectations|docs)/[\w./-]*)`")
    refuse(
        f"{named(document)}:{number}: {path} does not exist. Correct the path"
        for document in documents
        for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1)
        for path in form.findall(line)
        if not (PROJECT / path).exists()
    )


def test_every_pattern_is_tried_on_lines_and_has_a_sample() -> None:
    used = [pattern for _, patterns in PATTERNS.values() for pattern in patterns]
    written = [
        (named(path), pattern)
        for path in modules("transforms/parse")
        for group in vars(importlib.import_module(module_name(path))).values()
        if isinstance(group, tuple)
        for pattern in group
        if isinstance(pattern, Pattern)
    ]
    assert written
    unused = (
        f"{where}: pattern {pattern.name!r} is tried on no line. Add it to a tuple that "
        "transforms/parse/routing.py chooses; a new tuple also needs a place in PATTERNS of test_lines.py"
        for where, pattern in written
        if not any(pattern is one for one in used)
    )
    unsampled = (
        f"{where}: pattern {pattern.name!r} has no sample. Write a real line without its header there"
        for where, pattern in written
        if not pattern.samples
    )
    refuse((*unused, *unsampled))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def test_every_mart_says_how_its_rows_are_kept() -> None:
    models = load_models()
    made = {table for model in models for table in model.tables}
    problems = [
        f"expectations/{table}.yaml: has meta.kept, but no model makes this table. Write "
        f"sql/{table.replace('.', '/')}.sql"
        for table in sorted(kept_tables().keys() - made)
    ]
    try:
        refuse_unkept(models)
    except MaillagError as error:
        problems.append(str(error))
    refuse(problems)


def test_every_rule_is_broken_by_one_of_the_broken_rows() -> None:
    """The slow test in test_contracts.py proves it with Great Expectations."""
    with duckdb.connect() as connection:
        for table in CONTRACTS:
            create_broken_table(connection, table)
        for table, contract in CONTRACTS.items():
            query = screening_query(contract.expectations)
            broken = connection.execute(query.format(batch=table)).fetchall() if query else []
            refuse(
                f"expectations/{table}.yaml: no row of broken_rows breaks a rule. Add one: "
                + rule_in_words(rule)
                for position, rule in enumerate(contract.expectations)
                if breaking_rows(rule) and (position,) not in broken
            )


def test_every_command_is_run_by_a_test() -> None:
    tests = "".join(
        path.read_text(encoding="utf-8") for path in sorted((PROJECT / "tests").glob("test_*.py"))
    )
    refuse(
        f"tests/test_cli.py: no test runs `maillag {name}`. Write one"
        for name in map(typed, COMMANDS)
        if not re.search(rf'[(\[]"{name}"', tests)
    )


def test_the_documents_list_every_command_with_its_options() -> None:
    refuse(
        f"docs/commands.md: lacks {text} of the command {typed(command)}. Write it into its table"
        for command in COMMANDS
        for text in (f"maillag {typed(command)} ", *options_of(command))
        if text not in COMMANDS_DOCUMENT
    )


def typed(command: Callable[..., None]) -> str:
    """Return the name of a command as users type it."""
    return command.__name__.replace("_", "-")


def options_of(command: Callable[..., None]) -> Iterator[str]:
    app = typer.Typer(add_completion=False)
    app.command()(command)
    for parameter in typer.main.get_command(app).params:
        yield from (option for option in parameter.opts if option.startswith("--"))


def test_every_setting_takes_effect_and_is_written_by_init() -> None:
    read = {
        node.attr
        for path in modules("flows")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    unread = (
        f"flows/settings.py: nothing reads {name}. Give it to the Job, in Settings.job"
        for name in Settings.model_fields.keys() - read
    )
    unwritten = (
        f"flows/init.py: TABLES lacks {name}, so that `maillag init` does not write its keys"
        for name, field in Settings.model_fields.items()
        if is_dataclass(field.default) and name not in TABLES
    )
    refuse((*unread, *unwritten))


def test_every_threshold_is_used_and_has_the_same_meaning_in_its_contract() -> None:
    columns = CONTRACTS["config.thresholds"].columns
    meanings = field_meanings(Thresholds)
    rules = "".join(
        path.read_text(encoding="utf-8")
        for path in (*modules("transforms"), *(PROJECT / "sql").rglob("*.sql"))
    )
    names = [field.name for field in fields(Thresholds)]
    refuse(
        f"transforms/thresholds.py: {name} has no meaning. Write a docstring below it"
        for name in names
        if name not in meanings
    )
    refuse(
        f"expectations/config.thresholds.yaml: lacks {name}. Write it into meta.columns and meta.fields"
        for name in names
        if name not in columns
    )
    refuse(
        f"expectations/config.thresholds.yaml: the meaning of {name} is another one than in "
        f"transforms/thresholds.py. Write: {meaning}"
        for name in names
        if (meaning := f"{meanings[name]} Default: {getattr(Thresholds, name)}.") != columns[name].description
    )
    refuse(
        f"transforms/thresholds.py: no rule uses {name}. Remove it"
        for name in names
        if not re.search(rf"thresholds\.{name}\b", rules)
    )


def test_every_key_of_a_host_is_documented_and_taken_everywhere() -> None:
    table = SETTINGS_DOCUMENT.partition("## fleet.toml")[2].partition("\n## ")[0]
    undocumented = (
        f"docs/settings.md, fleet.toml: lacks {name}. Write an example with its meaning"
        for name in (*SETTING_NAMES, *HOST_KEYS)
        if f"{name} = " not in table and f".{name}]]" not in table
    )
    unasked = (
        f"flows/init.py: QUESTIONS lacks {name}. Write the command that shows it on a host; without one, "
        "add it to NOT_ASKED in tests/test_house.py"
        for name in SETTING_NAMES
        if name not in QUESTIONS.keys() | NOT_ASKED
    )
    changes = (PROJECT / "sql/staging/setting_changes.sql").read_text(encoding="utf-8")
    unnoticed = (
        f"sql/staging/setting_changes.sql: lacks {name}, so that no change of it is noticed"
        for name in SETTING_NAMES
        # Another zone dates lines otherwise; the host is the same.
        if f"'{name}'" not in changes and name != "time_zone"
    )
    rules = " ".join(str(rule["kwargs"]) for rule in CONTRACTS["fleet.host_history"].expectations)
    unchecked = (
        f"expectations/fleet.host_history.yaml: the rule that a known setting has a source lacks {name}"
        for name in SETTING_NAMES
        if f"({name} is null) <> ({name}_source is null)" not in rules
    )
    unshown = (
        f"sql/explain/host.sql: lacks {column}, so that `maillag explain` does not show it"
        for column in HISTORY_SCHEMA.keys() - query_schema("explain.host").keys()
    )
    of_postfix = {name for name, _ in POSTFIX_TIMES.values()}
    misplaced = (
        f"transforms/fleet/host_settings.py: POSTFIX_SETTINGS lacks {name}, which Postfix's files hold"
        for name in sorted(of_postfix - {*POSTFIX_SETTINGS})
    )
    refuse((*misplaced, *undocumented, *unasked, *unnoticed, *unchecked, *unshown))
