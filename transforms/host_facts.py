"""An archive to what it tells of each host before any log is read: for a fleet file, to begin with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from transforms.archive import Discovery, discover
from transforms.fleet import Fleet, inventory_problems, read_fleet
from transforms.host_settings import PRODUCTS, HostSettings
from transforms.ingest import read_inventory, read_sources
from transforms.inventory_settings import InventorySettings, inventory_spans
from transforms.ledger import Ledger
from transforms.plan import choose_zones, plan_reads
from transforms.problems import MaillagError, Problem
from transforms.trend import LogRules
from transforms.zone import Zone


@dataclass(frozen=True)
class HostFacts:
    """What the archive tells of a host now, and the place where each setting stands.

    `product_in_name` is the product that the folder's name begins with, which proves nothing.
    """

    host: str
    settings: HostSettings
    places: Mapping[str, str]
    product_in_name: str | None


@dataclass(frozen=True)
class FoundFleet:
    """The hosts of an archive in name order, and what could not be read of them."""

    hosts: list[HostFacts]
    problems: list[Problem]


def find_fleet(archive: Path) -> FoundFleet:
    """Look at the archive's folders, inventory files and the heads of its manager logs.

    Raises MaillagError if the archive is not a folder, or holds none.
    """
    fleet = read_fleet(archive)
    discovery = discover(archive, fleet)
    if not fleet.hosts:
        raise MaillagError(
            f"{archive}: holds no folder. Copy each host's logs into a folder of its own there."
        )
    zones = choose_zones(fleet, discovery.sources, "UTC")
    inventory, problems = _read_inventory(discovery, fleet, zones)
    told = {
        str(host): inventory_spans(rows)[-1][1]
        for (host,), rows in inventory.partition_by("host", as_dict=True).items()
    }
    hosts = [_facts(host.name, told.get(host.name, InventorySettings()), zones) for host in fleet.hosts]
    return FoundFleet(hosts, [*discovery.problems, *problems, *inventory_problems(fleet, inventory)])


def _facts(host: str, told: InventorySettings, zones: Mapping[str, Zone]) -> HostFacts:
    settings, places = told.guesses.overlaid(told.settings), dict(told.places)
    if zones[host].source == "manager_log":
        settings = replace(settings, time_zone=zones[host].name)
        places["time_zone"] = "its manager log"
    # IMSVA begins as IMSS does not.
    in_name = next((product for product in PRODUCTS if host.lower().startswith(product)), None)
    return HostFacts(host, settings, places, in_name)


def _read_inventory(
    discovery: Discovery, fleet: Fleet, zones: Mapping[str, Zone]
) -> tuple[pl.DataFrame, list[Problem]]:
    """Return the rows of events.inventory, with the path of each, and what could not be read."""
    sources = [source for source in discovery.sources if source.log_kind == "inventory"]
    ledger = Ledger("sqlite://")
    plan = plan_reads(sources, ledger, fleet=fleet, zones=zones, rules=LogRules())
    with TemporaryDirectory(prefix="maillag-") as folder:
        reads = read_sources(plan, Path(folder), ledger, run_id="init")
        files = [file.path for file in reads.files if file.table_name == "events.inventory"]
        rows = read_inventory(Path(folder), files, [new.record for new in reads.new_sources])
    ledger.close()
    return rows, [*reads.problems, *(problem for new in reads.new_sources for problem in new.problems)]
