"""fleet.toml and the folders of an archive to hosts, with the settings that the fleet file gives them."""

import difflib
import ipaddress
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from transforms.bounds import YEARS
from transforms.fleet.host_settings import (
    MTAS,
    PRODUCTS,
    SETTING_NAMES,
    SETTING_TYPES,
    HostSettings,
    setting_bounds,
)
from transforms.fleet.toml_file import read_toml
from transforms.names import given_host, host_name, raw_name
from transforms.problems import MaillagError, Problem
from transforms.zone import Zone

FLEET_FILE = "fleet.toml"
HOST_FROM = ("folder", "line")
# The keys of a host's table that are not settings.
HOST_KEYS = ("path", "host_from", "aliases", "changes")
KINDS: dict[type, str] = {str: "a string", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True)
class Host:
    """One gateway, or a collector: a log server whose files name the host in every line.

    - `changes`: later settings, each with the day on which they took effect, in order.
    - `path`: a glob of the host's files inside the archive; None for the folder of the host's name.
    - `host_from`: `folder` for a gateway, `line` for a collector.
    - `aliases`: other names by which a collector's lines name this host.
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
    """Read the fleet file (default: the archive's `fleet.toml`) and add the folders that it does not name.

    Raises MaillagError for a file that is not TOML, an unknown key (with a suggestion), a value of the wrong
    type, or a name that two hosts share: a misread fleet would give wrong verdicts.
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

    A link to something in another folder of the archive is not a host. Without an archive, the list is empty.
    Raises MaillagError if the archive cannot be read.
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
    """Return the host's name by each name, in lower case, that a line may use for it.

    These are the names and aliases of all hosts, collectors included, and their part before the first dot
    (except of an address), where it stands for one host only. A whole name takes precedence over a shortened
    one. Two hosts whose names differ only in case are left out.
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
    """Add the hosts that only lines name; `found` maps each name to the collector of these lines.

    They get the collector's time zone and the fleet's defaults. A name that the fleet knows already, as an
    alias or as the name of a collector, is not a new host.
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


def fleet_file_zone(host: Host) -> Zone | None:
    """Return the zone that the fleet file gives a host, in the host's entry or in the defaults."""
    name = host.settings.time_zone or host.defaults.time_zone
    return Zone(name, "fleet_file") if name else None


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
        raise MaillagError(f"{where}: host_from = {host_from!r} is not {KINDS[str]}. Correct its value.")
    _refuse_unless(host_from, HOST_FROM, "host_from", where)
    aliases = entry.pop("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(a, str) and a.strip() for a in aliases):
        raise MaillagError(
            f"{where}: aliases = {aliases!r} is not a list of names. Write aliases = "
            '["mx1.example.com", "192.0.2.7"].'
        )
    glob = entry.pop("path", None)
    if glob is not None and (not isinstance(glob, str) or not _is_within_archive(glob)):
        raise MaillagError(f"{where}: path must be a glob inside the archive, such as 'gw1/logs/*'.")
    changes = entry.pop("changes", [])
    if not isinstance(changes, list):
        raise MaillagError(f"{where}: changes is not a list. Write [[hosts.{json.dumps(name)}.changes]].")
    return Host(
        name=given_host(name),
        changes=tuple(sorted((_change(change, where) for change in changes), key=lambda change: change[0])),
        settings=_settings(entry, where),
        defaults=defaults,
        path=glob,
        host_from=host_from,
        aliases=tuple(aliases),
    )


def _change(table: Any, where: str) -> tuple[date, HostSettings]:
    day = table.get("from") if isinstance(table, dict) else None
    if not isinstance(day, date) or isinstance(day, datetime):
        raise MaillagError(f"{where}: a change has no date. Write from = 2026-03-01, for example, in it.")
    if day.year not in YEARS:
        raise MaillagError(f"{where}: from = {day} is out of range. Correct its year.")
    settings = {key: value for key, value in table.items() if key != "from"}
    return day, _settings(settings, f"{where}, change from {day}")


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
            raise MaillagError(f"{where}: {name} = {value!r} is not {KINDS[expected]}. Correct its value.")
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
            f"{where}: time_zone = {settings.time_zone!r} is not a time zone. Write an IANA name such as "
            "'Asia/Tokyo' or an offset such as 'GMT+09:00'."
        )
    return settings


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Known keys: {', '.join(known)}."
            raise MaillagError(f"{where}: {key!r} is not a known key. {hint}")


def _refuse_unless(value: str | None, known: tuple[str, ...], name: str, where: str) -> None:
    if value is not None and value not in known:
        raise MaillagError(f"{where}: {name} = {value!r} is not one of {', '.join(known)}.")


def _refuse_shared_names(hosts: list[Host], path: Path) -> None:
    for name, count in Counter(host.name for host in hosts).items():
        if count > 1:
            raise MaillagError(
                f"{path}: [hosts.{json.dumps(name)}]: appears twice, in two spellings. Remove one."
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
                    f"{owner.name!r} too. A name in a log line must stand for one host: remove it from one "
                    "of them."
                )


def _as_logged(name: str) -> str:
    """Return a name as it stands in lines that were split (events.split_lines)."""
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
