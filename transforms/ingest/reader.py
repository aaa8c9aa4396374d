"""Turns the blocks of source files into batches, one for each host and kind of log, and writes their events.

A batch continues from file to file, and small hosts share a writer, so that many small files cost little more
than one large file.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import polars as pl

from transforms.archive.files import SourceFile
from transforms.archive.lines import DamagedFileError, parts_of, read_blocks
from transforms.ingest.batch import Batch, Files, NewSource, Source, damaged, unfinished
from transforms.ingest.plan import Plan
from transforms.ingest.zone_evidence import HEAD_BYTES
from transforms.lake.files import EventWriter, may_share
from transforms.lake.records import SourceRecord
from transforms.memory import release_memory
from transforms.names import host_name
from transforms.parse.clock import YearWindow
from transforms.parse.events import Reading, headers_of, split_lines
from transforms.parse.headers import has_foreign_month, read_headers
from transforms.parse.routing import is_postfix_tag, is_sendmail_tag
from transforms.problems import Problem

if TYPE_CHECKING:
    from transforms.fast_lane.lane import FastLane

# Sources, and batches of a single source, that may be open before all batches are finished.
MOST_SOURCES = 1_000
MOST_ALONE = 100
# A host with fewer bytes to read, on disk, shares lake files with others: each file costs a millisecond to
# write, and every query that opens it nearly as much.
SHARED_BYTES = 4 * 2**20
# Hosts named in a collector's file that have files of their own; all others share theirs.
MOST_OWN_HOSTS = 50
# RFC 1035, 3.1
LONGEST_HOST = 255


class NotALogError(Exception):
    """No line of a file's first block looks like the kind of log that the file name promises.

    `has_foreign_months`: some lines would, if their month names were English.
    """

    def __init__(self, *, has_foreign_months: bool = False) -> None:
        super().__init__()
        self.has_foreign_months = has_foreign_months


@dataclass
class _OpenLog:
    """A source file that is being read: its lines so far, as one source for each host in the file."""

    file: SourceFile
    planned: Reading
    reading: Reading
    """As planned, with the year found in the first lines."""
    lane: "FastLane | None"
    sources: dict[str, Source] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    line_count: int = 0
    is_begun: bool = False


class Reader:
    """Reads files block by block, so that memory does not grow with the size of files.

    A collector's file holds the logs of many hosts. Each host becomes a source; lines that are not about mail
    belong to the collector.
    """

    def __init__(
        self,
        plan: Plan,
        lake: Path,
        known: Mapping[str, SourceRecord],
        *,
        run_id: str,
        part: str,
        pool: ThreadPoolExecutor,
        lane: "FastLane | None",
    ) -> None:
        self.plan = plan
        self.known = known
        self.lake = lake
        self.run_id = run_id
        self.part = part
        # All that is kept of finished files.
        self.finished: list[tuple[NewSource, Files]] = []
        self.files: list[Files] = []
        self._pool = pool
        self._lane = lane
        # Those of the host whose files are being read.
        self._batches: dict[tuple[str, str, bool], Batch] = {}
        # Of these, batches of a single source: queue snapshots, and copies, which may have to go again.
        self._alone: list[Batch] = []
        self._own_writers: list[EventWriter] = []
        self._shared: EventWriter | None = None
        self._shares = False
        """Whether the host that is being read uses the shared writer."""
        self._small_hosts = _small_hosts(plan)
        self._writer_count = 0
        self._host = ""
        self._sources: list[Source] = []
        self.begun: list[tuple[SourceFile, Reading]] = []
        """The files of the host that is being read, as far as their reading has begun."""
        self.unfinished: list[tuple[SourceFile, Reading]] = []
        """The files whose rows are not in finished lake files yet."""
        self._known_ids = set(plan.unchanged_ids)
        self.has_leftovers = False

    def read(self, file: SourceFile, planned: Reading, stream: BinaryIO) -> None:
        """Read a file to its end. Raises OSError, and NotALogError if the first block is not such a log."""
        if file.host != self._host:
            self._finish_host()
            self._host = file.host
            self.begun.clear()
        if len(self._sources) >= MOST_SOURCES or len(self._alone) >= MOST_ALONE:
            self.finish()
            release_memory()
        self.begun.append((file, planned))
        self.unfinished.append((file, planned))
        try:
            self._read(file, planned, stream)
        except (OSError, NotALogError):
            self.unfinished.remove((file, planned))
            raise

    def _read(self, file: SourceFile, planned: Reading, stream: BinaryIO) -> None:
        lane = self._lane if file.log_kind == "maillog" and not file.is_central else None
        log = _OpenLog(file, planned, planned, lane)
        damage: DamagedFileError | None = None
        try:
            for block in read_blocks(stream, lane.padding if lane else b"", limits=file.limits):
                self._take(log, block)
        except DamagedFileError as error:
            damage = error
            if lane:
                for source in log.sources.values():
                    source.batch.take_scans()
                    log.line_count = source.line_count
            log.problems.append(damaged(file, error, log.line_count))
        except OSError:
            for source in log.sources.values():
                self._sources.remove(source)
            raise
        self._source(log, log.reading, b"", 0).problems += log.problems
        for source in log.sources.values():
            source.damage = damage

    def _take(self, log: "_OpenLog", block: bytes) -> None:
        """Take the next block of a file, followed by the padding that the fast lane needs."""
        file, lane = log.file, log.lane
        size_bytes = len(block) - (len(lane.padding) if lane else 0)
        if file.is_live and block[size_bytes - 1 : size_bytes] != b"\n":
            whole_bytes = block.rfind(b"\n", 0, size_bytes) + 1
            log.problems.append(unfinished(file, size_bytes - whole_bytes))
            size_bytes = whole_bytes
        if not size_bytes:
            return
        if not log.is_begun:
            log.reading = _with_year_of_head(file, log.reading, block[: min(size_bytes, HEAD_BYTES)])
        if lane:
            if not log.is_begun and not lane.has_stamp(block, size_bytes, log.reading):
                lines = split_lines(block[:size_bytes], 1)
                _refuse_another(read_headers(headers_of(log.reading), lines))
            source = self._source(log, log.reading, block, size_bytes)
            source.batch.scan(lane, source, block, size_bytes)
        else:
            for part in parts_of(block[:size_bytes]):
                for reading, lines, content in self._split(file, log.reading, part, log.line_count):
                    source = self._source(log, reading, content, len(content))
                    source.line_count += len(lines)
                    source.batch.gather(source, lines, len(content))
                log.line_count += part.count(b"\n") + (not part.endswith(b"\n"))
        log.is_begun = True

    def finish(self) -> None:
        """Write everything that is still held back."""
        self._finish_host()
        if self._shared:
            self._finish_writers([self._shared])
            self._shared = None
        self.unfinished.clear()

    def abandon(self) -> None:
        """Drop everything unfinished; its files stay in the lake, unlisted."""
        self._batches.clear()
        self._alone.clear()
        self._own_writers.clear()
        self._shared = None
        self._sources.clear()
        self.unfinished.clear()
        self.has_leftovers = True

    def _finish_host(self) -> None:
        """Hand what is held back of the host whose files were read last to its writers."""
        for batch in [*self._batches.values(), *self._alone]:
            batch.finish()
        self._batches.clear()
        self._alone.clear()
        self._finish_writers(self._own_writers)
        self._own_writers.clear()
        if not self._shares:
            self.unfinished = [one for one in self.unfinished if one[0].host != self._host]
        self._shares = False

    def _finish_writers(self, writers: Iterable[EventWriter]) -> None:
        for writer in writers:
            counts, written = writer.finish()
            files = Files(self.lake, self.run_id, written)
            sources = {
                source.reading.source_id: source for source in self._sources if source.batch.writer is writer
            }
            # All at once: a group_by for each of many small files took as long as their scanning.
            by_table = counts.group_by("source_id", "table_name").agg(
                pl.sum("line_count"), pl.min("first_logged_at"), pl.max("last_logged_at")
            )
            # Some could not be read to their end.
            files.drop(set(by_table["source_id"]) - sources.keys())
            for source_id, *counted in by_table.iter_rows():
                if source_id in sources:
                    sources[source_id].count(*counted)
            self.files.append(files)
            self.finished += [(source.as_new(), files) for source in sources.values()]
            self._sources = [source for source in self._sources if source.batch.writer is not writer]

    def _split(
        self, file: SourceFile, reading: Reading, block: bytes, lines_before: int
    ) -> Iterator[tuple[Reading, pl.DataFrame, bytes]]:
        """Yield the lines of a block host by host: how they are read, the lines, and their bytes."""
        lines = split_lines(block, lines_before + 1, may_be_shift_jis=file.log_kind == "system_events")
        if reading.taken_at is None:
            lines = read_headers(headers_of(reading), lines)
            if not lines_before and file.log_kind != "system_log":
                _refuse_another(lines)
        if not file.is_central:
            yield reading, lines, block
            return
        for host, of_host in _by_host(lines, self.plan.names, file.host):
            zone = self.plan.zones.get(host, reading.zone)
            if zone.is_assumed:
                zone = reading.zone
            content = "\n".join([*of_host["line"], ""]).encode()
            yield replace(reading, host=host, zone=zone), of_host, content

    def _source(self, log: "_OpenLog", reading: Reading, content: bytes, size_bytes: int) -> Source:
        """Return the source of a host's lines in a file, after adding their content to it."""
        source = log.sources.get(reading.host)
        if source is None:
            source_id = _source_id(reading, content if size_bytes else log.file.path.encode())
            reading = replace(reading, source_id=source_id)
            batch = self._batch(log, reading)
            source = Source(log.file, log.planned, self.plan, reading, batch, self.known.get(source_id))
            batch.begin(source)
            log.sources[reading.host] = source
            self._sources.append(source)
        source.take(memoryview(content)[:size_bytes])
        return source

    def _batch(self, log: "_OpenLog", reading: Reading) -> Batch:
        """Return the batch for a source: a separate one if no other is read in the same way.

        A copy gets a writer of its own, because it may have to be removed again.
        """
        key = (reading.host, reading.log_kind, not log.file.is_central)
        is_copy = reading.source_id in self._known_ids
        self._known_ids.add(reading.source_id)
        is_alone = reading.taken_at is not None or is_copy
        if not is_alone and key in self._batches:
            return self._batches[key]
        is_shared = log.file.host in self._small_hosts or len(log.sources) >= MOST_OWN_HOSTS
        batch = Batch(
            reading,
            self._shared_writer(reading.host)
            if is_shared and not is_copy
            else self._own_writer(reading.host),
            pool=self._pool,
            lane=self._lane,
        )
        if is_alone:
            self._alone.append(batch)
        else:
            self._batches[key] = batch
        return batch

    def _shared_writer(self, host: str) -> EventWriter:
        self._shared = self._shared or self._writer(None)
        self._shared.shared_by.add(host)
        self._shares = True
        return self._shared

    def _own_writer(self, host: str) -> EventWriter:
        self._own_writers.append(self._writer(host))
        return self._own_writers[-1]

    def _writer(self, host: str | None) -> EventWriter:
        self._writer_count += 1
        name = f"{self.run_id}.{self.part}.{self._writer_count}"
        return EventWriter(self.lake, host, name=name, run_id=self.run_id, pool=self._pool)


def _small_hosts(plan: Plan) -> set[str]:
    """Return the hosts with little to read, which share lake files."""
    sizes = Counter[str]()
    for source, _ in plan.readings:
        sizes[source.host] += source.size_bytes
    small = {host for host, size_bytes in sizes.items() if size_bytes < SHARED_BYTES}
    return small if may_share(len(small)) else set()


def _refuse_another(headed: pl.DataFrame) -> None:
    """Raise NotALogError if no line of a first block (headers.HEADER_SCHEMA) begins as a log's lines do."""
    if headed["day"].is_null().all():
        is_foreign = headed.select(has_foreign_month(pl.col("line")).any()).item()
        raise NotALogError(has_foreign_months=is_foreign)


def _with_year_of_head(file: SourceFile, reading: Reading, head: bytes) -> Reading:
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
        # A notice of lost lines is about the host that wrote it, if that host is known.
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
    """Identify a source file by content, so that rotation, renaming and compression do not change its id.

    The first line distinguishes log files of one kind on one host: it has time, process and text. A file
    whose lines have no time is identified by the time of the file as well.
    """
    end = content.find(b"\n")
    first_line = content[:end] if end >= 0 else content
    identity = [reading.host, reading.log_kind]
    if reading.taken_at:
        identity += [reading.tool, reading.taken_at.isoformat()]
    digest = hashlib.blake2b("\0".join([*identity, ""]).encode() + first_line, digest_size=8)
    return digest.hexdigest()
