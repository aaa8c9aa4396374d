"""Every restart of the rig's recorded scenarios is found, judged and bounded as its truth says."""

from pathlib import Path

import pytest

from tests.conftest import Run
from tests.rig.checks import CHECKS, Check, Found, Truth, read_found
from tests.rig.results import RESULTS_FILE, read_truths, render_results
from tests.rig.scenarios import SCENARIOS, TROUBLES, Expected, read_scenarios
from transforms.marts.silences import SETTING_FITS
from transforms.problems import HAS_MAIL_LINES

pytestmark = pytest.mark.slow
RECORDED = read_truths()
PLAYED = [scenario for recorded in RECORDED.values() for scenario in recorded]


@pytest.fixture(scope="module")
def found(rig_run: Run, troubles_run: Run) -> dict[str, Found]:
    return read_found(rig_run.job.lake) | read_found(troubles_run.job.lake)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("scenario", PLAYED, ids=lambda scenario: scenario["scenario"])
def test_what_is_found_is_what_happened(scenario: Truth, check: Check, found: dict[str, Found]) -> None:
    check(scenario, found[scenario["host"]])


@pytest.mark.parametrize(
    ("archive", "scenarios"), [("rig", SCENARIOS), ("rig-troubles", TROUBLES)], ids=["rig", "troubles"]
)
def test_recording_is_of_the_scenarios_as_they_stand(archive: str, scenarios: Path) -> None:
    recorded = {
        played["scenario"]: [Expected(**restart["expected"]) for restart in played["restarts"]]
        for played in RECORDED[archive]
    }
    assert recorded == {scenario.name: list(scenario.expected) for scenario in read_scenarios(scenarios)}


def test_no_two_scenarios_are_of_one_host() -> None:
    hosts = [scenario.host for scenario in read_scenarios()]
    assert sorted(set(hosts)) == sorted(hosts)


def test_every_line_is_understood_and_every_promise_kept(rig_run: Run) -> None:
    assert sum(source.unparsed_line_count for source in rig_run.sources.values()) == 0
    # Of these no mail is recorded: nobody sent any, or the system events alone are there.
    silent = {("imsva49", HAS_MAIL_LINES), ("imsva56", HAS_MAIL_LINES)}
    assert {(finding.place, finding.rule) for finding in rig_run.findings} == silent


def test_every_line_of_troubles_is_understood_and_findings_are_of_hosts_that_have_some(
    troubles_run: Run,
) -> None:
    assert sum(source.unparsed_line_count for source in troubles_run.sources.values()) == 0
    troubled = {
        scenario["host"]
        for scenario in RECORDED["rig-troubles"]
        if not scenario["is_log_sound"] or any(action["do"] == "set_clock" for action in scenario["actions"])
    }
    findings = {(finding.place.partition("/")[0], finding.rule) for finding in troubles_run.findings}
    # Half of the mail was retried by hand, the older half.
    findings.remove(("imss68", SETTING_FITS))
    assert {host for host, _ in findings} <= troubled


def test_table_of_results_is_fresh(found: dict[str, Found]) -> None:
    assert RESULTS_FILE.read_text("utf-8") == render_results(RECORDED, found)
