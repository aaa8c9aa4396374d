"""Rows of a query to a file for people and programs: CSV, XLSX or Parquet."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.catalog import fetch_zones
from flows.machine import cell_text, refuse_equal_names, write_csv
from flows.sandbox import Sandbox
from flows.tables import plain
from transforms.problems import MaillagError
from transforms.zone import Zone

Rows = Iterable[Sequence[Any]]

# The endings of charts (export_chart.py).
PICTURES = (".png", ".svg")
# The most that a sheet and a cell of Excel hold, and its first day.
SHEET_ROWS = 1_048_576
CELL_CHARACTERS = 32_767
FIRST_YEAR = 1900
# Larger numbers lose digits in Excel.
EXACT_NUMBERS = 10**15
COLUMN_WIDTH = len("2026-11-24 12:00:00")
PARQUET_ROWS = 65_536


def export_rows(sandbox: Sandbox, sql: str, out: Path, *, for_spreadsheet: bool = False) -> int:
    """Write the rows of a query to a file in the format of its ending, and return how many there are.

    `for_spreadsheet` makes CSV that Excel opens as it is; .xlsx always is for spreadsheets. These have times
    without a zone: in UTC and, if the rows name a host, beside it in the host's time. An older file is
    replaced once the new one is complete. Raises MaillagError as Sandbox.select does, for an unknown ending,
    and if the file cannot be written.
    """
    ending = out.suffix.lower()
    if ending not in (".csv", ".xlsx", ".parquet"):
        raise MaillagError(
            f"{out}: ends in neither .csv, .xlsx nor .parquet, nor .png or .svg for a chart. Choose one."
        )
    if ending == ".parquet":
        with written_aside(out) as path:
            return _write_parquet(sandbox, sql, path)
    columns: Sequence[str]
    rows: Rows
    if for_spreadsheet or ending == ".xlsx":
        columns, rows = _with_host_times(sandbox, sql)
    else:
        columns, rows = sandbox.select(sql)
    with written_aside(out) as path:
        if ending == ".xlsx":
            return _counted(rows, lambda rows: _write_xlsx(columns, rows, path))
        return _counted(rows, lambda rows: _write_csv(columns, rows, path, for_spreadsheet=for_spreadsheet))


def _counted(rows: Rows, write: Callable[[Rows], None]) -> int:
    """Let `write` write the rows, and return how many there were."""
    count = 0

    def counting() -> Iterator[Sequence[Any]]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    write(counting())
    return count


@contextmanager
def written_aside(out: Path) -> Iterator[Path]:
    """Yield a path beside `out` to write to, and put what was written there in its place."""
    try:
        with TemporaryDirectory(prefix=".maillag-", dir=out.parent) as folder:
            path = Path(folder, out.name)
            yield path
            path.replace(out)
    except OSError as error:
        reason = error.strerror or error
        raise MaillagError(f"{out}: cannot be written ({reason}). Choose another place.") from None


def _with_host_times(sandbox: Sandbox, sql: str) -> tuple[list[str], Iterator[list[Any]]]:
    """Return the columns and rows of a query, with times in UTC and in the time of the host that a row names.

    The host's zone is the row's own time_zone, else its present one.
    """
    zones = fetch_zones(sandbox.connection)
    names, rows = sandbox.select(sql)
    refuse_equal_names(names)
    types = [str(column[1]) for column in sandbox.connection.description or ()]
    of_time = [kind == "TIMESTAMP WITH TIME ZONE" for kind in types]
    host = names.index("host") if "host" in names else None
    zone = names.index("time_zone") if "time_zone" in names else None
    columns = []
    for name, is_time in zip(names, of_time, strict=True):
        columns += [f"{name} (UTC)"] if is_time else [name]
        if is_time and host is not None:
            columns.append(f"{name} (host time)")

    def shown(row: Sequence[Any]) -> list[Any]:
        values: list[Any] = []
        of_host = (zone is not None and row[zone]) or (host is not None and zones.get(row[host])) or "UTC"
        for value, is_time in zip(row, of_time, strict=True):
            if not is_time:
                values.append(value)
                continue
            values.append(value and value.astimezone(UTC).replace(tzinfo=None))
            if host is not None:
                values.append(value and Zone(of_host, "").to_local(value).replace(tzinfo=None))
        return values

    return columns, map(shown, rows)


def _write_csv(columns: Sequence[str], rows: Rows, path: Path, *, for_spreadsheet: bool) -> None:
    if for_spreadsheet:
        rows = (
            [value.isoformat(" ") if isinstance(value, datetime) else value for value in row] for row in rows
        )
    # Without the mark, Excel takes a file for one in the machine's old encoding.
    encoding, newline = ("utf-8-sig", "\r\n") if for_spreadsheet else ("utf-8", "")
    with path.open("w", encoding=encoding, newline=newline) as stream:
        write_csv(columns, rows, stream)


def _write_xlsx(columns: Sequence[str], rows: Rows, path: Path) -> None:
    from xlsxwriter import Workbook  # 0.1 s, which only this format needs

    # Row by row, by way of the disk; nothing that a log holds becomes a formula or a link.
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "tmpdir": str(path.parent),
    }
    with Workbook(str(path), options) as book:
        sheet = book.add_worksheet("maillag")
        sheet.freeze_panes(1, 0)
        formats = {
            datetime: book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            date: book.add_format({"num_format": "yyyy-mm-dd"}),
        }
        for index, name in enumerate(columns):
            sheet.set_column(index, index, max(len(name), COLUMN_WIDTH))
            sheet.write_string(0, index, plain(name), book.add_format({"bold": True}))
        for number, row in enumerate(rows, start=1):
            if number == SHEET_ROWS:
                raise MaillagError(
                    f"{path.name}: a sheet holds {SHEET_ROWS - 1:,} rows, and there are more. Ask for less, "
                    "or export to .csv or .parquet."
                )
            for index, value in enumerate(row):
                _write_cell(sheet, number, index, value, formats)


def _write_cell(sheet: Any, row: int, column: int, value: Any, formats: Mapping[type[date], Any]) -> None:
    """Write a value into a cell: as a number, a truth value or a time if Excel can hold it, else as text."""
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float | Decimal) and isfinite(value) and abs(float(value)) < EXACT_NUMBERS:
        sheet.write_number(row, column, value)
    elif isinstance(value, date) and value.year >= FIRST_YEAR:
        sheet.write_datetime(row, column, value, formats[type(value)])
    elif text := "\n".join(map(plain, cell_text(value).split("\n"))):
        is_long = len(text) > CELL_CHARACTERS
        sheet.write_string(row, column, f"{text[: CELL_CHARACTERS - 1]}…" if is_long else text)


def _write_parquet(sandbox: Sandbox, sql: str, path: Path) -> int:
    import pyarrow.parquet as pq  # 0.3 s, which only this format needs

    count = 0
    # A reader that is left open would keep the catalog busy.
    with sandbox.errors_of_query(), sandbox.batches(sql, PARQUET_ROWS) as reader:
        refuse_equal_names(reader.schema.names)
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                count += batch.num_rows
    return count
