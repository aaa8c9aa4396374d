"""An archive to new lake files: every source file that is new or changed is read, once, on its own."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import polars as pl

from transforms.archive import SourceFile
from transforms.clock import YearWindow
from transforms.events import (
    Parser,
    Reading,
    headers_of,
    is_postfix_tag,
    is_sendmail_tag,
    split_lines,
)
from transforms.headers import read_headers
from transforms.lake import EventWriter
from transforms.ledger import LakeFile, Ledger, SeenFile, SourceRecord
from transforms.lines import DamagedFileError, open_members, read_blocks
from transforms.plan import HEAD_BYTES, Plan, seen_file
from transforms.problems import Problem
from transforms.tables import NOISE, UNPARSED


@dataclass(frozen=True)
class NewSource:
    """A source file just read: its record, its path as seen, and lake files the ledger lacks as yet."""

    record: SourceRecord
    seen: SeenFile
    files: list[LakeFile]
    problems: list[Problem]


@dataclass(frozen=True)
class Reads:
    """What one pass over an archive read, and what it could not read. A source has its own problems."""

    new_sources: list[NewSource]
    seen_copies: list[SeenFile]
    problems: list[Problem]


class NotALogError(Exception):
    """No line of a file's first block looks like the log that its name promises."""


def read_sources(
    plan: Plan,
    lake: Path,
    ledger: Ledger,
    *,
    run_id: str,
    progress: Callable[[SourceFile], None] = lambda source: None,
) -> Reads:
    """Read the planned source files into lake files that nobody sees yet.

    A file that cannot be read becomes a problem and leaves the others alone. `progress` is told of each
    file when it is done.
    """
    problems: list[Problem] = []
    read: dict[str, list[NewSource]] = defaultdict(list)
    for source, reading, stream in _open_sources(plan.readings, problems):
        try:
            for new in _SourceReader(source, reading, plan, lake, run_id).read(stream):
                read[new.record.source_id].append(new)
        except OSError as error:
            problems.append(_unreadable(source.path, error))
        except NotALogError:
            problems.append(_not_a_log(source))
        progress(source)
    known = ledger.source_records()
    new_sources, seen_copies = [], []
    for source_id, rivals in read.items():
        longest, *copies = sorted(rivals, key=lambda new: new.record.content_bytes, reverse=True)
        kept = longest.record
        if source_id in plan.unchanged_ids and known[source_id].content_bytes >= kept.content_bytes:
            kept = known[source_id]
            copies.append(longest)
        else:
            new_sources.append(longest)
        for copy in copies:
            problems.append(_copy(copy.record, kept))
            seen_copies.append(copy.seen)
            for file in copy.files:
                (lake / file.path).unlink()
    return Reads(new_sources, seen_copies, problems)


def _open_sources(
    readings: Iterable[tuple[SourceFile, Reading]], problems: list[Problem]
) -> Iterator[tuple[SourceFile, Reading, BinaryIO]]:
    """Yield each source file with its content; a tar or zip file is gone through once for all its members."""
    for path, group in groupby(readings, key=lambda planned: planned[0].absolute_path):
        planned = {source.member: (source, reading) for source, reading in group}
        (first, _), *_ = planned.values()
        try:
            if first.member is None:
                with path.open("rb") as plain:
                    yield *planned.pop(None), plain
            else:
                with closing(open_members(path, {name for name in planned if name})) as members:
                    for name, stream in members:
                        if name in planned:
                            yield *planned.pop(name), stream
        except OSError as error:
            problems.append(_unreadable(first.path, error))
        except DamagedFileError as error:
            problems += [_damaged(source, error, 0) for source, _ in planned.values()]


class _SourceReader:
    """Reads one file block by block; its memory does not grow with the file.

    A collector's file holds the logs of many hosts. They become one source each, and what says nothing of
    mail is the collector's own.
    """

    def __init__(self, source: SourceFile, reading: Reading, plan: Plan, lake: Path, run_id: str) -> None:
        self.source = source
        # As planned, before its first lines told more.
        self.planned = reading
        self.reading = reading
        self.plan = plan
        self.lake = lake
        self.run_id = run_id
        self.line_count = 0
        self.problems: list[Problem] = []
        self.parts: dict[str, _Part] = {}

    def read(self, stream: BinaryIO) -> list[NewSource]:
        """Read the file to its end. Raises OSError, and NotALogError if its first block is no log."""
        damage = None
        try:
            for block in read_blocks(stream):
                self._add(self._whole_lines(block))
        except DamagedFileError as error:
            damage = error
            self.problems.append(_damaged(self.source, damage, self.line_count))
        own = self._part(self.source.host)
        own.problems += self.problems
        return [part.finish(is_damaged=damage is not None) for part in self.parts.values()]

    def _whole_lines(self, block: bytes) -> bytes:
        """Leave a live file's unfinished last line for the next run."""
        if not self.source.is_live or block.endswith(b"\n"):
            return block
        whole, newline, unfinished = block.rpartition(b"\n")
        self.problems.append(_unfinished(self.source, len(unfinished)))
        return whole + newline

    def _add(self, block: bytes) -> None:
        if not block:
            return
        source = self.source
        if not self.line_count and source.log_kind == "maillog" and not source.name.name_date:
            year = YearWindow.by_head(block[:HEAD_BYTES])
            self.reading = replace(self.reading, year=year or self.reading.year)
        lines = split_lines(block, self.line_count + 1, may_be_shift_jis=source.log_kind == "system_events")
        if self.reading.taken_at is None:
            headed = read_headers(headers_of(self.reading), lines)
            if not self.line_count and headed["day"].is_null().all():
                raise NotALogError
        else:
            headed = lines
        self.line_count += len(lines)
        if source.is_central:
            for host, its_lines in _by_host(headed, self.plan.names, source.host):
                content = "\n".join([*its_lines["line"], ""]).encode()
                self._part(host).add(its_lines, content)
        else:
            self._part(source.host).add(headed, block)

    def _part(self, host: str) -> "_Part":
        if host not in self.parts:
            zone = self.plan.zones.get(host, self.reading.zone)
            if zone.source == "default":
                zone = self.reading.zone
            reading = replace(self.reading, host=host, zone=zone)
            self.parts[host] = _Part(self, reading)
        return self.parts[host]


def _by_host(
    headed: pl.DataFrame, names: Mapping[str, str], collector: str
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Split lines by the host that they name; what no mail program of a host wrote is the collector's."""
    logging_host = pl.col("logging_host").str.to_lowercase()
    known = logging_host.replace_strict(names, default=None, return_dtype=pl.String)
    host = (
        pl.when(is_postfix_tag() | is_sendmail_tag())
        .then(pl.coalesce(known, "logging_host"))
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


class _Part:
    """One host's lines of a source file, on their way into the lake."""

    def __init__(self, file: _SourceReader, reading: Reading) -> None:
        self.source = file.source
        self.planned = file.planned
        self.plan = file.plan
        self.run_id = file.run_id
        self.parser = Parser(reading)
        self.writer = EventWriter(file.lake, reading.host, file.run_id)
        self.content = hashlib.blake2b(digest_size=16)
        self.content_bytes = 0
        self.line_count = 0
        self.problems: list[Problem] = []
        self.first_unparsed: tuple[int, str] | None = None

    @property
    def reading(self) -> Reading:
        """How the lines are read; it bears the source's id from the first of them on."""
        return self.parser.reading

    def add(self, lines: pl.DataFrame, content: bytes) -> None:
        """Parse the next lines, `content` being their bytes."""
        if not self.content_bytes:
            self.parser.name_source(_source_id(self.reading, content))
        self.content.update(content)
        self.content_bytes += len(content)
        self.line_count += len(lines)
        parsed = self.parser.parse(lines)
        unparsed = parsed.tables.get(UNPARSED)
        if unparsed is not None and self.first_unparsed is None:
            self.first_unparsed = unparsed.select("line_number", "reason").row(0)
        self.writer.add(parsed)

    def finish(self, *, is_damaged: bool) -> NewSource:
        """Write what is still held, and say how the file went."""
        source = self.source
        if not self.content_bytes:
            self.parser.name_source(_source_id(self.reading, source.path.encode()))
        self.writer.add(self.parser.finish())
        reading = self.reading
        counts, files = self.writer.finish(reading.source_id)
        by_table = dict(counts.group_by("table_name").agg(pl.sum("line_count")).iter_rows())
        unparsed_count = by_table.get(UNPARSED, 0)
        noise_count = by_table.get(NOISE, 0)
        if self.first_unparsed:
            self.problems.append(_unparsed(source, unparsed_count, self.line_count, *self.first_unparsed))
        first_logged_at, last_logged_at = counts.select(
            pl.min("first_logged_at"), pl.max("last_logged_at")
        ).row(0)
        covered_from, covered_until = first_logged_at, last_logged_at
        name_date = source.name.name_date
        if source.log_kind == "manager_log" and name_date:
            # A day's manager log covers the day, also where the manager had nothing to write.
            covered_from = reading.zone.midnight(name_date)
            covered_until = reading.zone.midnight(name_date + timedelta(days=1))
        record = SourceRecord(
            source_id=reading.source_id,
            host=reading.host,
            log_kind=source.log_kind,
            path=source.path,
            status="damaged" if is_damaged else "loaded",
            name_date=name_date,
            content_hash=self.content.hexdigest(),
            content_bytes=self.content_bytes,
            line_count=self.line_count,
            event_line_count=sum(by_table.values()) - noise_count - unparsed_count,
            noise_line_count=noise_count,
            unparsed_line_count=unparsed_count,
            time_zone=reading.zone.name,
            zone_source=reading.zone.source,
            year_source=reading.taken_at_source if reading.taken_at else reading.year.source,
            run_id=self.run_id,
            first_logged_at=first_logged_at,
            last_logged_at=last_logged_at,
            covered_from=covered_from,
            covered_until=covered_until,
        )
        seen = seen_file(source, self.planned, self.plan, reading.source_id)
        return NewSource(record, seen, files, self.problems)


def _source_id(reading: Reading, content: bytes) -> str:
    """Name a source file by its content, so that rotation, renaming and compression keep its name.

    The first line tells log files of one kind on one host apart: it bears time, process and text. A file
    whose lines bear no time is told by its own.
    """
    first_line = content.partition(b"\n")[0]
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


def _not_a_log(source: SourceFile) -> Problem:
    return Problem(
        source.path,
        f"is no {source.log_kind.replace('_', ' ')}: none of its first lines begins as one, so nothing "
        "of it was taken",
        "Put the right file in its place, or rename it if it is something else.",
    )


def _damaged(source: SourceFile, damage: DamagedFileError, line_count: int) -> Problem:
    return Problem(
        f"{source.path}:{line_count}",
        f"{damage}; the {line_count} lines before the damage were taken",
        "Copy the file again from its host; the next run then replaces these lines.",
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
        f"Look at them with: select * from events.unparsed_lines where host = '{source.host}'.",
        is_note=True,
    )


def _copy(copy: SourceRecord, kept: SourceRecord) -> Problem:
    return Problem(
        copy.path,
        f"holds the same log as {kept.path} and was left out",
        "Remove one of the two if that was not meant.",
        is_note=True,
    )
