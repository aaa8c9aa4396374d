"""A host's files to its time zone: what offsets their lines bear, and which zone explains them all."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
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

# What of a file is looked at for the zone and the year that it tells.
HEAD_BYTES = 64 * 1024
# Kinds of logs whose lines may bear an offset. Trend Micro's own are certainly of the host's clock; a line of
# the maillog may have got its stamp from a log server.
KINDS = ("manager_log", "system_events", "message_tracking", "maillog")
# The newest files of each kind are asked, and one of each earlier month: with daylight saving their offsets
# differ.
NEWEST_ASKED = 4
MONTHS_ASKED = 13
# A compressed file of nothing: the manager log is empty on just the hosts that order no flush.
EMPTY_BYTES = 64
LINES_ASKED = 200
ANY_OFFSET = re.compile(rb"[+-][0-9]{2}:?[0-9]{2}")
# `Z` says that the writer turned the stamp into UTC, not where it stands; so does the journal's export.
IN_UTC = r"^\{|[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?Z\s"
# Of zones whose clocks are the same, one of the first region is named.
REGIONS = ("Europe/", "America/", "Asia/", "Australia/", "Pacific/", "Africa/")


@dataclass(frozen=True)
class ToldOffset:
    """An offset from UTC that a line bears, with its instant, the kind of its log and its file."""

    at: datetime
    offset: timedelta
    log_kind: str
    path: str

    def __str__(self) -> str:
        return f"{offset_name(self.offset)} ({self.path}, {self.at + self.offset:%Y-%m-%d})"


@dataclass(frozen=True)
class Inference:
    """The zone that files tell; `doubt` says what does not fit together, None if all does."""

    zone: Zone
    doubt: str | None = None


def told_offsets(sources: Iterable[SourceFile], rules: LogRules) -> dict[str, list[ToldOffset]]:
    """Return the offsets that each host's files tell at their beginning or end, newest file first.

    A collector's files count where all their lines bear the same one. A file that cannot be read is
    reported when it is read.
    """
    by_kind: dict[tuple[str, str], list[SourceFile]] = defaultdict(list)
    for source in sources:
        if source.log_kind in KINDS and source.size_bytes > (EMPTY_BYTES if source.name.is_compressed else 0):
            by_kind[source.host, source.log_kind].append(source)
    asked = [source for of_kind in by_kind.values() for source in _worth_asking(of_kind)]
    heads = read_heads(asked)
    told: dict[str, list[ToldOffset]] = defaultdict(list)
    for source in asked:
        found = list(_offsets_in(heads.get(source.path, b"") + _tail(source), source, rules))
        if not source.is_central or len(found) == 1:
            told[source.host] += found
    return told


def infer_zone(told: Sequence[ToldOffset], names: Sequence[str]) -> Inference | None:
    """Return the zone that explains what a host's files tell; None if they tell nothing.

    One offset is a zone of its own. Of several, an IANA zone explains those that daylight saving makes: one
    of `names`, else the commonest of all. Where none does, the newest offset of the surest kind counts.
    """
    if not told:
        return None
    surest = [one for kind in KINDS for one in told if one.log_kind == kind]
    kind = surest[0].log_kind
    of_kind = [one for one in surest if one.log_kind == kind]
    for chosen in (surest, of_kind):
        if len({one.offset for one in chosen}) == 1:
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


def contradiction(zone: Zone, told: Iterable[ToldOffset]) -> ToldOffset | None:
    """Return an offset that a zone does not explain; None if there is none."""
    return next((one for one in told if not _explains(zone.name, [one])), None)


def shared_zone(zones: Iterable[Zone], days: Iterable[date]) -> str | None:
    """Return the name of the zone that all of these are at some days; None if they differ or are none.

    A name of a place goes before an offset.
    """
    by_name = {zone.name: zone for zone in zones}
    noons = [datetime(day.year, day.month, day.day, 12, tzinfo=UTC) for day in days]
    clocks = {tuple(zone.to_local(noon).utcoffset() for noon in noons) for zone in by_name.values()}
    names = sorted(by_name, key=lambda name: (by_name[name].offset is not None, name))
    return names[0] if len(names) == 1 or (noons and len(clocks) == 1) else None


def read_heads(sources: Iterable[SourceFile]) -> dict[str, bytes]:
    """Return the first bytes of files by path; a tar or zip file is gone through once for all its members."""
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
    """Return the last lines of a file that is not compressed: its daemon may write another form by now."""
    if source.member or source.name.is_compressed or source.size_bytes <= HEAD_BYTES:
        return b""
    try:
        with open_regular(source.absolute_path) as plain:
            plain.seek(-HEAD_BYTES, 2)
            return b"\n" + plain.read(HEAD_BYTES).partition(b"\n")[2]
    except OSError:
        return b""


def _offsets_in(content: bytes, source: SourceFile, rules: LogRules) -> Iterator[ToldOffset]:
    """Yield each offset that lines bear, with the last instant at which one does."""
    if not ANY_OFFSET.search(content):
        return
    lines = content.splitlines(keepends=True)
    asked = lines if len(lines) <= 2 * LINES_ASKED else lines[:LINES_ASKED] + lines[-LINES_ASKED:]
    headed = read_headers(
        headers_of_kind(source.log_kind, rules), split_lines(b"".join(asked), 1, may_be_shift_jis=True)
    ).filter(pl.col("utc_offset").is_not_null() & ~pl.col("line").str.contains(IN_UTC))
    latest: dict[timedelta, datetime] = {}
    for year, month, day, time_of_day, offset in headed.select(
        "year", "month", "day", "time_of_day", "utc_offset"
    ).iter_rows():
        try:
            at = datetime(year, month, day, tzinfo=UTC) + time_of_day - offset
        except (ValueError, OverflowError):
            continue
        if year in YEARS and abs(offset) <= FARTHEST_OFFSET:
            latest[offset] = max(at, latest.get(offset, at))
    for offset, at in sorted(latest.items(), key=lambda item: item[1], reverse=True):
        yield ToldOffset(at, offset, source.log_kind, source.path)


def _explains(name: str, told: Iterable[ToldOffset]) -> bool:
    zone = Zone(name, "")
    return all(zone.to_local(one.at).utcoffset() == one.offset for one in told)


def _commonest(told: Collection[ToldOffset]) -> str | None:
    """Return an IANA zone that explains all offsets, of those whose clocks most of these zones share."""
    offsets = sorted({one.offset for one in told})
    if len(offsets) != 2 or offsets[1] - offsets[0] > timedelta(hours=1):
        return None
    names = sorted(name for name in available_timezones() if name.startswith(REGIONS))
    names = [name for region in REGIONS for name in names if name.startswith(region)]
    first = min(one.at for one in told).replace(month=1, day=1, hour=12)
    days = [first + timedelta(days=number) for number in range(366)]
    by_clock: Mapping[tuple[timedelta | None, ...], list[str]] = defaultdict(list)
    for name in names:
        if not _explains(name, told):
            continue
        zone = Zone(name, "")
        by_clock[tuple(zone.to_local(day).utcoffset() for day in days)].append(name)
    return max(by_clock.values(), key=len)[0] if by_clock else None


def _disagreement(told: Iterable[ToldOffset], zone: Zone) -> str:
    by_offset: dict[timedelta, ToldOffset] = {}
    for one in told:
        by_offset.setdefault(one.offset, one)
    return f"its files tell {' and '.join(map(str, by_offset.values()))}, so that {zone.name} is a guess"
