"""Nothing that somebody outside can have written into a log makes a restart, a bound or a verdict.

MAILLAG_FORGERIES sets how many forged mails are tried, MAILLAG_SEED where the seeds begin.
"""

import os
from pathlib import Path

import pytest

from tests import lanes
from tests.conftest import run_job
from tests.forgery.compare import JUDGED, changes
from tests.forgery.hosts import CHUNK, drawn
from tests.oracle.compare import fetch_rows
from transforms.contracts.contracts import Checker
from transforms.run import Job

HOSTILE = Path(__file__).parent / "hostile"
FORGERY_COUNT = int(os.environ.get("MAILLAG_FORGERIES", "300"))
FIRST_SEED = int(os.environ.get("MAILLAG_SEED", "0"))
# What the folders of tests/hostile hold: for each host with a restart, its verdict and the mail it held.
JUDGEMENTS = {
    "forged-refusal-in-a-recipient": {
        host: [("2026-11-24 10:10:00", "effective", 4)] for host in ("control", "held", "after")
    },
    "forged-answer-in-a-recipient": {"gw1": [("2026-11-24 10:10:00", "effective", 4)]},
    "huge-delay-from-outside": {"control": [("2026-11-24 10:10:00", "effective", 4)]},
}
REASONS = {
    "forged-refusal-in-a-recipient": ["ambiguous"],
    "forged-answer-in-a-recipient": ["ambiguous"],
    "huge-delay-from-outside": ["ambiguous", "cut"],
}


@pytest.mark.timeout(300 + FORGERY_COUNT)
def test_a_forged_mail_changes_nothing(tmp_path: Path) -> None:
    told = []
    for first in range(0, FORGERY_COUNT, CHUNK):
        size = min(CHUNK, FORGERY_COUNT - first)
        told += changes(drawn(size, FIRST_SEED + first), tmp_path / str(first))
    assert told == []


@pytest.mark.slow
def test_a_forged_mail_changes_nothing_of_what_is_published(tmp_path: Path, checker: Checker) -> None:
    assert changes(drawn(60, FIRST_SEED + 1_000_000), tmp_path, checker) == []


def test_the_lanes_agree_on_forged_lines() -> None:
    lines = [line.format(host="gw") for forgery in drawn(150, FIRST_SEED) for line in forgery.added]
    taken = lanes.assert_lanes_agree("".join(f"{line}\n" for line in lines).encode())
    assert taken > len(lines) / 4


@pytest.mark.parametrize("case", sorted(path.name for path in HOSTILE.iterdir()))
def test_hostile_archive_has_the_restarts_of_a_sound_one(case: str, tmp_path: Path, checker: Checker) -> None:
    run = run_job(Job(HOSTILE / case, tmp_path / "lake"), checker)
    assert not [finding for finding in run.findings if finding.severity == "critical"]
    restarts = fetch_rows(tmp_path / "lake", JUDGED[0])
    found = {
        host: [(f"{row['down_at']:%F %T}", row["flush_verdict"], row["held_message_count"]) for row in rows]
        for host, rows in restarts.items()
    }
    assert found == JUDGEMENTS[case]
    unparsed = fetch_rows(tmp_path / "lake", "events.unparsed_lines")
    assert sorted({str(row["reason"]) for rows in unparsed.values() for row in rows}) == REASONS[case]
