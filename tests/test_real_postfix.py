"""Restarts, verdicts, counts and delays of real Postfix logs are those of their known truth."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.catalog import Row
from tests.conftest import restarts_by_host

TRUTH = Path(__file__).parent / "archives" / "real-postfix"
EXPECTED: list[dict[str, Any]] = json.loads((TRUTH / "expected.json").read_text())
# The truth notes when the stand-in service was started. It listens some tenths of a second later, and the
# log shows that mail was refused until then: on imsva11 at 12:08:49.03, started at 12:08:48.85.
UNTIL_IT_LISTENS = timedelta(seconds=0.5)
STOPS_AND_STARTS: list[dict[str, Any]] = json.loads((TRUTH / "truth.json").read_text())


@pytest.fixture(scope="module")
def restarts(sample_lake: Path) -> dict[str, list[Row]]:
    return restarts_by_host(sample_lake)


def test_there_are_no_other_restarts(restarts: dict[str, list[Row]]) -> None:
    hosts = {expected["host"] for expected in EXPECTED}
    assert sum(len(restarts[host]) for host in hosts) == len(EXPECTED)


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda e: f"{e['host']} {e['down_at']:.0f}")
def test_a_restart_is_as_it_was(expected: dict[str, Any], restarts: dict[str, list[Row]]) -> None:
    same_host = [e["down_at"] for e in EXPECTED if e["host"] == expected["host"]]
    found = restarts[expected["host"]][same_host.index(expected["down_at"])]
    assert found["flush_verdict"] == expected["flush"]
    assert found["held_message_count"] == expected["deferred_messages"]
    assert found["never_tried_count"] == expected["never_tried"]
    assert found["pending_count"] == expected["unsent"]
    assert found["restart_delay_p50_seconds"] == pytest.approx(expected["delay_p50"], abs=1)
    assert found["restart_delay_max_seconds"] == pytest.approx(expected["delay_max"], abs=1)
    assert found["restart_delay_total_seconds"] == pytest.approx(expected["delay_sum"], abs=1)


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda e: f"{e['host']} {e['down_at']:.0f}")
def test_the_true_stop_and_start_lie_within_the_bounds(
    expected: dict[str, Any], restarts: dict[str, list[Row]]
) -> None:
    same_host = [e["down_at"] for e in EXPECTED if e["host"] == expected["host"]]
    found = restarts[expected["host"]][same_host.index(expected["down_at"])]
    stopped_at = _true_instant(expected["host"], "stop", expected["down_at"])
    started_at = _true_instant(expected["host"], "start", expected["up_at"])
    assert found["down_at_earliest"] <= stopped_at <= found["down_at_latest"]
    assert found["up_at_earliest"] <= started_at + UNTIL_IT_LISTENS
    assert started_at <= found["up_at_latest"]


def test_a_flush_is_observed_when_it_was_made(restarts: dict[str, list[Row]]) -> None:
    flushed = [expected for expected in EXPECTED if expected["flush"] == "effective"]
    observed = [row["flush_observed_at"] for row in restarts["imsva11"]]
    assert flushed
    for expected, found in zip(flushed, observed, strict=True):
        assert found.timestamp() == pytest.approx(expected["flush_at"], abs=1)


def test_the_order_without_effect_is_told_from_the_flush_that_was_never_ordered(
    restarts: dict[str, list[Row]],
) -> None:
    (ordered,), (never,) = restarts["imss12"], restarts["imss13"]
    assert (ordered["flush_order"], ordered["flush_missed_count"]) == ("ordered", 56)
    assert (never["flush_order"], never["missing_reason"]) == ("not_ordered", "not_ordered")


def test_the_document_that_started_it_reads_as_written(restarts: dict[str, list[Row]]) -> None:
    (found,) = restarts["imsva91"]
    at_10_08_28 = datetime(2020, 2, 3, 1, 8, 28, tzinfo=UTC)
    assert found["restart_id"] == "imsva91-20200203T010736Z"
    assert found["held_message_count"] == 2
    assert found["pending_count"] == 2
    assert (found["flush_commanded_at"], found["flush_marked_at"]) == (at_10_08_28, at_10_08_28)
    assert found["flush_order"] == "ordered"
    assert (found["flush_verdict"], found["verdict_reason"]) == ("unknown", "log_end")


def test_a_restart_without_mail_needs_no_flush(restarts: dict[str, list[Row]]) -> None:
    (found,) = restarts["imsva15"]
    assert (found["flush_verdict"], found["held_message_count"]) == ("not_needed", 0)
    assert found["evidence"] == ["manager_log"]


def _true_instant(host: str, what: str, rounded: float) -> datetime:
    """Return the exact instant of an action that expected.json rounds to a tenth of a second."""
    (instant,) = (
        action["t"]
        for action in STOPS_AND_STARTS
        if action["host"] == host and action["what"] == what and abs(action["t"] - rounded) < 0.1
    )
    return datetime.fromtimestamp(instant, UTC)
