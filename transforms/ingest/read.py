"""An archive to new lake files: every source file that is new or changed is read, once.

The blocks of a host's maillogs go through the fast lane, some at a time, and the lines that it leaves over
through the general lane, in file order. What is of one host and kind is gathered from file to file, so that
many small files cost little more than a large one.
"""

import hashlib
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import polars as pl
import xxhash

from transforms.archive.bundles import open_members
from transforms.archive.files import SourceFile
from transforms.archive.lines import DamagedFileError, OverLimitError, parts_of, read_blocks
from transforms.fast_lane.kernels import is_compiled
from transforms.ingest.plan import Plan, seen_file
from transforms.ingest.zone_evidence import HEAD_BYTES
from transforms.lake.files import MOST_LINE_COUNTS, EventWriter, discard, without_sources
from transforms.lake.ledger import LakeFile, Ledger, SeenFile, SourceRecord
from transforms.names import host_name
from transforms.parse.clock import YearWindow
from transforms.parse.events import Parser, Reading, headers_of, split_lines
from transforms.parse.headers import has_foreign_month, read_headers
from transforms.parse.routing import is_postfix_tag, is_sendmail_tag
from transforms.parse.tables import EVENT_TABLES, NOISE, UNPARSED
from transforms.problems import Problem, cause
from transforms.regular_files import open_regular

if TYPE_CHECKING:
    from transforms.fast_lane.lane import FastLane, LeftOver, LineCount, Scanned

# Lines that the general lane takes at a time: its work for few is nearly that for many.
GATHERED_LINES = 50_000
# Of lines left over fewer, since there are few of them, and blocks and rows are held beside them.
LEFT_OVER_LINES = 16_384
# Of either no more bytes than this, and one block.
GATHERED_BYTES = 8 * 1024 * 1024
# As files lie on the disk, nearly always compressed.
WORTH_COMPILING_BYTES = 16 * 1024 * 1024
# Sources, and batches of one source alone, that are under way before their files are finished.
MOST_SOURCES = 5_000
MOST_ALONE = 100
# Blocks that are scanned, or wait for it, while the next one is read.
BLOCKS_AHEAD = 2
# RFC 1035, 3.1
LONGEST_HOST = 255


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source file just read: its record, its path as seen, and what went wrong with it.

    `is_grown`: it begins with all that was read of it before.
    """

    record: SourceRecord
    seen: SeenFile
    problems: list[Problem]
    is_grown: bool


@dataclass(frozen=True)
class Reads:
    """What one pass over an archive read, and what it could not read. A source has its own problems.

    The ledger lacks the lake files as yet.
    """

    new_sources: list[NewSource]
    files: list[LakeFile]
    seen_copies: list[SeenFile]
    problems: list[Problem]
    has_leftovers: bool = False
    """Whether the lake has files of this run that are not among `files`."""


class NotALogError(Exception):
    """No line of a file's first block looks like the log that its name promises.

    `has_foreign_months`: but some would, if their months were English.
    """

    def __init__(self, *, has_foreign_months: bool = False) -> None:
        super().__init__()
        self.has_foreign_months = has_foreign_months


def read_sources(
    plan: Plan,
    lake: Path,
    ledger: Ledger,
    *,
    run_id: str,
    progress: Callable[[SourceFile], None] = lambda source: None,
) -> Reads:
    """Read the planned source files into lake files that nobody sees yet.

    A file that cannot be read becomes a problem and leaves the others alone: so does one on which maillag
    itself fails, after all files of its host were read one by one. `progress` is told of each file when it is
    done. Raises OSError where the lake cannot be written to.
    """
    problems: list[Problem] = []
    known = ledger.source_records()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reader = _Reader(plan, lake, run_id, pool, known)
        for _, of_host in groupby(plan.readings, key=lambda planned: planned[0].host):
            readings = list(of_host)
            try:
                told = _read_together(reader, readings, progress)
            except OSError:
                raise
            except Exception:
                reader.abandon()
                told = []
                for source, reading in readings:
                    try:
                        told += _read_together(reader, [(source, reading)])
                    except OSError:
                        raise
                    except Exception as error:
                        reader.abandon()
                        told.append(_defect(source.path, error))
            problems += told
    rivals: dict[str, list[tuple[NewSource, _Files]]] = defaultdict(list)
    for new, files in reader.finished:
        rivals[new.record.source_id].append((new, files))
    new_sources, seen_copies = [], []
    for source_id, its in rivals.items():
        longest, *copies = sorted(its, key=lambda one: one[0].record.content_bytes, reverse=True)
        kept = longest[0].record
        if source_id in plan.unchanged_ids and known[source_id].content_bytes >= kept.content_bytes:
            kept = known[source_id]
            copies.append(longest)
        else:
            new_sources.append(longest[0])
        for copy, files in copies:
            files.drop(source_id)
            problems.append(_copy(copy.record.path, kept.path))
            seen_copies.append(copy.seen)
    return Reads(
        new_sources,
        [file for files in reader.files for file in files.files],
        seen_copies,
        problems,
        has_leftovers=reader.has_leftovers,
    )


def _read_together(
    reader: "_Reader",
    readings: Iterable[tuple[SourceFile, Reading]],
    progress: Callable[[SourceFile], None] = lambda source: None,
) -> list[Problem]:
    """Read files to their end; return what kept some of them from being read."""
    problems: list[Problem] = []
    for source, reading, stream in _open_sources(readings, problems):
        try:
            reader.read(source, reading, stream)
        except OSError as error:
            problems.append(_unreadable(source.path, error))
        except NotALogError as error:
            problems.append(_not_a_log(source, has_foreign_months=error.has_foreign_months))
        progress(source)
    reader.finish_batches()
    return problems


def _open_sources(
    readings: Iterable[tuple[SourceFile, Reading]], problems: list[Problem]
) -> Iterator[tuple[SourceFile, Reading, BinaryIO]]:
    """Yield each source file with its content; a tar or zip file is gone through once for all its members."""
    for path, group in groupby(readings, key=lambda planned: planned[0].absolute_path):
        planned = {source.member: (source, reading) for source, reading in group}
        (first, _), *_ = planned.values()
        try:
            if first.member is None:
                with open_regular(path) as plain:
                    yield *planned.pop(None), plain
            else:
                with closing(open_members(path, {name for name in planned if name}, first.limits)) as members:
                    for name, stream in members:
                        if name in planned:
                            yield *planned.pop(name), stream
        except OSError as error:
            problems.append(_unreadable(first.path, error))
        except DamagedFileError as error:
            problems += [_damaged(source, error, 0) for source, _ in planned.values()]


@dataclass
class _Source:
    """One host's lines of a source file, on their way into the lake."""

    file: SourceFile
    planned: Reading
    """As planned, before the first lines told more."""
    plan: Plan
    reading: Reading
    batch: "_Batch"
    before: SourceRecord | None
    """What was read of it by an earlier run."""
    is_grown: bool = False
    hash: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)
    content_bytes: int = 0
    line_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    damage: DamagedFileError | None = None
    first_unparsed: tuple[int, str] | None = None
    last_stamp: tuple[int, bool] | None = None
    """The latest that the fast lane read since its last left-over line, and if it bears year and offset."""
    line_counts: Counter[str] = field(default_factory=Counter)
    """Its lines by table."""
    first_logged_at: datetime | None = None
    last_logged_at: datetime | None = None

    def take(self, content: memoryview) -> None:
        """Take the next bytes of its content, and see whether it begins with all that was read before."""
        until_known = self.before.content_bytes - self.content_bytes if self.before else 0
        if self.before and 0 < until_known <= len(content):
            self.hash.update(content[:until_known])
            self.is_grown = self.hash.hexdigest() == self.before.content_hash
            self.hash.update(content[until_known:])
        else:
            self.hash.update(content)
        self.content_bytes += len(content)

    def count(self, table: str, line_count: int, first: datetime | None, last: datetime | None) -> None:
        """Take the count of all its lines in a table, with their first and last time."""
        self.line_counts[table] = line_count
        self.first_logged_at = min(filter(None, (self.first_logged_at, first)), default=None)
        self.last_logged_at = max(filter(None, (self.last_logged_at, last)), default=None)

    def as_seen(self) -> SeenFile:
        """Return what the ledger keeps of the file."""
        return seen_file(
            self.file,
            self.planned,
            self.plan,
            self.reading.source_id,
            is_over_limit=isinstance(self.damage, OverLimitError),
        )

    def as_new(self) -> NewSource:
        """Say how the file went."""
        file, reading = self.file, self.reading
        by_table = self.line_counts
        unparsed_count, noise_count = by_table[UNPARSED], by_table[NOISE]
        problems = list(self.problems)
        if self.first_unparsed:
            problems.append(_unparsed(file, unparsed_count, self.line_count, *self.first_unparsed))
        covered_from, covered_until = self.first_logged_at, self.last_logged_at
        name_date = file.name.name_date
        if file.log_kind == "manager_log" and name_date:
            # A day's manager log covers the day, also where the manager had nothing to write.
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
            run_id=self.batch.run_id,
            first_logged_at=self.first_logged_at,
            last_logged_at=self.last_logged_at,
            covered_from=covered_from,
            covered_until=covered_until,
        )
        return NewSource(record, self.as_seen(), problems, self.is_grown)


@dataclass
class _Files:
    """The lake files of a batch."""

    lake: Path
    run_id: str
    files: list[LakeFile]

    def drop(self, source_id: str) -> None:
        """Leave a source out again, of which nobody has seen anything yet."""
        before = self.files
        self.files = list(without_sources(self.lake, before, {source_id}, self.run_id))
        discard(self.lake, before, self.files)


class _Batch:
    """Source files of one host and kind, of which the lines go into the same lake files."""

    def __init__(
        self,
        reading: Reading,
        lake: Path,
        *,
        name: str,
        run_id: str,
        pool: ThreadPoolExecutor,
        lane: "FastLane | None",
    ) -> None:
        self.lake = lake
        self.run_id = run_id
        self.sources: dict[str, _Source] = {}
        # Sources that could not be read to their end, and are to be left out again.
        self.dropped: set[str] = set()
        self._pool = pool
        self._lane = lane
        self._parser = Parser(reading)
        self._writer = EventWriter(lake, reading.host, name=name, run_id=run_id, pool=pool)
        self._scans: deque[tuple[_Source, bytes, int, Future[Scanned]]] = deque()
        self._line_counts: list[LineCount] = []
        self._left_over: list[LeftOver] = []
        self._gathered: list[pl.DataFrame] = []
        self._gathered_lines = 0
        self._gathered_bytes = 0

    def begin(self, source: _Source) -> None:
        """Go on to another source."""
        self.sources[source.reading.source_id] = source
        self._parser.begin(source.reading)

    def scan(self, lane: "FastLane", source: _Source, block: bytes, size_bytes: int) -> None:
        """Take a block of whole lines, with the fast lane's padding behind it, through both lanes."""
        job = self._pool.submit(lane.scan, block, size_bytes, source.reading)
        self._scans.append((source, block, size_bytes, job))
        self.take_scans(leave=BLOCKS_AHEAD)

    def gather(self, source: _Source, lines: pl.DataFrame, size_bytes: int) -> None:
        """Take lines for the general lane, their headers read or not."""
        self._gathered.append(lines.with_columns(source_id=pl.lit(source.reading.source_id)))
        self._gathered_lines += len(lines)
        self._gathered_bytes += size_bytes
        self._parse_if_enough(GATHERED_LINES)

    def finish(self) -> _Files:
        """Write what is still held, and return the lake files of all."""
        self.take_scans()
        self._parse_gathered()
        self._writer.add(self._parser.finish())
        self._count_lines()
        counts, written = self._writer.finish()
        files = _Files(self.lake, self.run_id, written)
        # All at once: a group_by for each of many small files took as long as their scanning.
        by_table = counts.group_by("source_id", "table_name").agg(
            pl.sum("line_count"), pl.min("first_logged_at"), pl.max("last_logged_at")
        )
        for source_id, *its in by_table.iter_rows():
            self.sources[source_id].count(*its)
        for source_id in self.dropped:
            files.drop(source_id)
        return files

    def take_scans(self, *, leave: int = 0) -> None:
        """Take what was scanned, in file order, until only so many scans are under way."""
        while self._scans and (len(self._scans) > leave or self._scans[0][-1].done()):
            source, block, size_bytes, job = self._scans.popleft()
            scanned = job.result()
            self._take(source, scanned)
            while self._lane and scanned.end < size_bytes:
                scanned = self._lane.scan(block, size_bytes, source.reading, scanned.end)
                self._take(source, scanned)

    def _take(self, source: _Source, scanned: "Scanned") -> None:
        scanned.number_after(source.line_count)
        source.line_count += scanned.line_count
        for table, parts in scanned.tables.items():
            for rows in parts:
                self._writer.add_rows(table, rows)
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
            self._writer.count(self._lane.to_line_counts(self._line_counts))
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
        self._writer.add(parsed)


class _Reader:
    """Reads files block by block, so that its memory does not grow with them.

    A collector's file holds the logs of many hosts. They become one source each, and what says nothing of
    mail is the collector's own.
    """

    def __init__(
        self,
        plan: Plan,
        lake: Path,
        run_id: str,
        pool: ThreadPoolExecutor,
        known: Mapping[str, SourceRecord],
    ) -> None:
        self.plan = plan
        self.known = known
        self.lake = lake
        self.run_id = run_id
        # Of what is read to its end, nothing is kept but this.
        self.finished: list[tuple[NewSource, _Files]] = []
        self.files: list[_Files] = []
        self._pool = pool
        self._lane = _load_fast_lane(plan)
        self._batches: dict[tuple[str, str, bool], _Batch] = {}
        # Batches of a single source, which may have to be left out again.
        self._alone: list[_Batch] = []
        self._batch_count = 0
        self._host = ""
        self._sources: list[_Source] = []
        self._known_ids = set(plan.unchanged_ids)
        self.has_leftovers = False

    def read(self, file: SourceFile, planned: Reading, stream: BinaryIO) -> None:
        """Read a file to its end. Raises OSError, and NotALogError if its first block is no log."""
        is_full = len(self._sources) >= MOST_SOURCES or len(self._alone) >= MOST_ALONE
        if file.host != self._host or is_full:
            self.finish_batches()
            self._host = file.host
        lane = self._lane if file.log_kind == "maillog" and not file.is_central else None
        padding = lane.padding if lane else b""
        parts: dict[str, _Source] = {}
        reading, line_count, is_first = planned, 0, True
        problems: list[Problem] = []
        damage: DamagedFileError | None = None
        try:
            for block in read_blocks(stream, padding, limits=file.limits):
                size_bytes = len(block) - len(padding)
                if file.is_live and block[size_bytes - 1 : size_bytes] != b"\n":
                    whole_bytes = block.rfind(b"\n", 0, size_bytes) + 1
                    problems.append(_unfinished(file, size_bytes - whole_bytes))
                    size_bytes = whole_bytes
                if not size_bytes:
                    continue
                if is_first:
                    reading = _with_year_told(file, reading, block[: min(size_bytes, HEAD_BYTES)])
                if lane:
                    if is_first and not lane.has_stamp(block, size_bytes, reading):
                        lines = split_lines(block[:size_bytes], 1)
                        _refuse_another(read_headers(headers_of(reading), lines))
                    source = self._source(parts, file, planned, reading, block, size_bytes)
                    source.batch.scan(lane, source, block, size_bytes)
                else:
                    for part in parts_of(block[:size_bytes]):
                        for its_reading, lines, content in self._split(file, reading, part, line_count):
                            source = self._source(parts, file, planned, its_reading, content, len(content))
                            source.line_count += len(lines)
                            source.batch.gather(source, lines, len(content))
                        line_count += part.count(b"\n") + (not part.endswith(b"\n"))
                is_first = False
        except DamagedFileError as error:
            damage = error
            if lane:
                for source in parts.values():
                    source.batch.take_scans()
                    line_count = source.line_count
            problems.append(_damaged(file, error, line_count))
        except OSError:
            for source in parts.values():
                source.batch.dropped.add(source.reading.source_id)
                self._sources.remove(source)
            raise
        own = self._source(parts, file, planned, reading, b"", 0)
        own.problems += problems
        for source in parts.values():
            source.damage = damage

    def finish_batches(self) -> None:
        """Write all that is still held."""
        files_of = {batch: batch.finish() for batch in [*self._batches.values(), *self._alone]}
        self.files += files_of.values()
        self.finished += [(source.as_new(), files_of[source.batch]) for source in self._sources]
        self._batches.clear()
        self._alone.clear()
        self._sources.clear()

    def abandon(self) -> None:
        """Forget what is not finished; its files stay in the lake, and nobody lists them."""
        self._batches.clear()
        self._alone.clear()
        self._sources.clear()
        self.has_leftovers = True

    def _split(
        self, file: SourceFile, reading: Reading, block: bytes, lines_before: int
    ) -> Iterator[tuple[Reading, pl.DataFrame, bytes]]:
        """Yield the lines of a block by their host, with how they are read and their bytes."""
        lines = split_lines(block, lines_before + 1, may_be_shift_jis=file.log_kind == "system_events")
        if reading.taken_at is None:
            lines = read_headers(headers_of(reading), lines)
            if not lines_before and file.log_kind != "system_log":
                _refuse_another(lines)
        if not file.is_central:
            yield reading, lines, block
            return
        for host, its in _by_host(lines, self.plan.names, file.host):
            zone = self.plan.zones.get(host, reading.zone)
            if zone.is_assumed:
                zone = reading.zone
            yield replace(reading, host=host, zone=zone), its, "\n".join([*its["line"], ""]).encode()

    def _source(
        self,
        parts: dict[str, _Source],
        file: SourceFile,
        planned: Reading,
        reading: Reading,
        content: bytes,
        size_bytes: int,
    ) -> _Source:
        """Return the source of a host's lines in a file, and add their content to what is known of it."""
        source = parts.get(reading.host)
        if source is None:
            source_id = _source_id(reading, content if size_bytes else file.path.encode())
            reading = replace(reading, source_id=source_id)
            batch = self._batch(reading, is_scanned=not file.is_central)
            source = _Source(file, planned, self.plan, reading, batch, self.known.get(source_id))
            batch.begin(source)
            parts[reading.host] = source
            self._sources.append(source)
        source.take(memoryview(content)[:size_bytes])
        return source

    def _batch(self, reading: Reading, *, is_scanned: bool) -> _Batch:
        """Return the batch for a source: one of its own if it may have to be left out again."""
        key = (reading.host, reading.log_kind, is_scanned)
        is_alone = reading.taken_at is not None or reading.source_id in self._known_ids
        self._known_ids.add(reading.source_id)
        if not is_alone and key in self._batches:
            return self._batches[key]
        self._batch_count += 1
        name = f"{self.run_id}.{self._batch_count}"
        batch = _Batch(reading, self.lake, name=name, run_id=self.run_id, pool=self._pool, lane=self._lane)
        if is_alone:
            self._alone.append(batch)
        else:
            self._batches[key] = batch
        return batch


def read_inventory(lake: Path, files: Iterable[str], records: Iterable[SourceRecord]) -> pl.DataFrame:
    """Return the rows of files of events.inventory, with the path of the source file that each is from."""
    schema = EVENT_TABLES["inventory"]
    rows = pl.concat([schema.to_frame(), *(pl.read_parquet(lake / file, glob=False) for file in files)])
    paths = {record.source_id: record.path for record in records}
    return rows.with_columns(
        path=pl.col("source_id").replace_strict(paths, default=None, return_dtype=pl.String)
    )


def _load_fast_lane(plan: Plan) -> "FastLane | None":
    """Return the fast lane; None where the general lane is to do all the work.

    That is where numba cannot be loaded, or would have to compile for so little that reading is done sooner.
    """
    bytes_to_read = sum(file.size_bytes for file, _ in plan.readings if file.log_kind == "maillog")
    try:
        if bytes_to_read < WORTH_COMPILING_BYTES and not is_compiled():
            return None
        # It imports what compiles only where there is something to compile.
        from transforms.fast_lane.lane import FastLane

        return FastLane()
    except (ImportError, OSError):
        return None


def _refuse_another(headed: pl.DataFrame) -> None:
    """Raise NotALogError if no line of a first block (headers.HEADER_SCHEMA) begins as a log's lines do."""
    if headed["day"].is_null().all():
        is_foreign = headed.select(has_foreign_month(pl.col("line")).any()).item()
        raise NotALogError(has_foreign_months=is_foreign)


def _with_year_told(file: SourceFile, reading: Reading, head: bytes) -> Reading:
    """Take the year from the first lines where the file's name does not tell it."""
    if file.log_kind != "maillog" or file.name.name_date:
        return reading
    return replace(reading, year=YearWindow.by_head(head) or reading.year)


def _by_host(
    headed: pl.DataFrame, names: Mapping[str, str], collector: str
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Split lines by the host that they name; what no mail program of a host wrote is the collector's."""
    logging_host = pl.col("logging_host").str.to_lowercase()
    known = logging_host.replace_strict(names, default=None, return_dtype=pl.String)
    # What is longer is no host's name.
    told = headed["logging_host"].drop_nulls().unique()
    shown = {name: host_name(name.encode()) for name in told if len(name) <= LONGEST_HOST}
    new = pl.col("logging_host").replace_strict(shown, default=None, return_dtype=pl.String)
    host = (
        pl.when(is_postfix_tag() | is_sendmail_tag() | pl.col("program_prefix").is_not_null())
        .then(pl.coalesce(known, new))
        # A notice of lost lines is about the host that wrote it, if that is one of ours.
        .otherwise(known)
        .fill_null(collector)
    )
    for (name,), lines in (
        headed.with_columns(_host=host)
        .partition_by("_host", as_dict=True, include_key=False, maintain_order=True)
        .items()
    ):
        yield str(name), lines


def _source_id(reading: Reading, content: bytes) -> str:
    """Name a source file by its content, so that rotation, renaming and compression keep its name.

    The first line tells log files of one kind on one host apart: it bears time, process and text. A file
    whose lines bear no time is told by its own.
    """
    end = content.find(b"\n")
    first_line = content[:end] if end >= 0 else content
    identity = [reading.host, reading.log_kind]
    if reading.taken_at:
        identity += [reading.tool, reading.taken_at.isoformat()]
    digest = hashlib.blake2b("\0".join([*identity, ""]).encode() + first_line, digest_size=8)
    return digest.hexdigest()


def _unreadable(path: str, error: OSError) -> Problem:
    return Problem(
        path,
        f"cannot be read ({error.strerror or error})",
        "Check its permissions, or copy it again, and run again.",
    )


def _defect(path: str, error: Exception) -> Problem:
    return Problem(
        path,
        f"maillag itself failed on it ({type(error).__name__}: {cause(error)})",
        "It is left out, and all else is read. Report this as a defect.",
    )


# By the reason why the first line of a file is unparsed.
REMEDIES = {
    "month_name": "Export the log again with English months: `LC_ALL=C journalctl ...`, or "
    "`journalctl -o short-iso ...`.",
    "no_program": "Their tags name no program: rsyslog's `app-name` and `programname` end at the first "
    "slash. Use `%syslogtag%` in the template, as RSYSLOG_FileFormat does.",
}


def _not_a_log(source: SourceFile, *, has_foreign_months: bool) -> Problem:
    if has_foreign_months:
        return Problem(
            source.path,
            "was not taken: the months of its stamps are in a language that is not read",
            REMEDIES["month_name"],
        )
    return Problem(
        source.path,
        f"is no {source.log_kind.replace('_', ' ')}: none of its first lines begins as one, so nothing "
        "of it was taken",
        "Put the right file in its place, or rename it if it is something else.",
    )


def _damaged(source: SourceFile, damage: DamagedFileError, line_count: int) -> Problem:
    return Problem(
        f"{source.path}:{line_count}",
        f"{damage}; the {line_count} lines before that were taken",
        damage.remedy,
    )


def _unfinished(source: SourceFile, size_bytes: int) -> Problem:
    return Problem(
        source.path,
        f"its last line is unfinished ({size_bytes} bytes) and was left for the next run",
        "Nothing to do if the log is still being written.",
        is_note=True,
    )


def _unparsed(source: SourceFile, unparsed_count: int, line_count: int, first: int, reason: str) -> Problem:
    return Problem(
        f"{source.path}:{first}",
        f"{unparsed_count} of {line_count} lines could not be parsed, the first for {reason}",
        (f"{REMEDIES[reason]} " if reason in REMEDIES else "")
        + f"Look at them with: select * from events.unparsed_lines where host = '{source.host}'.",
        is_note=True,
    )


def _copy(path: str, kept_path: str) -> Problem:
    return Problem(
        path,
        f"holds the same log as {kept_path} and was left out",
        "Remove one of the two if that was not meant.",
        is_note=True,
    )
