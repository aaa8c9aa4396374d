"""A changed parser has another version, by which every file of a lake that exists is read again."""

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.conftest import Run, run_job
from transforms.contracts.contracts import Checker
from transforms.fast_lane import kernels
from transforms.ingest import plan
from transforms.ingest.parser_version import SOURCES, TRANSFORMS, parser_version, source_files
from transforms.ingest.plan import PARSER_VERSION
from transforms.lake.catalog import CATALOG_NAME
from transforms.parse import routing
from transforms.parse.postfix import POSTFIX_PATTERNS
from transforms.run import Job

REPOSITORY = TRANSFORMS.parent
LINES = {
    "gw1": "Nov 24 10:00:00 gw1 postfix/postsuper[1]: 892A0205B6: requeued\n",
    "gw2": "Nov 24 10:00:00 gw2 postfix/qmgr[1]: 892A0205B6: removed\n",
}


def imported_by(path: Path) -> Iterator[Path]:
    """Yield the modules of transforms that a module imports, in its functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("transforms"):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                module = REPOSITORY.joinpath(*name.split(".")).with_suffix(".py")
                if module.is_file():
                    yield module


def closure(*paths: Path) -> set[Path]:
    found: set[Path] = set()
    pending = [*paths]
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending += imported_by(path)
    return found


def names_of(paths: set[Path]) -> list[str]:
    return sorted(path.relative_to(REPOSITORY).as_posix() for path in paths)


def copy_of_sources(folder: Path) -> Path:
    for path in source_files():
        copied = folder / path.relative_to(TRANSFORMS)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    return folder


@pytest.mark.house
def test_all_that_the_parsers_import_is_in_the_version() -> None:
    parsers = closure(TRANSFORMS / "parse/events.py", TRANSFORMS / "fast_lane/lane.py")
    assert len(parsers) > 20
    assert not names_of(parsers - set(source_files())), (
        "transforms/ingest/parser_version.py: SOURCES lacks these"
    )


@pytest.mark.house
def test_all_that_hands_lines_to_a_parser_is_in_the_version() -> None:
    parsers = {TRANSFORMS / "parse/events.py", TRANSFORMS / "fast_lane/lane.py"}
    users = {
        path
        for path in TRANSFORMS.rglob("*.py")
        if re.search(r"\b(?:Parser|FastLane)\(", path.read_text()) and path not in parsers
    }
    assert users
    assert not names_of(users - set(source_files())), (
        "transforms/ingest/parser_version.py: SOURCES lacks these"
    )


@pytest.mark.house
def test_all_that_the_compiled_loops_import_compiles_them_again_when_it_changes() -> None:
    sources = {path.resolve() for path in kernels.SOURCES}
    loops = {path for path in sources if path.parent.name == "fast_lane"}
    assert TRANSFORMS / "fast_lane/scanner.py" in loops
    imported = {module for path in loops for module in imported_by(path)}
    assert not names_of(imported - sources), "transforms/fast_lane/kernels.py: SOURCES lacks these"


@pytest.mark.parametrize("pattern", SOURCES)
def test_every_source_of_the_version_is_there(pattern: str) -> None:
    assert [*TRANSFORMS.glob(pattern)]


def test_the_version_is_that_of_the_contents_wherever_they_are(tmp_path: Path) -> None:
    assert parser_version(copy_of_sources(tmp_path)) == PARSER_VERSION


@pytest.mark.parametrize(
    "name",
    [
        "parse/postfix.py",
        "parse/headers.py",
        "fast_lane/scanner.py",
        "archive/lines.py",
        "bounds.py",
        "zone.py",
    ],
)
def test_a_changed_source_has_another_version(name: str, tmp_path: Path) -> None:
    changed = copy_of_sources(tmp_path) / name
    changed.write_text(changed.read_text() + "\n# a pattern more\n")
    assert parser_version(tmp_path) != PARSER_VERSION


def test_a_new_module_of_patterns_has_another_version(tmp_path: Path) -> None:
    (copy_of_sources(tmp_path) / "parse/exim.py").write_text("")
    assert parser_version(tmp_path) != PARSER_VERSION


@pytest.mark.slow
def test_a_new_pattern_reaches_a_lake_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checker: Checker
) -> None:
    job = Job(tmp_path / "archive", tmp_path / "lake", default_time_zone="Asia/Tokyo")
    for host, line in LINES.items():
        (job.archive / host).mkdir(parents=True)
        (job.archive / host / "maillog-20261125").write_text(line)
    with monkeypatch.context() as before:
        known = tuple(pattern for pattern in POSTFIX_PATTERNS if pattern.name != "postsuper requeued")
        before.setattr(routing, "POSTFIX_PATTERNS", known)
        before.setattr(plan, "PARSER_VERSION", "before")
        assert read_hosts(run_job(job, checker)) == ["gw1", "gw2"]
        assert events(job.lake) == {("gw1", "unparsed_lines"), ("gw2", "queue_removals")}
        assert read_hosts(run_job(job, checker)) == []
    assert read_hosts(run_job(job, checker)) == ["gw1", "gw2"]
    assert events(job.lake) == {("gw1", "queue_removals"), ("gw2", "queue_removals")}
    assert read_hosts(run_job(job, checker)) == []


def read_hosts(run: Run) -> list[str]:
    """Return the hosts of the files that a run read."""
    return sorted(source.path.partition("/")[0] for source in run.new_sources)


def events(lake: Path) -> set[tuple[str, str]]:
    """Return the host and the table of each of the two lines."""
    with duckdb.connect(str(lake / CATALOG_NAME), read_only=True) as connection:
        counts = connection.execute(
            "select host, table_name, sum(line_count) from ops.line_counts group by all"
        )
        found = counts.fetchall()
    assert [count for *_, count in found] == [1, 1]
    return {(host, table) for host, table, _ in found}
