"""Keys of the catalogues in flows/texts/ to sentences, durations and shares, in English and Japanese."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from transforms.yaml_file import read_yaml

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")
TEXT_FOLDER = Path(__file__).with_name("texts")

Text = str | Mapping[str, str]
"""A text with `{name}` for each figure; by `one` and `other` if the figure `n` changes the words."""


@dataclass(frozen=True)
class Seconds:
    """A length of time, as a figure of a text."""

    seconds: float


@dataclass(frozen=True)
class Share:
    """A share from 0 to 1, as a figure of a text."""

    share: float


@cache
def texts(language: Language) -> dict[str, Text]:
    """Return a language's catalogue, by `section.key`."""
    sections = read_yaml(TEXT_FOLDER / f"{language}.yaml")
    return {f"{section}.{key}": text for section, of in sections.items() for key, text in of.items()}


def say(language: Language, key: str, **figures: object) -> str:
    """Return the text of a key with its figures. Raises KeyError for an unknown key or a missing figure."""
    text = texts(language)[key]
    if isinstance(text, Mapping):
        text = text["one" if figures["n"] == 1 else "other"]
    return text.format(**{name: figure(value, language) for name, value in figures.items()})


def figure(value: object, language: Language) -> str:
    """Return a figure as text: numbers with thousands separated, lengths of time and shares with units."""
    match value:
        case Seconds(seconds):
            return duration(seconds, language)
        case Share(share):
            return percent(share)
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
    return "" if value is None else str(value)


def duration(seconds: float, language: Language = "en") -> str:
    """Return a length of time: `45 s`, `1 min 52 s`, `19 min`, `2 h 05 min`; `1,200 h` from ten hours."""
    whole = round(seconds)
    second_unit, minute_unit, hour_unit = ("秒", "分", "時間") if language == "ja" else (" s", " min", " h")
    space = "" if language == "ja" else " "
    if whole < 60:
        return f"{whole}{second_unit}"
    if whole < 600:
        minutes, second = divmod(whole, 60)
        return f"{minutes}{minute_unit}" + (f"{space}{second}{second_unit}" if second else "")
    hours, minutes = divmod(round(whole / 60), 60)
    if hours == 0:
        return f"{minutes}{minute_unit}"
    if hours < 10:
        return f"{hours}{hour_unit}{space}{minutes:02}{minute_unit}"
    return f"{round(whole / 3600):,}{hour_unit}"


def percent(share: float) -> str:
    """Return a share in percent; what is small, but not zero, does not read `0 %`."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.{1 if 0 < share < 0.1 else 0}f} %"


def language_of(given: str | None, environment: Mapping[str, str] = os.environ) -> Language:
    """Return the language that was given, else that of the locale: Japanese or, for all others, English."""
    if given in LANGUAGES:
        return given
    name = next((environment[key] for key in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(key)), "")
    return "ja" if re.match(r"ja(?![a-z])", name) else "en"


def placeholders(text: Any) -> set[str]:
    """Return the names of the figures in a text."""
    forms = text.values() if isinstance(text, Mapping) else [text]
    return {name for form in forms for name in re.findall(r"\{(\w+)\}", form)}
