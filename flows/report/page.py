"""The published catalog to the page: one HTML file in both languages that needs nothing beside it."""

import base64
import hashlib
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flows.catalog import Row
from flows.language import LANGUAGES, Language, Seconds, Share, figure, say, texts
from flows.report.content import page_content
from flows.report.drawing import load_drawing
from flows.report.rows import DAYS, REPORT_NAME, choose_restarts
from flows.tables import plain
from transforms.problems import Problem, cause

FOLDER = Path(__file__).parent
SCRIPTS = ("texts", "list", "timeline", "charts", "squares", "page")


def write_page(
    lake: Path, out: Path, *, language: Language, days: int = DAYS, aside: Path | None = None
) -> None:
    """Write the page of a lake's latest days, and put it in place by one rename.

    Raises MaillagError if nothing was published there yet, and OSError.
    """
    made = aside or out.with_name(f".{out.name}.{os.getpid()}")
    try:
        made.write_text(make_page(lake, language=language, days=days), "utf-8", newline="\n")
        made.replace(out)
    finally:
        with suppress(OSError):
            made.unlink(missing_ok=True)


def leave_page(lake: Path, run_id: str, language: Language) -> Problem | None:
    """Write the page into a lake that a run has published; return what prevents it: no run fails by it."""
    try:
        aside = lake / f"report.{run_id}.html"
        write_page(lake, lake / REPORT_NAME, language=language, aside=aside)
    except Exception as error:
        return Problem(
            where=REPORT_NAME,
            what=f"cannot be written ({cause(error)})",
            remedy="All results are published. Correct the cause, then: maillag report",
            is_warning=True,
            rule="the page can be written",
        )
    return None


def make_page(lake: Path, *, language: Language, days: int = DAYS) -> str:
    """Return the page of a lake's latest days. The other language is in it too."""
    with choose_restarts(lake, days=days) as connection:
        content = page_content(connection)
    drawing = load_drawing()
    parts = "\n".join((FOLDER / f"js/{name}.js").read_text("utf-8") for name in SCRIPTS)
    scripts = [drawing["script"], f'"use strict";\n(() => {{\n{parts}}})();\n']
    style = (FOLDER / "page.css").read_text("utf-8")
    data = content["data"] | {
        "specs": drawing["specs"],
        "texts": {
            of: {key: text for key, text in texts(of).items() if _is_for_page(key)} for of in LANGUAGES
        },
    }
    page: str = (
        _environment(language)
        .get_template("page.html.j2")
        .render(
            content,
            language=language,
            policy=_policy(scripts, style),
            style=Markup(style),  # noqa: S704 -- our own file
            scripts=[Markup(script) for script in scripts],  # noqa: S704 -- our own files, and Vega
            json_data=Markup(_json_in_html(data)),  # noqa: S704 -- escaped for HTML
            made_at=datetime.now(UTC),
        )
    )
    return page


def _is_for_page(key: str) -> bool:
    return key.startswith(("page.", "words."))


def _environment(language: Language) -> Environment:
    environment = Environment(
        # select_autoescape() goes by the file's ending and would not escape a .j2.
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain

    def in_one(key: str, **figures: object) -> str:
        return say(language, f"page.{key}", **figures)

    environment.globals |= {
        "t": lambda key, **figures: _both(f"page.{key}", **figures),
        "word": lambda key: _both(f"words.{key}"),
        "in_one": in_one,
        "in_each": lambda key, **figures: {of: say(of, f"page.{key}", **figures) for of in LANGUAGES},
        "pair": _pair,
        "value": lambda value: _pair(*(figure(value, of) for of in LANGUAGES)),
        "between_in_words": lambda least, most: _both(
            "page.what_if_between", low=Seconds(least), high=Seconds(most)
        ),
        "seconds": Seconds,
        "share": Share,
        "square_class": _square_class,
    }
    return environment


def _both(key: str, **figures: object) -> Markup:
    """Return a text in both languages, of which the page shows one."""
    return _pair(*(say(language, key, **figures) for language in LANGUAGES))


def _pair(english: str, japanese: str) -> Markup:
    """Return two texts, escaped; one of them if they are the same."""
    if english == japanese:
        return Markup("{}").format(english)
    return Markup('<span class="en" lang="en">{}</span><span class="ja" lang="ja">{}</span>').format(
        english, japanese
    )


def _square_class(cell: Row) -> str:
    """Return the class of a square: by how many flushes were missing, or why there is nothing to tell."""
    missing_count = cell["missing_flush_count"]
    if missing_count:
        return next(
            name for least, name in ((7, "m4"), (4, "m3"), (2, "m2"), (1, "m1")) if missing_count >= least
        )
    kinds = {
        "unknown": "nk",
        "flushed": "m0",
        "nothing_waited": "m0",
        "no_restart": "idle",
        "no_log": "nolog",
    }
    return kinds[cell["kind"]]


def _policy(scripts: list[str], style: str) -> str:
    """Return a policy that runs these scripts, shows this style, and loads nothing."""
    allowed = " ".join(f"'{policy_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src '{policy_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def policy_hash(text: str) -> str:
    """Return the hash by which a page's policy admits a script or a style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json_in_html(data: Any) -> str:
    """Return JSON that cannot end its script element, whatever a log wrote into it."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
