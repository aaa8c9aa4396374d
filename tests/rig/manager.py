"""Turns flush orders into the lines of imssmgr, the FLUSH marker in maillog, and the flush."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

from .postfix import Instance

_ZONE = timezone(timedelta(hours=9))
# The line of the vendor's own example, stamp aside.
_ORDER = (
    "[8954:4061145968] [NORMAL]SysMonitor: Control postfix by cmd "
    '/opt/trend/imss/bin/close_handle_sh "/opt/trend/imss/script/postfix flush >/dev/null 2>&1"'
)
_MARKER = "FLUSH: Checking if IMSS is running."


class Manager:
    """The Manager service with its log imssmgr.YYYYMMDD.0001, empty as long as it is silent."""

    def __init__(self, directory: Path, *, now: float) -> None:
        self._directory = directory
        self._log(now).touch()

    def order(self, now: float) -> None:
        """Log that the wrapper script is called: all that is seen of a broken one."""
        with self._log(now).open("a") as log:
            log.write(f"{stamp(now)} {_ORDER}\n")

    def flush(self, now: float, instances: list[Instance]) -> None:
        """Order a flush, with a wrapper script that works: it logs its marker, then flushes."""
        self.order(now)
        instances[0].mark(_MARKER)
        for instance in instances:
            instance.flush()

    def _log(self, now: float) -> Path:
        return self._directory / f"imssmgr.{day_of(now)}.0001"


def stamp(now: float) -> str:
    """Return an instant as Trend Micro's logs write it."""
    return f"{datetime.fromtimestamp(now, _ZONE):%Y/%m/%d %H:%M:%S} GMT+09:00"


def day_of(now: float) -> str:
    """Return the day of an instant as the names of Trend Micro's logs write it."""
    return f"{datetime.fromtimestamp(now, _ZONE):%Y%m%d}"
