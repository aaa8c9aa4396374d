"""Output of `postqueue -p` and `postqueue -j` to the messages in the queue, one row for each recipient."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any

import polars as pl

from transforms.bounds import BEYOND, BOUNDS, YEARS
from transforms.parse.clock import LocalClock, YearWindow
from transforms.parse.headers import MONTHS
from transforms.parse.patterns import QUEUE_ID
from transforms.parse.tables import NOISE, UNPARSED
from transforms.zone import Zone

Row = dict[str, Any]

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# postqueue/showq_compat.c: id and marks, size, arrival, sender. Postfix 2.7 (showq.c) has no blank between a
# mark and a size of eight digits.
ENTRY = re.compile(
    rf"(?P<queue_id>{QUEUE_ID})(?:(?P<mark>[*!]?#?) +|(?P<near_mark>[*!]#?))(?P<size_bytes>[0-9]+) +"
    rf"(?P<weekday>{'|'.join(WEEKDAYS)}) (?P<month>{'|'.join(MONTHS)}) (?P<day>[ 0-3][0-9]) "
    r"(?P<time>(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]) {1,2}(?P<sender>.*)"
)
# Printed before the recipients that it applies to, wherever it changes.
REASON = re.compile(r"\s*\((?P<reason>.*)\)")
# No address begins with a parenthesis: such a local part is quoted.
RECIPIENT = re.compile(r"\s+(?P<recipient>[^\s(].*)")
BETWEEN_ENTRIES = re.compile(
    r"\s*|-+Queue ID-+ .*|-- [0-9]+ Kbytes in [0-9]+ Requests?\.|Mail queue is empty"
)
WARNING = re.compile(r"postqueue: warning: Mail system is down\b.*")

QUEUE_NAMES = {"*": "active", "!": "hold"}
NO_REASON = "reason unavailable"
# postqueue/showq_json.c; all but the first since Postfix 3.11.
REASON_KEYS = ("delay_reason", "bounce_reason", "other_reason")
# What postqueue prints for the empty sender of a bounce (empty_address_recipient).
EMPTY_SENDER = "MAILER-DAEMON"
# A clock in another zone, or a wrong one, may be a day ahead.
DAYS_AFTER_TAKEN = 2
YEARS_BACK = 8
INT64_END = 2**63

ROWS = pl.Schema(
    {
        "line_number": pl.Int64(),
        "queue_name": pl.String(),
        "queue_id": pl.String(),
        "sender": pl.String(),
        "recipient": pl.String(),
        "original_recipient": pl.String(),
        "size_bytes": pl.Int64(),
        "reason": pl.String(),
        "is_forced_expire": pl.Boolean(),
        "local_arrival": pl.Datetime("us"),
        "arrived_at": pl.Datetime("us", "UTC"),
    }
)
LINES = pl.Schema({"line_number": pl.Int64(), "line": pl.String()})


@dataclass
class _Entry:
    """A message of `postqueue -p` that may still get recipients."""

    line_number: int
    line: str
    message: Row
    reason: str | None = None
    has_recipient: bool = False


class SnapshotParser:
    """Parses one snapshot, block by block.

    An entry ends where the next one begins, or at a line that stands between entries. Until then, or until
    its first recipient, the line of an entry is held back, even over the end of a block: it gives a row if
    there is no recipient, and is noise otherwise. Call `finish` at the end of the file.
    """

    def __init__(self, taken_at: datetime, zone: Zone) -> None:
        self._zone = zone
        self._days = YearWindow(
            zone.to_local(taken_at).date() + timedelta(days=DAYS_AFTER_TAKEN), "file_time"
        )
        self._entry: _Entry | None = None

    def parse(self, lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """Parse the next block (`line_number`, `line`) into frames by table.

        `queue_snapshots` has a row for each message and recipient, with the number of the recipient's line. A
        message without recipients has one row, with the number of the entry's line.
        """
        rows: list[Row] = []
        noise: list[tuple[int, str]] = []
        unparsed: list[tuple[int, str, str]] = []
        for number, line in lines.select("line_number", "line").iter_rows():
            if line.startswith("{"):
                messages = _parse_object(line)
                if messages and not (_is_size(messages[0]["size_bytes"]) and messages[0]["arrived_at"]):
                    unparsed.append((number, line, "out_of_range"))
                    continue
                rows += [{"line_number": number, **message} for message in messages]
                unparsed += [] if messages else [(number, line, "no_pattern")]
            elif (found := ENTRY.fullmatch(line)) and not _is_size(found["size_bytes"]):
                rows += self._close()
                unparsed.append((number, line, "out_of_range"))
            elif found:
                rows += self._close()
                self._entry = _Entry(number, line, self._message(found))
            elif self._entry and (found := REASON.fullmatch(line)):
                self._entry.reason = None if found["reason"] == NO_REASON else found["reason"]
                noise.append((number, line))
            elif self._entry and (found := RECIPIENT.fullmatch(line)):
                if not self._entry.has_recipient:
                    self._entry.has_recipient = True
                    noise.append((self._entry.line_number, self._entry.line))
                recipient = {"recipient": found["recipient"], "reason": self._entry.reason}
                rows.append({"line_number": number, **self._entry.message, **recipient})
            elif BETWEEN_ENTRIES.fullmatch(line):
                rows += self._close()
                noise.append((number, line))
            elif WARNING.fullmatch(line):
                noise.append((number, line))
            else:
                unparsed.append((number, line, "no_pattern"))
        return self._frames(rows, noise, unparsed)

    def finish(self) -> dict[str, pl.DataFrame]:
        """Return the frames of the last entry, if it is still held back."""
        return self._frames(self._close(), [], [])

    def _close(self) -> list[Row]:
        entry, self._entry = self._entry, None
        if entry is None or entry.has_recipient:
            return []
        return [{"line_number": entry.line_number, **entry.message, "reason": entry.reason}]

    def _message(self, found: re.Match[str]) -> Row:
        marks = found["mark"] or found["near_mark"] or ""
        day = _arrival_day(self._days, found["weekday"], found["month"], int(found["day"]))
        return {
            "queue_name": QUEUE_NAMES.get(marks[:1], "deferred"),
            "queue_id": found["queue_id"],
            "sender": "" if found["sender"] == EMPTY_SENDER else found["sender"],
            "size_bytes": int(found["size_bytes"]),
            "is_forced_expire": "#" in marks,
            "local_arrival": day and datetime.combine(day, time.fromisoformat(found["time"])),
        }

    def _frames(
        self, rows: list[Row], noise: list[tuple[int, str]], unparsed: list[tuple[int, str, str]]
    ) -> dict[str, pl.DataFrame]:
        snapshots = pl.DataFrame(rows, schema=ROWS).sort("line_number", maintain_order=True)
        # The queue is not in the order of time: an hour that the autumn change repeats is always read as the
        # first pass.
        local = snapshots.select(pl.col("local_arrival").unique().sort().drop_nulls())
        by_local = local.with_columns(by_zone=LocalClock(self._zone).to_utc(local.to_series()))
        return {
            "queue_snapshots": snapshots.join(by_local, on="local_arrival", how="left", maintain_order="left")
            .with_columns(arrived_at=pl.coalesce("arrived_at", "by_zone"))
            .drop("local_arrival", "by_zone"),
            NOISE: pl.DataFrame(noise, schema=LINES, orient="row").sort("line_number"),
            UNPARSED: pl.DataFrame(
                unparsed, schema=pl.Schema({**LINES, "reason": pl.String()}), orient="row"
            ),
        }


@cache
def _arrival_day(days: YearWindow, weekday: str, month: str, day: int) -> date | None:
    """Return the last such day with that weekday, else the last such day; None if no calendar has it.

    The weekday matters for a message that has waited for years.
    """
    last = days.resolve(MONTHS.index(month) + 1, day) if day else None
    candidate = last
    while candidate and candidate.year >= days.ends_on.year - YEARS_BACK:
        if WEEKDAYS[candidate.weekday()] == weekday:
            return candidate
        candidate = YearWindow(candidate, days.source).resolve(candidate.month, candidate.day)
    return last


def _parse_object(line: str) -> list[Row]:
    """Return the rows of an object of `postqueue -j`; an empty list for anything else."""
    try:
        entry = json.loads(line)
        message = {
            "queue_name": _text(entry["queue_name"]),
            "queue_id": _text(entry["queue_id"]),
            "sender": "" if entry["sender"] == EMPTY_SENDER else _text(entry["sender"]),
            "size_bytes": _number(entry["message_size"]),
            "is_forced_expire": bool(entry.get("forced_expire")),
            "arrived_at": _arrival(_number(entry["arrival_time"])),
        }
        recipients = [
            {
                "recipient": _text(recipient["address"]),
                "original_recipient": _text(recipient.get("orig_address", "")) or None,
                "reason": next((_text(recipient[key]) for key in REASON_KEYS if recipient.get(key)), None),
            }
            for recipient in _list(entry["recipients"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [{**message, **recipient} for recipient in recipients or [{}]]


def _arrival(seconds: int) -> datetime | None:
    """Return the time of an arrival; None if its year is out of range."""
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at if at.year in YEARS else None


def _is_size(size_bytes: int | str) -> bool:
    """Tell whether a message can have this size, which may be text of thousands of digits."""
    least, most = BOUNDS["size_bytes"]
    return len(str(size_bytes)) < 20 and least <= int(size_bytes) <= most


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    # Raises ValueError for half a surrogate pair.
    value.encode()
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _number(value: object) -> int:
    """Return a whole number; BEYOND if no column can hold it."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value if -INT64_END <= value < INT64_END else BEYOND
