"""Rows of text to a table, or to records where a table is too wide for the terminal: nothing is cut."""

import html
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, zip_longest

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from flows.language import Language, say

# An address of mail, also within a path; quotes may hold anything.
ADDRESS = re.compile(r"""(?:"[^"]*"|[^\s"<>(),;:=/]+)@[^\s"<>(),;=/]+(?<![.:!?])""")
# An underscore within a word is only text.
MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[-+#=]")
# Longer words of prose, such as addresses, are folded rather than widen their column.
WORD_COLUMNS = 16
# Text of wide characters, such as Japanese, may be folded anywhere.
WIDE_WORD_COLUMNS = 10
GAP = "  "
# Printing many lines with one call is faster.
LINES_AT_ONCE = 1000

Line = tuple[str, str]
"""A text and its style."""


@dataclass(frozen=True)
class Column:
    """A column of a table, of ids, dates or numbers, which are never folded, or of prose, which may be.

    A spare column is left out of a table that is too wide with it.
    """

    name: str
    is_prose: bool = False
    is_right: bool = False
    is_spare: bool = False


def plain(value: object) -> str:
    r"""Return text for a terminal, with `\xNN` for control characters, which might steer it."""
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain_lines(value: object) -> str:
    """Return text of several lines for a terminal, each as by `plain`."""
    return "\n".join(plain(line) for line in str(value).split("\n"))


def for_logs(value: object) -> str:
    """Return text for logs and messages that others keep: as by `plain`, without addresses of mail."""
    return ADDRESS.sub("(address)", plain(value))


def for_pages(value: object) -> str:
    """Return text for a page that renders HTML and Markdown: as by `for_logs`, with both escaped."""
    return for_markdown(for_logs(value))


def for_markdown(value: object) -> str:
    """Return text as Markdown that shows it as it is, also where HTML is rendered."""
    text = html.escape(plain(value), quote=False)
    return MARKDOWN.sub(r"\\\g<0>", text).replace("://", "&#58;//")


def output_console() -> Console:
    """Return a console on standard output; without a terminal of known width it folds nothing."""
    columns = shutil.get_terminal_size((0, 0)).columns
    return Console(width=columns or None, soft_wrap=not columns, highlight=False)


def show_text(console: Console, text: str, *, style: str = "", is_whole: bool = False) -> None:
    """Print text, folded between words where the width is known; a command, or a log line, stays whole."""
    lines = text.split("\n")
    if not (is_whole or console.soft_wrap):
        lines = [part for line in lines for part in _folded(line, console.width, is_cut=False)]
    _print(console, ((plain(line), style) for line in lines))


def show_table(
    console: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    title: str = "",
    red: Collection[int] = (),
    language: Language = "en",
) -> None:
    """Print rows as a table, or as records if they are too wide; `red` has the indexes of rows in red.

    If a table is too wide, its spare columns are left out, the last one first, and named below it.
    """
    every = [[plain(cell) for cell in row] for row in rows]
    headings = [plain(column.name) for column in columns]
    texts = list(zip(*[headings, *every], strict=True))
    styles = ["red" if index in red else "" for index in range(len(every))]
    widths = [max(1, *map(cell_len, of_column)) for of_column in texts]
    if title:
        show_text(console, title, style="bold")
    shown = list(range(len(columns)))
    if not console.soft_wrap:
        least = [_least_width(column, of_column) for column, of_column in zip(columns, texts, strict=True)]
        spares = [index for index in shown if columns[index].is_spare]
        while (room := _room(console, [least[index] for index in shown])) < 0 and spares:
            shown.remove(spares.pop())
        if room < 0:
            _print(console, _records(console, headings, every, styles))
            return
        # Cells first: headings are but one line.
        of_cells = [max(map(cell_len, texts[index][1:]), default=0) for index in shown]
        wider = _widened([least[index] for index in shown], of_cells, room)
        room = _room(console, wider)
        wider = _widened(wider, [widths[index] for index in shown], room)
        for index, width in zip(shown, wider, strict=True):
            widths[index] = width
    lines = zip([headings, *every], ["bold", *styles], strict=True)
    _print(
        console,
        (
            (line, style)
            for row, style in lines
            for line in _fold(
                [columns[index] for index in shown],
                [row[index] for index in shown],
                [widths[index] for index in shown],
            )
        ),
    )
    if len(shown) < len(columns):
        left_out = ", ".join(headings[index] for index in range(len(columns)) if index not in shown)
        show_text(console, say(language, "terminal.left_out", columns=left_out))


def _room(console: Console, widths: Sequence[int]) -> int:
    """Return how much of a line columns of these widths leave; less than none if they do not fit."""
    return console.width - sum(widths) - len(GAP) * (len(widths) - 1)


def _least_width(column: Column, texts: Sequence[str]) -> int:
    """Return the least width of a column: its heading, and prose, may be folded between words."""
    heading, *cells = texts
    words = [cell_len(word) for word in heading.split()]
    if column.is_prose:
        words += [_least_word(word) for cell in cells for word in cell.split()]
    else:
        words += map(cell_len, cells)
    return max([1, *words])


def _least_word(word: str) -> int:
    width = cell_len(word)
    return min(width, WORD_COLUMNS if width == len(word) else WIDE_WORD_COLUMNS)


def _widened(least: Sequence[int], wanted: Sequence[int], spare: int) -> list[int]:
    """Return the widths after sharing the spare room of the line, the narrowest column first."""
    widths = list(least)
    for _ in range(spare):
        narrow = [index for index, width in enumerate(widths) if width < wanted[index]]
        if not narrow:
            break
        widths[min(narrow, key=lambda index: widths[index])] += 1
    return widths


def _fold(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    folded = [_folded(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for parts in zip_longest(*folded, fillvalue=""):
        padded = []
        for column, part, width in zip(columns, parts, widths, strict=True):
            space = " " * (width - cell_len(part))
            padded.append(space + part if column.is_right else part + space)
        yield GAP.join(padded).rstrip()


@cache
def _pieces() -> re.Pattern[str]:
    """Return the pieces between which text may be folded; a closing mark stays with what it closes."""
    wide = "\\u1100-\\uffff"
    # Compiled when it is needed: that takes as long as the rest of this module.
    return re.compile(rf"\s+|[「(]*(?:[^\s{wide}]+|[{wide}])[、。」)ーっゃゅょッャュョ]*|.")


def _folded(text: str, width: int, *, is_cut: bool = True) -> list[str]:
    """Return a text in lines of at most this width, folded between words or wide characters.

    Unless `is_cut`, a word that is longer stays whole: a path is to be copied.
    """
    lines = [""]
    for piece in [text] if cell_len(text) <= width else _pieces().findall(text):
        for part in chop_cells(piece, width) if is_cut and cell_len(piece) > width else [piece]:
            if lines[-1] and cell_len(lines[-1] + part) > width:
                lines.append("")
            if lines[-1] or not part.isspace() or len(lines) == 1:
                lines[-1] += part
    return [line.rstrip() for line in lines]


def _records(
    console: Console, names: Sequence[str], cells: Sequence[Sequence[str]], styles: Sequence[str]
) -> Iterator[Line]:
    name_width = max(map(cell_len, names))
    width = max(console.width - name_width - len(GAP), WORD_COLUMNS)
    for index, (row, style) in enumerate(zip(cells, styles, strict=True)):
        if index:
            yield "", ""
        for name, cell in zip(names, row, strict=True):
            first, *others = _folded(cell, width) or [""]
            yield f"{name}{' ' * (name_width - cell_len(name))}{GAP}{first}".rstrip(), style
            for other in others:
                yield " " * name_width + GAP + other, style


def _print(console: Console, lines: Iterable[Line]) -> None:
    rest = iter(lines)
    while some := list(islice(rest, LINES_AT_ONCE)):
        console.print(Text("\n").join(Text(line, style=style) for line, style in some), soft_wrap=True)
