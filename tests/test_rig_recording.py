"""Every restart of the rig's recorded scenarios is found, judged and bounded as its truth says."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run, run_job
from tests.rig.checks import CHECKS, Check, Found, Truth, check_reasons_and_confidence, read_found
from tests.rig.results import RESULTS_FILE, render_results
from tests.rig.scenarios import read_scenarios
from transforms.contracts import Checker
from transforms.pipeline import Job

RECORDING = Path(__file__).parent / "archives" / "rig"
SCENARIOS: list[Truth] = json.loads((RECORDING / "truth.json").read_text())
# What the models do not tell yet; the test fails once they do.
NO_SYSTEM_EVENTS = "the system events are not yet a witness"
OPEN_RESTARTS = {
    "slow_scanner": "where the traffic ends right after it, a lone time-out counts as an outage",
    "two_restarts_in_one_outage": NO_SYSTEM_EVENTS,
    "only_system_events": NO_SYSTEM_EVENTS,
    "crash": NO_SYSTEM_EVENTS,
}
NO_POLLS = "the phase of the manager's polls is not used as yet"
OPEN_REASONS = {
    "short_restart_not_noticed": NO_POLLS,
    "back_to_back": NO_POLLS,
    "second_outage_while_held": NO_POLLS,
    "killed_in_queue_run": NO_POLLS,
    "mail_and_system_events": NO_SYSTEM_EVENTS,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Run:
    return run_job(Job(RECORDING, tmp_path_factory.mktemp("rig") / "lake"), checker)


@pytest.fixture(scope="module")
def found(run: Run) -> dict[str, Found]:
    return read_found(run.job.lake)


def why_open(scenario: str, check: Check) -> str | None:
    """Return why a check of a scenario is expected to fail, None if it must pass."""
    return OPEN_RESTARTS.get(scenario) or (
        OPEN_REASONS.get(scenario) if check == check_reasons_and_confidence else None
    )


def cases() -> list[Any]:
    """Return each check of each scenario; the open ones are expected to fail."""
    return [
        pytest.param(
            scenario,
            check,
            id=f"{check.__name__.removeprefix('check_')}-{scenario['scenario']}",
            marks=[pytest.mark.xfail(reason=why)] if why else [],
        )
        for check in CHECKS
        for scenario in SCENARIOS
        for why in [why_open(scenario["scenario"], check)]
    ]


@pytest.mark.parametrize(("scenario", "check"), cases())
def test_what_is_found_is_what_happened(scenario: Truth, check: Check, found: dict[str, Found]) -> None:
    check(scenario, found[scenario["host"]])


def test_recording_is_of_the_scenarios_as_they_stand() -> None:
    recorded = {
        played["scenario"]: [restart["expected"] for restart in played["restarts"]] for played in SCENARIOS
    }
    assert recorded == {
        scenario.name: [asdict(expected) for expected in scenario.expected] for scenario in read_scenarios()
    }


def test_every_line_is_understood_and_every_promise_kept(run: Run) -> None:
    assert sum(source.unparsed_line_count for source in run.sources.values()) == 0
    assert run.findings == []


def test_table_of_results_is_fresh(found: dict[str, Found]) -> None:
    assert RESULTS_FILE.read_text("utf-8") == render_results(SCENARIOS, found)
