"""Odd archives beside a sound host: nothing crashes or hangs, no line is lost, the sound host's rows stay.

MAILLAG_ODDITIES sets how many archives are tried, MAILLAG_SEED where the seeds begin.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.oddities import failures

ODDITY_COUNT = int(os.environ.get("MAILLAG_ODDITIES", "60"))
FIRST_SEED = int(os.environ.get("MAILLAG_SEED", "0"))


@pytest.mark.timeout(300 + ODDITY_COUNT)
def test_no_odd_archive_hurts_a_sound_host(tmp_path: Path) -> None:
    tried = Counter[str]()
    assert list(failures(range(FIRST_SEED, FIRST_SEED + ODDITY_COUNT), tmp_path, tried)) == []
    assert tried["archives"] == ODDITY_COUNT
    assert tried["odd files"] > ODDITY_COUNT
