"""Rows of inventory to a host's settings at each time, with a problem for what is not understood."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from transforms.fleet.host_settings import (
    MTAS,
    POSTFIX_DEFAULTS,
    PRODUCTS,
    SETTING_TYPES,
    HostSettings,
    setting_bounds,
)
from transforms.problems import MaillagError, Problem


class Entry(NamedTuple):
    """A row of inventory, with its file and line."""

    tool: str
    setting: str
    value: str
    path: str
    line_number: int

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.path}:{self.line_number}"


@dataclass(frozen=True)
class InventorySettings:
    """What a host's inventory says at one time.

    - `silent`: Postfix's defaults for the settings that a complete main.cf does not name.
    - `guesses`: weaker than anything in the fleet file. What `S99IMSS version` prints on IMSVA is not known,
      so the word Linux in its output proves nothing.
    - `problems`: by setting, what was not understood; the setting stays open.
    - `places`: by setting or guess, its file and line; for a setting in `silent`, the path of main.cf.
    """

    settings: HostSettings = field(default_factory=HostSettings)
    silent: HostSettings = field(default_factory=HostSettings)
    guesses: HostSettings = field(default_factory=HostSettings)
    problems: Mapping[str, Problem] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)


NOTHING: Mapping[str, str] = MappingProxyType({})
# Parameter to setting, and the unit of a bare number (postconf(5)).
POSTFIX_TIMES = {
    "queue_run_delay": ("queue_run_delay_seconds", "s"),
    "minimal_backoff_time": ("minimal_backoff_seconds", "s"),
    "maximal_backoff_time": ("maximal_backoff_seconds", "s"),
    "maximal_queue_lifetime": ("maximal_queue_lifetime_seconds", "d"),
    "bounce_queue_lifetime": ("bounce_queue_lifetime_seconds", "d"),
}
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
MAIN_CF_TOOLS = ("postconf", "main.cf")
# `postconf -n` lists all that differs from Postfix's defaults; other output of postconf may be an excerpt.
WHOLE_POSTCONF = re.compile(r"(?:.*/)?postconf[-_ ]+n(?![A-Za-z0-9])[^/]*")
# The Postfix inside IMSVA lies here (Trend Micro KA-0004354); IMSS uses the operating system's.
IMSVA_POSTFIX = "/opt/trend/imss/postfix/"
# A support bundle of IMSVA (`CDT-.../IMSVA/LogFile/Event3/`), and a copy of its file system.
IMSVA_PATH = re.compile(rf"/CDT-[^/]*/IMSVA/|![^!]*\bIMSVA/|/IMSVA/LogFile/|[/!]{IMSVA_POSTFIX[1:]}")
QMGR_OPTION = re.compile(r"qmgr/(?:unix|fifo)/\w+")
WRAPPER = re.compile(r"md5 (?:.*/)?script/postfix")
BUILD = re.compile(r"Build_\w+_(?P<number>[0-9]{1,20})")
REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\}|\((\w+)\))", re.ASCII)
FILTER_WITH_PORT = re.compile(r"[^\s:]+:(?:\[[^\]\s]+\]|[^\s:\[\]]+):(?P<port>[0-9]{1,5})")
# Real values refer to each other once or twice; these bounds stop references that never end.
MOST_NESTED_REFERENCES = 10
LONGEST_VALUE = 1000


def inventory_settings(rows: pl.DataFrame, imss_ini_keys: Mapping[str, str] = NOTHING) -> InventorySettings:
    """Interpret the rows (`tool`, `setting`, `value`, `path`, `line_number`) known at one instant.

    The last row of a setting counts. A parameter that main.cf or `postconf -n` does not list has Postfix's
    default. A parameter that other output of postconf lacks stays unknown: it may be an excerpt. The meaning
    of imss.ini's keys is not disclosed: `imss_ini_keys` maps them (`[section] key`) to settings. A value that
    is not understood is a problem, and its setting stays open. Raises MaillagError for a key that is mapped
    to an unknown setting.
    """
    _refuse_unknown_settings(imss_ini_keys)
    return _interpret([Entry(*row) for row in rows.select(Entry._fields).iter_rows()], imss_ini_keys)


def inventory_spans(
    rows: pl.DataFrame, imss_ini_keys: Mapping[str, str] = NOTHING
) -> list[tuple[datetime | None, InventorySettings]]:
    """Return what one host's inventory says from each instant on; the first span has no start.

    Needs `logged_at` and the columns of inventory_settings. A file is valid until the next one of its tool;
    the earliest is also the best that is known of the time before it. Files about single facts (md5sum,
    S99IMSS version) leave other facts as they were. `postconf` and main.cf replace each other; on the same
    day postconf wins, as it shows what Postfix has read.
    """
    _refuse_unknown_settings(imss_ini_keys)
    versions: dict[str, list[_Version]] = {}
    for logged_at, entry in _in_order(rows):
        of_stream = versions.setdefault(_stream(entry), [])
        file = (logged_at, entry.tool, entry.path)
        if of_stream and of_stream[-1].file == file:
            of_stream[-1].entries.append(entry)
        else:
            if of_stream and of_stream[-1].file[0] == logged_at:
                of_stream.pop()
            of_stream.append(_Version(file, [entry]))
    instants = {version.file[0] for of_stream in versions.values() for version in of_stream[1:]}
    return [
        (
            start,
            _interpret(
                [entry for of_stream in versions.values() for entry in _known(of_stream, start)],
                imss_ini_keys,
            ),
        )
        for start in (None, *sorted(instants))
    ]


class _Version(NamedTuple):
    """What one file says in one stream (_stream)."""

    file: tuple[datetime, str, str]
    entries: list[Entry]


def _in_order(rows: pl.DataFrame) -> list[tuple[datetime, Entry]]:
    dated = [
        (logged_at, Entry(*entry))
        for logged_at, *entry in rows.select("logged_at", *Entry._fields).iter_rows()
    ]
    return sorted(dated, key=lambda d: (d[0], d[1].tool == "postconf", d[1].path, d[1].line_number))


def _stream(entry: Entry) -> str:
    """Name the stream in which a newer file replaces an older one: a tool, or one fact of a tool."""
    if entry.tool in MAIN_CF_TOOLS:
        return "main.cf"
    return entry.tool if entry.tool in ("master.cf", "imss.ini") else f"{entry.tool} {entry.setting}"


def _known(versions: list[_Version], instant: datetime | None) -> list[Entry]:
    past = [version for version in versions if instant is not None and version.file[0] <= instant]
    return (past[-1] if past else versions[0]).entries


Candidate = tuple[str, Entry, Callable[[], Any]]


def _interpret(entries: list[Entry], imss_ini_keys: Mapping[str, str]) -> InventorySettings:
    parameters = {entry.setting: entry for entry in entries if entry.tool in MAIN_CF_TOOLS}
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    for name, entry, read in _candidates(entries, parameters, imss_ini_keys):
        try:
            values[name] = _bounded(name, read())
            places[name] = entry.place
            problems.pop(name, None)
        except ValueError as error:
            values.pop(name, None)
            places.pop(name, None)
            problems[name] = _not_understood(name, entry, error)
    silent: dict[str, Any] = {}
    for name, entry, default in _silent_defaults(entries, parameters):
        if name not in values and name not in problems:
            silent[name] = default
            places[name] = entry.path
    builds = [entry for entry in entries if (entry.tool, entry.setting) == ("version", "build")]
    guesses = HostSettings()
    if builds and builds[-1].value.startswith("Build_Linux_"):
        guesses = HostSettings(product="imss")
        if "product" not in values:
            places["product"] = builds[-1].place
    return InventorySettings(HostSettings(**values), HostSettings(**silent), guesses, problems, places)


def _candidates(
    entries: list[Entry], parameters: Mapping[str, Entry], imss_ini_keys: Mapping[str, str]
) -> Iterator[Candidate]:
    """Yield settings, each with its row and a function that reads it; the last one of a setting counts."""
    # The queue manager's options in master.cf take precedence over main.cf.
    qmgr = {
        entry.setting.rpartition("/")[2]: entry
        for entry in entries
        if entry.tool == "master.cf" and QMGR_OPTION.fullmatch(entry.setting)
    }
    for parameter, (name, unit) in POSTFIX_TIMES.items():
        if entry := qmgr.get(parameter, parameters.get(parameter)):
            yield name, entry, partial(_time, entry.value, parameters, unit)
    for entry in entries:
        in_value = entry.tool in (*MAIN_CF_TOOLS, "master.cf") and IMSVA_POSTFIX in entry.value
        if in_value or (entry.tool == "md5sum" and IMSVA_POSTFIX in entry.setting):
            yield "product", entry, lambda: "imsva"
            break
    if filters := [*_filters(entries, parameters)]:
        yield "scan_port", filters[-1], partial(_only_port, filters, parameters)
    for entry in entries:
        if entry.tool == "version" and entry.setting == "version":
            yield "version", entry, partial(str, entry.value)
        elif entry.tool == "version":
            yield "build", entry, partial(_build, entry.value)
        elif entry.tool == "md5sum" and WRAPPER.fullmatch(entry.setting):
            yield "wrapper_md5", entry, entry.value.lower
        elif entry.tool == "imss.ini" and (mapped := imss_ini_keys.get(entry.setting)):
            yield mapped, entry, partial(_mapped, mapped, entry.value)


def _silent_defaults(
    entries: list[Entry], parameters: Mapping[str, Entry]
) -> Iterator[tuple[str, Entry, int]]:
    """Yield the retry settings that a complete main.cf does not name, with Postfix's defaults."""
    whole = next((entry for entry in parameters.values() if is_whole_main_cf(entry)), None)
    named = {entry.setting.rpartition("/")[2] for entry in entries if QMGR_OPTION.fullmatch(entry.setting)}
    for parameter, (name, _) in POSTFIX_TIMES.items():
        if whole and parameter not in parameters.keys() | named:
            yield name, whole, getattr(POSTFIX_DEFAULTS, name)


def is_whole_main_cf(entry: Entry) -> bool:
    """Tell whether a row's file lists everything that differs from Postfix's defaults."""
    return entry.tool == "main.cf" or bool(
        entry.tool == "postconf" and WHOLE_POSTCONF.fullmatch(entry.path.rpartition("!")[2])
    )


def _filters(entries: list[Entry], parameters: Mapping[str, Entry]) -> Iterator[Entry]:
    options = {
        entry.setting: entry
        for entry in entries
        if entry.tool == "master.cf" and entry.setting.endswith("/content_filter")
    }
    if entry := parameters.get("content_filter"):
        yield entry
    yield from options.values()


def _only_port(filters: list[Entry], parameters: Mapping[str, Entry]) -> int | None:
    """Return the one port of all content filters with a port (`transport:host:port`); None without any."""
    ports = set()
    for entry in filters:
        match = FILTER_WITH_PORT.fullmatch(_expanded(entry.value, parameters).strip())
        if match and 0 < int(match["port"]) < 65536:
            ports.add(int(match["port"]))
    if len(ports) > 1:
        raise ValueError(
            f"is not the only content filter: their ports are {', '.join(map(str, sorted(ports)))}"
        )
    return next(iter(ports), None)


def _time(value: str, parameters: Mapping[str, Entry], default_unit: str) -> int:
    return postfix_seconds(_expanded(value, parameters).strip(), default_unit)


def postfix_seconds(text: str, default_unit: str = "s") -> int:
    """Return the seconds of a Postfix time (conv_time.c: digits and one small letter).

    Raises ValueError for what is none.
    """
    match = re.fullmatch(r"([0-9]{1,20})([smhdw]?)", text)
    if not match:
        raise ValueError("is not a time such as 900s or 5d")
    return int(match[1]) * UNIT_SECONDS[match[2] or default_unit]


def _build(value: str) -> int:
    match = BUILD.fullmatch(value)
    if not match:
        raise ValueError("is not a build such as Build_Linux_1335")
    return int(match["number"])


def _bounded(name: str, value: Any) -> Any:
    least, most = setting_bounds(name)
    if isinstance(value, int) and not least <= value <= most:
        raise ValueError(f"is out of range ({least} to {most})")
    return value


def _mapped(name: str, value: str) -> str | int | bool:
    """Read a value of imss.ini as the type of the setting that it is mapped to."""
    kind = SETTING_TYPES[name]
    if kind is bool:
        words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
        if value.lower() not in words:
            raise ValueError("is neither yes nor no")
        return words[value.lower()]
    if kind is int and name.endswith("_seconds"):
        return _time(value, {}, "s")
    if kind is int:
        if not re.fullmatch(r"[0-9]{1,20}", value):
            raise ValueError("is not a whole number")
        return int(value)
    known = {"product": PRODUCTS, "mta": MTAS}.get(name)
    if not value or (known and value not in known):
        raise ValueError(f"is not one of {', '.join(known)}" if known else "is empty")
    return value


def _expanded(value: str, parameters: Mapping[str, Entry]) -> str:
    """Replace `$name`, `${name}` and `$(name)` by values from the same main.cf (postconf(5)).

    Raises ValueError for a parameter that is not set there: its default depends on the version of Postfix.
    """

    def filled(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3]
        if name not in parameters:
            raise ValueError(f"refers to {name}, which is not set in that file")
        return parameters[name].value

    for _ in range(MOST_NESTED_REFERENCES):
        if "$" not in value:
            return value
        before, value = value, REFERENCE.sub(filled, value)
        if len(value) > LONGEST_VALUE:
            raise ValueError("is too long once its references are filled in")
        if value == before:
            break
    raise ValueError("holds a reference that cannot be followed")


def _refuse_unknown_settings(imss_ini_keys: Mapping[str, str]) -> None:
    for key, name in imss_ini_keys.items():
        # The zone is needed before files are read, to date them.
        if name not in SETTING_TYPES or name == "time_zone":
            settings = ", ".join(known for known in SETTING_TYPES if known != "time_zone")
            raise MaillagError(
                f"imss_ini_keys: {key!r} is mapped to {name!r}, which is not one of {settings}. Correct it."
            )


def _not_understood(name: str, entry: Entry, error: ValueError) -> Problem:
    shown = entry.value if len(entry.value) <= 80 else f"{entry.value[:80]}..."
    return Problem(
        entry.place,
        f"{entry.setting} = {shown!r} {error}, so {name} is not taken from there",
        f"Give {name} in the host's entry of the fleet file.",
        is_note=True,
    )
