"""fleet.toml to hosts: product, build, zone and retry settings, each with where it came from."""

import difflib
import json
import tomllib
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import polars as pl

from transforms.clock import Zone
from transforms.problems import MaillagError, Problem

FLEET_FILE = "fleet.toml"
PRODUCTS = ("imss", "imsva")
MTAS = ("postfix", "sendmail")


@dataclass(frozen=True)
class HostSettings:
    """What a host is and how its Postfix retries; None is unknown. Seconds, as postconf counts them."""

    product: str | None = None
    version: str | None = None
    build: int | None = None
    patch: str | None = None
    wrapper_md5: str | None = None
    mta: str | None = None
    sender_filter: bool | None = None
    time_zone: str | None = None
    scan_port: int | None = None
    queue_run_delay_seconds: int | None = None
    minimal_backoff_seconds: int | None = None
    maximal_backoff_seconds: int | None = None
    maximal_queue_lifetime_seconds: int | None = None
    bounce_queue_lifetime_seconds: int | None = None


SETTING_TYPES: dict[str, type] = {
    name: get_args(hint)[0] for name, hint in get_type_hints(HostSettings).items()
}
SETTING_NAMES = tuple(SETTING_TYPES)

DAY_SECONDS = 86_400
EVERY_PRODUCT = HostSettings(mta="postfix", scan_port=10025)
# Postfix's own defaults (postconf(5)): what an IMSS uses on the operating system's Postfix.
POSTFIX_DEFAULTS = replace(
    EVERY_PRODUCT,
    queue_run_delay_seconds=300,
    minimal_backoff_seconds=300,
    maximal_backoff_seconds=4000,
    maximal_queue_lifetime_seconds=5 * DAY_SECONDS,
    bounce_queue_lifetime_seconds=5 * DAY_SECONDS,
)
# Trend Micro KA-0004354: the Postfix inside IMSVA.
IMSVA_DEFAULTS = replace(
    EVERY_PRODUCT,
    queue_run_delay_seconds=900,
    minimal_backoff_seconds=900,
    maximal_backoff_seconds=3600,
    maximal_queue_lifetime_seconds=DAY_SECONDS,
    bounce_queue_lifetime_seconds=0,
)
IMSVA_BOUNCE_LIFETIME_OF_A_DAY_FROM_BUILD = 1978


@dataclass(frozen=True)
class Host:
    """One gateway: its settings, their later changes by the day they took effect, and its files."""

    name: str
    settings: HostSettings = field(default_factory=HostSettings)
    defaults: HostSettings = field(default_factory=HostSettings)
    changes: tuple[tuple[date, HostSettings], ...] = ()
    path: str | None = None


@dataclass(frozen=True)
class Fleet:
    """All hosts of an archive in name order, and what was wrong or missing in the fleet file."""

    hosts: tuple[Host, ...]
    problems: tuple[Problem, ...] = ()


def read_fleet(archive: Path, fleet_file: Path | None = None) -> Fleet:
    """Read `fleet.toml` (of the archive, unless another is given) and add the folders it lacks.

    Raises MaillagError for a file that is no TOML, an unknown key (with a suggestion) or a value of the
    wrong type: a misread fleet would give wrong verdicts.
    """
    path = fleet_file or archive / FLEET_FILE
    if fleet_file and not fleet_file.is_file():
        raise MaillagError(f"{fleet_file}: no such file. Give an existing fleet file, or none.")
    document: dict[str, Any] = {}
    if path.is_file():
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise MaillagError(f"{path}: is not valid TOML ({error}). Correct that line.") from None
    _refuse_unknown(document, ("defaults", "hosts"), f"{path}")
    defaults = _settings(document.get("defaults", {}), f"{path}: [defaults]")
    tables = document.get("hosts", {})
    if not isinstance(tables, dict):
        raise MaillagError(f'{path}: hosts is not a table. Write [hosts."name"] for each host.')
    hosts = [_host(name, table, defaults, path) for name, table in tables.items()]
    folders = [
        entry.name
        for entry in (archive.iterdir() if archive.is_dir() else ())
        if entry.is_dir() and not entry.name.startswith(".")
    ]
    missing = sorted(set(folders) - set(tables) - {h.path.split("/")[0] for h in hosts if h.path})
    hosts += [Host(name, defaults=defaults) for name in missing]
    problems = tuple(_no_entry(name, path.name) for name in missing) if tables else ()
    return Fleet(tuple(sorted(hosts, key=lambda host: host.name)), problems)


def latest_hosts(history: pl.DataFrame) -> pl.DataFrame:
    """Return the last span of each host, in the columns of fleet.hosts."""
    return history.filter(pl.col("valid_until").is_null()).drop("valid_from", "valid_until")


def zone_of(host: Host, manager_zone: str | None, default_zone: str) -> Zone:
    """Choose a host's zone: the fleet file's, else the one its manager log writes, else the default."""
    if name := host.settings.time_zone or host.defaults.time_zone:
        return Zone(name, "fleet_file")
    if manager_zone:
        return Zone(manager_zone, "manager_log")
    return Zone(default_zone, "default")


def host_history(fleet: Fleet, zones: dict[str, Zone]) -> pl.DataFrame:
    """One row per host and span of unchanged settings, in the columns of fleet.host_history.

    `<setting>_source` is fleet_file, fleet_defaults, product_default, postfix_default, manager_log or
    default; NULL beside an unknown value. The spans of a host do not overlap; the first has no start
    and the last no end. A change takes effect at midnight of its day in the host's zone.
    """
    rows = []
    for host in fleet.hosts:
        zone = zones[host.name]
        starts: list[date | None] = [None, *(day for day, _ in host.changes)]
        settings = host.settings
        for position, start in enumerate(starts):
            if position:
                settings = _overlaid(settings, host.changes[position - 1][1])
            end = starts[position + 1] if position + 1 < len(starts) else None
            rows.append(
                {
                    "host": host.name,
                    **_resolved(settings, host.defaults, zone),
                    "valid_from": start and zone.midnight(start),
                    "valid_until": end and zone.midnight(end),
                }
            )
    return pl.DataFrame(rows, schema=HISTORY_SCHEMA)


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


def _resolved(settings: HostSettings, defaults: HostSettings, zone: Zone) -> dict[str, Any]:
    """Return every setting with its source: the first of host entry, defaults, product, Postfix."""
    product = settings.product or defaults.product
    build = settings.build or defaults.build
    layers = [
        ("fleet_file", settings),
        ("fleet_defaults", defaults),
        ("product_default", _product_defaults(product, build)),
        ("postfix_default", POSTFIX_DEFAULTS),
    ]
    values: dict[str, Any] = {}
    for name in SETTING_NAMES:
        known = ((source, getattr(layer, name)) for source, layer in layers)
        source, value = next(((s, v) for s, v in known if v is not None), (None, None))
        values |= {name: value, f"{name}_source": source}
    return values | {"time_zone": zone.name, "time_zone_source": zone.source}


def _product_defaults(product: str | None, build: int | None) -> HostSettings:
    if product == "imss":
        return POSTFIX_DEFAULTS
    if product == "imsva":
        if build and build >= IMSVA_BOUNCE_LIFETIME_OF_A_DAY_FROM_BUILD:
            return replace(IMSVA_DEFAULTS, bounce_queue_lifetime_seconds=DAY_SECONDS)
        return IMSVA_DEFAULTS
    return HostSettings()


def _overlaid(below: HostSettings, above: HostSettings) -> HostSettings:
    known = {f.name: getattr(above, f.name) for f in fields(above)}
    return replace(below, **{name: value for name, value in known.items() if value is not None})


def _host(name: str, table: Any, defaults: HostSettings, path: Path) -> Host:
    where = f"{path}: [hosts.{json.dumps(name)}]"
    if not isinstance(table, dict):
        raise MaillagError(f"{where}: is not a table. Write its keys below that heading.")
    entry = dict(table)
    glob = entry.pop("path", None)
    if glob is not None and (
        not isinstance(glob, str) or Path(glob).is_absolute() or ".." in Path(glob).parts
    ):
        raise MaillagError(f"{where}: path must be a glob inside the archive, such as 'gw1/logs/*'.")
    changes = []
    listed = entry.pop("changes", [])
    if not isinstance(listed, list):
        raise MaillagError(f"{where}: changes is no list. Write [[hosts.{json.dumps(name)}.changes]].")
    for change in listed:
        day = change.get("from") if isinstance(change, dict) else None
        if not isinstance(day, date) or isinstance(day, datetime):
            raise MaillagError(f"{where}: a change lacks its day. Write from = 2026-03-01 in it.")
        keys = {key: value for key, value in change.items() if key != "from"}
        changes.append((day, _settings(keys, f"{where}, change from {day}")))
    settings = _settings(entry, where)
    return Host(name, settings, defaults, tuple(sorted(changes, key=lambda c: c[0])), glob)


def _settings(table: Any, where: str) -> HostSettings:
    if not isinstance(table, dict):
        raise MaillagError(f"{where}: is not a table. Write its keys below that heading.")
    _refuse_unknown(table, SETTING_NAMES, where)
    for name, value in table.items():
        expected = SETTING_TYPES[name]
        if type(value) is not expected:
            raise MaillagError(f"{where}: {name} = {value!r} is no {expected.__name__}. Correct its value.")
        if isinstance(value, int) and value < 0:
            raise MaillagError(f"{where}: {name} = {value} is negative. Correct its value.")
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


def _no_entry(name: str, fleet_file: str) -> Problem:
    return Problem(
        f"{name}/",
        f"has no entry in {fleet_file}: product, build and retry settings are unknown, so defaults "
        "are assumed",
        f'Add [hosts."{name}"] with its product, build, time_zone and retry settings.',
        is_note=True,
    )
