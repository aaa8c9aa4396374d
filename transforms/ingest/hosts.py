"""Turns fleet file, inventory and ledger into the lake's tables of hosts, and into problems with them."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from transforms.archive.files import Discovery
from transforms.fleet.fleet import Fleet, with_found_hosts
from transforms.fleet.history import host_history, inventory_problems, latest_hosts, product_problems
from transforms.fleet.inventory_settings import IMSVA_PATH
from transforms.ingest.host_facts import read_inventory
from transforms.lake.files import write_table
from transforms.lake.ledger import Ledger
from transforms.lake.records import SourceRecord
from transforms.problems import Problem
from transforms.zone import Zone


def write_fleet(
    fleet: Fleet,
    zones: Mapping[str, Zone],
    records: Collection[SourceRecord],
    *,
    lake: Path,
    ledger: Ledger,
    run_id: str,
    imss_ini_keys: Mapping[str, str],
) -> list[Problem]:
    """Write the tables of hosts from fleet file and inventory; return problems with the settings."""
    inventory = read_inventory(lake, ledger.lake_files().get("events.inventory", []), records)
    imsva_paths = _imsva_paths(records)
    history = host_history(fleet, zones, inventory, imss_ini_keys=imss_ini_keys, imsva_paths=imsva_paths)
    tables = {"fleet.hosts": latest_hosts(history), "fleet.host_history": history}
    ledger.replace_tables([write_table(lake, table, rows, run_id) for table, rows in tables.items()])
    return [
        *inventory_problems(fleet, inventory, imss_ini_keys=imss_ini_keys),
        *product_problems(history.iter_rows(named=True), imsva_paths),
    ]


def with_hosts_in_lines(
    fleet: Fleet, zones: Mapping[str, Zone], records: Collection[SourceRecord]
) -> tuple[Fleet, dict[str, Zone]]:
    """Add the hosts that only a collector's lines name, each with the zone used for its lines."""
    known = {host.name for host in fleet.hosts}
    collector_of = _collectors(fleet, records)
    collectors = {host.name for host in fleet.hosts if host.is_collector}
    with_files = {record.host for record in records if record.path not in collector_of}
    new_hosts = {}
    new_zones = {}
    for record in records:
        if record.path not in collector_of:
            continue
        if record.host not in known:
            new_hosts[record.host] = collector_of[record.path]
        is_open = record.host not in known or (
            record.host not in with_files and zones[record.host].is_assumed
        )
        if is_open and record.host not in collectors:
            new_zones[record.host] = Zone(record.time_zone, record.zone_source)
    return with_found_hosts(fleet, new_hosts), {**zones, **new_zones}


def zones_read_by(ledger: Ledger, hosts: Collection[str]) -> dict[str, Zone]:
    """Return the zones last used for the files of all other hosts, which this run does not look at."""
    return {
        record.host: Zone(record.time_zone, record.zone_source)
        for record in sorted(ledger.source_records().values(), key=lambda record: record.run_id)
        if record.host not in hosts
    }


def hosts_without_logs(
    fleet: Fleet, discovery: Discovery, records: Collection[SourceRecord]
) -> list[Problem]:
    """Return a problem for each host that has neither a log file nor a line in a collector's files."""
    paths = _collectors(fleet, records)
    named = {record.host for record in records if record.path in paths}
    return [problem for host, problem in discovery.without_files.items() if host not in named]


def _collectors(fleet: Fleet, records: Iterable[SourceRecord]) -> dict[str, str]:
    """Return the collector by the path of each of its files, in which it has a source itself."""
    names = {host.name for host in fleet.hosts if host.is_collector}
    return {record.path: record.host for record in records if record.host in names}


def _imsva_paths(records: Iterable[SourceRecord]) -> dict[str, str]:
    """Return, for hosts with a path that only IMSVA has, that path."""
    return {record.host: record.path for record in records if IMSVA_PATH.search(record.path)}
