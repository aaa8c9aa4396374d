"""An explanation of a restart to files for a support case, for readers who do not know maillag."""

import base64
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, groupby
from pathlib import Path

from flows.charts import chart_png, timeline_chart
from flows.language import Language, Seconds, figure, say
from flows.pseudonyms import Pseudonyms
from flows.report.page import policy_hash
from flows.report.rows import choose_restarts, fetch_timelines
from flows.show_explanation import ExplanationText, Part, host_settings, is_derived
from flows.tables import for_markdown, plain
from flows.words import local_time, named, product_in_words
from transforms.explain.explain import Explanation
from transforms.problems import MaillagError

MARKDOWN, HTML, PICTURE, LINES = "case.md", "case.html", "timeline.png", "log-lines.txt"
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;"
    "background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}"
    "th,td{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0;border-bottom:1px solid #d7dce2}"
    "pre{background:#f4f6f8;padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere}img{max-width:100%}"
)


@dataclass(frozen=True)
class Table:
    """Rows of texts; the first cell of a row says what the others are."""

    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """What the picture beside the document shows."""

    text: str


Block = Part | Table | Picture


def write_ticket(
    lake: Path, explanation: Explanation, folder: Path, *, language: Language, with_addresses: bool = False
) -> list[str]:
    """Write the files of a support case into a folder, and return their names; older ones are replaced.

    `explanation` has at most MESSAGES_IN_TICKET messages. Without `with_addresses`, each address and message
    id has a pseudonym, the same in all files. Raises MaillagError if the folder cannot be written to, or if
    the lake no longer has the evidence.
    """
    if not is_derived(explanation):
        raise MaillagError(
            f"{explanation.restart['restart_id']}: the lake no longer has the evidence of this restart, so "
            "there is nothing to send."
        )
    with choose_restarts(lake, restart_id=explanation.restart["restart_id"]) as catalog:
        picture = chart_png(timeline_chart(fetch_timelines(catalog), language))
    hide = str if with_addresses else Pseudonyms().hide
    blocks = [_hidden(block, hide) for block in _blocks(explanation, language, with_addresses)]
    files = {
        MARKDOWN: _as_markdown(blocks).encode(),
        HTML: _as_html(blocks, picture, language).encode(),
        PICTURE: picture,
        LINES: "".join(f"{hide(line)}\n" for line in _excerpt(explanation)).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        reason = error.strerror or error
        raise MaillagError(f"{folder}: cannot be written to ({reason}). Give another folder.") from None
    return [*files]


def _blocks(explanation: Explanation, language: Language, with_addresses: bool) -> Iterator[Block]:
    """Yield the document: first what somebody needs who decides, then the evidence, then what words mean."""

    def part(kind: str, key: str, **figures: object) -> Part:
        return Part(kind, say(language, f"ticket.{key}", **figures))  # type: ignore[arg-type]

    text = ExplanationText(explanation, is_all=False, language=language, rest_in="ticket.in_lines")
    yield text.title()
    yield part("sentence", "intro")
    yield Table(_summary(explanation, language))
    yield from text.reasons()
    yield part("heading", "timeline")
    yield Picture(say(language, "page.timeline_waiting"))
    yield part("sentence", "timeline_shows")
    yield from text.service()
    yield from text.flushes()
    yield from text.held()
    yield part("heading", "settings")
    yield Table(
        tuple(
            (setting["name"], str(setting["value"]), named("source.", setting["source"], language))
            for setting in host_settings(explanation.host)
        )
    )
    yield from text.coverage()
    yield part("heading", "about")
    for key in ("restart", "held", "flush", "zone"):
        yield part("sentence", f"means_{key}")
    yield part("sentence", "with_addresses" if with_addresses else "pseudonyms")
    lines = [line for evidence in (explanation.service, explanation.orders) for line in evidence]
    if not all(line.is_quoted for line in lines):
        yield part("sentence", "not_quoted")
    yield part("sentence", "made_by", version=version("maillag"))


def _summary(explanation: Explanation, language: Language) -> tuple[tuple[str, str], ...]:
    """Return the figures of the restart, each with its name."""
    restart, host = explanation.restart, explanation.host
    zone = host["time_zone"]
    build = named("words.build_", restart["build_verdict"], language)
    seconds = {
        name: None if restart[name] is None else Seconds(restart[name])
        for name in ("outage_seconds", "restart_delay_p50_seconds", "restart_delay_max_seconds")
    }
    values: dict[str, object] = {
        "host": restart["host"],
        "product": product_in_words(host, language),
        "build": build,
        "md5": host["wrapper_md5"],
        "down": local_time(restart["down_at"], zone),
        "up": restart["up_at"] and local_time(restart["up_at"], zone),
        "outage": seconds["outage_seconds"],
        "verdict": named("words.verdict_", restart["flush_verdict"], language),
        "order": named("ticket.order_", restart["flush_order"], language),
        "held_count": restart["held_message_count"],
        "median": seconds["restart_delay_p50_seconds"],
        "longest": seconds["restart_delay_max_seconds"],
    }
    unknown = say(language, "ticket.unknown")
    return tuple(
        (say(language, f"ticket.{name}", zone=zone), unknown if value is None else figure(value, language))
        for name, value in values.items()
    )


def _excerpt(explanation: Explanation) -> Iterator[str]:
    """Yield the lines of evidence, each once, in the order of files and lines."""
    lines = chain(
        explanation.service,
        explanation.orders,
        explanation.losses,
        *(evidence.lines for evidence in (*explanation.scans, *explanation.messages)),
    )
    by_place = {(line.path, line.line_number): line for line in lines}
    for (path, line_number), line in sorted(by_place.items()):
        # What was put together from an event is not what the file has.
        yield f"{plain(path)}:{line_number}{':' if line.is_quoted else ' ~'} {plain(line.text)}"


def _hidden(block: Block, hide: Callable[[str], str]) -> Block:
    match block:
        case Part(kind, text):
            return Part(kind, hide(text))
        case Table(rows):
            return Table(tuple(tuple(map(hide, row)) for row in rows))
    return block


def _as_markdown(blocks: list[Block]) -> str:
    marks = {"title": "# ", "heading": "## ", "sentence": ""}
    pieces = []
    for is_line, group in groupby(blocks, lambda block: isinstance(block, Part) and block.kind == "line"):
        if is_line:
            text = "\n".join(block.text for block in group if isinstance(block, Part))
            # Longer than any fence that a log line holds.
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            pieces.append(f"{fence}text\n{text}\n{fence}")
            continue
        for block in group:
            match block:
                case Part(kind, text):
                    pieces.append(f"{marks[kind]}{for_markdown(text)}")
                case Table(rows):
                    head = f"|{' |' * len(rows[0])}\n|{'---|' * len(rows[0])}"
                    body = (f"| {' | '.join(map(for_markdown, row))} |" for row in rows)
                    pieces.append("\n".join([head, *body]))
                case Picture(text):
                    pieces.append(f"![{for_markdown(text)}]({PICTURE})")
    return "\n\n".join(pieces) + "\n"


def _as_html(blocks: list[Block], picture: bytes, language: Language) -> str:
    tags = {"title": "h1", "heading": "h2", "sentence": "p", "line": "pre"}
    pieces = []
    for block in blocks:
        match block:
            case Part(kind, text):
                pieces.append(f"<{tags[kind]}>{html.escape(text)}</{tags[kind]}>")
            case Table(rows):
                cells = (
                    f"<tr><th scope=row>{html.escape(first)}"
                    + "".join(f"<td>{html.escape(cell)}" for cell in others)
                    for first, *others in rows
                )
                pieces.append(f"<table>{''.join(cells)}</table>")
            case Picture(text):
                data = base64.b64encode(picture).decode()
                pieces.append(f'<img alt="{html.escape(text)}" src="data:image/png;base64,{data}">')
    policy = f"default-src 'none'; img-src data:; style-src '{policy_hash(STYLE)}'"
    (title,) = (block.text for block in blocks if isinstance(block, Part) and block.kind == "title")
    return (
        f'<!doctype html>\n<html lang="{language}">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n" + "\n".join(pieces) + "\n</html>\n"
    )
