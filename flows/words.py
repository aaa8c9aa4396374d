"""Counts, waits, times and names to the words for them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.language import Language, duration, say, texts
from transforms.zone import Zone

# Names shown of a list, before the number of the others.
NAMES_SHOWN = 5


def counted(count: int, noun: str, language: Language = "en") -> str:
    """Return `1 message` or `1,200 messages`; the nouns are those of the catalogue's section `counted`."""
    return say(language, f"counted.{noun}", n=count)


def first_few(
    names: Sequence[str], *, noun: str = "", shown: int = NAMES_SHOWN, language: Language = "en"
) -> str:
    """Return `gw1, gw2` or, of more than are shown, `gw1, gw2, gw3 and 997 more hosts` (noun `host`)."""
    rest = len(names) - shown
    listed = say(language, "counted.comma").join(names[:shown])
    if rest <= 0:
        return listed
    return say(language, f"counted.and_more_{noun}" if noun else "counted.and_more", listed=listed, n=rest)


def named(group: str, value: str, language: Language = "en") -> str:
    """Return what the catalogue calls a value; `group` begins its key, such as `source.`. Else the value."""
    key = f"{group}{value}"
    return say(language, key) if key in texts(language) else value.replace("_", " ")


def waited(seconds: float | None, language: Language = "en") -> str:
    """Return a length of time as a cell of a table: a dash if there is none."""
    return "-" if seconds is None else duration(seconds, language)


def local_time(instant: datetime, zone: str) -> str:
    """Return an instant on the clock of a zone, such as `2026-11-24 12:07:08`."""
    return f"{Zone(zone, '').to_local(instant):%Y-%m-%d %H:%M:%S}"


def product_in_words(host: Mapping[str, Any], language: Language = "en") -> str:
    """Return product, version and build, such as `IMSVA 9.1 b1631`."""
    if host["product"] is None:
        return say(language, "terminal.unknown")
    build = f"b{host['build']}" if host["build"] is not None else say(language, "terminal.build_unknown")
    return " ".join(filter(None, (host["product"].upper(), host.get("version"), build)))


@dataclass(frozen=True)
class Clock:
    """The hosts' clocks in one table: the heading names their zone or, if they differ, each time its offset.

    `zones` has the zone of each host.
    """

    zones: Mapping[str, str]
    shared: str | None
    language: Language

    @classmethod
    def of(cls, hosts: Iterable[str], zones: Mapping[str, str], language: Language) -> "Clock":
        """Return the clock of a table with times of these hosts."""
        names = {zones[host] for host in hosts}
        return cls(zones, next(iter(names)) if len(names) == 1 else None, language)

    @property
    def heading(self) -> str:
        """What the times of the table are, as part of its heading."""
        return self.shared or say(self.language, "terminal.host_time")

    def show(self, instant: datetime | None, host: str, form: str = "%Y-%m-%d %H:%M:%S") -> str:
        """Return an instant as the host's clock shows it, in a form of `strftime`."""
        if instant is None:
            return "-"
        local = Zone(self.zones[host], "").to_local(instant)
        if self.shared:
            return f"{local:{form}}"
        offset = f"{local:%z}"
        return f"{local:{form}} {offset[:3]}:{offset[3:5]}"
