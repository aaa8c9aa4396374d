"""The plain-loop reading of Postfix's retry rule predicts what a real Postfix did, setting by setting."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bench.document import replace_section
from tests.conftest import run_job
from tests.oracle.retries import Arrival, Destination, Pace, Settings, Story, World, simulate
from tests.rig.grid import (
    DOCUMENT,
    RECORDING,
    Grid,
    Setting,
    compare,
    read_grid,
    render_sections,
    share_close,
    share_within_bounds,
)
from tests.rig.scenarios import GRID, read_scenarios
from transforms.contracts.contracts import Checker
from transforms.run import Job

CASES = yaml.safe_load(Path(__file__).with_name("retries.yaml").read_text("utf-8"))
NO_TIME = Pace(
    start_seconds=0,
    oversleep_seconds=0,
    feed_seconds=0,
    failure_seconds=0,
    answer_seconds=0,
    passing_seconds=0,
)
SCENARIOS = read_scenarios(GRID)


@pytest.fixture(scope="module")
def recorded() -> list[Setting]:
    return read_grid()


@pytest.fixture(scope="module")
def compared(recorded: list[Setting]) -> Grid:
    return {setting.name: compare(setting) for setting in recorded}


@pytest.fixture(scope="module")
def compared_with_known_runs(recorded: list[Setting]) -> Grid:
    return {setting.name: compare(setting, are_runs_known=True) for setting in recorded}


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_case(case: dict[str, Any]) -> None:
    stories = simulate(
        [Arrival(name, at, at, is_bounce=name.startswith("bounce")) for name, at in case["mail"].items()],
        World(case.get("queue_managers", [0]), case["outages"], case.get("flushes", [])),
        Settings(**CASES["settings"] | case.get("settings", {})),
        NO_TIME,
    )
    assert {name: _told(story) for name, story in stories.items()} == case["expected"]


def _told(story: Story) -> str:
    rounds = [f"{attempt.kind} {attempt.at:g}" for attempt in story.attempts]
    return ", ".join([*rounds, *(["expired"] if story.expired_at is not None else [])])


@pytest.mark.parametrize(("window", "failures"), [(1, 1), (2, 2), (5, 3), (10, 7), (20, 13)])
def test_so_many_failures_in_a_row_make_a_destination_dead(window: int, failures: int) -> None:
    destination = Destination(Settings(), window)
    for number in range(1, failures + 1):
        assert not destination.is_dead, number
        destination.note_failure()
    assert destination.is_dead


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_releases_lie_within_the_bounds(name: str, compared: Grid) -> None:
    assert share_within_bounds(compared[name]) >= 0.99


@pytest.mark.parametrize("runs", ["compared", "compared_with_known_runs"])
def test_releases_are_predicted_to_two_seconds(runs: str, request: pytest.FixtureRequest) -> None:
    grid: Grid = request.getfixturevalue(runs)
    assert share_close(list(chain.from_iterable(grid.values()))) >= 0.99


def test_recording_is_of_the_grid_as_it_stands(recorded: list[Setting]) -> None:
    settings = {setting.name: setting.truth["settings"] for setting in recorded}
    assert settings == {scenario.name: scenario.settings for scenario in SCENARIOS}


def test_document_is_fresh(compared: Grid, compared_with_known_runs: Grid, tmp_path: Path) -> None:
    copy = tmp_path / "copy.md"
    copy.write_text(DOCUMENT.read_text("utf-8"), "utf-8")
    sections = render_sections(compared, compared_with_known_runs)
    assert "|  |" not in sections["worst"]  # each has its reason
    for name, text in sections.items():
        replace_section(copy, name, text)
    assert copy.read_text("utf-8") == DOCUMENT.read_text("utf-8")


@pytest.mark.slow
def test_maillag_understands_every_line_of_the_grid(tmp_path: Path, checker: Checker) -> None:
    run = run_job(Job(RECORDING, tmp_path / "lake"), checker)
    assert sum(source.unparsed_line_count for source in run.sources.values()) == 0
    assert run.findings == []
