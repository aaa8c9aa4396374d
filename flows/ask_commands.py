"""The commands that ask the published catalog: arguments to tables, JSON or CSV.

What takes long to import (polars, SQLAlchemy, pydantic) is imported by the command that needs it.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from flows.answer import show_restarts, show_rows
from flows.catalog import (
    RESTARTS,
    SHOWN_RESTARTS,
    check_hosts,
    fetch,
    fetch_readable,
    fetch_sighted,
    fetch_table,
    fetch_zones,
    open_catalog,
)
from flows.language import language_of
from flows.machine import write_csv, write_json, write_records
from flows.options import (
    BROKEN,
    AsCsv,
    AsJson,
    Hosts,
    Lake,
    Since,
    Until,
    chosen_archive,
    chosen_lake,
    exit_code,
    read_settings,
    restart_choice,
)
from flows.report.rows import DAYS, REPORT_NAME
from flows.sandbox import open_sandbox
from flows.show_fleet import CHANGES, DIAGNOSIS, show_changes, show_diagnosis
from flows.show_trace import show_hops
from flows.tables import output_console, plain
from transforms.problems import MaillagError
from transforms.queries import read_query

# Rows of a query that a table shows, and the bounds of a query unless others are given.
ROWS_SHOWN = 1000
QUERY_TIMEOUT_SECONDS = 300
QUERY_MEMORY_MIB = 1024
# The queries of `maillag status`, under the names that their rows have in its JSON.
STATUS_QUERIES = {
    "counts": "counts",
    "hosts": "hosts",
    "runs": "last_runs",
    "findings": "findings",
    "unparsed_reasons": "unparsed_reasons",
    "unparsed_shapes": "unparsed_shapes",
}


def status(
    lake: Lake = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also check that lake, ledger and catalog agree.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="With --verify: read every lake file in full, not only its size.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what the lake holds, what was kept out and why.

    Also the latest runs, and the reasons and shapes of lines that could not be parsed.
    """
    wrong = []
    if verify:
        from transforms.lake.verify import verify_lake

        wrong = verify_lake(chosen_lake(lake), read_settings().ledger_url, is_deep=deep)
    fetch_rows = fetch_readable if wrong else fetch
    with open_catalog(chosen_lake(lake)) as catalog:
        report = {
            name: fetch_rows(catalog, read_query(f"answers.{query}"))
            for name, query in STATUS_QUERIES.items()
        }
    if verify:
        report["verified"] = [vars(problem) for problem in wrong] or [{"where": "lake", "what": "all agree"}]
    if as_json:
        write_json(report)
    else:
        console = output_console()
        for name, rows in report.items():
            console.print(name.replace("_", " ").capitalize(), style="bold")
            columns = [column.replace("_", " ") for column in rows[0]] if rows else []
            show_rows(console, columns, [tuple(row.values()) for row in rows])
            console.print()
    raise typer.Exit(BROKEN if wrong else exit_code(row["severity"] for row in report["findings"]))


def restarts(
    lake: Lake = None,
    host: Hosts = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print the restarts of the scan service.

    Each comes with the mail that it held and the verdict on its flush.
    """
    with open_catalog(chosen_lake(lake)) as catalog:
        check_hosts(catalog, host or ())
        sql = RESTARTS if as_json or as_csv else SHOWN_RESTARTS
        columns, rows = fetch_table(catalog, sql, restart_choice(host, since, until))
        sighted = fetch_sighted(catalog, host or ())
        zones = fetch_zones(catalog)

    def show(console: Console) -> None:
        show_restarts(console, rows, zones, sighted=sighted)

    _print_rows(columns, map(dict.values, rows), show, as_json=as_json, as_csv=as_csv)


def trace(
    wanted: Annotated[
        str, typer.Argument(metavar="QUEUE_ID|MESSAGE_ID|ADDRESS", help="Which mail to trace.")
    ],
    lake: Lake = None,
    host: Hosts = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print the path of mail through all hops.

    Each hop comes with the restarts that held the mail there.
    """
    with open_catalog(chosen_lake(lake)) as catalog:
        check_hosts(catalog, host or ())
        parameters = {"wanted": wanted, "hosts": list(host or ())}
        columns, rows = fetch_table(catalog, read_query("answers.hops"), parameters)
        zones = fetch_zones(catalog)

    def show(console: Console) -> None:
        show_hops(console, rows, zones, wanted)

    _print_rows(columns, map(dict.values, rows), show, as_json=as_json, as_csv=as_csv)


def fleet(
    lake: Lake = None,
    host: Hosts = None,
    changes: Annotated[
        bool, typer.Option("--changes", help="Print instead what each change of settings did.")
    ] = False,
    lang: Annotated[Literal["en", "ja"], typer.Option("--lang", help="Language of the advice.")] = "en",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print what each host is, how it behaves and what to do."""
    with open_catalog(chosen_lake(lake)) as catalog:
        check_hosts(catalog, host or ())
        sql = CHANGES if changes else DIAGNOSIS
        columns, rows = fetch_table(catalog, sql, {"hosts": list(host or ())})
        zones = fetch_zones(catalog)

    def show(console: Console) -> None:
        if changes:
            show_changes(console, rows, zones)
        else:
            show_diagnosis(console, rows, zones, lang)

    _print_rows(columns, map(dict.values, rows), show, as_json=as_json, as_csv=as_csv)


def explain(
    restart_id: Annotated[
        str, typer.Argument(help="The restart's id, or HOST-INSTANT for any instant inside it (UTC).")
    ],
    lake: Lake = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            "--archive", help="Where to read the log lines. Default: `archive` of the settings, if set."
        ),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show all messages, not only the worst.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the log lines behind a restart and its verdict.

    It says why the flush got this verdict and no other.
    """
    from flows.show_explanation import (
        SHOWN,
        as_document,
        difference_in_words,
        fetch_frozen_days,
        fetch_restart,
        frozen_in_words,
        show_explanation,
    )
    from transforms.explain.explain import explain_restart, find_restart

    lake, archive = chosen_lake(lake), chosen_archive(archive)
    with open_catalog(lake) as catalog:
        known_id = find_restart(catalog, restart_id)
        if frozen := fetch_frozen_days(catalog, known_id):
            restart = fetch_restart(catalog, known_id)
            if as_json:
                write_json({"restart": restart, "frozen": frozen})
            else:
                show_restarts(output_console(), [restart], fetch_zones(catalog))
                print(f"\n{plain(frozen_in_words(frozen))}")
            return
    limit = None if show_all or as_json else SHOWN
    explanation = explain_restart(lake, known_id, archive=archive, message_limit=limit)
    if as_json:
        write_json(as_document(explanation))
    else:
        show_explanation(output_console(), explanation, is_all=show_all)
    if explanation.differences:
        print(f"critical: {plain(difference_in_words(explanation))}", file=sys.stderr)
        raise typer.Exit(BROKEN)


def report(
    lake: Lake = None,
    days: Annotated[
        int,
        typer.Option("--days", min=1, max=3660, help="How many of the latest days with logs it is about."),
    ] = DAYS,
    lang: Annotated[
        Literal["en", "ja"] | None,
        typer.Option("--lang", help="Language it opens in. Default: that of the locale. It has both."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path(REPORT_NAME),
) -> None:
    """Write a page for the browser, as one HTML file.

    It has no sender, recipient or message id in it, and needs nothing beside it.
    """
    from flows.report.page import write_page

    try:
        write_page(chosen_lake(lake), out, language=language_of(lang), days=days)
    except OSError as error:
        raise MaillagError(
            f"{out}: cannot be written ({error.strerror}). Give another file with --out."
        ) from None
    print(f"Wrote {plain(out)} ({out.stat().st_size / 1e6:.1f} MB). Open it in a browser.")


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the schemas events, fleet, ops and marts.")],
    lake: Lake = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, max=1e9, help="Seconds before it is stopped; 0 is no limit.")
    ] = QUERY_TIMEOUT_SECONDS,
    memory: Annotated[
        int, typer.Option("--memory", min=256, max=2**24, help="Most memory it may use, in MiB.")
    ] = QUERY_MEMORY_MIB,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Run a query, read-only, on the published tables."""
    with open_sandbox(
        chosen_lake(lake), timeout_seconds=timeout, memory_mib=memory, may_exit=True
    ) as sandbox:
        columns, rows = sandbox.select(sql)

        def show(console: Console) -> None:
            show_rows(console, columns, list(islice(rows, ROWS_SHOWN)))
            if next(rows, None):
                print(
                    f"Only the first {ROWS_SHOWN:,} rows are shown. For all: --csv or --json", file=sys.stderr
                )

        _print_rows(columns, rows, show, as_json=as_json, as_csv=as_csv)


def _print_rows(
    columns: Sequence[str],
    rows: Iterable[Iterable[Any]],
    show: Callable[[Console], None],
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Write rows to standard output as JSON or CSV; `show` prints them for people."""
    if as_json:
        write_records(columns, rows)
    elif as_csv:
        write_csv(columns, rows)
    else:
        show(output_console())
