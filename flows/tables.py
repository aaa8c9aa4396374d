"""Rows of text to a table, or to records where a table is too wide for the terminal: nothing is cut."""

import html
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

# An address of mail, also within a path; quotes may hold anything.
ADDRESS = re.compile(r"""(?:"[^"]*"|[^\s"<>(),;:=/]+)@[^\s"<>(),;=/]+""")
# An underscore within a word is only text.
MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[-+#=]")
# Longer words of prose, such as addresses, are folded rather than widen their column.
WORD_COLUMNS = 16
GAP = "  "
# Printing many lines with one call is faster.
LINES_AT_ONCE = 1000

Line = tuple[str, str]
"""A text and its style."""


@dataclass(frozen=True)
class Column:
    """A column of a table, of ids, dates or numbers, which are never folded, or of prose, which may be."""

    name: str
    is_prose: bool = False
    is_right: bool = False


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
    text = html.escape(for_logs(value), quote=False)
    return MARKDOWN.sub(r"\\\g<0>", text).replace("://", "&#58;//")


def output_console() -> Console:
    """Return a console on standard output; without a terminal of known width it folds nothing."""
    columns = shutil.get_terminal_size((0, 0)).columns
    return Console(width=columns or None, soft_wrap=not columns, highlight=False)


def show_table(
    console: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    title: str = "",
    red: Collection[int] = (),
) -> None:
    """Print rows as a table, or as records if they are too wide; `red` has the indexes of rows in red."""
    cells = [[plain(cell) for cell in row] for row in rows]
    headings = [plain(column.name) for column in columns]
    of_columns = list(zip(*[headings, *cells], strict=True))
    if title:
        _print(console, [(title, "bold")])
    styles = ["red" if index in red else "" for index in range(len(cells))]
    widths = [max(1, *map(cell_len, texts)) for texts in of_columns]
    if not console.soft_wrap:
        least = [_least_width(column, texts) for column, texts in zip(columns, of_columns, strict=True)]
        spare = console.width - sum(least) - len(GAP) * (len(columns) - 1)
        if spare < 0:
            _print(console, _records(console, headings, cells, styles))
            return
        widths = _widened(least, widths, spare)
    _print(
        console,
        (
            (line, style)
            for row, style in zip([headings, *cells], ["bold", *styles], strict=True)
            for line in _fold(console, columns, row, widths)
        ),
    )


def _least_width(column: Column, texts: Sequence[str]) -> int:
    """Return the least width of a column: its heading, and prose, may be folded between words."""
    heading, *cells = texts
    words = [cell_len(word) for word in heading.split()]
    if column.is_prose:
        words += [min(cell_len(word), WORD_COLUMNS) for cell in cells for word in cell.split()]
    else:
        words += map(cell_len, cells)
    return max([1, *words])


def _widened(least: Sequence[int], wanted: Sequence[int], spare: int) -> list[int]:
    """Return the widths after sharing the spare room of the line, the narrowest column first."""
    widths = list(least)
    for _ in range(spare):
        narrow = [index for index, width in enumerate(widths) if width < wanted[index]]
        if not narrow:
            break
        widths[min(narrow, key=lambda index: widths[index])] += 1
    return widths


def _fold(
    console: Console, columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]
) -> Iterator[str]:
    folded = [_folded(console, cell, width) for cell, width in zip(cells, widths, strict=True)]
    for parts in zip_longest(*folded, fillvalue=""):
        padded = []
        for column, part, width in zip(columns, parts, widths, strict=True):
            space = " " * (width - cell_len(part))
            padded.append(space + part if column.is_right else part + space)
        yield GAP.join(padded).rstrip()


def _folded(console: Console, text: str, width: int) -> list[str]:
    # Most texts fit, and rich would take fifty times as long to notice.
    if cell_len(text) <= width:
        return [text.rstrip()]
    return [line.plain.rstrip() for line in Text(text).wrap(console, width, overflow="fold")]


def _records(
    console: Console, names: Sequence[str], cells: Sequence[Sequence[str]], styles: Sequence[str]
) -> Iterator[Line]:
    name_width = max(map(cell_len, names))
    width = max(console.width - name_width - len(GAP), WORD_COLUMNS)
    for index, (row, style) in enumerate(zip(cells, styles, strict=True)):
        if index:
            yield "", ""
        for name, cell in zip(names, row, strict=True):
            first, *others = _folded(console, cell, width) or [""]
            yield f"{name}{' ' * (name_width - cell_len(name))}{GAP}{first}".rstrip(), style
            for other in others:
                yield " " * name_width + GAP + other, style


def _print(console: Console, lines: Iterable[Line]) -> None:
    rest = iter(lines)
    while some := list(islice(rest, LINES_AT_ONCE)):
        console.print(Text("\n").join(Text(line, style=style) for line, style in some), soft_wrap=True)
