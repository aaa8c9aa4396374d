"""Turns source files into a plan: which of them are new or changed, and how each is to be read."""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, time
from functools import cache, partial
from typing import Any

from transforms.archive.files import SourceFile
from transforms.fleet.fleet import Fleet, fleet_file_zone, host_of_line
from transforms.ingest.parser_version import parser_version
from transforms.ingest.zone_evidence import (
    contradiction,
    infer_zone,
    logged_offsets,
    read_heads,
    shared_zone,
)
from transforms.lake.ledger import Ledger
from transforms.lake.records import SeenFile, SourceRecord, to_share
from transforms.log_rules import LogRules
from transforms.parse.clock import YearWindow, date_in
from transforms.parse.events import Reading
from transforms.problems import Problem
from transforms.zone import Zone

# The ledger keeps the version for each file, so that a changed parser reads every file again.
PARSER_VERSION = parser_version()
ZONE_IS_KNOWN = "the host's time zone is known"


@dataclass(frozen=True)
class Plan:
    """The source files to read, and the ids of those that need not be read again.

    For a collector's files, `names` maps the names in lines to hosts, and `zones` has the hosts' time zones.
    """

    readings: list[tuple[SourceFile, Reading]] = field(default_factory=list)
    unchanged_ids: set[str] = field(default_factory=set)
    names: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, Zone] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundZones:
    """Every host's zone, and a warning for each zone that is assumed or that files contradict."""

    zones: dict[str, Zone]
    problems: tuple[Problem, ...]


def find_zones(
    fleet: Fleet,
    sources: Sequence[SourceFile],
    default_time_zone: str,
    *,
    rules: LogRules | None = None,
    known: Mapping[str, Zone] | None = None,
) -> FoundZones:
    """Return every host's zone.

    Precedence, highest first: the fleet file, the offsets in the host's files, the one zone of all other
    hosts, the default. `known` has the zones of hosts whose files are not among the sources. A host without
    files, whose lines are in those of the only collector, shares the collector's zone.
    """
    offsets = logged_offsets(sources, rules or LogRules())
    named = [zone.name for host in fleet.hosts if (zone := fleet_file_zone(host))]
    zones: dict[str, Zone] = {}
    doubts: dict[str, str] = {}
    for host in fleet.hosts:
        of_host = offsets.get(host.name, [])
        if zone := fleet_file_zone(host):
            zones[host.name] = zone
            # A syslog daemon may write the time of another zone, with the offset of that zone.
            by_product = (offset for offset in of_host if offset.log_kind != "maillog")
            if offset := contradiction(zone, by_product):
                doubts[host.name] = f"the fleet file says {zone.name}, but log files say {offset}"
        elif inference := infer_zone(of_host, [*named, default_time_zone]):
            zones[host.name] = inference.zone
            if inference.doubt:
                doubts[host.name] = inference.doubt
        elif known and host.name in known and not known[host.name].is_assumed:
            zones[host.name] = known[host.name]
    with_files = {source.host for source in sources}
    shared = shared_zone(zones.values(), {_modified_at(source).date().replace(day=1) for source in sources})
    collectors = [host.name for host in fleet.hosts if host.is_collector]
    for host in fleet.hosts:
        if host.name in zones:
            continue
        zones[host.name] = Zone(shared, "fleet") if shared else Zone(default_time_zone, "default")
        if host.name in with_files:
            doubts[host.name] = _assumed(zones[host.name])
    for host in fleet.hosts:
        if len(collectors) == 1 and host.name not in with_files and zones[host.name].is_assumed:
            zones[host.name] = zones[collectors[0]]
    return FoundZones(zones, tuple(_zone_in_doubt(host, doubt) for host, doubt in doubts.items()))


def choose_zones(fleet: Fleet, sources: Sequence[SourceFile], default_time_zone: str) -> dict[str, Zone]:
    """Return every host's zone, known or assumed."""
    return find_zones(fleet, sources, default_time_zone).zones


def plan_reads(
    sources: list[SourceFile],
    ledger: Ledger,
    *,
    fleet: Fleet,
    zones: Mapping[str, Zone],
    rules: LogRules,
) -> Plan:
    """Choose what is new or changed since the ledger last saw it, and how to read it."""
    years = _year_windows(sources)
    seen = ledger.seen_files()
    plan = Plan(names=host_of_line(fleet), zones=zones)
    for source in sources:
        reading = Reading(
            host=source.host,
            log_kind=source.log_kind,
            zone=zones[source.host],
            year=years[source.path],
            rules=rules,
            tool=source.name.tool,
            **_taken_at(source, zones[source.host]),
        )
        before = seen.get(source.path, [])
        if before and all(_is_unchanged(row, source, reading, plan) for row in before):
            plan.unchanged_ids.update(row.source_id for row in before)
        else:
            plan.readings.append((source, reading))
    return plan


def plan_batches(plan: Plan, known: Mapping[str, SourceRecord]) -> list[tuple[Plan, dict[str, SourceRecord]]]:
    """Split a plan into batches of hosts of a fair size, the largest first, with the known sources of each.

    The files of collectors are one batch, because they may name any host.
    """
    by_host: dict[str, list[tuple[SourceFile, Reading]]] = defaultdict(list)
    for planned in plan.readings:
        by_host["" if planned[0].is_central else planned[0].host].append(planned)
    of_host: dict[str, dict[str, SourceRecord]] = defaultdict(dict)
    for source_id, record in known.items():
        of_host[record.host][source_id] = record
    sizes = {host: sum(source.size_bytes for source, _ in by_host[host]) for host in by_host}
    batches = []
    for hosts in to_share(sorted(by_host.keys() - {""}), sizes):
        of_batch = {key: record for host in hosts for key, record in of_host[host].items()}
        readings = [planned for host in hosts for planned in by_host[host]]
        part = Plan(readings, plan.unchanged_ids & of_batch.keys())
        batches.append((sum(sizes[host] for host in hosts), part, of_batch))
    if central := by_host.get(""):
        batches.append((sizes[""], replace(plan, readings=central), dict(known)))
    return [(part, of_batch) for _, part, of_batch in sorted(batches, key=lambda batch: -batch[0])]


def _is_unchanged(before: SeenFile, source: SourceFile, reading: Reading, plan: Plan) -> bool:
    return any(
        before == seen_file(source, reading, plan, before.source_id, is_over_limit=is_over_limit)
        for is_over_limit in (False, True)
    )


def seen_file(
    source: SourceFile, reading: Reading, plan: Plan, source_id: str, *, is_over_limit: bool
) -> SeenFile:
    """Return what the ledger keeps of a file, to detect a change of the file or of how it is read.

    The limits are part of how it is read if one of them stopped the reading.
    """
    how: dict[str, Any] = {
        "parser": PARSER_VERSION,
        "zone": asdict(reading.zone),
        "year": reading.year.source,
        "rules": asdict(reading.rules),
    }
    if source.is_central:
        how |= {"names": dict(plan.names), "zones": {name: zone.name for name, zone in plan.zones.items()}}
    if is_over_limit:
        how["limits"] = asdict(source.limits)
    return SeenFile(
        path=source.path,
        size_bytes=source.size_bytes,
        modified_at_ns=source.modified_at_ns,
        # Nearly all files of an archive are read in the same way.
        reading=sys.intern(json.dumps(how, sort_keys=True)),
        source_id=source_id,
    )


def _taken_at(source: SourceFile, zone: Zone) -> dict[str, Any]:
    """Date a file whose lines have no time: by its name, else by its modification time."""
    if source.log_kind not in {"queue_snapshot", "inventory"}:
        return {}
    day, at = source.name.name_date, source.name.name_time
    if day and (at or source.log_kind == "inventory"):
        local = datetime.combine(day, at or time())
        return {"taken_at": zone.to_utc(local), "taken_at_source": "file_name"}
    return {"taken_at": _modified_at(source), "taken_at_source": "file_time"}


def _year_windows(sources: Iterable[SourceFile]) -> dict[str, YearWindow]:
    """Return the year of each file's stamps, as far as it is known before the file is read."""
    by_host = defaultdict(list)
    for source in sources:
        by_host[source.host].append(source)
    windows = {}
    for of_host in by_host.values():
        manager_dates = [
            s.name.name_date for s in of_host if s.log_kind == "manager_log" and s.name.name_date
        ]
        maillogs = sorted((s for s in of_host if s.log_kind == "maillog"), key=_rotation_order)
        places = {source.path: place for place, source in enumerate(maillogs)}
        # Every undated file depends on its neighbours; each of them is opened only once.
        began_on = cache(partial(_began_on, maillogs))
        for source in of_host:
            windows[source.path] = (
                (source.name.name_date and YearWindow.by_file_name(source.name.name_date))
                or _by_neighbours(places.get(source.path), len(maillogs), began_on)
                or (manager_dates and YearWindow.by_manager_log(max(manager_dates)))
                or YearWindow.by_file_time(_modified_at(source).date())
            )
    return windows


def _by_neighbours(
    place: int | None, count: int, began_on: Callable[[int], date | None]
) -> YearWindow | None:
    """Take the year from the nearest dated file before or after a maillog in its rotation.

    `place` is None for files that are not maillogs.
    """
    if place is None:
        return None
    for distance in range(1, count):
        if place + distance < count and (day := began_on(place + distance)):
            return YearWindow.before_neighbour(day)
        if place >= distance and (day := began_on(place - distance)):
            return YearWindow.after_neighbour(day)
    return None


def _rotation_order(source: SourceFile) -> tuple[int, date, int, str]:
    """Sort from the oldest to the newest: by date, then by descending number, then the rest."""
    name = source.name
    rank = 0 if name.name_date else 2 if name.rotation_number is None else 1
    return rank, name.name_date or date.max, -(name.rotation_number or 0), source.path


def _began_on(maillogs: Sequence[SourceFile], place: int) -> date | None:
    """Return the day in a maillog's name or first lines."""
    source = maillogs[place]
    if source.name.name_date:
        return source.name.name_date
    dated = date_in(_head(source))
    return dated[0] if dated else None


def _modified_at(source: SourceFile) -> datetime:
    return datetime.fromtimestamp(source.modified_at_ns / 1e9, UTC)


def _head(source: SourceFile) -> bytes:
    """Return the first bytes of a file; one that cannot be read is reported later."""
    return read_heads([source]).get(source.path, b"")


def _assumed(zone: Zone) -> str:
    if zone.source == "fleet":
        return (
            f"the time zone is unknown: no log file states it; {zone.name} is assumed, as on all other hosts"
        )
    return f"the time zone is unknown: neither log files nor other hosts state it; {zone.name} is assumed"


def _zone_in_doubt(host: str, doubt: str) -> Problem:
    return Problem(
        host,
        doubt,
        "Set time_zone in the fleet file, such as 'Asia/Tokyo' (`timedatectl` on the host shows it). "
        "Lines without an offset are then read again.",
        rule=ZONE_IS_KNOWN,
        is_warning=True,
    )
