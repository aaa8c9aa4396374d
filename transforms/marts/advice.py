"""Reads maillag's advice from advice.yaml: the codes in order, with their texts."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from transforms.yaml_file import read_yaml

ADVICE_FILE = Path(__file__).with_name("advice.yaml")


@dataclass(frozen=True)
class Advice:
    """One thing to do: its code, titles and sentences in English and Japanese, and commands.

    Names in braces are figures, which sql/marts/host_advice.sql fills in for each host.
    """

    code: str
    title_en: str
    title_ja: str
    en: tuple[str, ...]
    ja: tuple[str, ...]
    commands: tuple[str, ...] = ()


@cache
def load_advice() -> tuple[Advice, ...]:
    """Return all advice, in the order in which a host gets it."""
    entries = read_yaml(ADVICE_FILE)
    return tuple(
        Advice(
            code=entry["code"],
            title_en=entry["title_en"],
            title_ja=entry["title_ja"],
            en=tuple(entry["en"]),
            ja=tuple(entry["ja"]),
            commands=tuple(entry.get("commands", ())),
        )
        for entry in entries
    )


def advice_titles(language: str) -> dict[str, str]:
    """Return the titles of all advice by code; `language` is en or ja."""
    return {advice.code: advice.title_ja if language == "ja" else advice.title_en for advice in load_advice()}
