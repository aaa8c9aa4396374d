"""Every restart of the rig's recorded scenarios is found, judged and bounded as its truth says."""

import gzip
import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows import answer
from tests.conftest import Run, restarts_by_host, run_job
from transforms.contracts import Checker
from transforms.pipeline import Job

RECORDING = Path(__file__).parent / "archives" / "rig"
SCENARIOS: list[dict[str, Any]] = json.loads((RECORDING / "truth.json").read_text())
# What the models do not tell yet; the test fails once they do.
OPEN_VERDICTS = {
    "postfix_restarted_while_held": "the phase of queue runs since a qmgr start is not used as yet",
}
OPEN_RESTARTS = {
    "slow_scanner": "where the traffic ends right after it, a lone time-out counts as an outage",
    "no_traffic": "a restart that no log shows cannot be found",
}
OPEN_DUPLICATES = {
    "slow_scanner": "a lone time-out is no restart, so that its duplicates are counted nowhere",
}
# The time between a start and the first connection that the stand-in service accepts.
UNTIL_IT_LISTENS_SECONDS = 0.5

MESSAGE_ID = re.compile(
    r"/cleanup\[\d+\]: (?P<queue_id>\w+): message-id=(?P<message_id><.*@client\.example\.com>)$"
)
# Behind the scan service all mail goes to the rig's sink, on a port of its own.
SUNK = re.compile(
    r": (?P<queue_id>\w+): to=<(?P<to>.*)>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, .* status=sent "
)

Restarts = dict[str, list[answer.Row]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Run:
    return run_job(Job(RECORDING, tmp_path_factory.mktemp("rig") / "lake"), checker)


@pytest.fixture(scope="module")
def restarts(run: Run) -> Restarts:
    return restarts_by_host(run.job.lake)


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


@pytest.mark.parametrize("host", [scenario["host"] for scenario in SCENARIOS])
def test_every_mail_is_one_trace_and_each_copy_that_came_out_ends_it_delivered(host: str, run: Run) -> None:
    with answer.open_catalog(run.job.lake) as catalog:
        rows = catalog.execute(
            """
            select
                message_id,
                count(distinct trace_id) as trace_count,
                count(*) filter (where hop_number = 2 and status = 'delivered') as delivered_count,
                count(*) filter (where hop_number = 1) as first_hop_count,
                count(*) as hop_count
            from marts.message_trace
            where host = ? and message_id like '%@client.example.com>'
            group by message_id
            """,
            [host],
        ).fetchall()
    assert {row[0]: row[1:] for row in rows} == {
        message_id: (1, len(copies), 1, 1 + len(copies))
        for message_id, copies in mail_that_came_out(host).items()
    }


@pytest.mark.parametrize("scenario", scenarios(OPEN_DUPLICATES))
def test_what_was_interrupted_in_mid_scan_may_be_a_duplicate_just_where_it_came_out_twice(
    scenario: dict[str, Any], restarts: Restarts
) -> None:
    came_out_twice = 0
    for copies in mail_that_came_out(scenario["host"]).values():
        recipients = [recipient for copy in copies.values() for recipient in copy]
        came_out_twice += len(recipients) > len(set(recipients))
    counted = sum(row["possible_duplicate_count"] for row in restarts[scenario["host"]])
    assert counted == came_out_twice


def test_every_line_is_understood_and_every_promise_kept(run: Run) -> None:
    assert sum(source.unparsed_line_count for source in run.sources.values()) == 0
    assert run.findings == []


def mail_that_came_out(host: str) -> dict[str, dict[str, list[str]]]:
    """Return, by message id, the recipients of each copy (by its queue id) that reached the sink.

    Read line by line from the maillog, by nothing that maillag does.
    """
    message_ids: dict[str, str] = {}
    came_out: dict[str, dict[str, list[str]]] = {}
    (log,) = (RECORDING / host).glob("maillog*")
    for line in gzip.decompress(log.read_bytes()).decode().splitlines():
        if match := MESSAGE_ID.search(line):
            message_ids[match["queue_id"]] = match["message_id"]
            came_out.setdefault(match["message_id"], defaultdict(list))
        elif (match := SUNK.search(line)) and match["queue_id"] in message_ids:
            came_out[message_ids[match["queue_id"]]][match["queue_id"]].append(match["to"])
    return came_out


def assert_between(earliest: datetime | None, instant: float, latest: datetime | None) -> None:
    assert earliest is None or earliest.timestamp() <= instant + UNTIL_IT_LISTENS_SECONDS
    assert latest is None or datetime.fromtimestamp(instant, UTC) <= latest
