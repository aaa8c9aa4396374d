"""Turns rules into wrong ones, one small change at a time, and says which changes no test notices.

`python -m tests.mutate [PATH ...] [--count N] [--seed N]`, where a path is a file or folder of sql/ or
transforms/. A mutant of SQL is killed by a case of its own table (tests/sql), or by a story that gets other
rows in any table made of it. A mutant of Python is killed by the tests that TESTS names for its module, which
run in a copy of the repository. An endless query or test kills its mutant, too. docs/mutation.md has the last
score.
"""

import argparse
import io
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import duckdb

from tests.test_queries import assert_query_rows, connect_for_query, create_query_inputs
from tests.test_sql import (
    ALL_MODELS,
    CASES,
    Case,
    assert_rows,
    assert_story_rows,
    connect,
    create_given_tables,
    models_of,
    tell_stories,
)
from transforms.lake.catalog import create_tables
from transforms.marts.build import config_tables
from transforms.marts.database import create_macros
from transforms.marts.models import MODEL_SCHEMAS, Model, needed_models, run_model, run_models
from transforms.thresholds import Thresholds

ROOT = Path(__file__).parents[1]
PATHS = ("sql/staging", "sql/marts", "sql/settled", "transforms/parse", "transforms/marts")
# Tests of a module that stop at the first failure.
PYTEST = ("-m", "pytest", "-qx", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist")
PATIENCE_SECONDS = 300
SAMPLES = tuple(
    f"test_lines.py::{test}"
    for test in ("test_line_becomes_this_record", "test_pattern_takes_its_own_samples")
)
# Modules that only whole runs test, which take minutes, are not among these.
TESTS = {
    **{path.relative_to(ROOT).as_posix(): SAMPLES for path in (ROOT / "transforms/parse").glob("*.py")},
    "transforms/parse/clock.py": ("test_headers.py",),
    "transforms/parse/headers.py": ("test_headers.py", *SAMPLES),
    "transforms/parse/inventory.py": ("test_inventory.py",),
    "transforms/parse/snapshots.py": ("test_snapshots.py",),
    "transforms/parse/trend.py": ("test_headers.py", *SAMPLES),
    "transforms/marts/advice.py": ("test_advice.py",),
    "transforms/marts/entry_facts.py": ("test_queue_entries.py",),
    "transforms/marts/queue_entries.py": ("test_queue_entries.py",),
    "transforms/marts/silences.py": ("test_silences.py",),
}
# Pattern -> what stands there instead; comments and string literals are left alone.
COMPARISONS = {
    r"<=": "<",
    r">=": ">",
    r"(?<![<>=-])<(?![<>=])": "<=",
    r"(?<![<>=-])>(?![<>=])": ">=",
    r"\band\b": "or",
    r"\bor\b": "and",
    r"\bnot (?!null|in\b|exists)": "",
    r"\bmin\(": "max(",
    r"\bmax\(": "min(",
    r"(?<= )\+(?= )": "-",
    r"(?<= )-(?= )": "+",
    r"(?<= )\*(?= )": "/",
}
RULES = {
    ".sql": {
        **COMPARISONS,
        r"(?<= )=(?= )": "<>",
        r"<>": "=",
        r"\bis not null\b": "is null",
        r"\bis null\b": "is not null",
        r"\bnot (?=in\b|exists)": "",
        r"\bdesc\b": "asc",
        r"\bnulls first\b": "nulls last",
        r"\bleft join\b": "inner join",
        r"\banti join\b": "semi join",
        r"\b(?:where|qualify|having)\b": r"\g<0> true or",
        r"\n +and [^\n()]*(?:\([^\n()]*\)[^\n()]*)*(?=\n)": "",
        r"\bgreatest\(": "least(",
        r"\bleast\(": "greatest(",
        r"\btrue\b": "false",
        r"\bfalse\b": "true",
        r"\bdistinct\b": "",
        r"\blag\(": "lead(",
        r"\blead\(": "lag(",
        r"\barg_min\(": "arg_max(",
        r"\barg_max\(": "arg_min(",
        r"(?<=[ (])\d+(?=[ ,)\n])": "+1",
    },
    ".py": {
        **COMPARISONS,
        r"==": "!=",
        r"!=": "==",
        r"\bis None\b": "is not None",
        r"\bis not None\b": "is None",
        r"\bnot in\b": "in",
        r"\bTrue\b": "False",
        r"\bFalse\b": "True",
        r"\bcontinue\b": "break",
        r"\bbreak\b": "continue",
        r"\bany\(": "all(",
        r"\ball\(": "any(",
        r"(?<=[ (\[:,])\d+(?=[ ,)\n\]:])": "+1",
    },
}


@dataclass(frozen=True)
class Mutant:
    """A source file with one change, in what was line `line`."""

    path: str
    line: int
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before} -> {self.after}"

    @property
    def table(self) -> str:
        """The table that an SQL file makes."""
        return ".".join(Path(self.path).with_suffix("").parts[-2:])


class NoMutantError(Exception):
    """A change of which nothing can be made: DuckDB or Python refuses it as it stands."""


def mutants(path: str) -> Iterator[Mutant]:
    """Yield each change of a file that a rule makes."""
    source = (ROOT / path).read_text(encoding="utf-8")
    suffix = Path(path).suffix
    code = {".sql": sql_code, ".py": python_code}[suffix](source)
    for pattern, replacement in RULES[suffix].items():
        for match in re.finditer(pattern, code):
            start, end = match.span()
            new = str(int(match[0]) + 1) if replacement == "+1" else match.expand(replacement)
            changed = source[:start] + new + source[end:]
            # A condition that is dropped begins with the end of the line before it.
            at = start + (match[0][:1] == "\n")
            number = source.count("\n", 0, at)
            before = source.split("\n")[number]
            after = "" if match[0][:1] == "\n" else changed.split("\n")[number]
            yield Mutant(path, number + 1, before.strip(), after.strip() or "(dropped)", changed)


def blank(source: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return a text of equal length, with blanks (but for line ends) in some spans."""
    text = source
    for start, end in spans:
        text = text[:start] + re.sub(r"[^\n]", "\0", source[start:end]) + text[end:]
    return text


def sql_code(source: str) -> str:
    """Return SQL with its comments and string literals blanked out."""
    return blank(source, (match.span() for match in re.finditer(r"--[^\n]*|'[^']*'", source)))


def python_code(source: str) -> str:
    """Return Python with its comments, string literals and imports blanked out."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return blank(
        source,
        (
            (starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1])
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type in (tokenize.STRING, tokenize.COMMENT)
        ),
    )


# SQL


@contextmanager
def patience(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt a query that does not end."""
    timer = threading.Timer(PATIENCE_SECONDS, connection.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def undone(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Undo all that is created or dropped."""
    connection.begin()
    try:
        yield
    finally:
        connection.rollback()


def is_noticed(check: Callable[..., None], *arguments: object) -> bool:
    """Tell whether a check fails; raises NoMutantError for SQL that DuckDB refuses before it runs."""
    try:
        check(*arguments)
    except AssertionError:
        return True
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
        raise NoMutantError from error
    except duckdb.Error:
        return True
    return False


class OwnCases:
    """The cases with given rows of a table, each in a database that has them."""

    def __init__(self, table: str) -> None:
        self.stack = ExitStack()
        self.checks: list[Callable[[str], None]] = []
        is_model = table.split(".")[0] in MODEL_SCHEMAS
        for case in CASES:
            if case.given is None:
                continue
            if case.table == table and not is_model:
                self._add_query(case)
            elif is_model and case.table.split(".")[0] in MODEL_SCHEMAS:
                models = models_of(case)
                if any(model.name == table for model in models):
                    self._add_model(case, models, table)

    def __enter__(self) -> "OwnCases":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def notice(self, source: str) -> bool:
        """Tell whether any case fails."""
        return any(is_noticed(check, source) for check in self.checks)

    def _add_query(self, case: Case) -> None:
        connection = self.stack.enter_context(connect_for_query())
        create_query_inputs(connection, case)
        limit(connection)

        def check(source: str) -> None:
            with patience(connection):
                assert_query_rows(connection, case, source)

        self.checks.append(check)

    def _add_model(self, case: Case, models: list[Model], table: str) -> None:
        connection = self.stack.enter_context(connect())
        create_given_tables(connection, case, models)
        create_macros(connection)
        limit(connection)

        def check(source: str) -> None:
            with patience(connection), undone(connection):
                for model in models:
                    run_model(connection, model, source if model.name == table else None)
                assert_rows(connection.sql(f"select * from {case.table}").pl(), case)

        self.checks.append(check)


class Stories:
    """A database with every table of all stories."""

    def __init__(self, folder: Path) -> None:
        self.cases = [case for case in CASES if case.log is not None and not case.open]
        self.connection = connect()
        problems = tell_stories(self.connection, self.cases, folder)
        assert not problems, problems
        create_tables(self.connection, config_tables(Thresholds()))
        run_models(self.connection, ALL_MODELS)
        limit(self.connection)
        assert not any(is_noticed(assert_story_rows, self.connection, case) for case in self.cases)

    def notice(self, mutant: Mutant) -> bool:
        """Tell whether any story has other rows, in the mutant's table or in one that is made of it."""
        with patience(self.connection), undone(self.connection):
            (changed,) = (model for model in ALL_MODELS if model.name == mutant.table)
            self.connection.execute(f"create temp table unchanged as from {mutant.table}")
            if is_noticed(self._make, changed, mutant.source):
                return True
            if not self._differs(mutant.table):
                return False
            for model in ALL_MODELS:
                if changed not in needed_models(ALL_MODELS, model.tables):
                    continue
                if model != changed and is_noticed(self._make, model):
                    return True
                cases = [case for case in self.cases if case.table in model.tables]
                if any(is_noticed(assert_story_rows, self.connection, case) for case in cases):
                    return True
        return False

    def _make(self, model: Model, source: str | None = None) -> None:
        for table in model.tables:
            self.connection.execute(f"drop table {table}")
        run_model(self.connection, model, source)

    def _differs(self, table: str) -> bool:
        ((count,),) = self.connection.execute(
            f"select count(*) from ((from {table} except all from unchanged) "
            f"union all (from unchanged except all from {table}))"
        ).fetchall()
        return bool(count)


def limit(connection: duckdb.DuckDBPyConnection) -> None:
    """Keep a query that has grown by a mutation from taking the machine."""
    connection.execute("set memory_limit = '2 GiB'")
    connection.execute("set threads = 1")
    connection.execute("set enable_progress_bar = false")


def judge_sql(chosen: Iterable[Mutant]) -> Iterator[tuple[Mutant, bool | None]]:
    """Yield whether each mutant is killed, None if it is none."""
    with tempfile.TemporaryDirectory() as folder:
        stories = Stories(Path(folder))
        for table, of_table in groupby(chosen, key=lambda mutant: mutant.table):
            is_model = table.split(".")[0] in MODEL_SCHEMAS
            with OwnCases(table) as cases:
                for mutant in of_table:
                    try:
                        is_killed = cases.notice(mutant.source) or (is_model and stories.notice(mutant))
                    except duckdb.InterruptException:
                        is_killed = True
                    except NoMutantError:
                        yield mutant, None
                        continue
                    yield mutant, is_killed


# Python


def judge_python(chosen: Iterable[Mutant]) -> Iterator[tuple[Mutant, bool | None]]:
    """Yield whether each mutant is killed, None if it is none."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "maillag"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*"))
        for path, of_module in groupby(chosen, key=lambda mutant: mutant.path):
            tests = [f"tests/{test}" for test in TESTS[path]]
            assert run_tests(copy, tests), f"{path}: {tests} fail as it is"
            for mutant in of_module:
                try:
                    compile(mutant.source, path, "exec")
                except SyntaxError:
                    yield mutant, None
                    continue
                kept = (copy / path).read_bytes()
                (copy / path).write_text(mutant.source, encoding="utf-8")
                yield mutant, not run_tests(copy, tests)
                (copy / path).write_bytes(kept)


def run_tests(copy: Path, tests: list[str]) -> bool:
    """Tell whether all tests pass."""
    try:
        done = subprocess.run(
            [sys.executable, *PYTEST, *tests],
            cwd=copy,
            # A module that changes twice within a second must not be taken from its byte code.
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy)},
            capture_output=True,
            check=False,
            timeout=300,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> None:
    """Judge a sample of all mutants, and print the score of each file and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", default=PATHS)
    parser.add_argument("--count", type=int, default=0, help="how many mutants; all by default")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    files = sorted(
        path.relative_to(ROOT).as_posix()
        for asked_for in map(Path, asked.paths)
        for path in ([ROOT / asked_for] if asked_for.suffix else (ROOT / asked_for).glob("*"))
        if path.suffix == ".sql" or path.relative_to(ROOT).as_posix() in TESTS
    )
    everything = [mutant for path in files for mutant in mutants(path)]
    chosen = everything
    if asked.count:
        numbers = random.Random(asked.seed).sample(range(len(everything)), min(asked.count, len(everything)))
        chosen = [everything[number] for number in sorted(numbers)]
    of_sql = [mutant for mutant in chosen if mutant.path.endswith(".sql")]
    of_python = [mutant for mutant in chosen if mutant.path.endswith(".py")]
    killed: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    for judge, some in ((judge_sql, of_sql), (judge_python, of_python)):
        if not some:
            continue
        for mutant, is_killed in judge(some):
            if is_killed is None:
                continue
            (killed if is_killed else survived)[mutant.path] += 1
            if not is_killed:
                print(mutant, flush=True)
    print(f"\n{len(everything)} changes, of which {len(chosen)} were tried\n")
    print("| file | mutants | killed | survived |\n|---|---|---|---|")
    for path in files:
        if killed[path] + survived[path]:
            print(f"| {path} | {killed[path] + survived[path]} | {killed[path]} | {survived[path]} |")
    total = killed.total() + survived.total()
    print(f"| all | {total} | {killed.total()} | {survived.total()} |")


if __name__ == "__main__":
    main()
