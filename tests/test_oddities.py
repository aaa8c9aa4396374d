"""Odd archives beside a sound host: nothing crashes or hangs, no line is lost, the sound host's rows stay.

MAILLAG_ODDITIES sets how many archives are tried, MAILLAG_SEED where the seeds begin.
"""

import os
from pathlib import Path

import pytest

from tests.oddities import failures

ODDITY_COUNT = int(os.environ.get("MAILLAG_ODDITIES", "60"))
FIRST_SEED = int(os.environ.get("MAILLAG_SEED", "0"))


@pytest.mark.timeout(300 + ODDITY_COUNT)
def test_no_odd_archive_hurts_a_sound_host(tmp_path: Path) -> None:
    assert list(failures(ODDITY_COUNT, FIRST_SEED, tmp_path)) == []
