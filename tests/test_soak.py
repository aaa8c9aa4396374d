"""Some nights of a small fleet; tests/soak.py says of what. `make soak` is sixty of a bigger one."""

from pathlib import Path

import pytest

from tests.soak import soak


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nights_with_kills_late_and_corrected_files_end_as_one_clean_run(tmp_path: Path) -> None:
    print(soak(tmp_path, hosts=4, nights=6, seed=5))
