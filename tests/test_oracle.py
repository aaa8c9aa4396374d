"""Two readings of the meanings agree: plain loops in Python (tests/oracle) and the models.

Histories are drawn by seeds: half of them are what a simulated Postfix logs, the other half lines that do not
follow from each other. MAILLAG_HISTORIES sets how many hosts are drawn (each has several episodes),
MAILLAG_SEED where the seeds begin, so that a failing one can be run by itself. Where minimal_backoff_time is
not set the models estimate it; the oracle does not, and what rests on it is not compared.
"""

import os
import random
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import RECORDING
from tests.oracle.compare import KEYS, Comparison, compare, fetch_rows, run_histories, shrink
from tests.oracle.generate import generate, generate_wild
from tests.oracle.history import History, read_archive
from tests.oracle.removal import changes_without_witness, cuts_of
from transforms.contracts.contracts import Checker
from transforms.ingest.plan import ZONE_IS_KNOWN
from transforms.problems import HAS_MAIL_LINES

HOST_COUNT = int(os.environ.get("MAILLAG_HISTORIES", "80"))
FIRST_SEED = int(os.environ.get("MAILLAG_SEED", "0"))
SEEDS = range(FIRST_SEED, FIRST_SEED + HOST_COUNT)
# So many hosts are one archive, and one run.
ARCHIVE_SIZE = 250

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 3 * HOST_COUNT)]

Generator = Callable[[int], History]


def recorded() -> list[History]:
    """Return the hosts of the rig's recording."""
    fleet = tomllib.loads((RECORDING / "fleet.toml").read_text())
    settings = {host: {**fleet["defaults"], **entry} for host, entry in fleet["hosts"].items()}
    return read_archive(RECORDING, settings)


@pytest.mark.parametrize("draw", [generate, generate_wild], ids=["simulated", "wild"])
def test_oracle_and_models_agree(draw: Generator, tmp_path: Path, checker: Checker) -> None:
    for first in range(SEEDS.start, SEEDS.stop, ARCHIVE_SIZE):
        histories = [draw(seed) for seed in range(first, min(first + ARCHIVE_SIZE, SEEDS.stop))]
        run = run_histories(histories, tmp_path / str(first), checker)
        failing = [comparison for comparison in compare(histories, run.job.lake) if comparison.differences]
        if failing:
            pytest.fail(explain(failing, tmp_path / "smaller", checker))
        # What happens on a host breaks no promise. Lines without sense may break one of a mart that the
        # oracle does not judge: a message that is removed before it arrives, say.
        findings = run.findings if draw is generate else [f for f in run.findings if f.place in KEYS]
        # Nobody told the hosts' zones, and some hosts log too little to show anything.
        unsaid = {ZONE_IS_KNOWN, HAS_MAIL_LINES}
        assert [finding for finding in findings if finding.rule not in unsaid] == []


def test_oracle_and_models_agree_on_the_recording(tmp_path: Path, checker: Checker) -> None:
    histories = recorded()
    assert histories
    run = run_histories(histories, tmp_path, checker)
    told = [str(c) for c in compare(histories, run.job.lake) if c.differences]
    assert told == []


def test_a_log_that_tells_less_turns_no_verdict_round(tmp_path: Path, checker: Checker) -> None:
    # Where lines about an id that is used again are lost, nobody can tell one message from the next.
    whole = recorded() + [
        generate(seed, episode_count=2, are_ids_used_again=False) for seed in SEEDS[: HOST_COUNT // 5]
    ]
    chance = random.Random(FIRST_SEED)
    variants = [cut for history in whole for cut in cuts_of(history, chance)]
    assert variants
    run = run_histories([*whole, *(variant.history for variant in variants)], tmp_path, checker)
    rows = fetch_rows(run.job.lake, "marts.restarts")
    told = [
        f"{variant.history.host}: {change}"
        for variant in variants
        for change in changes_without_witness(
            rows.get(variant.whole.host, []), rows.get(variant.history.host, []), variant.kind
        )
    ]
    assert told == []


def explain(failing: list[Comparison], folder: Path, checker: Checker) -> str:
    """Tell which histories differ, the shortest of them made as short as can be, and how to run it again."""
    first = min(failing, key=lambda comparison: comparison.history.line_count)
    seed = first.history.label.split()[-1]
    told = [f"{comparison.history.label}: {comparison.differences[0]}" for comparison in failing]
    again = f"MAILLAG_SEED={seed} MAILLAG_HISTORIES=1 pytest tests/test_oracle.py -k agree"
    return "\n".join([*told, "", f"again: {again}", "", str(shrink(first, folder, checker))])
