"""Every restart of the rig's recorded scenarios is found, judged and bounded as its truth says."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from flows import answer
from tests.conftest import RECORDING, Run, restarts_by_host

SCENARIOS: list[dict[str, Any]] = json.loads((RECORDING / "truth.json").read_text())
# What the models do not tell yet; the test fails once they do.
OPEN_VERDICTS: dict[str, str] = {}
OPEN_RESTARTS = {
    "no_traffic": "a restart that no log shows cannot be found",
}
# The time between a start and the first connection that the stand-in service accepts.
UNTIL_IT_LISTENS_SECONDS = 0.5

Restarts = dict[str, list[answer.Row]]


@pytest.fixture(scope="module")
def restarts(rig_run: Run) -> Restarts:
    return restarts_by_host(rig_run.job.lake)


def scenarios(still_open: dict[str, str]) -> list[Any]:
    """Return all scenarios; the open ones are expected to fail."""
    return [
        pytest.param(
            scenario,
            id=name,
            marks=[pytest.mark.xfail(reason=still_open[name])] if name in still_open else [],
        )
        for scenario in SCENARIOS
        for name in [scenario["scenario"]]
    ]


@pytest.mark.parametrize("scenario", scenarios(OPEN_VERDICTS | OPEN_RESTARTS))
def test_restarts_found_are_restarts_made(scenario: dict[str, Any], restarts: Restarts) -> None:
    names = ("flush_verdict", "verdict_reason", "flush_order")
    found = [tuple(row[name] for name in names) for row in restarts[scenario["host"]]]
    made = [tuple(made["expected"][name] for name in names) for made in scenario["restarts"]]
    assert found == made


@pytest.mark.parametrize("scenario", scenarios(OPEN_RESTARTS))
def test_bounds_hold_the_true_stop_and_start(scenario: dict[str, Any], restarts: Restarts) -> None:
    for made, found in zip(scenario["restarts"], restarts[scenario["host"]], strict=True):
        assert_between(found["down_at_earliest"], made["down_at"], found["down_at_latest"])
        if made["up_at"]:
            assert_between(found["up_at_earliest"], made["up_at"], found["up_at_latest"])


def test_every_line_is_understood_and_every_promise_kept(rig_run: Run) -> None:
    assert sum(source.unparsed_line_count for source in rig_run.sources.values()) == 0
    assert rig_run.findings == []


def assert_between(earliest: datetime | None, instant: float, latest: datetime | None) -> None:
    assert earliest is None or earliest.timestamp() <= instant + UNTIL_IT_LISTENS_SECONDS
    assert latest is None or datetime.fromtimestamp(instant, UTC) <= latest
