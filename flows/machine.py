"""Rows to JSON and CSV for machines."""

import csv
import json
import math
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TextIO

from flows.tables import plain
from transforms.problems import MaillagError

# What a cell begins with that a spreadsheet takes for a formula.
FORMULA = ("=", "+", "-", "@", "\t")


def write_json(document: Any, stream: TextIO | None = None) -> None:
    """Write JSON: times as ISO 8601 in UTC, durations in seconds, NaN and infinity as null."""
    (stream or sys.stdout).write(_json(document) + "\n")


def _json(document: Any) -> str:
    text = json.dumps(json_value(document), indent=2, ensure_ascii=True, allow_nan=False)
    # The only ASCII control character that JSON does not escape.
    return text.replace("\x7f", r"\u007f")


def write_records(
    columns: Sequence[str], rows: Iterable[Iterable[Any]], stream: TextIO | None = None
) -> None:
    """Write rows as a JSON list of objects, each as soon as it comes.

    Raises MaillagError if two columns have the same name.
    """
    refuse_equal_names(columns)
    out = stream or sys.stdout
    before = "[\n"
    for row in rows:
        out.write(before + textwrap.indent(_json(dict(zip(columns, row, strict=True))), "  "))
        before = ",\n"
    out.write("[]\n" if before == "[\n" else "\n]\n")


def refuse_equal_names(columns: Sequence[str]) -> None:
    """Raise MaillagError if two columns have the same name."""
    for name in columns:
        if columns.count(name) > 1:
            raise MaillagError(f"query: two columns are called {name}. Rename one with `as`.")


def write_csv(columns: Sequence[str], rows: Iterable[Iterable[Any]], stream: TextIO | None = None) -> None:
    """Write CSV with a header, also where there are no rows; lists are JSON.

    A text that begins with = + - @ or a tab, which a spreadsheet takes for a formula, gets a `'` before it.
    """
    writer = csv.writer(stream or sys.stdout, lineterminator="\n")
    writer.writerow([_csv_cell(name) for name in columns])
    for row in rows:
        writer.writerow([_csv_cell(value) for value in row])


def _csv_cell(value: Any) -> str:
    if type(value) is int:
        return str(value)
    lines = "\n".join("\t".join(map(plain, line.split("\t"))) for line in cell_text(value).split("\n"))
    return f"'{lines}" if isinstance(value, str) and lines.startswith(FORMULA) else lines


def json_value(value: Any) -> Any:
    """Return a value of a row as JSON can hold it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return float(value) if Decimal(str(float(value))) == value else str(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): json_value(part) for key, part in value.items()}
        case list() | tuple():
            return [json_value(part) for part in value]
    return str(value)


def cell_text(value: Any) -> str:
    """Return a value of a row as the text of a cell: lists, structures and truth values as JSON."""
    document = json_value(value)
    if document is None or isinstance(document, str):
        return document or ""
    return json.dumps(document, ensure_ascii=True)
