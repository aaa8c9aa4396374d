"""Blocks of a maillog to Arrow tables of events and the lines left over, by the compiled scanner.

The fast lane reads the lines whose patterns say so (patterns.Pattern.fast_lane), and gives the same events as
the general lane (transforms/parse/events.py); tests/test_lanes.py compares the two.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from transforms.fast_lane import arrays, columns
from transforms.fast_lane.arrays import NO_TIME, PADDING, ROW_ROOM, SECOND, Bools, Bytes, Int64s
from transforms.fast_lane.columns import DECIMALS, INTEGERS, NUMPY_TYPES, SPANS, TABLES
from transforms.fast_lane.kernels import load_kernels
from transforms.parse.clock import YearWindow
from transforms.parse.events import Reading, split_lines
from transforms.parse.line_counts import LINE_COUNTS, OTHER_HOSTS
from transforms.parse.postfix import POSTFIX_PATTERNS
from transforms.parse.programs import QUEUE_MANAGERS
from transforms.parse.routing import describe_tag
from transforms.parse.syslog import SYSLOG_PATTERNS
from transforms.parse.tables import ARROW_SCHEMAS, CATEGORY, NOISE, UTC_TIME
from transforms.zone import Zone

# The beginnings that decide Postfix's pattern alone, in the order of their numbers in the scanner.
STARTS = [(start.encode(), p) for p in POSTFIX_PATTERNS if p.fast_lane == "start" for start in p.starts]
MOST_TAGS = 128
# Runs of line counts that one call of the scanner has room for.
COUNT_ROOM = 4_096
# After so many left-over lines a scan stops, so that they are parsed: even an empty line takes memory.
MOST_LEFT_OVER = 131_072
LOGGED_AT = pa.timestamp("us", "UTC")
# A row of line_counts.LINE_COUNTS, its times in microseconds.
LineCount = tuple[Any, ...]


@dataclass
class LeftOver:
    """Lines for the general lane: their bytes, their numbers, and the stamps that were read around them.

    `stamp_before` is the latest stamp since the previous left-over line, `stamp_after` the first one before
    the next; NO_TIME if there is none. `is_dated_before` and `is_dated_after` say whether these bear year and
    offset.
    """

    source_id: str
    content: bytes
    line_number: Int64s
    stamp_before: Int64s
    is_dated_before: Bools
    stamp_after: Int64s
    is_dated_after: Bools

    def follow(self, stamp: tuple[int, bool] | None) -> None:
        """Take over the latest stamp of earlier blocks, unless there was one since."""
        if stamp and self.stamp_before[0] == NO_TIME:
            self.stamp_before[0], self.is_dated_before[0] = stamp


@dataclass(frozen=True)
class Scanned:
    """What the fast lane made of a block: events by table, counts of lines, and the lines left over.

    - `end`: where in the block the scan stopped; before its end, if very many lines were left over.
    - `line_numbers`: the memory behind the columns of that name in all tables.
    - `line_counts`: rows of line_counts.LINE_COUNTS.
    - `left_over`: the lines for the general lane, in file order.
    - `last_stamp`: the latest stamp after the last line left over, and whether it bears year and offset.
    """

    end: int
    line_count: int
    line_numbers: list[Int64s]
    tables: dict[str, list[pa.Table]]
    line_counts: list[LineCount]
    left_over: list[LeftOver]
    last_stamp: tuple[int, bool] | None

    def number_after(self, lines_before: int) -> None:
        """Add the number of lines in earlier blocks to all line numbers. Call before the tables are used."""
        for numbers in self.line_numbers:
            numbers += lines_before


class FastLane:
    """Scans blocks, in any number of threads at a time; the tags that it learns serve all of them."""

    def __init__(self) -> None:
        self._kernels = load_kernels()
        self._prefixes = arrays.prefixes_of(
            [start for start, _ in STARTS],
            [arrays.NOISE if pattern.table == NOISE else arrays.OTHER for _, pattern in STARTS],
        )
        self._line_kinds = [pattern.constants.get("line_kind") for _, pattern in STARTS]
        self._tags = arrays.no_tags(MOST_TAGS, len(STARTS))
        self._instances: list[str | None] = []
        self._programs: list[str | None] = []
        self._learning = threading.Lock()
        self._scratch = threading.local()

    padding = PADDING
    """What must follow the lines of a block."""

    def has_stamp(self, block: bytes, size_bytes: int, reading: Reading) -> bool:
        """Tell whether any line of a block begins with a stamp."""
        midnights = _midnights(reading.year, reading.zone)
        return bool(self._kernels.has_stamp(np.frombuffer(block, np.uint8), size_bytes, midnights))

    def scan(self, content: bytes, size_bytes: int, reading: Reading, start: int = 0) -> Scanned:
        """Scan a block of whole lines; the first one has number 1 until Scanned.number_after is called.

        `start` is where an earlier scan of this block stopped (Scanned.end).
        """
        block = np.frombuffer(content, np.uint8)
        rows, counts = self._room()
        midnights = _midnights(reading.year, reading.zone)
        state = np.zeros(arrays.STATE_SIZE, np.int64)
        state[arrays.POSITION], state[arrays.LAST_STAMP] = start, NO_TIME
        tables: dict[str, list[pa.Table]] = {}
        line_counts: list[LineCount] = []
        left_over: list[LeftOver] = []
        line_numbers: list[Int64s] = []
        left_over_count = 0
        why = arrays.FULL
        while why != arrays.DONE and left_over_count < MOST_LEFT_OVER:
            if why == arrays.NEW_TAG:
                self._learn(bytes(block[state[arrays.TAG_START] : state[arrays.TAG_END]]))
            else:
                rows.used[:] = 0
                counts.used[:] = 0
                counts.current[:] = -1
            why = self._kernels.scan(
                block, size_bytes, midnights, self._tags, self._prefixes, rows, counts, state
            )
            if why != arrays.NEW_TAG:
                for family, table in TABLES.items():
                    if used := int(rows.used[family]):
                        line_numbers.append(rows.line_number[family, :used].copy())
                        made = self._table(family, table, block, rows, reading, line_numbers[-1])
                        tables.setdefault(table, []).append(made)
                line_counts += _line_counts(counts, reading, _hosts(block, counts, state))
                if rows.used[arrays.LEFT_OVER]:
                    left_over.append(_left_over(block, rows, reading.source_id))
                    line_numbers.append(left_over[-1].line_number)
                    left_over_count += len(left_over[-1].line_number)
        last_stamp = int(state[arrays.LAST_STAMP])
        return Scanned(
            end=size_bytes if why == arrays.DONE else int(state[arrays.POSITION]),
            line_count=int(state[arrays.LINES_BEFORE]),
            line_numbers=line_numbers,
            tables=tables,
            line_counts=line_counts,
            left_over=left_over,
            last_stamp=None if last_stamp == NO_TIME else (last_stamp, bool(state[arrays.IS_LAST_DATED])),
        )

    @staticmethod
    def to_frame(left_over: Sequence[LeftOver]) -> pl.DataFrame:
        """Return lines left over as events.Parser.parse takes them."""
        # All at once, except for the beginning of a file, where a byte order mark may stand.
        runs = groupby(left_over, key=lambda part: part.source_id if part.line_number[0] == 1 else None)
        lines = pl.concat(
            split_lines(b"".join(part.content for part in run), 2 if source_id is None else 1)
            for source_id, run in runs
        )
        sizes = [len(part.line_number) for part in left_over]
        numbers = {
            name: np.concatenate([getattr(part, name) for part in left_over])
            for name in ("line_number", "stamp_before", "is_dated_before", "stamp_after", "is_dated_after")
        }
        return lines.with_columns(
            source_id=pl.Series(np.repeat([part.source_id for part in left_over], sizes)),
            line_number=pl.Series(numbers["line_number"]),
            stamp_before=_stamps(numbers["stamp_before"], numbers["is_dated_before"]),
            stamp_after=_stamps(numbers["stamp_after"], numbers["is_dated_after"]),
        )

    @staticmethod
    def to_line_counts(rows: Sequence[LineCount]) -> pl.DataFrame:
        """Return line counts in the columns of the general lane (line_counts.LINE_COUNTS)."""
        in_numbers = {
            name: pl.Int64() if dtype.is_temporal() else dtype for name, dtype in LINE_COUNTS.items()
        }
        return pl.DataFrame(rows, schema=in_numbers, orient="row").cast(dict(LINE_COUNTS))

    def _room(self) -> tuple[arrays.Rows, arrays.Counts]:
        """Return the arrays of this thread that a scan fills."""
        if not hasattr(self._scratch, "room"):
            self._scratch.room = arrays.no_rows(ROW_ROOM), arrays.no_counts(COUNT_ROOM)
        room: tuple[arrays.Rows, arrays.Counts] = self._scratch.room
        return room

    def _learn(self, tag: bytes) -> None:
        """Make a tag known to the scanner, with what its lines may be."""
        with self._learning:
            tags = self._tags
            known = int(tags.known[0])
            if known == MOST_TAGS or any(
                tags.size[n] == len(tag) and bytes(tags.name[n, : len(tag)]) == tag for n in range(known)
            ):
                return
            meaning = describe_tag(tag.decode())
            self._instances.append(meaning.instance)
            self._programs.append(meaning.program)
            tags.name[known, : len(tag)] = np.frombuffer(tag, np.uint8)
            tags.size[known] = len(tag)
            if meaning.is_postfix:
                tags.meaning[known] = arrays.POSTFIX_TAG
                tags.writes[known] = (
                    arrays.QMGR * (meaning.daemon in QUEUE_MANAGERS)
                    | arrays.CLEANUP * (meaning.daemon == "cleanup")
                    | arrays.SMTPD * (meaning.daemon == "smtpd")
                )
                prefixes = [
                    n for n, (_, p) in enumerate(STARTS) if not p.daemons or meaning.daemon in p.daemons
                ]
                tags.prefixes[known, : len(prefixes)] = prefixes
            elif (
                not meaning.is_sendmail
                and not meaning.is_without_program
                and not any(meaning.daemon in by.daemons for by in SYSLOG_PATTERNS)
            ):
                tags.meaning[known] = arrays.FOREIGN_TAG
            # Other threads look at a tag only once it is counted.
            tags.known[0] = known + 1

    def _table(
        self,
        family: int,
        table: str,
        block: Bytes,
        rows: arrays.Rows,
        reading: Reading,
        line_numbers: Int64s,
    ) -> pa.Table:
        """Return a family's rows as a table of events."""
        used = int(rows.used[family])
        tags = rows.tag[family, :used]
        line_kinds = rows.integers[family, :used, arrays.LINE_KIND]
        made: dict[str, Callable[[], pa.Array]] = {
            "host": lambda: columns.constant(reading.host, used),
            "source_id": lambda: columns.constant(reading.source_id, used),
            "year_source": lambda: columns.stamp_sources(reading.year.source, rows.is_dated[family, :used]),
            "zone_source": lambda: columns.stamp_sources(reading.zone.source, rows.is_dated[family, :used]),
            "instance": lambda: columns.looked_up(self._instances, tags),
            "program": lambda: columns.looked_up(self._programs, tags),
            "pid": lambda: columns.numbers_or_null(rows.pid[family, :used].copy(), pa.int32()),
            "logged_at": lambda: columns.numbers(rows.logged_at[family, :used].copy(), LOGGED_AT),
            "line_number": lambda: columns.numbers(line_numbers, pa.int64()),
            "removal_kind": lambda: columns.constant("removed", used),
            "line_kind": lambda: columns.looked_up(self._line_kinds, line_kinds),
        }
        spans, integers = SPANS[family], INTEGERS.get(family, {})
        table_columns = []
        for field in ARROW_SCHEMAS[table]:
            name = field.name
            if name in spans:
                of_field = rows.spans[family, :used, spans[name]]
                column = columns.categories if field.type == CATEGORY else columns.strings
                table_columns.append(column(block, of_field))
            elif name in integers:
                values = rows.integers[family, :used, integers[name]]
                table_columns.append(
                    columns.numbers_or_null(values.astype(NUMPY_TYPES[field.type]), field.type)
                )
            elif name in DECIMALS and family == arrays.DELIVERY:
                table_columns.append(
                    columns.numbers(rows.decimals[:used, DECIMALS[name]].copy(), pa.float64())
                )
            elif name in made:
                table_columns.append(made[name]())
            else:
                table_columns.append(pa.nulls(used, field.type))
        return pa.Table.from_arrays(table_columns, schema=ARROW_SCHEMAS[table])


@cache
def _midnights(year: YearWindow, zone: Zone) -> Int64s:
    """Return the midnight of each day in UTC microseconds, at month * 32 + day.

    NO_TIME stands for a day that no calendar has, and for one on which the clocks change: there, the order of
    lines matters.
    """
    midnights = np.full(13 * 32, NO_TIME)
    for month in range(1, 13):
        for day in range(1, 32):
            found = year.resolve(month, day)
            if found and found < date.max:
                begins, ends = zone.midnight(found), zone.midnight(found + timedelta(days=1))
                if ends - begins == timedelta(days=1):
                    midnights[month * 32 + day] = int(begins.timestamp()) * SECOND
    return midnights


def _left_over(block: Bytes, rows: arrays.Rows, source_id: str) -> LeftOver:
    family, used = arrays.LEFT_OVER, int(rows.used[arrays.LEFT_OVER])
    # With the newline of each line; the padding has one for a last line without it.
    spans = rows.spans[family, :used, 0] + np.array([0, 1], np.int32)
    _, _, content = columns.copy_spans(block, spans)
    integers = rows.integers[family, :used]
    return LeftOver(
        source_id=source_id,
        content=content.tobytes(),
        line_number=rows.line_number[family, :used].copy(),
        stamp_before=rows.logged_at[family, :used].copy(),
        is_dated_before=rows.is_dated[family, :used].astype(bool),
        stamp_after=integers[:, arrays.STAMP_AFTER].copy(),
        is_dated_after=integers[:, arrays.IS_DATED_AFTER].astype(bool),
    )


def _stamps(times: Int64s, is_dated: Bools) -> pl.Series:
    """Return stamps (events.STAMP); NULL where there is no time."""
    at = pl.col("at")
    stamp = pl.struct(at=at.cast(UTC_TIME), has_year="is_dated", has_offset="is_dated")
    frame = pl.DataFrame({"at": times, "is_dated": is_dated})
    return frame.select(pl.when(at != NO_TIME).then(stamp)).to_series()


def _hosts(block: Bytes, counts: arrays.Counts, state: Int64s) -> list[str | None]:
    """Return the names of hosts by number."""
    spans = counts.hosts[: state[arrays.HOSTS_KNOWN]].tolist()
    names: list[str | None] = [block[start:end].tobytes().decode() for start, end in spans]
    return [*names, *([None] * (arrays.MOST_HOSTS - len(names))), OTHER_HOSTS, None]


def _line_counts(counts: arrays.Counts, reading: Reading, hosts: Sequence[str | None]) -> list[LineCount]:
    used = int(counts.used[0])
    numbered = (
        *(counts.family, counts.host, counts.line_count, counts.span),
        *(counts.first_logged_at, counts.last_logged_at),
    )
    return [
        (reading.host, reading.log_kind, TABLES[family], hosts[host], *counted, reading.source_id)
        for family, host, *counted in zip(*(column[:used].tolist() for column in numbered), strict=True)
    ]
