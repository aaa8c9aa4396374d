"""The systemd units in the documents are sound."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
UNIT = re.compile(r"`/etc/systemd/system/(?P<name>[\w.-]+)`.*?```ini\n(?P<text>.*?)```", re.DOTALL)


def test_systemd_takes_the_units_of_the_docs(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    documents = [(PROJECT / "docs" / name).read_text() for name in ("operations.md", "scaling.md")]
    units = [match.groupdict() for document in documents for match in UNIT.finditer(document)]
    assert [unit["name"] for unit in units] == [
        "maillag-server.service",
        "maillag-worker.service",
        "maillag.service",
        "maillag.timer",
        "maillag-dask-scheduler.service",
        "maillag-dask-worker.service",
    ]
    for unit in units:
        # Without where it is installed, which has to be there.
        (tmp_path / unit["name"]).write_text(unit["text"].replace("/opt/maillag", str(PROJECT)))
    paths = sorted(tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
