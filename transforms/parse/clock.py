"""Stamps without a year or a zone to UTC, with the source of the part that was missing."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Literal

import polars as pl

from transforms.bounds import YEARS
from transforms.log_rules import NUMERIC_DATE
from transforms.parse.headers import DAY_NAME, MONTH_NAME, MONTHS, PRI
from transforms.parse.patterns import LONG_QUEUE_ID
from transforms.parse.sendmail import SENDMAIL_QUEUE_ID, SENDMAIL_TAGS
from transforms.zone import Zone

# A rotated file is named after the day of its rotation; a clock in another zone may be a day ahead.
DAYS_AFTER_NAME_DATE = 2
DAYS_AFTER_FILE_TIME = 2
# A maillog line belongs to the year that brings it nearest to the manager log.
DAYS_AROUND_MANAGER_LOG = 183
# The first line of a file is later than every line of the file rotated before it, but for lines that come a
# few days late.
DAYS_AROUND_NEIGHBOUR = 3
# A line with a year may stand before or after the lines without one.
DAYS_AROUND_LINE = 183
# A file's lines are later than a queue id in its first lines; the rest of the year is for late lines.
DAYS_AFTER_QUEUE_ID = 335
FALLEN_BACK = timedelta(minutes=1)
# Enough lines to meet one of Postfix among those of other programs.
LINES_ASKED = 200
DATED_LINES = (
    re.compile(rf"\n{PRI}(?:1 )?{NUMERIC_DATE}[T ]", re.MULTILINE),
    re.compile(rf"\n{PRI}(?P<year>[0-9]{{4}}) {MONTH_NAME} {{1,2}}{DAY_NAME} ", re.MULTILINE),
)
LONG_ID_IN_LINE = re.compile(rf": ({LONG_QUEUE_ID}): ")
SENDMAIL_ID_IN_LINE = re.compile(
    rf" (?:{'|'.join(SENDMAIL_TAGS)})\[[0-9]+\]: ({SENDMAIL_QUEUE_ID}): (?:from|to)="
)
SENDMAIL_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
QUEUE_ID_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
# Postfix 2.9, the first with long queue ids, came out in 2012.
LONG_QUEUE_IDS_SINCE = datetime(2012, 1, 1, tzinfo=UTC).timestamp()
LONG_QUEUE_IDS_UNTIL = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class YearWindow:
    """The year into which a source file's stamps fall: the 365 or 366 days before `ends_on`.

    As each stamp is judged by itself, New Year, late lines, reordered lines and a clock that is set back need
    no state, as long as one file spans less than a year.

    `source` is where the window comes from, the most reliable source first: file_name, line (another line of
    the file bears its year), queue_id (a long id holds the time at which it was made), neighbour (the file
    rotated before or after this one), manager_log or file_time.
    """

    ends_on: date
    source: str

    @staticmethod
    def by_file_name(name_date: date) -> "YearWindow":
        """Return the year up to the date in a file's name."""
        return YearWindow(name_date + timedelta(days=DAYS_AFTER_NAME_DATE), "file_name")

    @staticmethod
    def by_head(head: bytes) -> "YearWindow | None":
        """Return the year of a stamp or a long queue id in a file's first lines; None if there is neither."""
        if found := date_in(head):
            day, source = found
            return YearWindow.by_line(day) if source == "line" else YearWindow.by_queue_id(day)
        return None

    @staticmethod
    def by_line(line_date: date) -> "YearWindow":
        """Return the year around a line of the same file that bears its year."""
        return YearWindow(line_date + timedelta(days=DAYS_AROUND_LINE), "line")

    @staticmethod
    def by_queue_id(created_on: date) -> "YearWindow":
        """Return the year around the day on which a queue id in the file's first lines was made."""
        return YearWindow(created_on + timedelta(days=DAYS_AFTER_QUEUE_ID), "queue_id")

    @staticmethod
    def before_neighbour(began_on: date) -> "YearWindow":
        """Return the year up to the first line of the file rotated after this one."""
        return YearWindow(began_on + timedelta(days=DAYS_AROUND_NEIGHBOUR), "neighbour")

    @staticmethod
    def after_neighbour(began_on: date) -> "YearWindow":
        """Return the year from the first line of the file rotated before this one."""
        return YearWindow(began_on + timedelta(days=365 - DAYS_AROUND_NEIGHBOUR), "neighbour")

    @staticmethod
    def by_manager_log(manager_date: date) -> "YearWindow":
        """Return the year around the newest manager log of the same host."""
        return YearWindow(manager_date + timedelta(days=DAYS_AROUND_MANAGER_LOG), "manager_log")

    @staticmethod
    def by_file_time(modified_on: date) -> "YearWindow":
        """Return the year up to a file's last change."""
        return YearWindow(modified_on + timedelta(days=DAYS_AFTER_FILE_TIME), "file_time")

    def resolve(self, month: int, day: int) -> date | None:
        """Return the last such day before the window's end; None for a day that no calendar has.

        For 29 February that is the one of the last leap year.
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


class LocalClock:
    """Turns local stamps into UTC; the stamps of each file must come in file order.

    In the hour that the autumn change repeats, the order of lines decides: once the time falls back within
    that hour, the rest of it is the second pass. An hour that the spring change skips is read with the offset
    from before the change.
    """

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        # By file and day of a change: the latest time seen in the repeated hour, and whether it fell back.
        self._repeated_hours: dict[tuple[str, date], tuple[datetime, bool]] = {}

    def to_utc(self, local: pl.Series, files: pl.Series | None = None) -> pl.Series:
        """Return the UTC instants of naive local times, NULL for NULL; `files` names the file of each."""
        files = pl.repeat("", len(local), eager=True) if files is None else files
        if (offset := self.zone.offset) is not None:
            return (local - offset).dt.replace_time_zone("UTC")
        frame = local.to_frame("local")
        earliest = frame.select(_localized(pl.col("local"), self.zone, "earliest")).to_series()
        latest = frame.select(_localized(pl.col("local"), self.zone, "latest")).to_series()
        is_repeated = earliest != latest
        if not is_repeated.any():
            return earliest
        is_second_pass = pl.Series(
            self._is_second_pass(at, file) if repeated else False
            for at, file, repeated in zip(local, files, is_repeated, strict=True)
        )
        return frame.select(pl.when(is_second_pass).then(latest).otherwise(earliest)).to_series()

    def _is_second_pass(self, at: datetime, file: str) -> bool:
        latest, fell_back = self._repeated_hours.get((file, at.date()), (at, False))
        # Lines that syslog put out of order are seconds apart, the passes usually many minutes.
        fell_back = fell_back or latest - at > FALLEN_BACK
        self._repeated_hours[file, at.date()] = (max(latest, at), fell_back)
        return fell_back


def _localized(local: pl.Expr, zone: Zone, ambiguous: Literal["earliest", "latest"]) -> pl.Expr:
    def localized(naive: pl.Expr) -> pl.Expr:
        return naive.dt.replace_time_zone(
            zone.name, ambiguous=ambiguous, non_existent="null"
        ).dt.convert_time_zone("UTC")

    an_hour = timedelta(hours=1)
    return pl.coalesce(localized(local), localized(local - an_hour) + an_hour)


def date_in(head: bytes) -> tuple[date, str] | None:
    """Return a day from the first lines of a maillog, and its source: `line` or `queue_id`."""
    lines = ["\n" + line.decode(errors="replace") for line in head.splitlines()[:LINES_ASKED]]
    together = "".join(lines)
    # Most files hold none: to search all lines at once takes a tenth of the time.
    if not any(form.search(together) for form in (*DATED_LINES, LONG_ID_IN_LINE, SENDMAIL_ID_IN_LINE)):
        return None
    for text in lines:
        if match := next(filter(None, (form.match(text) for form in DATED_LINES)), None):
            month = (
                match["month"]
                if "month" in match.groupdict()
                else MONTHS.index(match["month_name"].title()) + 1
            )
            try:
                day = date(int(match["year"]), int(month), int(match["day"]))
            except ValueError:
                continue
            if day.year in YEARS:
                return day, "line"
            continue
        if (match := LONG_ID_IN_LINE.search(text)) and (created := created_on(match[1])):
            return created, "queue_id"
        if (match := SENDMAIL_ID_IN_LINE.search(text)) and (created := created_on_by_sendmail(match[1])):
            return created, "queue_id"
    return None


def created_on(long_queue_id: str) -> date | None:
    """Return the UTC day on which a long queue id was made; None if it is not a queue id (mail_queue.h)."""
    digits = long_queue_id.rpartition("z")[0][:-4]
    seconds = 0
    for digit in digits:
        seconds = seconds * len(QUEUE_ID_DIGITS) + QUEUE_ID_DIGITS.index(digit)
    if not LONG_QUEUE_IDS_SINCE <= seconds < LONG_QUEUE_IDS_UNTIL:
        return None
    return datetime.fromtimestamp(seconds, UTC).date()


def created_on_by_sendmail(queue_id: str) -> date | None:
    """Return the UTC day on which sendmail made a queue id, in 2000 to 2059 (queue.c: base 60)."""
    year, month, day = (SENDMAIL_DIGITS.index(digit) for digit in queue_id[:3])
    try:
        return date(2000 + (year - 100) % 60, month + 1, day)
    except ValueError:
        return None
