"""Blocks of a maillog to Arrow tables of events and the lines left over: the fast lane around the scanner.

It knows the lines whose patterns say so (patterns.Pattern.fast_lane), and gives for each what the general
lane (transforms/events.py) would give; tests/test_lanes.py holds the two against each other.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from transforms.fast_lane import arrays
from transforms.fast_lane.arrays import NO_TIME, PADDING, SECOND, WORD_BYTES, Bools, Bytes, Int32s, Int64s
from transforms.fast_lane.kernels import load_kernels
from transforms.parse.clock import YearWindow
from transforms.parse.events import LINE_COUNTS, OTHER_HOSTS, Reading, describe_tag, split_lines
from transforms.parse.postfix import POSTFIX_PATTERNS, QUEUE_MANAGERS
from transforms.parse.syslog import SYSLOG_PATTERNS
from transforms.parse.tables import ARROW_SCHEMAS, CATEGORY, NOISE, UTC_TIME
from transforms.zone import Zone

# The beginnings that tell a pattern of Postfix alone, numbered as the scanner is given them.
STARTS = [(start.encode(), p) for p in POSTFIX_PATTERNS if p.fast_lane == "start" for start in p.starts]
MOST_TAGS = 128
# Rows of one family, and runs of line counts, that a scan has room for; more are fetched in several goes.
ROW_ROOM = 16_384
COUNT_ROOM = 4_096
# More left-over lines than this are taken before the scan goes on: each takes memory, be it empty.
MOST_LEFT_OVER = 131_072
# A column with more different values than this in a block is numbered by pyarrow, which knows no limit.
MOST_CATEGORIES = 4_096

NUMPY_TYPES = {pa.int32(): np.int32, pa.int64(): np.int64}

TABLES = {
    arrays.DELIVERY: "delivery_attempts",
    arrays.ACTIVATION: "queue_activations",
    arrays.REMOVAL: "queue_removals",
    arrays.MESSAGE_ID: "message_ids",
    arrays.CLIENT: "clients",
    arrays.OTHER: "other_lines",
    arrays.NOISE: NOISE,
}
SPANS = {
    arrays.DELIVERY: {
        "queue_id": arrays.QUEUE_ID,
        "recipient": arrays.RECIPIENT,
        "original_recipient": arrays.ORIGINAL_RECIPIENT,
        "relay_host": arrays.RELAY_HOST,
        "relay_address": arrays.RELAY_ADDRESS,
        "dsn": arrays.DSN,
        "status": arrays.STATUS,
        "reason": arrays.REASON,
    },
    arrays.ACTIVATION: {"queue_id": arrays.QUEUE_ID, "sender": arrays.SENDER},
    arrays.REMOVAL: {"queue_id": arrays.QUEUE_ID},
    arrays.MESSAGE_ID: {"queue_id": arrays.QUEUE_ID, "message_id": arrays.MESSAGE},
    arrays.CLIENT: {
        "queue_id": arrays.QUEUE_ID,
        "client_host": arrays.CLIENT_HOST,
        "client_address": arrays.CLIENT_ADDRESS,
        "sasl_username": arrays.SASL_USERNAME,
        "original_queue_id": arrays.ORIGINAL_QUEUE_ID,
    },
    arrays.OTHER: {"queue_id": arrays.QUEUE_ID, "message": arrays.MESSAGE},
}
INTEGERS = {
    arrays.DELIVERY: {
        "relay_port": arrays.RELAY_PORT,
        "connection_use_count": arrays.CONNECTION_USES,
    },
    arrays.ACTIVATION: {
        "size_bytes": arrays.SIZE_BYTES,
        "recipient_count": arrays.RECIPIENT_COUNT,
    },
}
DECIMALS = {
    "delay_seconds": 0,
    "before_qmgr_seconds": 1,
    "in_qmgr_seconds": 2,
    "connection_setup_seconds": 3,
    "transmission_seconds": 4,
}

# A row of events.LINE_COUNTS, its times in microseconds.
LineCount = tuple[Any, ...]


@dataclass
class LeftOver:
    """Lines for the general lane: their bytes, their numbers, and the stamps that were read around them.

    `stamp_before` is the latest since the left-over line before, `stamp_after` the first until the next one,
    NO_TIME for none; `is_dated_before` and `is_dated_after` tell whether these bear year and offset.
    """

    source_id: str
    content: bytes
    line_number: Int64s
    stamp_before: Int64s
    is_dated_before: Bools
    stamp_after: Int64s
    is_dated_after: Bools

    def follow(self, stamp: tuple[int, bool] | None) -> None:
        """Take over the latest stamp of the blocks before, if there was none since."""
        if stamp and self.stamp_before[0] == NO_TIME:
            self.stamp_before[0], self.is_dated_before[0] = stamp


@dataclass(frozen=True)
class Scanned:
    """What the fast lane made of a block: tables, counts (events.LINE_COUNTS), and the rest in file order.

    `end` is where in the block the scan stopped: before the block's, if very many lines were left over.
    `last_stamp` is the latest after the last line left over, and whether it bears year and offset.
    `line_numbers` are the memory of all columns of that name.
    """

    end: int
    line_count: int
    line_numbers: list[Int64s]
    tables: dict[str, list[pa.Table]]
    line_counts: list[LineCount]
    left_over: list[LeftOver]
    last_stamp: tuple[int, bool] | None

    def number_after(self, lines_before: int) -> None:
        """Count the lines on from those of the blocks before, which nobody has seen the tables without."""
        for numbers in self.line_numbers:
            numbers += lines_before


class FastLane:
    """Scans blocks, from any number of threads at a time; what it learns of tags serves all."""

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
    """What must stand behind the lines of a block."""

    def has_stamp(self, block: bytes, size_bytes: int, reading: Reading) -> bool:
        """Tell whether any line of a block begins with a stamp."""
        midnights = _midnights(reading.year, reading.zone)
        return bool(self._kernels.has_stamp(np.frombuffer(block, np.uint8), size_bytes, midnights))

    def scan(self, content: bytes, size_bytes: int, reading: Reading, start: int = 0) -> Scanned:
        """Scan a block of whole lines, to be numbered by their place in the file (Scanned.number_after).

        `start` is where the scan before of this block stopped, if it did.
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
        """Return lines left over as the general lane takes them (events.Parser.parse)."""
        # At once, but for what begins a file: a mark of the byte order may stand there.
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
        """Return line counts as the general lane has them (events.LINE_COUNTS)."""
        in_numbers = {
            name: pl.Int64() if dtype.is_temporal() else dtype for name, dtype in LINE_COUNTS.items()
        }
        return pl.DataFrame(rows, schema=in_numbers, orient="row").cast(dict(LINE_COUNTS))

    def _room(self) -> tuple[arrays.Rows, arrays.Counts]:
        """Return this thread's own room for what a scan finds."""
        if not hasattr(self._scratch, "room"):
            self._scratch.room = arrays.no_rows(ROW_ROOM), arrays.no_counts(COUNT_ROOM)
        room: tuple[arrays.Rows, arrays.Counts] = self._scratch.room
        return room

    def _learn(self, tag: bytes) -> None:
        """Tell the scanner what a tag says of its lines."""
        with self._learning:
            tags = self._tags
            known = int(tags.known[0])
            if known == MOST_TAGS or any(
                tags.size[n] == len(tag) and bytes(tags.name[n, : len(tag)]) == tag for n in range(known)
            ):
                return
            told = describe_tag(tag.decode())
            self._instances.append(told.instance)
            self._programs.append(told.program)
            tags.name[known, : len(tag)] = np.frombuffer(tag, np.uint8)
            tags.size[known] = len(tag)
            if told.is_postfix:
                tags.meaning[known] = arrays.POSTFIX_TAG
                tags.writes[known] = (
                    arrays.QMGR * (told.daemon in QUEUE_MANAGERS)
                    | arrays.CLEANUP * (told.daemon == "cleanup")
                    | arrays.SMTPD * (told.daemon == "smtpd")
                )
                its = [n for n, (_, p) in enumerate(STARTS) if not p.daemons or told.daemon in p.daemons]
                tags.prefixes[known, : len(its)] = its
            elif (
                not told.is_sendmail
                and not told.is_without_program
                and not any(told.daemon in by.daemons for by in SYSLOG_PATTERNS)
            ):
                tags.meaning[known] = arrays.FOREIGN_TAG
            # The scanner of another thread looks at a tag only once it is counted.
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
        line_kinds = self._line_kinds
        made: dict[str, Callable[[], pa.Array]] = {
            "host": lambda: _constant(reading.host, used),
            "source_id": lambda: _constant(reading.source_id, used),
            "year_source": lambda: _by_stamp(reading.year.source, rows.is_dated[family, :used]),
            "zone_source": lambda: _by_stamp(reading.zone.source, rows.is_dated[family, :used]),
            "instance": lambda: _by_number(self._instances, tags),
            "program": lambda: _by_number(self._programs, tags),
            "pid": lambda: _numbers(rows.pid[family, :used].copy(), pa.int32()),
            "logged_at": lambda: _all_numbers(
                rows.logged_at[family, :used].copy(), pa.timestamp("us", "UTC")
            ),
            "line_number": lambda: _all_numbers(line_numbers, pa.int64()),
            "removal_kind": lambda: _constant("removed", used),
            "line_kind": lambda: _by_number(line_kinds, rows.integers[family, :used, arrays.LINE_KIND]),
        }
        spans, integers = SPANS[family], INTEGERS.get(family, {})
        columns = []
        for field in ARROW_SCHEMAS[table]:
            name = field.name
            if name in spans:
                its = rows.spans[family, :used, spans[name]]
                columns.append(_categories(block, its) if field.type == CATEGORY else _strings(block, its))
            elif name in integers:
                numbers = rows.integers[family, :used, integers[name]]
                columns.append(_numbers(numbers.astype(NUMPY_TYPES[field.type]), field.type))
            elif name in DECIMALS and family == arrays.DELIVERY:
                columns.append(_all_numbers(rows.decimals[:used, DECIMALS[name]].copy(), pa.float64()))
            elif name in made:
                columns.append(made[name]())
            else:
                columns.append(pa.nulls(used, field.type))
        return pa.Table.from_arrays(columns, schema=ARROW_SCHEMAS[table])


@cache
def _midnights(year: YearWindow, zone: Zone) -> Int64s:
    """Return the UTC midnight that each day means, by month * 32 + day: NO_TIME where it takes more to tell.

    That is a day that no calendar has, and one on which the clocks change: there, the order of lines counts.
    """
    midnights = np.full(13 * 32, NO_TIME)
    for month in range(1, 13):
        for day in range(1, 32):
            on = year.resolve(month, day)
            if on and on < date.max:
                begins, ends = zone.midnight(on), zone.midnight(on + timedelta(days=1))
                if ends - begins == timedelta(days=1):
                    midnights[month * 32 + day] = int(begins.timestamp()) * SECOND
    return midnights


def _left_over(block: Bytes, rows: arrays.Rows, source_id: str) -> LeftOver:
    family, used = arrays.LEFT_OVER, int(rows.used[arrays.LEFT_OVER])
    # With the newline behind each: the block's padding has one for a last line without.
    spans = rows.spans[family, :used, 0] + np.array([0, 1], np.int32)
    _, _, content = _copied(block, spans)
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
    """Return stamps (events.STAMP), NULL where there is no time."""
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
    columns = (
        *(counts.family, counts.host, counts.line_count, counts.span),
        *(counts.first_logged_at, counts.last_logged_at),
    )
    return [
        (reading.host, reading.log_kind, TABLES[family], hosts[host], *numbers, reading.source_id)
        for family, host, *numbers in zip(*(column[:used].tolist() for column in columns), strict=True)
    ]


def _constant(value: str, size: int) -> pa.Array:
    return _categories_by_code(FIRST_CODES.slice(0, size), _texts((value,)))


def _by_stamp(source: str, is_dated: Bytes) -> pa.Array:
    """Say how a part of the stamp was found: the line itself tells it, or the source of the whole file."""
    if not is_dated.any():
        return _constant(source, len(is_dated))
    return _categories_by_code(_all_numbers(is_dated.astype(np.int32), pa.int32()), _texts((source, "line")))


def _by_number(values: Sequence[str | None], numbers: Int32s) -> pa.Array:
    """Return the values with these numbers, each different one once in the dictionary."""
    code_of, texts = _coded(tuple(values))
    return _categories_by_code(_numbers(code_of.take(numbers), pa.int32()), texts)


@lru_cache
def _coded(values: tuple[str | None, ...]) -> tuple[Int32s, pa.Array]:
    """Return the code of each value, -1 for None, and what the codes mean."""
    known = tuple(dict.fromkeys(value for value in values if value is not None))
    codes = [-1 if value is None else known.index(value) for value in values]
    return np.array(codes, np.int32), _texts(known)


def _categories(block: Bytes, spans: Int32s) -> pa.Array:
    codes = np.empty(len(spans), np.int32)
    firsts, slots = np.empty(MOST_CATEGORIES, np.int64), np.full(4 * MOST_CATEGORIES, -1, np.int32)
    count = load_kernels().number_spans(block, spans, codes, firsts, slots)
    if count < 0:
        return _strings(block, spans).dictionary_encode()
    return _categories_by_code(_numbers(codes, pa.int32()), _strings(block, spans[firsts[:count]]))


def _categories_by_code(codes: pa.Array, values: pa.Array) -> pa.Array:
    # Codes of our own making: pyarrow need not look whether there is a value for each.
    return pa.DictionaryArray.from_arrays(codes, values, safe=False)


@lru_cache
def _texts(values: tuple[str, ...]) -> pa.Array:
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def _strings(block: Bytes, spans: Int32s) -> pa.Array:
    offsets, present, content = _copied(block, spans)
    buffers = [pa.py_buffer(present), pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(spans), buffers)


def _copied(block: Bytes, spans: Int32s) -> tuple[Int32s, Bytes, Bytes]:
    """Return the offsets, the bits and the bytes of spans as an Arrow string column has them."""
    kernels = load_kernels()
    offsets = np.empty(len(spans) + 1, np.int32)
    present = np.zeros((len(spans) + 7) // 8, np.uint8)
    size_bytes = kernels.measure_spans(spans, offsets, present)
    content = np.empty(size_bytes + WORD_BYTES, np.uint8)
    kernels.copy_spans(block, spans, offsets, content)
    return offsets, present, content[:size_bytes]


def _numbers(numbers: Any, dtype: pa.DataType) -> pa.Array:
    """Return numbers as they lie in memory, NULL for -1; pa.array() would import pandas for it."""
    is_known = numbers != -1
    present = None if is_known.all() else pa.py_buffer(np.packbits(is_known, bitorder="little"))
    return pa.Array.from_buffers(dtype, len(numbers), [present, pa.py_buffer(numbers)])


def _all_numbers(numbers: Any, dtype: pa.DataType) -> pa.Array:
    """Return numbers as they lie in memory, of which none is missing."""
    return pa.Array.from_buffers(dtype, len(numbers), [None, pa.py_buffer(numbers)])


# The codes of a column that has the same text in all rows.
FIRST_CODES = _all_numbers(np.zeros(ROW_ROOM, np.int32), pa.int32())
