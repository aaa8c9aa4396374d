"""Turns flush orders into the lines of imssmgr, the FLUSH marker in maillog, and the flush."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from .postfix import TIME_ZONE, Instance

# The line of the vendor's own example, stamp aside.
_ORDER = (
    "[8954:4061145968] [NORMAL]SysMonitor: Control postfix by cmd "
    '/opt/trend/imss/bin/close_handle_sh "/opt/trend/imss/script/postfix flush >/dev/null 2>&1"'
)
_MARKER = "FLUSH: Checking if IMSS is running."


class Manager:
    """The Manager service with its log imssmgr.YYYYMMDD.0001, empty as long as it is silent."""

    def __init__(self, directory: Path, *, now: float, time_zone: str = TIME_ZONE) -> None:
        self._directory = directory
        self._time_zone = time_zone
        self._log(now).touch()

    def order(self, now: float) -> None:
        """Log that the wrapper script is called: all that is seen of a broken one."""
        with self._log(now).open("a") as log:
            log.write(f"{stamp(now, self._time_zone)} {_ORDER}\n")

    def flush(self, now: float, instances: list[Instance]) -> None:
        """Order a flush, with a wrapper script that works: it logs its marker, then flushes."""
        self.order(now)
        instances[0].mark(_MARKER)
        for instance in instances:
            instance.flush()

    def _log(self, now: float) -> Path:
        return self._directory / f"imssmgr.{day_of(now, self._time_zone)}.0001"


def stamp(now: float, time_zone: str = TIME_ZONE) -> str:
    """Return an instant as Trend Micro's logs write it."""
    local = datetime.fromtimestamp(now, ZoneInfo(time_zone))
    offset = f"{local:%z}"
    return f"{local:%Y/%m/%d %H:%M:%S} GMT{offset[:3]}:{offset[3:]}"


def day_of(now: float, time_zone: str = TIME_ZONE) -> str:
    """Return the day of an instant as the names of Trend Micro's logs write it."""
    return f"{datetime.fromtimestamp(now, ZoneInfo(time_zone)):%Y%m%d}"
