"""docs/notebook.py as a script, against the sample."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.py"
CAUSES = [
    ("greeting_lost", 1, None),
    ("refused", 203, 97.0),
    ("session_lost", 4, 16.0),
    ("suspended", 667, 108.0),
]
FOUND = f"""\
polars: {CAUSES}
pandas: {{'burst14': 122.0, 'imss12': 119.0, 'imss13': 119.0, 'imsva11': 18.0, 'imsva91': nan}}
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("marimo"), reason="marimo is not installed here")
def test_the_notebook_runs_and_hands_its_rows_over(sample_lake: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, NOTEBOOK],
        check=False,
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | {"MAILLAG_LAKE": str(sample_lake)},
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, FOUND, "")
