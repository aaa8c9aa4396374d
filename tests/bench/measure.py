"""Commands to what they cost. Each is a process of its own, started by this small one.

Linux counts the memory of the process that starts another as the other's peak: nothing big may be imported
here.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# As `make` installs it: with the byte code compiled.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Cost:
    """What one run of a command cost, all its processes together; the memory is that of the biggest one."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Figure:
    """The median, minimum and maximum of several rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Figure":
        """Return the figure of at least one value."""
        return Figure(statistics.median(values), min(values), max(values))


def measure(
    command: Sequence[str], stdout: int | IO[str] = subprocess.DEVNULL, accepted: Collection[int] = (0,)
) -> Cost:
    """Run a command to its end; raises CalledProcessError if its exit code is none of those accepted."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=stdout, env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    wall_seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accepted:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(wall_seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder; 0 if there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
