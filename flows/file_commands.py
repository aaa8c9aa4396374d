"""The commands that write what the published catalog has into files: the page, tables and charts.

What takes long to import (altair, xlsxwriter, pyarrow) is imported by the command that needs it.
"""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.language import say
from flows.options import (
    QUERY_MEMORY_MIB,
    QUERY_TIMEOUT_SECONDS,
    Lake,
    Lang,
    QueryMemory,
    QueryTimeout,
    chosen_lake,
    chosen_language,
)
from flows.report.rows import DAYS, REPORT_NAME
from flows.sandbox import open_sandbox
from flows.tables import plain
from transforms.problems import MaillagError

TABLE_NAME = re.compile(r"[a-z]+\.[a-z_]+")


def report(
    context: typer.Context,
    lake: Lake = None,
    days: Annotated[
        int,
        typer.Option("--days", min=1, max=3660, help="How many of the latest days with logs it is about."),
    ] = DAYS,
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path(REPORT_NAME),
    lang: Lang = None,
) -> None:
    """Write a page for the browser, as one HTML file.

    It holds both languages and opens in the chosen one. It has no sender, recipient or message id in it, and
    needs nothing beside it.
    """
    from flows.report.page import write_page

    language = chosen_language(context, lang)
    try:
        write_page(chosen_lake(lake), out, language=language, days=days)
    except OSError as error:
        raise MaillagError(
            f"{out}: cannot be written ({error.strerror}). Give another file with --out."
        ) from None
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    print(plain(say(language, "terminal.page_written", page=str(out), size=size)))


def export(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            help="A table, such as marts.restarts; one SELECT over the published tables; or a chart: waits, "
            "hours, changes, what_if, or the id of a restart for its timeline."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="The file to write: .csv, .xlsx or .parquet; .png or .svg for a chart."),
    ],
    days: Annotated[
        int, typer.Option("--days", min=1, max=3660, help="A chart is about so many latest days.")
    ] = DAYS,
    lake: Lake = None,
    purpose: Annotated[
        Literal["excel"] | None,
        typer.Option("--for", help="excel: CSV that Excel opens as it is, with times of the host."),
    ] = None,
    timeout: QueryTimeout = QUERY_TIMEOUT_SECONDS,
    memory: QueryMemory = QUERY_MEMORY_MIB,
    lang: Lang = None,
) -> None:
    """Write a table, a query or a chart to a file."""
    from flows.export import PICTURES, export_rows

    if out.suffix.lower() in PICTURES:
        from flows.export_chart import export_chart  # 0.7 s, which only charts need

        export_chart(chosen_lake(lake), what, out, days=days, language=chosen_language(context, lang))
        return
    sql = f"from {what}" if TABLE_NAME.fullmatch(what) else what
    with open_sandbox(
        chosen_lake(lake), timeout_seconds=timeout, memory_mib=memory, may_exit=True
    ) as sandbox:
        count = export_rows(sandbox, sql, out, for_spreadsheet=purpose == "excel")
    written = say(chosen_language(context, lang), "export.written", n=count, out=str(out))
    print(plain(written), file=sys.stderr)
