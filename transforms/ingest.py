"""An archive to new lake files: every source file that is new or changed is read, once, on its own."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from transforms.archive import SourceFile
from transforms.clock import YearWindow, Zone
from transforms.events import UNPARSED, Reading, find_manager_zone, parse_lines, split_lines
from transforms.fleet import Fleet, zone_of
from transforms.lake import EventWriter
from transforms.ledger import LakeFile, Ledger, SeenFile, SourceRecord
from transforms.lines import DamagedFileError, read_blocks
from transforms.patterns import NOISE
from transforms.problems import Problem

# Raised when the same line gives another event than before: every source file is then read again.
PARSER_VERSION = 1


@dataclass(frozen=True)
class NewSource:
    """A source file just read: its record, its path as seen, and lake files the ledger lacks as yet."""

    record: SourceRecord
    seen: SeenFile
    files: list[LakeFile]
    problems: list[Problem]


@dataclass(frozen=True)
class Plan:
    """The source files to read, and the ids of those that need no second look."""

    readings: list[tuple[SourceFile, Reading]]
    unchanged_ids: set[str]


@dataclass(frozen=True)
class Reads:
    """What one pass over an archive read, and what it could not read. A source has its own problems."""

    new_sources: list[NewSource]
    seen_copies: list[SeenFile]
    problems: list[Problem]


class NotALogError(Exception):
    """No line of a file's first block looks like the log that its name promises."""


def choose_zones(fleet: Fleet, sources: Iterable[SourceFile], default_time_zone: str) -> dict[str, Zone]:
    """Return every host's zone; where the fleet file has none, its newest manager logs are asked."""
    manager_logs = defaultdict(list)
    for source in sorted(sources, key=lambda source: source.path, reverse=True):
        if source.log_kind == "manager_log":
            manager_logs[source.host].append(source)
    zones = {}
    for host in fleet.hosts:
        zone = zone_of(host, None, default_time_zone)
        if zone.source == "default":
            names = (_manager_zone(source) for source in manager_logs[host.name])
            zone = zone_of(host, next(filter(None, names), None), default_time_zone)
        zones[host.name] = zone
    return zones


def plan_reads(
    sources: list[SourceFile],
    ledger: Ledger,
    *,
    zones: dict[str, Zone],
    flush_commanded_pattern: str,
) -> Plan:
    """Choose what is new or changed since the ledger last saw it, and how to read it."""
    last_manager_dates = _last_manager_dates(sources)
    seen = ledger.seen_files()
    plan = Plan([], set())
    for source in sources:
        reading = Reading(
            host=source.host,
            log_kind=source.log_kind,
            source_id="",
            zone=zones[source.host],
            year=_year_window(source, last_manager_dates.get(source.host)),
            flush_commanded_pattern=flush_commanded_pattern,
        )
        before = seen.get(source.path)
        if before and before == _seen(source, reading, before.source_id):
            plan.unchanged_ids.add(before.source_id)
        else:
            plan.readings.append((source, reading))
    return plan


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
    for source, reading in plan.readings:
        try:
            new = _read_source(source, reading, lake, run_id)
            read[new.record.source_id].append(new)
        except OSError as error:
            problems.append(_unreadable(source, error))
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


def _read_source(source: SourceFile, reading: Reading, lake: Path, run_id: str) -> NewSource:
    reader = _SourceReader(source, reading, lake, run_id)
    damage = None
    try:
        for block in read_blocks(source.absolute_path):
            reader.add(block)
    except DamagedFileError as error:
        damage = error
    return reader.finish(damage)


class _SourceReader:
    """Reads one file block by block; its memory does not grow with the file."""

    def __init__(self, source: SourceFile, reading: Reading, lake: Path, run_id: str) -> None:
        self.source = source
        self.reading = reading
        self.writer = EventWriter(lake, source.host, run_id)
        self.run_id = run_id
        self.content = hashlib.blake2b(digest_size=16)
        self.content_bytes = 0
        self.line_count = 0
        self.problems: list[Problem] = []
        self.first_unparsed: tuple[int, str] | None = None

    def add(self, block: bytes) -> None:
        """Parse the next block. Raises NotALogError if nothing in the first one has a header."""
        if self.source.is_live and not block.endswith(b"\n"):
            block, newline, unfinished = block.rpartition(b"\n")
            block += newline
            self.problems.append(_unfinished(self.source, len(unfinished)))
            if not block:
                return
        if not self.content_bytes:
            self.reading = replace(self.reading, source_id=_source_id(self.source, block))
        self.content.update(block)
        lines = split_lines(block, self.line_count + 1)
        parsed = parse_lines(lines, self.reading)
        unparsed = parsed.tables.get(UNPARSED)
        if unparsed is not None and self.first_unparsed is None:
            if not self.line_count and (unparsed["reason"] == "no_header").sum() == len(lines):
                raise NotALogError
            self.first_unparsed = unparsed.select("line_number", "reason").row(0)
        self.content_bytes += len(block)
        self.line_count += len(lines)
        self.writer.add(parsed)

    def finish(self, damage: DamagedFileError | None) -> NewSource:
        """Write what is still held, and say how the file went."""
        source, reading = self.source, self.reading
        if not self.content_bytes:
            reading = replace(reading, source_id=_source_id(source, source.path.encode()))
        counts, files = self.writer.finish(reading.source_id)
        if damage:
            self.problems.append(_damaged(source, damage, self.line_count))
        by_table = dict(counts.group_by("table_name").agg(pl.sum("line_count")).iter_rows())
        unparsed_count = by_table.get(UNPARSED, 0)
        noise_count = by_table.get(NOISE, 0)
        if self.first_unparsed:
            self.problems.append(_unparsed(source, unparsed_count, self.line_count, *self.first_unparsed))
        first_logged_at, last_logged_at = counts.select(
            pl.min("first_logged_at"), pl.max("last_logged_at")
        ).row(0)
        covered_from, covered_until = first_logged_at, last_logged_at
        if source.log_kind == "manager_log" and source.name_date:
            # A day's manager log covers the day, also where the manager had nothing to write.
            covered_from = reading.zone.midnight(source.name_date)
            covered_until = reading.zone.midnight(source.name_date + timedelta(days=1))
        record = SourceRecord(
            source_id=reading.source_id,
            host=source.host,
            log_kind=source.log_kind,
            path=source.path,
            status="damaged" if damage else "loaded",
            name_date=source.name_date,
            content_hash=self.content.hexdigest(),
            content_bytes=self.content_bytes,
            line_count=self.line_count,
            event_line_count=sum(by_table.values()) - noise_count - unparsed_count,
            noise_line_count=noise_count,
            unparsed_line_count=unparsed_count,
            time_zone=reading.zone.name,
            zone_source=reading.zone_source,
            year_source=reading.year_source,
            run_id=self.run_id,
            first_logged_at=first_logged_at,
            last_logged_at=last_logged_at,
            covered_from=covered_from,
            covered_until=covered_until,
        )
        return NewSource(record, _seen(source, reading, reading.source_id), files, self.problems)


def _source_id(source: SourceFile, block: bytes) -> str:
    """Name a source file by its content, so that rotation, renaming and compression keep its name.

    The first line tells log files of one kind on one host apart: it bears time, process and text.
    """
    first_line = block.partition(b"\n")[0]
    identity = b"\0".join((source.host.encode(), source.log_kind.encode(), first_line))
    return hashlib.blake2b(identity, digest_size=8).hexdigest()


def _seen(source: SourceFile, reading: Reading, source_id: str) -> SeenFile:
    how = {
        "parser": PARSER_VERSION,
        "zone": asdict(reading.zone),
        "year": reading.year.source,
        "flush_commanded": reading.flush_commanded_pattern,
    }
    return SeenFile(
        path=source.path,
        size_bytes=source.size_bytes,
        modified_at_ns=source.modified_at_ns,
        reading=json.dumps(how, sort_keys=True),
        source_id=source_id,
    )


def _year_window(source: SourceFile, last_manager_date: date | None) -> YearWindow:
    if source.name_date:
        return YearWindow.by_file_name(source.name_date)
    if last_manager_date:
        return YearWindow.by_manager_log(last_manager_date)
    modified_at = datetime.fromtimestamp(source.modified_at_ns / 1e9, UTC)
    return YearWindow.by_file_time(modified_at.date())


def _last_manager_dates(sources: Iterable[SourceFile]) -> dict[str, date]:
    last: dict[str, date] = {}
    for source in sources:
        if source.log_kind == "manager_log" and source.name_date:
            last[source.host] = max(source.name_date, last.get(source.host, source.name_date))
    return last


def _manager_zone(source: SourceFile) -> str | None:
    """Return the zone that a manager log writes; a file that cannot be read is reported later."""
    try:
        return find_manager_zone(next(read_blocks(source.absolute_path), b""))
    except (OSError, DamagedFileError):
        return None


def _unreadable(source: SourceFile, error: OSError) -> Problem:
    return Problem(
        source.path,
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
