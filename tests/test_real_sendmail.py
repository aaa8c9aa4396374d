"""Restarts, flushes, held messages and delays of real sendmail logs are those of their known truth."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.catalog import Row, open_catalog
from tests.conftest import Run, restarts_by_host, run_job
from transforms.contracts.contracts import Checker
from transforms.run import Job

RECORDING = Path(__file__).parent / "archives" / "sendmail"
TRUTH: list[dict[str, Any]] = json.loads((RECORDING / "truth.json").read_text())
# A restart that held nothing left no failed attempt: without the manager's log nothing tells of it.
RESTARTS = [
    (host["host"], restart) for host in TRUTH for restart in host["restarts"] if restart["held_count"]
]
# The time between a start and the first connection that the stand-in service accepts.
UNTIL_IT_LISTENS = timedelta(seconds=0.5)

pytestmark = pytest.mark.slow
Found = dict[str, list[Row]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Run:
    return run_job(Job(RECORDING, tmp_path_factory.mktemp("sendmail") / "lake"), checker)


@pytest.fixture(scope="module")
def found(run: Run) -> Found:
    return restarts_by_host(run.job.lake)


def test_every_line_is_known_and_every_rule_holds(run: Run) -> None:
    assert len(run.new_sources) == len(TRUTH)
    assert [record.unparsed_line_count for record in run.new_sources] == [0] * len(TRUTH)
    assert [finding for finding in run.findings if finding.severity == "critical"] == []


def test_there_are_no_other_restarts(found: Found) -> None:
    assert {host: len(rows) for host, rows in found.items()} == {
        host["host"]: sum(restart["held_count"] > 0 for restart in host["restarts"]) for host in TRUTH
    }


@pytest.mark.parametrize(("host", "truth"), RESTARTS, ids=lambda value: str(value)[:60])
def test_a_restart_is_as_it_was(host: str, truth: dict[str, Any], found: Found, run: Run) -> None:
    row = the_restart(found, host, truth)
    down_at, up_at = (datetime.fromisoformat(truth[name]) for name in ("down_at", "up_at"))
    assert row["down_at_earliest"] <= down_at <= row["down_at_latest"]
    assert row["up_at_earliest"] <= up_at + UNTIL_IT_LISTENS
    assert up_at <= row["up_at_latest"]
    with open_catalog(run.job.lake) as catalog:
        held = catalog.execute(
            "select queue_id, first_deferred_at, released_at from marts.held_messages where restart_id = ?",
            [row["restart_id"]],
        ).fetchall()
    expected = [
        (
            message["queue_id"],
            *(datetime.fromisoformat(message[name]) for name in ("first_deferred_at", "released_at")),
        )
        for message in truth["held"]
    ]
    assert sorted(held) == sorted(expected)


@pytest.mark.parametrize(("host", "truth"), RESTARTS, ids=lambda value: str(value)[:60])
def test_a_flush_is_told_by_the_rhythm_of_queue_runs(host: str, truth: dict[str, Any], found: Found) -> None:
    row = the_restart(found, host, truth)
    if truth["is_flush_ordered"]:
        flushed_at = datetime.fromisoformat(truth["flush_at"])
        assert row["flush_verdict"] == "effective"
        assert abs(row["flush_observed_at"] - flushed_at) <= timedelta(seconds=2)
    else:
        assert row["flush_verdict"] in {"missing", "unknown"}
        assert row["flush_observed_at"] is None


def test_a_queue_run_by_an_accidental_start_proves_nothing(found: Found) -> None:
    *_, last = found["sendmail43"]
    assert (last["flush_verdict"], last["verdict_reason"]) == ("unknown", "qmgr_restart")


def the_restart(found: Found, host: str, truth: dict[str, Any]) -> Row:
    """Return the row of a restart."""
    first = min(datetime.fromisoformat(message["first_deferred_at"]) for message in truth["held"])
    (row,) = (row for row in found[host] if row["first_deferred_at"] == first)
    return row
