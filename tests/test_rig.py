"""The quick scenarios of the rig, played afresh on this machine's Postfix, are found as they happened."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import install_debian_package, run_job
from tests.rig.checks import CHECKS, Check, Found, read_found
from tests.rig.run import can_unshare, record
from tests.rig.scenarios import read_scenarios
from transforms.contracts.contracts import Checker
from transforms.problems import HAS_MAIL_LINES
from transforms.run import Job

SHORT = [scenario for scenario in read_scenarios() if scenario.is_short]
# Scenarios sleep most of the time: eight at a time are done in three minutes on two cores.
AT_A_TIME = 8
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    install_debian_package("postfix")
    if not can_unshare():
        pytest.skip("needs namespaces (unshare), to play several scenarios at a time")
    out = tmp_path_factory.mktemp("rig") / "archive"
    assert record(SHORT, out, jobs=AT_A_TIME) == 0
    return out


@pytest.fixture(scope="module")
def truth(archive: Path) -> dict[str, dict[str, Any]]:
    return {scenario["scenario"]: scenario for scenario in json.loads((archive / "truth.json").read_text())}


@pytest.fixture(scope="module")
def found(archive: Path, checker: Checker) -> dict[str, Found]:
    run = run_job(Job(archive, archive.parent / "lake"), checker)
    assert sum(source.unparsed_line_count for source in run.sources.values()) == 0
    # Of the one no mail is sent.
    assert {(finding.place, finding.rule) for finding in run.findings} == {("imsva56", HAS_MAIL_LINES)}
    return read_found(run.job.lake)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", [scenario.name for scenario in SHORT])
def test_what_is_found_is_what_happened(
    name: str, check: Check, truth: dict[str, dict[str, Any]], found: dict[str, Found]
) -> None:
    check(truth[name], found[truth[name]["host"]])
