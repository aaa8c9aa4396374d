"""fleet.toml and inventory to hosts: product, build, zone and retry settings, each with its source."""

import difflib
import ipaddress
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from transforms.bounds import YEARS
from transforms.fleet.host_settings import (
    MTAS,
    POSTFIX_DEFAULTS,
    POSTFIX_SETTINGS,
    PRODUCTS,
    SENDMAIL_DEFAULTS,
    SETTING_NAMES,
    SETTING_TYPES,
    HostSettings,
    product_defaults,
    setting_bounds,
)
from transforms.fleet.inventory_settings import NOTHING, InventorySettings, inventory_spans
from transforms.fleet.toml_file import read_toml
from transforms.names import given_host, host_name, raw_name
from transforms.problems import MaillagError, Problem
from transforms.zone import Zone

FLEET_FILE = "fleet.toml"
# Where a product is from that nobody told: no build verdict rests on it.
GUESS = "guess"
PRODUCT_IS_KNOWN = "the host's product is known"
HOST_FROM = ("folder", "line")
# Keys of a host's table beside its settings.
HOST_KEYS = ("path", "host_from", "aliases", "changes")


@dataclass(frozen=True)
class Host:
    """One gateway: its settings, their later changes by the day they took effect, and its files.

    With `host_from` line it is no gateway but a collector: a log server whose files name the host in every
    line. `aliases` are other names by which such lines name this host.
    """

    name: str
    settings: HostSettings = field(default_factory=HostSettings)
    defaults: HostSettings = field(default_factory=HostSettings)
    changes: tuple[tuple[date, HostSettings], ...] = ()
    path: str | None = None
    host_from: str = "folder"
    aliases: tuple[str, ...] = ()

    @property
    def is_collector(self) -> bool:
        """Whether its files hold the lines of many hosts."""
        return self.host_from == "line"


@dataclass(frozen=True)
class Fleet:
    """All hosts of an archive in name order, and what was wrong or missing in the fleet file."""

    hosts: tuple[Host, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def gateways(self) -> tuple[Host, ...]:
        """The hosts that mail passes through: all but the collectors."""
        return tuple(host for host in self.hosts if not host.is_collector)


def read_fleet(archive: Path, fleet_file: Path | None = None) -> Fleet:
    """Read `fleet.toml` (of the archive, unless another is given) and add the folders it lacks.

    Raises MaillagError for a file that is no TOML, an unknown key (with a suggestion) or a value of the
    wrong type, or a name that two hosts claim: a misread fleet would give wrong verdicts.
    """
    path = fleet_file or archive / FLEET_FILE
    if fleet_file and not fleet_file.is_file():
        raise MaillagError(f"{fleet_file}: no such file. Give an existing fleet file, or none.")
    if not fleet_file and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(archive)):
        raise MaillagError(
            f"{path}: is a symbolic link that leads out of the archive. Give its target as --fleet."
        )
    document = read_toml(path) if os.path.lexists(path) else {}
    _refuse_unknown(document, ("defaults", "hosts"), f"{path}")
    defaults = _settings(document.get("defaults", {}), f"{path}: [defaults]")
    tables = document.get("hosts", {})
    if not isinstance(tables, dict):
        raise MaillagError(f'{path}: hosts is not a table. Write [hosts."name"] for each host.')
    hosts = [_host(name, table, defaults, path) for name, table in tables.items()]
    folders = {host_name(os.fsencode(name)) for name in host_folders(archive) if not name.startswith(".")}
    with_path = {given_host(host.path.split("/")[0]) for host in hosts if host.path}
    missing = sorted(folders - with_path - {host.name for host in hosts})
    hosts += [Host(name, defaults=defaults) for name in missing]
    _refuse_shared_names(hosts, path)
    problems = tuple(_no_entry(f"{name}/", name, path.name) for name in missing) if tables else ()
    return Fleet(tuple(sorted(hosts, key=lambda host: host.name)), problems)


def host_folders(archive: Path) -> list[str]:
    """Return the names of the archive's folders, and of links that may stand for one.

    A link to what is in another folder of the archive is no host. An archive that is no folder has none.
    Raises MaillagError if it cannot be read.
    """
    if not archive.is_dir():
        return []
    try:
        with os.scandir(archive) as entries:
            return [entry.name for entry in entries if _is_host_folder(entry, archive)]
    except OSError as error:
        raise MaillagError(f"{archive}: cannot be read ({error.strerror}). Check its permissions.") from None


def _is_host_folder(entry: os.DirEntry[str], archive: Path) -> bool:
    if not entry.is_symlink():
        return entry.is_dir(follow_symlinks=False)
    target, root = Path(os.path.realpath(entry)), Path(os.path.realpath(archive))
    is_inside = target.is_relative_to(root) and os.path.lexists(target)
    is_hidden = is_inside and any(part.startswith(".") for part in target.relative_to(root).parts[:1])
    # Unlike Path.is_file, False where the target cannot be looked at.
    is_file = os.path.isfile(target)  # noqa: PTH113
    return not is_file and (is_hidden or not is_inside) and entry.name != FLEET_FILE


def host_of_line(fleet: Fleet) -> dict[str, str]:
    """Return the host's name by every name, in small letters, that a line may call it by.

    These are the names and aliases of all hosts, collectors too, and what stands before their first dot
    (of no address) where that means one host only. A name as written goes before a shortened one; two
    hosts whose names differ in nothing but capitals are left out.
    """
    exact: dict[str, set[str]] = {}
    short: dict[str, set[str]] = {}
    for host in fleet.hosts:
        for name in (host.name, _as_logged(host.name), *host.aliases):
            exact.setdefault(name.lower(), set()).add(host.name)
            if not _is_address(name):
                short.setdefault(name.lower().split(".")[0], set()).add(host.name)
    return {name: next(iter(hosts)) for name, hosts in (short | exact).items() if len(hosts) == 1}


def with_found_hosts(fleet: Fleet, found: Mapping[str, str]) -> Fleet:
    """Add the hosts that only lines name: `found` gives the collector of each name.

    They take the collector's time zone and the fleet's defaults. A name that the fleet knows already, be
    it an alias or the collector's own, is no new host.
    """
    known = {name.lower() for host in fleet.hosts for name in (host.name, *host.aliases)}
    by_name = {host.name: host for host in fleet.hosts}
    new = {name: by_name[found[name]] for name in sorted(found) if name.lower() not in known}
    hosts = [
        Host(name, HostSettings(time_zone=collector.settings.time_zone), collector.defaults)
        for name, collector in new.items()
    ]
    return Fleet(
        tuple(sorted((*fleet.hosts, *hosts), key=lambda host: host.name)),
        fleet.problems
        + tuple(_no_entry(f"{collector.name}/", name, FLEET_FILE) for name, collector in new.items()),
    )


def latest_hosts(history: pl.DataFrame) -> pl.DataFrame:
    """Return the last span of each host, in the columns of fleet.hosts."""
    return history.filter(pl.col("valid_until").is_null()).drop("valid_from", "valid_until")


def told_zone(host: Host) -> Zone | None:
    """Return the zone that the fleet file gives a host, in its entry or for all."""
    name = host.settings.time_zone or host.defaults.time_zone
    return Zone(name, "fleet_file") if name else None


def host_history(
    fleet: Fleet,
    zones: Mapping[str, Zone],
    inventory: pl.DataFrame | None = None,
    *,
    imss_ini_keys: Mapping[str, str] = NOTHING,
    imsva_paths: Mapping[str, str] = NOTHING,
) -> pl.DataFrame:
    """One row per gateway and span of unchanged settings, in the columns of fleet.host_history.

    `<setting>_source` says which of these was the first to know the setting: `fleet_file` (the host's entry
    and its changes), `inventory`, `file_path` (`imsva_paths`: a path that only IMSVA has, by host),
    `fleet_defaults`, `guess` (of the product, by its version), `product_default`, `postfix_default`; in place
    of the last two `sendmail_default` on a host with that MTA, of which Postfix's files tell nothing. A
    guessed product has no defaults. For the zone it is what found it. NULL beside an unknown value.

    The spans of a host follow each other and differ; the first has no start and the last no end. A change
    takes effect at midnight of its day in the host's zone, inventory at its `logged_at`; the earliest also
    counts for the time before it. `inventory` has the columns host, tool, setting, value, logged_at, path
    and line_number; `imss_ini_keys` is that of inventory_settings.
    """
    told = _told(fleet, inventory, imss_ini_keys)
    rows = [
        row
        for host in fleet.gateways
        for row in _host_spans(
            host, zones[host.name], told[host.name], is_imsva_by_path=host.name in imsva_paths
        )
    ]
    return pl.DataFrame(rows, schema=HISTORY_SCHEMA)


def inventory_problems(
    fleet: Fleet, inventory: pl.DataFrame, *, imss_ini_keys: Mapping[str, str] = NOTHING
) -> tuple[Problem, ...]:
    """Return what could not be understood of the inventory, but for settings that a host's entry gives."""
    told = _told(fleet, inventory, imss_ini_keys)
    found = (
        problem
        for host in fleet.gateways
        for _, by_inventory in told[host.name]
        for name, problem in by_inventory.problems.items()
        if getattr(host.settings, name) is None
    )
    return tuple(dict.fromkeys(found))


def product_problems(
    history: Iterable[Mapping[str, Any]], imsva_paths: Mapping[str, str]
) -> tuple[Problem, ...]:
    """Return a warning for each host whose product is guessed, or told otherwise than a path shows."""
    found = []
    for row in history:
        if row["valid_until"] is not None:
            continue
        host, path = row["host"], imsva_paths.get(row["host"])
        if row["product_source"] == GUESS:
            what = (
                f"its product is a guess ({row['product']}), for what `S99IMSS version` prints does not tell "
                "IMSS from IMSVA: its build verdict is unknown"
            )
        elif path and row["product"] != "imsva":
            what = f"its product is {row['product']} by the {row['product_source']}, but IMSVA by {path}"
        else:
            continue
        remedy = f"Write product = {' or '.join(map(json.dumps, PRODUCTS))} into its entry of the fleet file."
        found.append(Problem(host, what, remedy, rule=PRODUCT_IS_KNOWN, is_warning=True))
    return tuple(found)


Told = list[tuple[datetime | None, InventorySettings]]


def _told(fleet: Fleet, inventory: pl.DataFrame | None, imss_ini_keys: Mapping[str, str]) -> dict[str, Told]:
    """Return what its inventory says of every gateway, by the instant from which it does."""
    empty = InventorySettings()
    told: dict[str, Told] = {host.name: [(None, empty)] for host in fleet.gateways}
    if inventory is not None and not inventory.is_empty():
        for (name, *_), rows in inventory.partition_by("host", as_dict=True).items():
            if name in told:
                told[name] = inventory_spans(rows, imss_ini_keys)
    return told


def _host_spans(host: Host, zone: Zone, told: Told, *, is_imsva_by_path: bool) -> Iterator[dict[str, Any]]:
    by_path = HostSettings(product="imsva") if is_imsva_by_path else HostSettings()
    changes = [(zone.midnight(day), settings) for day, settings in host.changes]
    later = {start for start, _ in (*changes, *told) if start is not None}
    span: dict[str, Any] | None = None
    for start in (None, *sorted(later)):
        settings = host.settings
        for changed_at, change in changes:
            if start is not None and changed_at <= start:
                settings = settings.overlaid(change)
        *_, by_inventory = (
            said for said_at, said in told if said_at is None or (start is not None and said_at <= start)
        )
        resolved = {"host": host.name, **_resolved(settings, by_inventory, by_path, host.defaults, zone)}
        if span and resolved.items() <= span.items():
            continue
        if span:
            yield span | {"valid_until": start}
        span = resolved | {"valid_from": start, "valid_until": None}
    if span:
        yield span


POLARS_TYPES = {str: pl.String(), int: pl.Int64(), bool: pl.Boolean()}
HISTORY_SCHEMA = pl.Schema(
    {
        "host": pl.String(),
        **{
            column: dtype
            for name, python_type in SETTING_TYPES.items()
            for column, dtype in (
                (name, POLARS_TYPES[python_type]),
                (f"{name}_source", pl.String()),
            )
        },
        "valid_from": pl.Datetime("us", "UTC"),
        "valid_until": pl.Datetime("us", "UTC"),
    }
)


def _resolved(
    settings: HostSettings,
    told: InventorySettings,
    by_path: HostSettings,
    defaults: HostSettings,
    zone: Zone,
) -> dict[str, Any]:
    """Return every setting with its source: the first layer that knows it."""
    layers = [
        ("fleet_file", settings),
        ("inventory", told.settings),
        ("file_path", by_path),
        ("postfix_default", told.silent),
        ("fleet_defaults", defaults),
        (GUESS, told.guesses),
    ]
    if _first(layers, "mta")[1] == "sendmail":
        not_postfix = replace(told.settings, **dict.fromkeys(POSTFIX_SETTINGS))
        layers[1] = ("inventory", not_postfix)
        layers = [(source, layer) for source, layer in layers if layer is not told.silent]
        layers += [("sendmail_default", SENDMAIL_DEFAULTS)]
    else:
        product_source, product = _first(layers, "product")
        is_told = product_source != GUESS
        layers += [
            (
                "product_default",
                product_defaults(product if is_told else None, _first(layers, "build")[1]),
            ),
            ("postfix_default", POSTFIX_DEFAULTS),
        ]
    values: dict[str, Any] = {}
    for name in SETTING_NAMES:
        source, value = _first(layers, name)
        values |= {name: value, f"{name}_source": source}
    return values | {"time_zone": zone.name, "time_zone_source": zone.source}


def _first(layers: Iterable[tuple[str, HostSettings]], name: str) -> tuple[str | None, Any]:
    known = ((source, getattr(layer, name)) for source, layer in layers)
    return next(((source, value) for source, value in known if value is not None), (None, None))


def _host(name: str, table: Any, defaults: HostSettings, path: Path) -> Host:
    where = f"{path}: [hosts.{json.dumps(name)}]"
    if not name:
        raise MaillagError(f"{where}: has no name. Write one between the quotation marks.")
    if not isinstance(table, dict):
        raise MaillagError(f"{where}: is not a table. Write its keys below that heading.")
    _refuse_unknown(table, SETTING_NAMES + HOST_KEYS, where)
    entry = dict(table)
    host_from = entry.pop("host_from", "folder")
    if not isinstance(host_from, str):
        raise MaillagError(f"{where}: host_from = {host_from!r} is no str. Correct its value.")
    _refuse_unless(host_from, HOST_FROM, "host_from", where)
    aliases = entry.pop("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(a, str) and a.strip() for a in aliases):
        raise MaillagError(
            f"{where}: aliases = {aliases!r} is no list of names. Write aliases = "
            '["mx1.example.com", "192.0.2.7"].'
        )
    glob = entry.pop("path", None)
    if glob is not None and (not isinstance(glob, str) or not _is_within_archive(glob)):
        raise MaillagError(f"{where}: path must be a glob inside the archive, such as 'gw1/logs/*'.")
    changes = []
    listed = entry.pop("changes", [])
    if not isinstance(listed, list):
        raise MaillagError(f"{where}: changes is no list. Write [[hosts.{json.dumps(name)}.changes]].")
    for change in listed:
        day = change.get("from") if isinstance(change, dict) else None
        if not isinstance(day, date) or isinstance(day, datetime):
            raise MaillagError(f"{where}: a change lacks its day. Write from = 2026-03-01 in it.")
        if day.year not in YEARS:
            raise MaillagError(f"{where}: from = {day} is out of range. Correct its year.")
        keys = {key: value for key, value in change.items() if key != "from"}
        changes.append((day, _settings(keys, f"{where}, change from {day}")))
    settings = _settings(entry, where)
    return Host(
        name=given_host(name),
        settings=settings,
        defaults=defaults,
        changes=tuple(sorted(changes, key=lambda change: change[0])),
        path=glob,
        host_from=host_from,
        aliases=tuple(aliases),
    )


def _is_within_archive(glob: str) -> bool:
    parts = Path(glob).parts
    return bool(parts) and not Path(glob).is_absolute() and ".." not in parts and "\0" not in glob


def _settings(table: Any, where: str) -> HostSettings:
    if not isinstance(table, dict):
        raise MaillagError(f"{where}: is not a table. Write its keys below that heading.")
    _refuse_unknown(table, SETTING_NAMES, where)
    for name, value in table.items():
        expected = SETTING_TYPES[name]
        if type(value) is not expected:
            raise MaillagError(f"{where}: {name} = {value!r} is no {expected.__name__}. Correct its value.")
        least, most = setting_bounds(name)
        if isinstance(value, int) and not least <= value <= most:
            raise MaillagError(
                f"{where}: {name} = {value} is out of range. Give a number from {least} to {most}."
            )
    settings = HostSettings(**table)
    _refuse_unless(settings.product, PRODUCTS, "product", where)
    _refuse_unless(settings.mta, MTAS, "mta", where)
    if settings.time_zone and not Zone(settings.time_zone, "fleet_file").is_known():
        raise MaillagError(
            f"{where}: time_zone = {settings.time_zone!r} is no zone. Write an IANA name such as "
            "'Asia/Tokyo' or an offset such as 'GMT+09:00'."
        )
    return settings


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known keys: {', '.join(known)}."
            raise MaillagError(f"{where}: {key!r} is no known key. {hint}")


def _refuse_unless(value: str | None, known: tuple[str, ...], name: str, where: str) -> None:
    if value is not None and value not in known:
        raise MaillagError(f"{where}: {name} = {value!r} is none of {', '.join(known)}.")


def _refuse_shared_names(hosts: list[Host], path: Path) -> None:
    names = [host.name for host in hosts]
    for name in names:
        if names.count(name) > 1:
            raise MaillagError(
                f"{path}: [hosts.{json.dumps(name)}]: is there twice, in two spellings. Remove one."
            )
    owners: dict[str, Host] = {host.name.lower(): host for host in hosts}
    is_name = set(owners)
    for host in hosts:
        for alias in host.aliases:
            owner = owners.setdefault(alias.lower(), host)
            if owner is not host and host.name.lower() != alias.lower():
                claim = "the name" if alias.lower() in is_name else "an alias"
                raise MaillagError(
                    f"{path}: [hosts.{json.dumps(host.name)}]: alias {alias!r} is {claim} of host "
                    f"{owner.name!r} too. A line that bears it must mean one host: remove it from one."
                )


def _as_logged(name: str) -> str:
    """Return how lines that are split show a name."""
    return raw_name(name).decode(errors="backslashreplace")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _no_entry(where: str, name: str, fleet_file: str) -> Problem:
    return Problem(
        where,
        f"host {name} has no entry in {fleet_file}: product, build and retry settings are unknown, so "
        "defaults are assumed",
        f"Add [hosts.{json.dumps(name)}] with its product, build, time_zone and retry settings.",
        is_note=True,
    )
