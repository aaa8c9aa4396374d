"""Stamps without year or zone to UTC, each with a word on how the missing part was found."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

import polars as pl

MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
# A rotated file is named for the day of its rotation; a clock in another zone may be a day ahead.
DAYS_AFTER_NAME_DATE = 2
DAYS_AFTER_FILE_TIME = 2
# The manager log only tells the year: a maillog line belongs to whichever year brings it nearest.
DAYS_AROUND_MANAGER_LOG = 183
FARTHEST_OFFSET = timedelta(hours=14)


@dataclass(frozen=True)
class YearWindow:
    """The year that a source file's stamps fall into: the one that ends before `ends_on`.

    Looking at each stamp by itself keeps New Year, late lines and reordered lines right without any
    state, as long as one file spans less than a year. `source` is file_name, manager_log or file_time.
    """

    ends_on: date
    source: str

    @staticmethod
    def by_file_name(name_date: date) -> "YearWindow":
        """Return the year up to the date in a file's name."""
        return YearWindow(name_date + timedelta(days=DAYS_AFTER_NAME_DATE), "file_name")

    @staticmethod
    def by_manager_log(manager_date: date) -> "YearWindow":
        """Return the year around the newest manager log of the same host."""
        return YearWindow(manager_date + timedelta(days=DAYS_AROUND_MANAGER_LOG), "manager_log")

    @staticmethod
    def by_file_time(modified_on: date) -> "YearWindow":
        """Return the year up to a file's last change."""
        return YearWindow(modified_on + timedelta(days=DAYS_AFTER_FILE_TIME), "file_time")

    def resolve(self, month: int, day: int) -> date | None:
        """Return the last such day before the window's end; None if the calendar never has it.

        29 February looks back to the last leap year.
        """
        return _last_such_day(self.ends_on, month, day)


@cache
def _last_such_day(before: date, month: int, day: int) -> date | None:
    for year in range(before.year, before.year - 9, -1):
        try:
            candidate = date(year, month, day)
        except ValueError:
            continue
        if candidate < before:
            return candidate
    return None


@dataclass(frozen=True)
class Zone:
    """The zone of a host's local stamps: an IANA name, or an offset as in `GMT+09:00`.

    `source` is fleet_file, manager_log or default.
    """

    name: str
    source: str

    @property
    def offset(self) -> timedelta | None:
        """The fixed offset from UTC, None for an IANA zone."""
        if not (parts := re.fullmatch(r"GMT([+-])([0-9]{2}):([0-9]{2})", self.name)):
            return None
        offset = timedelta(hours=int(parts[2]), minutes=int(parts[3]))
        if offset > FARTHEST_OFFSET:
            raise ValueError(f"{self.name} is farther from UTC than any zone")
        return -offset if parts[1] == "-" else offset

    def midnight(self, day: date) -> datetime:
        """Return the UTC instant at which a local day begins."""
        if (offset := self.offset) is not None:
            return datetime.combine(day, time(), UTC) - offset
        return datetime.combine(day, time(), ZoneInfo(self.name)).astimezone(UTC)

    def to_local(self, instant: datetime) -> datetime:
        """Return an aware instant as this zone's clocks show it."""
        offset = self.offset
        return instant.astimezone(ZoneInfo(self.name) if offset is None else timezone(offset))

    def is_known(self) -> bool:
        """Tell whether the name can be used: an IANA zone of this system, or a sound offset."""
        try:
            if self.offset is None:
                ZoneInfo(self.name)
        except (ValueError, OSError, KeyError):
            return False
        return True


def local_to_utc(local: pl.Expr, zone: Zone) -> pl.Expr:
    """Turn naive local times into UTC.

    An hour that the autumn change repeats is taken as its first pass; one that the spring change skips
    is read with the offset from before the change.
    """
    if (offset := zone.offset) is not None:
        return (local - offset).dt.replace_time_zone("UTC")

    def localized(naive: pl.Expr) -> pl.Expr:
        return naive.dt.replace_time_zone(
            zone.name, ambiguous="earliest", non_existent="null"
        ).dt.convert_time_zone("UTC")

    an_hour = timedelta(hours=1)
    return pl.coalesce(localized(local), localized(local - an_hour) + an_hour)
