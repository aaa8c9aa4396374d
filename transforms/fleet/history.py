"""A fleet and its inventory to the history of each host's settings, each setting with its source."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import polars as pl

from transforms.fleet.fleet import Fleet, Host
from transforms.fleet.host_settings import (
    POSTFIX_DEFAULTS,
    POSTFIX_SETTINGS,
    PRODUCTS,
    SENDMAIL_DEFAULTS,
    SETTING_NAMES,
    SETTING_TYPES,
    HostSettings,
    product_defaults,
)
from transforms.fleet.inventory_settings import NOTHING, InventorySettings, inventory_spans
from transforms.problems import Problem
from transforms.zone import Zone

# The source of a guessed product: no build verdict rests on it.
GUESS = "guess"
PRODUCT_IS_KNOWN = "the host's product is known"

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
# What a host's inventory says from each instant on; the first span has no start.
InventorySpans = list[tuple[datetime | None, InventorySettings]]


def host_history(
    fleet: Fleet,
    zones: Mapping[str, Zone],
    inventory: pl.DataFrame | None = None,
    *,
    imss_ini_keys: Mapping[str, str] = NOTHING,
    imsva_paths: Mapping[str, str] = NOTHING,
) -> pl.DataFrame:
    """Return one row per gateway and span of unchanged settings, in the columns of fleet.host_history.

    `<setting>_source` is the first of these that knows the setting: `fleet_file` (the host's entry and its
    changes), `inventory`, `file_path` (`imsva_paths` maps a host to a path that only IMSVA has),
    `fleet_defaults`, `guess` (the product, by its version), `product_default`, `postfix_default`. On a host
    with sendmail, `sendmail_default` replaces the last two, and Postfix's files count for nothing. A guessed
    product has no defaults. The source of the time zone is that of `zones`. An unknown value has no source.

    The spans of a host follow each other and differ; the first has no start and the last no end. A change
    takes effect at midnight of its day in the host's zone, inventory at its `logged_at`; the earliest
    inventory also counts for the time before it. `inventory` has the columns host, tool, setting, value,
    logged_at, path and line_number; `imss_ini_keys` is that of inventory_settings.
    """
    spans = _inventory_spans(fleet, inventory, imss_ini_keys)
    rows = [
        row
        for host in fleet.gateways
        for row in _host_spans(
            host, zones[host.name], spans[host.name], is_imsva_by_path=host.name in imsva_paths
        )
    ]
    return pl.DataFrame(rows, schema=HISTORY_SCHEMA)


def inventory_problems(
    fleet: Fleet, inventory: pl.DataFrame, *, imss_ini_keys: Mapping[str, str] = NOTHING
) -> tuple[Problem, ...]:
    """Return the problems of inventory that was not understood, except for settings in the host's entry."""
    spans = _inventory_spans(fleet, inventory, imss_ini_keys)
    found = (
        problem
        for host in fleet.gateways
        for _, by_inventory in spans[host.name]
        for name, problem in by_inventory.problems.items()
        if getattr(host.settings, name) is None
    )
    return tuple(dict.fromkeys(found))


def product_problems(
    history: Iterable[Mapping[str, Any]], imsva_paths: Mapping[str, str]
) -> tuple[Problem, ...]:
    """Return a warning for each host whose product is guessed, or contradicts a path of IMSVA."""
    found = []
    for row in history:
        if row["valid_until"] is not None:
            continue
        host, path = row["host"], imsva_paths.get(row["host"])
        if row["product_source"] == GUESS:
            what = (
                f"its product is a guess ({row['product']}): the output of `S99IMSS version` may be the same "
                "for IMSS and IMSVA, so its build verdict is unknown"
            )
        elif path and row["product"] != "imsva":
            what = f"its product is {row['product']} ({row['product_source']}), but only IMSVA has {path}"
        else:
            continue
        remedy = f"Write product = {' or '.join(map(json.dumps, PRODUCTS))} into its entry of the fleet file."
        found.append(Problem(host, what, remedy, rule=PRODUCT_IS_KNOWN, is_warning=True))
    return tuple(found)


def _inventory_spans(
    fleet: Fleet, inventory: pl.DataFrame | None, imss_ini_keys: Mapping[str, str]
) -> dict[str, InventorySpans]:
    """Return what every gateway's inventory says; a gateway without inventory has one empty span."""
    spans: dict[str, InventorySpans] = {host.name: [(None, InventorySettings())] for host in fleet.gateways}
    if inventory is not None and not inventory.is_empty():
        for (name, *_), rows in inventory.partition_by("host", as_dict=True).items():
            if name in spans:
                spans[name] = inventory_spans(rows, imss_ini_keys)
    return spans


def _host_spans(
    host: Host, zone: Zone, inventory: InventorySpans, *, is_imsva_by_path: bool
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a host, in order (HISTORY_SCHEMA)."""
    by_path = HostSettings(product="imsva") if is_imsva_by_path else HostSettings()
    changes = [(zone.midnight(day), settings) for day, settings in host.changes]
    later = {start for start, _ in (*changes, *inventory) if start is not None}
    span: dict[str, Any] | None = None
    for start in (None, *sorted(later)):
        settings = host.settings
        for changed_at, change in changes:
            if start is not None and changed_at <= start:
                settings = settings.overlaid(change)
        *_, by_inventory = (
            settings_then
            for since, settings_then in inventory
            if since is None or (start is not None and since <= start)
        )
        resolved = {"host": host.name, **_resolved(settings, by_inventory, by_path, host.defaults, zone)}
        if span and resolved.items() <= span.items():
            continue
        if span:
            yield span | {"valid_until": start}
        span = resolved | {"valid_from": start, "valid_until": None}
    if span:
        yield span


def _resolved(
    settings: HostSettings,
    by_inventory: InventorySettings,
    by_path: HostSettings,
    defaults: HostSettings,
    zone: Zone,
) -> dict[str, Any]:
    """Return every setting with its source: the first layer that knows it."""
    layers = [
        ("fleet_file", settings),
        ("inventory", by_inventory.settings),
        ("file_path", by_path),
        ("postfix_default", by_inventory.silent),
        ("fleet_defaults", defaults),
        (GUESS, by_inventory.guesses),
    ]
    if _first(layers, "mta")[1] == "sendmail":
        not_postfix = replace(by_inventory.settings, **dict.fromkeys(POSTFIX_SETTINGS))
        layers[1] = ("inventory", not_postfix)
        layers = [(source, layer) for source, layer in layers if layer is not by_inventory.silent]
        layers += [("sendmail_default", SENDMAIL_DEFAULTS)]
    else:
        product_source, product = _first(layers, "product")
        is_known = product_source != GUESS
        layers += [
            (
                "product_default",
                product_defaults(product if is_known else None, _first(layers, "build")[1]),
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


def latest_hosts(history: pl.DataFrame) -> pl.DataFrame:
    """Return the last span of each host, in the columns of fleet.hosts."""
    return history.filter(pl.col("valid_until").is_null()).drop("valid_from", "valid_until")
