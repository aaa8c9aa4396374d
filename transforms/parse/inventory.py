"""Text files about a host's configuration, such as `postconf -n` writes, to rows of setting and value."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import partial
from typing import Any, NamedTuple

import polars as pl

INVENTORY = "inventory"
NOISE = "noise"
UNPARSED = "unparsed_lines"

_DATE = r"[-_.](?P<date>[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2})(?![0-9])"
_END = r"(?:\.(?:txt|log))?(?P<compressed>\.(?:gz|bz2|xz|zst))?"


def _copy_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{name})(?:{_DATE})?{_END}")


def _output_of(command: str) -> re.Pattern[str]:
    """Match a command's output; other words, such as its options, may stand around the date."""
    return re.compile(rf"(?:{command})(?:(?:[-_ ][^.]*?)??{_DATE})?(?:[-_ ][^.]*)?{_END}")


# Base names, matched as a whole. With the options excluded here, postconf prints something else: the defaults
# (-d), master.cf (-M), or the names of what Postfix supports.
INVENTORY_NAMES: dict[str, re.Pattern[str]] = {
    "postconf": _output_of(r"postconf(?![-_ ]+[CFMPTaAbdelmt]f?(?![A-Za-z0-9]))"),
    "main.cf": _copy_of(r"main\.cf"),
    "master.cf": _copy_of(r"master\.cf|postconf[-_ ]+Mf?"),
    "imss.ini": _copy_of(r"imss\.ini"),
    "version": _output_of(r"S99IMSS[-_ .]*version"),
    "md5sum": _output_of(r"md5sum"),
}

LINE_FRAMES: dict[str, pl.Schema] = {
    INVENTORY: pl.Schema({"line_number": pl.Int64(), "setting": pl.String(), "value": pl.String()}),
    NOISE: pl.Schema({"line_number": pl.Int64()}),
    UNPARSED: pl.Schema({"line_number": pl.Int64(), "line": pl.String(), "reason": pl.String()}),
}


class Line(NamedTuple):
    """A line of a file; numbers count from 1."""

    number: int
    text: str


class Row(NamedTuple):
    """A setting and its value, in the tool's own words; both are None for a line that is not understood."""

    line_number: int
    setting: str | None
    value: str | None


def inventory_file(name: str) -> tuple[str, date | None] | None:
    """Return the tool and the date that a file's base name holds; None if it names no tool."""
    for tool, pattern in INVENTORY_NAMES.items():
        if match := pattern.fullmatch(name):
            try:
                return tool, date.fromisoformat(match["date"]) if match["date"] else None
            except ValueError:
                return tool, None
    return None


def parse_inventory(tool: str, lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Parse all numbered lines (`line_number`, `line`) of one file at once.

    Every line is in exactly one of the frames `inventory`, `noise` (a blank, a comment, a prompt, a heading
    or a continuation line) and `unparsed_lines`; a line may give several rows of inventory. Values are as
    written; a continued value is joined into one line.
    """
    numbered = [
        Line(number, text.removeprefix("\ufeff"))
        for number, text in lines.select("line_number", "line").iter_rows()
    ]
    rows = list(READERS[tool](numbered))
    unparsed = {row.line_number for row in rows if row.setting is None}
    understood = {row.line_number for row in rows} - unparsed
    found: dict[str, list[tuple[Any, ...]]] = {
        INVENTORY: [row for row in rows if row.setting is not None],
        NOISE: [(line.number,) for line in numbered if line.number not in understood | unparsed],
        UNPARSED: [(line.number, line.text, "no_pattern") for line in numbered if line.number in unparsed],
    }
    return {name: pl.DataFrame(found[name], schema, orient="row") for name, schema in LINE_FRAMES.items()}


COMMENT = re.compile(r"\s*(?:#.*)?")
# `[root@gw ~]# postconf -n`, `root@gw:~# ...`, `bash-4.2$ ...`, `# ...`
PROMPT = re.compile(
    r"(?:(?:\[[^\]\s]+@[^\]]*\]|[\w.-]+@[\w.-]+(?::[^#$]*)?|(?:ba)?sh-[0-9.]+) ?[#$].*|[#$%>](?:\s.*)?)"
)
# With 2>&1, postconf's warnings (unused or overridden parameters) stand in its output.
WARNING = re.compile(r"(?:\S*/)?postconf: (?:warning|fatal): .*")
PARAMETER = re.compile(r"(?P<name>[^\s=#]+)\s*=\s*(?P<value>.*)")
SECTION = re.compile(r"\s*\[(?P<section>[^\]]+)\]\s*(?:[;#].*)?")
INI_COMMENT = re.compile(r"\s*(?:[;#].*)?")
INI_KEY = re.compile(r"\s*(?P<key>[^=\s](?:[^=]*[^=\s])?)\s*=\s*(?P<value>.*?)\s*")
# An imss.ini can hold the logins of databases and directories, and a Postfix parameter that of a relay
# (smtp_sasl_password_maps = static:USER:PASSWORD), which no analyst needs.
SECRET_KEY = re.compile(r"passw|passphrase|pwd|secret|token|credential|private", re.IGNORECASE)
TABLE_IN_PLACE = re.compile(r"\b(?:static|inline):")
NOT_KEPT = "(not kept)"

# Forms of a line of a tool's output, each with templates of setting and value. The command may stand before
# its output on the same line, as in Trend Micro KA-0010256.
LINE_FORMS: dict[str, tuple[tuple[re.Pattern[str], dict[str, str]], ...]] = {
    "version": (
        (
            re.compile(
                r"(?:.*\bS99IMSS\s+version\s+)?Version\s+(?P<version>[0-9]+(?:\.[0-9]+)*)-"
                r"(?P<build>Build_\w+)(?:\s.*)?"
            ),
            {"version": "{version}", "build": "{build}"},
        ),
    ),
    "md5sum": (
        (
            re.compile(
                r"(?:.*\bmd5sum\s+(?:.*\s)?)?\\?(?P<md5>[0-9A-Fa-f]{32})\s+\*?(?P<path>\S(?:.*\S)?)\s*"
            ),
            {"md5 {path}": "{md5}"},
        ),
        (  # md5sum --tag
            re.compile(r"MD5 \((?P<path>.+)\) = (?P<md5>[0-9A-Fa-f]{32})\s*"),
            {"md5 {path}": "{md5}"},
        ),
    ),
}


def _read_line_forms(tool: str, lines: Iterable[Line]) -> Iterator[Row]:
    for line in lines:
        for pattern, templates in LINE_FORMS[tool]:
            if match := pattern.fullmatch(line.text.strip()):
                for setting, value in templates.items():
                    yield Row(
                        line.number, setting.format(**match.groupdict()), value.format(**match.groupdict())
                    )
                break
        else:
            if not (COMMENT.fullmatch(line.text) or PROMPT.fullmatch(line.text)):
                yield Row(line.number, None, None)


def _read_main_cf(lines: Iterable[Line]) -> Iterator[Row]:
    for first, *more in _logical_lines(lines):
        text = " ".join([first.text.rstrip(), *(line.text.strip() for line in more)])
        if match := PARAMETER.fullmatch(text):
            yield _parameter(first.number, match["name"], match["value"])
        else:
            yield from (Row(line.number, None, None) for line in (first, *more))


def _parameter(line_number: int, name: str, value: str) -> Row:
    is_secret = SECRET_KEY.search(name) and TABLE_IN_PLACE.search(value)
    return Row(line_number, name, NOT_KEPT if is_secret else value)


def _read_master_cf(lines: Iterable[Line]) -> Iterator[Row]:
    """Yield a row `SERVICE/TYPE` with the other columns, and `SERVICE/TYPE/PARAMETER` for each `-o`."""
    for logical in _logical_lines(lines):
        words = [(line.number, word) for line in logical for word in line.text.split()]
        columns = [word for _, word in words[:8]]
        if len(columns) < 8 or logical[0].text[:1].isspace():
            yield from (Row(line.number, None, None) for line in logical)
            continue
        service = "/".join(columns[:2])
        yield Row(logical[0].number, service, " ".join(columns[2:8]))
        for number, name, value in _options(words[8:]):
            yield _parameter(number, f"{service}/{name}", value)


def _options(words: list[tuple[int, str]]) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and value of every `-o name=value` before the first word that is not an option.

    `-o { name = value }` may hold blanks (Postfix 3.0). As in postconf (postconf_master.c), any other option
    takes the word after it, unless that is an option too.
    """
    position = 0
    while position < len(words) and words[position][1].startswith("-"):
        number, option = words[position]
        position += 1
        following = words[position][1] if position < len(words) else "-"
        if not option.startswith("-o"):
            position += not following.startswith("-")
            continue
        text = option[2:]
        if not text and position < len(words):
            number, text = words[position]
            position += 1
        if text.startswith("{"):
            while not text.endswith("}") and position < len(words):
                text += f" {words[position][1]}"
                position += 1
            text = text[1:].removesuffix("}").strip()
        if match := PARAMETER.fullmatch(text):
            yield number, match["name"], match["value"]


def _logical_lines(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Yield each line with its continuation lines: they begin with a blank; comments may lie between.

    postconf(5), "The general format of the main.cf file".
    """
    logical: list[Line] = []
    for line in lines:
        if any(noise.fullmatch(line.text) for noise in (COMMENT, PROMPT, WARNING)):
            continue
        if logical and not line.text[0].isspace():
            yield logical
            logical = []
        logical.append(line)
    if logical:
        yield logical


def _read_ini(lines: Iterable[Line]) -> Iterator[Row]:
    section = ""
    for line in lines:
        if INI_COMMENT.fullmatch(line.text) or PROMPT.fullmatch(line.text):
            continue
        if match := SECTION.fullmatch(line.text):
            section = f"[{match['section'].strip()}] "
        elif match := INI_KEY.fullmatch(line.text):
            is_secret = SECRET_KEY.search(match["key"])
            yield Row(line.number, section + match["key"], NOT_KEPT if is_secret else match["value"])
        else:
            yield Row(line.number, None, None)


READERS: dict[str, Callable[[Iterable[Line]], Iterator[Row]]] = {
    "postconf": _read_main_cf,
    "main.cf": _read_main_cf,
    "master.cf": _read_master_cf,
    "imss.ini": _read_ini,
    "version": partial(_read_line_forms, "version"),
    "md5sum": partial(_read_line_forms, "md5sum"),
}
