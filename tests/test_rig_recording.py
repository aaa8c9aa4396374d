"""Every restart of the rig's recorded scenarios is found, judged and bounded as its truth says."""

import json

import pytest

from tests.conftest import RECORDING, Run
from tests.rig.checks import CHECKS, Check, Found, Truth, read_found
from tests.rig.results import RESULTS_FILE, render_results
from tests.rig.scenarios import SCENARIOS, Expected, read_scenarios

pytestmark = pytest.mark.slow
PLAYED: list[Truth] = json.loads((RECORDING / "truth.json").read_text())


@pytest.fixture(scope="module")
def found(rig_run: Run) -> dict[str, Found]:
    return read_found(rig_run.job.lake)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("scenario", PLAYED, ids=lambda scenario: scenario["scenario"])
def test_what_is_found_is_what_happened(scenario: Truth, check: Check, found: dict[str, Found]) -> None:
    check(scenario, found[scenario["host"]])


def test_recording_is_of_the_scenarios_as_they_stand() -> None:
    recorded = {
        played["scenario"]: [Expected(**restart["expected"]) for restart in played["restarts"]]
        for played in PLAYED
    }
    assert recorded == {scenario.name: list(scenario.expected) for scenario in read_scenarios(SCENARIOS)}


def test_no_two_scenarios_are_of_one_host() -> None:
    hosts = [scenario.host for scenario in read_scenarios()]
    assert sorted(set(hosts)) == sorted(hosts)


def test_every_line_is_understood_and_every_promise_kept(rig_run: Run) -> None:
    assert sum(source.unparsed_line_count for source in rig_run.sources.values()) == 0
    assert rig_run.findings == []


def test_table_of_results_is_fresh(found: dict[str, Found]) -> None:
    assert RESULTS_FILE.read_text("utf-8") == render_results(PLAYED, found)
