"""What was found and what to do about it, as transforms/ says it in English, to the same in Japanese."""

import re
from functools import cache

from flows.language import TEXT_FOLDER, Language
from transforms.yaml_file import read_yaml

PLACE = re.compile(r"\{(\w+)\}")
# Several findings about one place are combined by these (transforms/findings.py).
BETWEEN = re.compile(r"(; | )")


@cache
def templates() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return each English template of flows/texts/findings.yaml as a pattern, with its Japanese.

    Those with the most words of their own come first, because one may also fit what another one means.
    """
    texts: dict[str, str] = read_yaml(TEXT_FOLDER / "findings.yaml")
    return tuple(
        (_pattern(english), texts[english])
        for english in sorted(texts, key=lambda text: len(PLACE.sub("", text)), reverse=True)
    )


def finding_in_words(what: str, remedy: str, language: Language) -> str:
    """Return a finding's sentences; where the catalogue has no Japanese, the English stands."""
    between = ". " if language == "en" else "。"
    return f"{in_language(what, language)}{between}{in_language(remedy, language)}"


def in_language(text: str, language: Language) -> str:
    """Return what was found, or a remedy."""
    return text if language == "en" else in_japanese(text)


def in_japanese(text: str) -> str:
    """Return one or several combined sentences in Japanese, or as they are."""
    if known := _known(text):
        return known
    parts = BETWEEN.split(text)
    # From the longest beginning that is a sentence, on to the rest.
    for end in range(len(parts) - 2, 0, -2):
        if known := _known("".join(parts[:end])):
            return f"{known}{'。' if parts[end] == '; ' else ''}{in_japanese(''.join(parts[end + 1 :]))}"
    return text


def _known(text: str) -> str | None:
    for pattern, japanese in templates():
        if found := pattern.fullmatch(text):
            return japanese.format(
                **{name: _known(value) or value for name, value in found.groupdict().items()}
            )
    return None


def _pattern(english: str) -> re.Pattern[str]:
    parts = PLACE.split(english)
    return re.compile(
        "".join(f"(?P<{part}>.*?)" if index % 2 else re.escape(part) for index, part in enumerate(parts)),
        re.DOTALL,
    )
