"""Turns a host's files into its time zone: offsets in lines, and the zone that explains them all."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from zoneinfo import available_timezones

import polars as pl

from transforms.archive.bundles import open_members
from transforms.archive.files import SourceFile
from transforms.archive.lines import DamagedFileError, read_pieces
from transforms.bounds import YEARS
from transforms.log_rules import LogRules
from transforms.parse.events import split_lines
from transforms.parse.headers import read_headers
from transforms.parse.routing import headers_of_kind
from transforms.regular_files import open_regular
from transforms.zone import FARTHEST_OFFSET, Zone

# How much of a file is searched for its zone and year.
HEAD_BYTES = 64 * 1024
# Kinds of logs whose lines may have an offset, most reliable first. Trend Micro's logs use the host's clock;
# lines of the maillog may have got their stamps from a log server.
KINDS = ("manager_log", "system_events", "message_tracking", "maillog")
# The newest files of each kind are searched, and one of each earlier month: with daylight saving their
# offsets differ.
NEWEST_ASKED = 4
MONTHS_ASKED = 13
# A compressed file of nothing: the manager log is empty on just the hosts that order no flush.
EMPTY_BYTES = 64
LINES_ASKED = 200
# Files whose heads are in memory at a time.
FILES_AT_ONCE = 200
ANY_OFFSET = "[+-][0-9]{2}:?[0-9]{2}|UTC"
# `Z` and the journal's export mean that the writer converted the stamp to UTC; the host may be anywhere.
IN_UTC = r"^\{|[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?Z\s"
# Of zones with the same clock, one in the first of these regions is named.
REGIONS = ("Europe/", "America/", "Asia/", "Australia/", "Pacific/", "Africa/")


@dataclass(frozen=True)
class LoggedOffset:
    """An offset from UTC in a log line, with the line's time (UTC), kind of log and file."""

    at: datetime
    offset: timedelta
    log_kind: str
    path: str

    def __str__(self) -> str:
        return f"{offset_name(self.offset)} ({self.path}, {self.at + self.offset:%Y-%m-%d})"


@dataclass(frozen=True)
class Inference:
    """The zone inferred from files; `doubt` says what contradicts it, None if nothing does."""

    zone: Zone
    doubt: str | None = None


def logged_offsets(sources: Iterable[SourceFile], rules: LogRules) -> dict[str, list[LoggedOffset]]:
    """Return the offsets at the beginning or end of each host's files, newest file first.

    A collector's file counts only if it has a single offset. Files that cannot be read are skipped here and
    reported when they are read.
    """
    by_kind: dict[tuple[str, str], list[SourceFile]] = defaultdict(list)
    for source in sources:
        if source.log_kind in KINDS and source.size_bytes > (EMPTY_BYTES if source.name.is_compressed else 0):
            by_kind[source.host, source.log_kind].append(source)
    asked = [source for of_kind in by_kind.values() for source in _worth_asking(of_kind)]
    found: dict[str, list[LoggedOffset]] = {}
    for some in _together(asked):
        found |= _offsets_in(some, rules)
    by_host: dict[str, list[LoggedOffset]] = defaultdict(list)
    for source in asked:
        of_source = found[source.path]
        if not source.is_central or len(of_source) == 1:
            by_host[source.host] += of_source
    return by_host


def infer_zone(offsets: Sequence[LoggedOffset], names: Sequence[str]) -> Inference | None:
    """Return the zone that explains the offsets in a host's files; None without offsets.

    A single offset is itself a zone. Several may be the summer and winter offsets of an IANA zone: one of
    `names`, else the commonest of all. If no zone explains them, the newest offset of the most reliable kind
    of log counts.
    """
    if not offsets:
        return None
    surest = [offset for kind in KINDS for offset in offsets if offset.log_kind == kind]
    kind = surest[0].log_kind
    of_kind = [offset for offset in surest if offset.log_kind == kind]
    for chosen in (surest, of_kind):
        if len({logged.offset for logged in chosen}) == 1:
            zone = Zone(offset_name(chosen[0].offset), kind)
            return Inference(zone, None if chosen is surest else _disagreement(surest, zone))
        if name := next((name for name in names if _explains(name, chosen)), None):
            zone = Zone(name, kind)
            return Inference(zone, None if chosen is surest else _disagreement(surest, zone))
        if name := _commonest(chosen):
            zone = Zone(name, kind)
            return Inference(zone, _disagreement(surest, zone))
    zone = Zone(offset_name(of_kind[0].offset), kind)
    return Inference(zone, _disagreement(surest, zone))


def contradiction(zone: Zone, offsets: Iterable[LoggedOffset]) -> LoggedOffset | None:
    """Return an offset that a zone does not explain; None if there is none."""
    return next((offset for offset in offsets if not _explains(zone.name, [offset])), None)


def shared_zone(zones: Iterable[Zone], days: Iterable[date]) -> str | None:
    """Return the name of a zone that has the same clock as all of these on the given days.

    A place is preferred to an offset. None if the clocks differ, or if there are no zones.
    """
    by_name = {zone.name: zone for zone in zones}
    noons = [datetime(day.year, day.month, day.day, 12, tzinfo=UTC) for day in days]
    clocks = {tuple(zone.to_local(noon).utcoffset() for noon in noons) for zone in by_name.values()}
    names = sorted(by_name, key=lambda name: (by_name[name].offset is not None, name))
    return names[0] if len(names) == 1 or (noons and len(clocks) == 1) else None


def read_heads(sources: Iterable[SourceFile]) -> dict[str, bytes]:
    """Return the first bytes of files by path; a tar or zip file is read once for all its members."""
    heads: dict[str, bytes] = {}
    bundles = defaultdict(list)
    for source in sources:
        if source.member is None:
            with suppress(OSError, DamagedFileError), open_regular(source.absolute_path) as plain:
                heads[source.path] = next(read_pieces(plain), b"")[:HEAD_BYTES]
        else:
            bundles[source.absolute_path].append(source)
    for path, members in bundles.items():
        paths = {source.member: source.path for source in members if source.member}
        with suppress(OSError, DamagedFileError):
            for name, stream in open_members(path, paths.keys(), members[0].limits):
                # A member may be encrypted, or damaged.
                with suppress(OSError, DamagedFileError):
                    heads[paths[name]] = next(read_pieces(stream), b"")[:HEAD_BYTES]
    return heads


def offset_name(offset: timedelta) -> str:
    """Return an offset as a zone's name, such as `GMT+09:00`."""
    minutes = int(abs(offset).total_seconds() // 60)
    return f"GMT{'-' if offset < timedelta() else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _worth_asking(sources: Sequence[SourceFile]) -> Iterator[SourceFile]:
    """Yield the newest files of a kind, and the newest of each earlier month."""
    months: set[tuple[int, int]] = set()
    for place, source in enumerate(sorted(sources, key=_newness, reverse=True)):
        day = _newness(source)[0]
        month = (day.year, day.month)
        if place < NEWEST_ASKED or (month not in months and len(months) < MONTHS_ASKED):
            yield source
        months.add(month)


def _newness(source: SourceFile) -> tuple[date, str]:
    modified = datetime.fromtimestamp(source.modified_at_ns / 1e9, UTC).date()
    return source.name.name_date or modified, source.path


def _tail(source: SourceFile) -> bytes:
    """Return the last lines of an uncompressed file: the daemon may have changed its format."""
    if source.member or source.name.is_compressed or source.size_bytes <= HEAD_BYTES:
        return b""
    try:
        with open_regular(source.absolute_path) as plain:
            plain.seek(-HEAD_BYTES, 2)
            return b"\n" + plain.read(HEAD_BYTES).partition(b"\n")[2]
    except OSError:
        return b""


def _together(sources: Iterable[SourceFile]) -> Iterator[list[SourceFile]]:
    """Yield the files by FILES_AT_ONCE, or a few more: all members of a tar or zip file together."""
    some: list[SourceFile] = []
    place = attrgetter("absolute_path")
    for _, members in groupby(sorted(sources, key=place), key=place):
        some += members
        if len(some) >= FILES_AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _offsets_in(sources: Iterable[SourceFile], rules: LogRules) -> dict[str, list[LoggedOffset]]:
    """Return each offset that occurs in lines of a file, with its last time, the latest first, by path."""
    heads = read_heads(sources)
    by_kind: dict[str, list[pl.DataFrame]] = defaultdict(list)
    for source in sources:
        content = heads.get(source.path, b"") + _tail(source)
        lines = content.splitlines(keepends=True)
        asked = lines if len(lines) <= 2 * LINES_ASKED else lines[:LINES_ASKED] + lines[-LINES_ASKED:]
        by_kind[source.log_kind].append(
            split_lines(b"".join(asked), 1, may_be_shift_jis=True).select("line", path=pl.lit(source.path))
        )
    latest: dict[str, dict[timedelta, datetime]] = defaultdict(dict)
    for kind, of_kind in by_kind.items():
        rows = pl.concat(of_kind).filter(pl.col("line").str.contains(ANY_OFFSET))
        rows = rows.with_row_index("line_number")
        headed = read_headers(headers_of_kind(kind, rules), rows.drop("path")).filter(
            pl.col("utc_offset").is_not_null() & ~pl.col("line").str.contains(IN_UTC)
        )
        paths = rows["path"].gather(headed["line_number"])
        columns = headed.select("year", "month", "day", "time_of_day", "utc_offset")
        for path, (year, month, day, time_of_day, offset) in zip(paths, columns.iter_rows(), strict=True):
            try:
                at = datetime(year, month, day, tzinfo=UTC) + time_of_day - offset
            except (ValueError, OverflowError):
                continue
            if year in YEARS and abs(offset) <= FARTHEST_OFFSET:
                latest[path][offset] = max(at, latest[path].get(offset, at))
    return {
        source.path: [
            LoggedOffset(at, offset, source.log_kind, source.path)
            for offset, at in sorted(latest[source.path].items(), key=lambda item: item[1], reverse=True)
        ]
        for source in sources
    }


def _explains(name: str, offsets: Iterable[LoggedOffset]) -> bool:
    zone = Zone(name, "")
    return all(zone.to_local(logged.at).utcoffset() == logged.offset for logged in offsets)


def _commonest(offsets: Collection[LoggedOffset]) -> str | None:
    """Return an IANA zone that explains all offsets, from the largest group with equal clocks."""
    different = sorted({logged.offset for logged in offsets})
    if len(different) != 2 or different[1] - different[0] > timedelta(hours=1):
        return None
    names = sorted(name for name in available_timezones() if name.startswith(REGIONS))
    names = [name for region in REGIONS for name in names if name.startswith(region)]
    first = min(logged.at for logged in offsets).replace(month=1, day=1, hour=12)
    days = [first + timedelta(days=number) for number in range(366)]
    by_clock: Mapping[tuple[timedelta | None, ...], list[str]] = defaultdict(list)
    for name in names:
        if not _explains(name, offsets):
            continue
        zone = Zone(name, "")
        by_clock[tuple(zone.to_local(day).utcoffset() for day in days)].append(name)
    return max(by_clock.values(), key=len)[0] if by_clock else None


def _disagreement(offsets: Iterable[LoggedOffset], zone: Zone) -> str:
    by_offset: dict[timedelta, LoggedOffset] = {}
    for logged in offsets:
        by_offset.setdefault(logged.offset, logged)
    return (
        f"log files disagree on the time zone: {' and '.join(map(str, by_offset.values()))}; "
        f"{zone.name} is a guess"
    )
