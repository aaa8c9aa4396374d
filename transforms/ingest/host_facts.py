"""Turns an archive into what it says about each host before logs are read, for a first fleet file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from transforms.archive.files import Discovery, discover, passed_over
from transforms.fleet.fleet import Fleet, read_fleet
from transforms.fleet.history import host_history, inventory_problems, product_problems
from transforms.fleet.host_settings import PRODUCTS, HostSettings
from transforms.fleet.inventory_settings import IMSVA_PATH, InventorySettings, inventory_spans
from transforms.ingest.plan import find_zones, plan_reads
from transforms.ingest.read import read_sources
from transforms.ingest.zone_evidence import KINDS
from transforms.lake.ledger import Ledger
from transforms.lake.records import SourceRecord
from transforms.log_rules import LogRules
from transforms.parse.tables import EVENT_TABLES
from transforms.problems import MaillagError, Problem
from transforms.zone import Zone

ASSUMED_ZONE = "UTC"


@dataclass(frozen=True)
class HostFacts:
    """What the archive says about a host now, and the place where each setting was found.

    `silent` has Postfix's defaults for parameters that a main.cf leaves out. `product_hint` is an unproved
    product, and what suggests it: the folder's name or the version.
    """

    host: str
    settings: HostSettings
    silent: HostSettings
    places: Mapping[str, str]
    product_hint: tuple[str, str] | None


@dataclass(frozen=True)
class FoundFleet:
    """The hosts of an archive in name order, and what could not be read about them."""

    hosts: list[HostFacts]
    problems: list[Problem]


def find_fleet(archive: Path, fleet_file: Path | None = None) -> FoundFleet:
    """Look at the archive's folders, inventory files and the heads of its manager logs.

    The hosts that a fleet file names are among them, with what the archive says about them.

    Raises MaillagError if the archive is not a folder, or holds none.
    """
    fleet = read_fleet(archive, fleet_file)
    discovery = discover(archive, fleet)
    if not fleet.hosts:
        raise MaillagError(
            f"{archive}: holds no folder. Make a folder for each host there and copy its logs into it."
        )
    found_zones = find_zones(fleet, discovery.sources, ASSUMED_ZONE)
    zones = found_zones.zones
    inventory, problems = _read_inventory(discovery, fleet, zones)
    imsva_paths = {source.host: source.path for source in discovery.sources if IMSVA_PATH.search(source.path)}
    history = host_history(fleet, zones, inventory, imsva_paths=imsva_paths)
    by_inventory = {
        str(host): inventory_spans(rows)[-1][1]
        for (host,), rows in inventory.partition_by("host", as_dict=True).items()
    }
    hosts = [
        _facts(host.name, by_inventory.get(host.name, InventorySettings()), zones, imsva_paths)
        for host in fleet.hosts
    ]
    problems += [
        *discovery.problems,
        *passed_over(discovery.ignored),
        *inventory_problems(fleet, inventory),
        *product_problems(history.iter_rows(named=True), imsva_paths),
        *found_zones.problems,
    ]
    return FoundFleet(hosts, problems)


def _facts(
    host: str, inventory: InventorySettings, zones: Mapping[str, Zone], imsva_paths: Mapping[str, str]
) -> HostFacts:
    settings, places = inventory.settings, dict(inventory.places)
    if settings.product is None and host in imsva_paths:
        settings = replace(settings, product="imsva")
        places["product"] = imsva_paths[host]
    zone = zones[host]
    if zone.source in KINDS:
        settings = replace(settings, time_zone=zone.name)
        places["time_zone"] = f"its {zone.source.replace('_', ' ')}"
    # "imsva" does not begin with "imss".
    in_name = next((product for product in PRODUCTS if host.lower().startswith(product)), None)
    hint = None
    if inventory.guesses.product:
        hint = inventory.guesses.product, places["product"]
    if in_name:
        hint = in_name, "the folder's name"
    return HostFacts(host, settings, inventory.silent, places, hint)


def _read_inventory(
    discovery: Discovery, fleet: Fleet, zones: Mapping[str, Zone]
) -> tuple[pl.DataFrame, list[Problem]]:
    """Return the rows of events.inventory with their paths, and what could not be read."""
    sources = [source for source in discovery.sources if source.log_kind == "inventory"]
    ledger = Ledger("sqlite://")
    plan = plan_reads(sources, ledger, fleet=fleet, zones=zones, rules=LogRules())
    with TemporaryDirectory(prefix="maillag-") as folder:
        reads = read_sources(plan, Path(folder), {}, run_id="init", part="1")
        files = [file.path for file in reads.files if file.table_name == "events.inventory"]
        rows = read_inventory(Path(folder), files, [new.record for new in reads.new_sources])
    ledger.close()
    return rows, [*reads.problems, *(problem for new in reads.new_sources for problem in new.problems)]


def read_inventory(lake: Path, files: Iterable[str], records: Iterable[SourceRecord]) -> pl.DataFrame:
    """Return the rows of files of events.inventory, each with the path of its source file."""
    schema = EVENT_TABLES["inventory"]
    rows = pl.concat([schema.to_frame(), *(pl.read_parquet(lake / file, glob=False) for file in files)])
    paths = {record.source_id: record.path for record in records}
    return rows.with_columns(
        path=pl.col("source_id").replace_strict(paths, default=None, return_dtype=pl.String)
    )
