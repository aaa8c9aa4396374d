"""Counts, durations, times and names to the words for them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from transforms.zone import Zone

# Names shown of a list, before the number of the others.
NAMES_SHOWN = 5


def counted(count: int, noun: str) -> str:
    """Return `1 message` or `1,200 messages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def first_few(names: Sequence[str], *, noun: str = "", shown: int = NAMES_SHOWN) -> str:
    """Return `gw1, gw2` or, of more than are shown, `gw1, gw2, gw3 and 997 more hosts` (noun `host`)."""
    rest = len(names) - shown
    listed = ", ".join(names[:shown])
    if rest <= 0:
        return listed
    return f"{listed} and {counted(rest, f'more {noun}') if noun else f'{rest:,} more'}"


def duration(seconds: float | None) -> str:
    """Return `1:02:03 h`, `2:03 min` or `45 s`; a dash if there is none."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"


def local_time(instant: datetime, zone: str) -> str:
    """Return an instant on the clock of a zone, such as `2026-11-24 12:07:08`."""
    return f"{Zone(zone, '').to_local(instant):%Y-%m-%d %H:%M:%S}"


def product_in_words(host: Mapping[str, Any]) -> str:
    """Return product, version and build, such as `IMSVA 9.1 b1631`."""
    if host["product"] is None:
        return "unknown"
    build = f"b{host['build']}" if host["build"] is not None else "(build unknown)"
    return " ".join(filter(None, (host["product"].upper(), host["version"], build)))
