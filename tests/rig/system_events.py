"""Turns stops and starts of the scan service into the lines of sysevt.imss, as far as they are known.

Third parties tell of the event ids 20001 (started) and 20002 (stopped) and of the stamp a line begins with;
the real line is not disclosed (Trend Micro KB 1122512). What stands between and behind them is the rig's own.
"""

from pathlib import Path

from .manager import day_of, stamp


class SystemEvents:
    """The log sysevt.imss.YYYYMMDD.0001; a crash is not in it, as nobody is left to tell."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def stopped(self, now: float) -> None:
        """Log that the scan service was told to stop, and did."""
        self._write(now, "20002\tIMSS Daemon stopped")

    def started(self, now: float) -> None:
        """Log that the scan service listens."""
        self._write(now, "20001\tIMSS Daemon starts")

    def _write(self, now: float, event: str) -> None:
        with (self._directory / f"sysevt.imss.{day_of(now)}.0001").open("a") as log:
            log.write(f"{stamp(now)}\t{event}\n")
