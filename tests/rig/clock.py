"""Turns real time into the time of a host whose clock is set: what its programs see, and what the truth says.

Programs see the host's clock through Debian's libfaketime. The host's clock is real time and an offset; each
step changes the offset. Only what the rig itself notes in real time is converted here.
"""

import time
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


class HostClock:
    """The clock of one host, `offset_seconds` ahead of real time until it is set."""

    def __init__(self, directory: Path, *, offset_seconds: float = 0.0) -> None:
        self._file = directory / "clock"
        self._steps = [(0.0, offset_seconds)]
        self._write(offset_seconds)

    def environment(self) -> dict[str, str]:
        """Return what a program needs in its environment, to see this clock.

        Raises RuntimeError where libfaketime is not installed.
        """
        if not _LIBRARIES:
            raise RuntimeError("a host with a clock of its own needs: apt-get install libfaketime")
        # The times of files are real. A clock that is behind them must see them moved, or Postfix warns of
        # the file system's clock and rests; a clock that is ahead must not, or files would jump as it is set.
        of_files = {"FAKE_UTIME": "1"} if self._steps[0][1] < 0 else {"NO_FAKE_STAT": "1"}
        return of_files | {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_by(self, seconds: float) -> None:
        """Set the clock back (less than 0) or forward."""
        offset = self._steps[-1][1] + seconds
        self._write(offset)
        self._steps.append((time.time(), offset))

    def at(self, real: float) -> float:
        """Return what the host's clock showed at an instant of real time."""
        return real + self._steps[bisect_right(self._steps, (real, float("inf"))) - 1][1]

    def of(self, truth: Any) -> Any:
        """Return a truth noted in real time (each `at`, `..._at`, and the times of `held`) in the host's."""
        if isinstance(truth, list):
            return [self.of(entry) for entry in truth]
        if not isinstance(truth, Mapping):
            return truth
        return {
            key: {queue_id: [self._shown(at) for at in times] for queue_id, times in value.items()}
            if key == "held"
            else self._shown(value)
            if key == "at" or key.endswith("_at")
            else self.of(value)
            for key, value in truth.items()
        }

    def _shown(self, real: float | None) -> float | None:
        return round(self.at(real), 6) if real else real

    def _write(self, offset: float) -> None:
        # Programs read the file at any time: it is replaced whole.
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset:+f}\n")
        fresh.rename(self._file)
