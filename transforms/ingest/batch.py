"""Turns source files of one host and kind into events: through both lanes, to one writer.

Also has the problems of a source file, in words for the user.
"""

from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import xxhash

from transforms.archive.files import SourceFile
from transforms.archive.lines import DamagedFileError, OverLimitError
from transforms.ingest.plan import Plan, seen_file
from transforms.lake.files import MOST_LINE_COUNTS, EventWriter, discard, without_sources
from transforms.lake.records import LakeFile, SeenFile, SourceRecord
from transforms.parse.events import Parser, Reading
from transforms.parse.tables import NOISE, UNPARSED
from transforms.problems import Problem, cause

if TYPE_CHECKING:
    from transforms.fast_lane.lane import FastLane, LeftOver, LineCount, Scanned

# Lines for one call of the general lane: the cost per call is nearly constant.
GATHERED_LINES = 50_000
# The same for lines that the fast lane leaves over: fewer, because blocks and rows are held beside them.
LEFT_OVER_LINES = 16_384
# Neither kind may exceed this many bytes plus one block.
GATHERED_BYTES = 8 * 1024 * 1024
# Blocks that are being scanned, or wait for it, while the next block is read.
BLOCKS_AHEAD = 2
# What to do, by the reason why the first unparsed line of a file is unparsed.
REMEDIES = {
    "month_name": "Export the log again with English months: `LC_ALL=C journalctl ...`, or "
    "`journalctl -o short-iso ...`.",
    "no_program": "Their tags name no program: rsyslog's `app-name` and `programname` end at the first "
    "slash. Use `%syslogtag%` in the template, as RSYSLOG_FileFormat does.",
}


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source file just read: the ledger's record, the file as seen, and what went wrong.

    `is_grown`: the file begins with everything that was read of it before.
    """

    record: SourceRecord
    seen: SeenFile
    problems: list[Problem]
    is_grown: bool


@dataclass
class Source:
    """One host's lines of a source file, on their way into the lake."""

    file: SourceFile
    planned: Reading
    """As planned, before the first lines were looked at."""
    plan: Plan
    reading: Reading
    batch: "Batch"
    before: SourceRecord | None
    """What an earlier run read of this source."""
    is_grown: bool = False
    hash: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)
    content_bytes: int = 0
    line_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    damage: DamagedFileError | None = None
    first_unparsed: tuple[int, str] | None = None
    last_stamp: tuple[int, bool] | None = None
    """The latest stamp that the fast lane read since its last left-over line, and whether it has year and
    offset."""
    line_counts: Counter[str] = field(default_factory=Counter)
    """Number of lines by table."""
    first_logged_at: datetime | None = None
    last_logged_at: datetime | None = None

    def take(self, content: memoryview) -> None:
        """Take the next bytes of the content, and check whether it begins with everything read before."""
        until_known = self.before.content_bytes - self.content_bytes if self.before else 0
        if self.before and 0 < until_known <= len(content):
            self.hash.update(content[:until_known])
            self.is_grown = self.hash.hexdigest() == self.before.content_hash
            self.hash.update(content[until_known:])
        else:
            self.hash.update(content)
        self.content_bytes += len(content)

    def count(self, table: str, line_count: int, first: datetime | None, last: datetime | None) -> None:
        """Take the number of lines that went to a table, with their first and last time."""
        self.line_counts[table] = line_count
        self.first_logged_at = min(filter(None, (self.first_logged_at, first)), default=None)
        self.last_logged_at = max(filter(None, (self.last_logged_at, last)), default=None)

    def as_seen(self) -> SeenFile:
        """Return the file as the ledger remembers it."""
        return seen_file(
            self.file,
            self.planned,
            self.plan,
            self.reading.source_id,
            is_over_limit=isinstance(self.damage, OverLimitError),
        )

    def as_new(self) -> NewSource:
        """Return the finished source."""
        file, reading = self.file, self.reading
        by_table = self.line_counts
        unparsed_count, noise_count = by_table[UNPARSED], by_table[NOISE]
        problems = list(self.problems)
        if self.first_unparsed:
            problems.append(_unparsed(file, unparsed_count, self.line_count, *self.first_unparsed))
        covered_from, covered_until = self.first_logged_at, self.last_logged_at
        name_date = file.name.name_date
        if file.log_kind == "manager_log" and name_date:
            # A day's manager log covers the whole day, even if the manager had nothing to write.
            covered_from = reading.zone.midnight(name_date)
            covered_until = reading.zone.midnight(name_date + timedelta(days=1))
        record = SourceRecord(
            source_id=reading.source_id,
            host=reading.host,
            log_kind=file.log_kind,
            path=file.path,
            status="damaged" if self.damage else "loaded",
            name_date=name_date,
            content_hash=self.hash.hexdigest(),
            content_bytes=self.content_bytes,
            line_count=self.line_count,
            event_line_count=by_table.total() - noise_count - unparsed_count,
            noise_line_count=noise_count,
            unparsed_line_count=unparsed_count,
            time_zone=reading.zone.name,
            zone_source=reading.zone.source,
            year_source=reading.taken_at_source if reading.taken_at else reading.year.source,
            run_id=self.batch.writer.run_id,
            first_logged_at=self.first_logged_at,
            last_logged_at=self.last_logged_at,
            covered_from=covered_from,
            covered_until=covered_until,
        )
        return NewSource(record, self.as_seen(), problems, self.is_grown)


@dataclass
class Files:
    """The lake files of a writer."""

    lake: Path
    run_id: str
    files: list[LakeFile]

    def drop(self, source_ids: set[str]) -> None:
        """Remove sources that no reader has seen yet."""
        before = self.files
        self.files = list(without_sources(self.lake, before, source_ids, self.run_id))
        discard(self.lake, before, self.files)


class Batch:
    """Source files of one host and kind, whose lines go to one writer."""

    def __init__(
        self, reading: Reading, writer: EventWriter, *, pool: ThreadPoolExecutor, lane: "FastLane | None"
    ) -> None:
        self.writer = writer
        self.sources: dict[str, Source] = {}
        self._pool = pool
        self._lane = lane
        self._parser = Parser(reading)
        self._scans: deque[tuple[Source, bytes, int, Future[Scanned]]] = deque()
        self._line_counts: list[LineCount] = []
        self._left_over: list[LeftOver] = []
        self._gathered: list[pl.DataFrame] = []
        self._gathered_lines = 0
        self._gathered_bytes = 0

    def begin(self, source: Source) -> None:
        """Continue with another source."""
        self.sources[source.reading.source_id] = source
        self._parser.begin(source.reading)

    def scan(self, lane: "FastLane", source: Source, block: bytes, size_bytes: int) -> None:
        """Take a block of whole lines, followed by the fast lane's padding, through both lanes."""
        job = self._pool.submit(lane.scan, block, size_bytes, source.reading)
        self._scans.append((source, block, size_bytes, job))
        self.take_scans(leave=BLOCKS_AHEAD)

    def gather(self, source: Source, lines: pl.DataFrame, size_bytes: int) -> None:
        """Take lines for the general lane, whether or not their headers were read."""
        self._gathered.append(lines.with_columns(source_id=pl.lit(source.reading.source_id)))
        self._gathered_lines += len(lines)
        self._gathered_bytes += size_bytes
        self._parse_if_enough(GATHERED_LINES)

    def finish(self) -> None:
        """Hand what is still held back to the writer."""
        self.take_scans()
        self._parse_gathered()
        self.writer.add(self._parser.finish())
        self._count_lines()

    def take_scans(self, *, leave: int = 0) -> None:
        """Take over finished scans in file order, until at most `leave` scans are under way."""
        while self._scans and (len(self._scans) > leave or self._scans[0][-1].done()):
            source, block, size_bytes, job = self._scans.popleft()
            scanned = job.result()
            self._take(source, scanned)
            while self._lane and scanned.end < size_bytes:
                scanned = self._lane.scan(block, size_bytes, source.reading, scanned.end)
                self._take(source, scanned)

    def _take(self, source: Source, scanned: "Scanned") -> None:
        scanned.number_after(source.line_count)
        source.line_count += scanned.line_count
        for table, parts in scanned.tables.items():
            for rows in parts:
                self.writer.add_rows(table, rows)
        self._line_counts += scanned.line_counts
        if len(self._line_counts) >= MOST_LINE_COUNTS:
            self._count_lines()
        for left_over in scanned.left_over:
            left_over.follow(source.last_stamp)
            source.last_stamp = None
            self._left_over.append(left_over)
            self._gathered_lines += len(left_over.line_number)
            self._gathered_bytes += len(left_over.content)
        source.last_stamp = scanned.last_stamp or source.last_stamp
        self._parse_if_enough(LEFT_OVER_LINES)

    def _count_lines(self) -> None:
        if self._lane:
            self.writer.count(self._lane.to_line_counts(self._line_counts))
            self._line_counts.clear()

    def _parse_if_enough(self, most_lines: int) -> None:
        if self._gathered_lines >= most_lines or self._gathered_bytes >= GATHERED_BYTES:
            self._parse_gathered()

    def _parse_gathered(self) -> None:
        if self._lane and self._left_over:
            self._gathered.append(self._lane.to_frame(self._left_over))
        if not self._gathered:
            return
        parsed = self._parser.parse(pl.concat(self._gathered))
        self._left_over, self._gathered = [], []
        self._gathered_lines = self._gathered_bytes = 0
        unparsed = parsed.tables.get(UNPARSED)
        if unparsed is not None:
            firsts = unparsed.group_by("source_id").agg(pl.first("line_number"), pl.first("reason"))
            for source_id, line_number, reason in firsts.iter_rows():
                source = self.sources[source_id]
                source.first_unparsed = source.first_unparsed or (line_number, reason)
        self.writer.add(parsed)


def unreadable(path: str, error: OSError) -> Problem:
    """Return the problem of a file that cannot be read."""
    return Problem(
        path,
        f"cannot be read ({error.strerror or error})",
        "Check the file's permissions, or copy it again, and run again.",
    )


def defect(path: str, error: Exception) -> Problem:
    """Return the problem of a file on which maillag itself failed."""
    return Problem(
        path,
        f"maillag itself failed on it ({type(error).__name__}: {cause(error)})",
        "The file was left out, and all others were read. Report this as a defect.",
    )


def killed_by(path: str) -> Problem:
    """Return the problem of a file whose reading killed the process, again and again."""
    return Problem(
        path,
        "the process that read it was killed each time, perhaps because the memory of the machine was full",
        "The file was left out, and all others were read. Make sure that the machine has memory, and run "
        "again; if that does not help, report this as a defect.",
    )


def not_a_log(source: SourceFile, *, has_foreign_months: bool) -> Problem:
    """Return the problem of a file that is not a log of the kind that its name says."""
    if has_foreign_months:
        return Problem(
            source.path,
            "was not read: the months in its stamps are in a language that maillag does not know",
            REMEDIES["month_name"],
        )
    return Problem(
        source.path,
        f"is not a {source.log_kind.replace('_', ' ')} file: none of its first lines begins like one, so "
        "nothing of it was read",
        "Replace it with the right file, or rename it if it is something else.",
    )


def damaged(source: SourceFile, damage: DamagedFileError, line_count: int) -> Problem:
    """Return the problem of a file that is damaged after `line_count` lines."""
    return Problem(
        f"{source.path}:{line_count}",
        f"{damage}; the {line_count} lines before that were read",
        damage.remedy,
    )


def unfinished(source: SourceFile, size_bytes: int) -> Problem:
    """Return a note that the last line is not complete yet."""
    return Problem(
        source.path,
        f"its last line is unfinished ({size_bytes} bytes) and was left for the next run",
        "Nothing needs to be done if the log is still being written.",
        is_note=True,
    )


def _unparsed(source: SourceFile, unparsed_count: int, line_count: int, first: int, reason: str) -> Problem:
    return Problem(
        f"{source.path}:{first}",
        f"{unparsed_count} of {line_count} lines could not be parsed, the first with the reason {reason}",
        (f"{REMEDIES[reason]} " if reason in REMEDIES else "")
        + f"Look at them with: select * from events.unparsed_lines where host = '{source.host}'.",
        is_note=True,
    )


def copy_of(path: str, kept_path: str) -> Problem:
    """Return a note that a file holds the same log as another."""
    return Problem(
        path,
        f"holds the same log as {kept_path} and was left out",
        "Remove one of the two if that was not intended.",
        is_note=True,
    )
