"""The commands that ask the published catalog: arguments to tables, JSON or CSV.

What takes long to import (polars, SQLAlchemy, pydantic) is imported by the command that needs it.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import duckdb
import typer
from rich.console import Console

from flows.answer import show_restarts, show_rows
from flows.catalog import (
    RESTARTS,
    SHOWN_RESTARTS,
    Row,
    check_hosts,
    fetch,
    fetch_readable,
    fetch_sighted,
    fetch_table,
    fetch_zones,
    open_catalog,
)
from flows.language import Language, say
from flows.machine import write_csv, write_json, write_records
from flows.options import (
    BROKEN,
    DAY_FORMATS,
    QUERY_MEMORY_MIB,
    QUERY_TIMEOUT_SECONDS,
    AsCsv,
    AsJson,
    Day,
    Hosts,
    Lake,
    Lang,
    QueryMemory,
    QueryTimeout,
    Since,
    Until,
    chosen_archive,
    chosen_lake,
    chosen_language,
    exit_code,
    read_settings,
    restart_choice,
)
from flows.sandbox import open_sandbox
from flows.show_fleet import ADVICE, CHANGES, DIAGNOSIS, SOURCES, show_changes, show_diagnosis
from flows.show_status import ALL_AGREE, Status
from flows.show_trace import show_hops
from flows.tables import output_console, plain, show_text
from transforms.queries import read_query

# It imports the models.
if TYPE_CHECKING:
    from transforms.explain.explain import Explanation

# Rows of a query that a table shows.
ROWS_SHOWN = 1000
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
    context: typer.Context,
    lake: Lake = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also check that lake, ledger and catalog agree.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="With --verify: read every lake file in full, not only its size.")
    ] = False,
    lang: Lang = None,
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
        report["verified"] = [vars(problem) for problem in wrong] or [ALL_AGREE]
    if as_json:
        write_json(report)
    else:
        Status(output_console(), report, chosen_language(context, lang)).show()
    raise typer.Exit(BROKEN if wrong else exit_code(row["severity"] for row in report["findings"]))


def restarts(
    context: typer.Context,
    lake: Lake = None,
    host: Hosts = None,
    since: Since = None,
    until: Until = None,
    lang: Lang = None,
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
        language = chosen_language(context, lang)
        show_restarts(console, rows, zones, language=language, sighted=sighted)

    _print_rows(columns, map(dict.values, rows), show, as_json=as_json, as_csv=as_csv)


def trace(
    context: typer.Context,
    wanted: Annotated[
        str, typer.Argument(metavar="QUEUE_ID|MESSAGE_ID|ADDRESS", help="Which mail to trace.")
    ],
    lake: Lake = None,
    host: Hosts = None,
    held: Annotated[
        bool, typer.Option("--held", help="Only mail that a restart of the scan service held.")
    ] = False,
    since: Annotated[
        Day, typer.Option("--since", formats=DAY_FORMATS, help="Only mail of this day or later (host time).")
    ] = None,
    lang: Lang = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print the path of mail through all hops.

    The newest mail comes first, and each hop with the restarts that held the mail there.
    """
    with open_catalog(chosen_lake(lake)) as catalog:
        check_hosts(catalog, host or ())
        parameters = {
            "wanted": wanted,
            "hosts": list(host or ()),
            "is_held": held,
            "since": since and since.date(),
        }
        columns, rows = fetch_table(catalog, read_query("answers.hops"), parameters)
        zones = fetch_zones(catalog)

    def show(console: Console) -> None:
        language = chosen_language(context, lang)
        is_chosen = bool(host or held or since)
        show_hops(console, rows, zones, wanted, language=language, is_chosen=is_chosen)

    _print_rows(columns, map(dict.values, rows), show, as_json=as_json, as_csv=as_csv)


def fleet(
    context: typer.Context,
    lake: Lake = None,
    host: Hosts = None,
    changes: Annotated[
        bool, typer.Option("--changes", help="Print instead what each change of settings did.")
    ] = False,
    lang: Lang = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print what each host is, how it behaves and what to do."""
    with open_catalog(chosen_lake(lake)) as catalog:
        check_hosts(catalog, host or ())
        sql = CHANGES if changes else DIAGNOSIS
        columns, rows = fetch_table(catalog, sql, {"hosts": list(host or ())})
        advice = [] if changes else fetch(catalog, ADVICE, {"hosts": list(host or ())})
        sources = [] if changes else fetch(catalog, SOURCES)
        zones = fetch_zones(catalog)

    def show(console: Console) -> None:
        language = chosen_language(context, lang)
        if changes:
            show_changes(console, rows, zones, language)
        else:
            show_diagnosis(console, rows, advice, sources, zones, language)

    _print_rows(columns, map(dict.values, rows), show, as_json=as_json, as_csv=as_csv)


def explain(
    context: typer.Context,
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
    ticket: Annotated[
        Path | None,
        typer.Option("--ticket", help="Write it to this folder instead, as files for a support case."),
    ] = None,
    with_addresses: Annotated[
        bool, typer.Option("--with-addresses", help="With --ticket: addresses as logged, not pseudonyms.")
    ] = False,
    lang: Lang = None,
    as_json: AsJson = False,
) -> None:
    """Print the log lines behind a restart and its verdict.

    It says why the flush got this verdict and no other.
    """
    from flows.show_explanation import (
        MESSAGES_IN_TICKET,
        SHOWN,
        as_document,
        difference_in_words,
        fetch_frozen_days,
        fetch_restart,
        show_explanation,
    )
    from transforms.explain.explain import explain_restart, find_restart

    lake, archive = chosen_lake(lake), chosen_archive(archive)
    language = "en" if as_json else chosen_language(context, lang)
    with open_catalog(lake) as catalog:
        known_id = find_restart(catalog, restart_id)
        if frozen := fetch_frozen_days(catalog, known_id):
            _print_frozen(catalog, fetch_restart(catalog, known_id), frozen, language, as_json=as_json)
            return
    limit = MESSAGES_IN_TICKET if ticket else None if show_all or as_json else SHOWN
    explanation = explain_restart(lake, known_id, archive=archive, message_limit=limit)
    if ticket:
        _write_case(lake, explanation, ticket, language, with_addresses=with_addresses)
    elif as_json:
        write_json(as_document(explanation))
    else:
        show_explanation(output_console(), explanation, is_all=show_all, language=language)
    if explanation.differences:
        severity = say(language, "terminal.severity_critical")
        print(f"{severity}: {plain(difference_in_words(explanation, language))}", file=sys.stderr)
        raise typer.Exit(BROKEN)


def _write_case(
    lake: Path, explanation: "Explanation", folder: Path, language: Language, *, with_addresses: bool
) -> None:
    """Write a support case, and say where it is."""
    from flows.ticket import write_ticket  # 0.7 s, which only a picture needs

    names = write_ticket(lake, explanation, folder, language=language, with_addresses=with_addresses)
    said = say(language, "ticket.written", folder=str(folder), files=", ".join(names))
    print(plain(said), file=sys.stderr)


def _print_frozen(
    catalog: duckdb.DuckDBPyConnection, restart: Row, frozen: Row, language: Language, *, as_json: bool
) -> None:
    """Print a restart whose evidence has expired, and why there is no more."""
    if as_json:
        write_json({"restart": restart, "frozen": frozen})
        return
    from flows.show_explanation import frozen_in_words

    console = output_console()
    show_restarts(console, [restart], fetch_zones(catalog), language=language)
    console.print()
    show_text(console, frozen_in_words(frozen, language))


def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(help="One SELECT over the schemas events, fleet, ops and marts.")],
    lake: Lake = None,
    timeout: QueryTimeout = QUERY_TIMEOUT_SECONDS,
    memory: QueryMemory = QUERY_MEMORY_MIB,
    lang: Lang = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Run a query, read-only, on the published tables."""
    with open_sandbox(
        chosen_lake(lake), timeout_seconds=timeout, memory_mib=memory, may_exit=True
    ) as sandbox:
        columns, rows = sandbox.select(sql)

        def show(console: Console) -> None:
            language = chosen_language(context, lang)
            show_rows(console, columns, list(islice(rows, ROWS_SHOWN)), language=language)
            if next(rows, None):
                print(say(language, "terminal.first_rows_only", n=ROWS_SHOWN), file=sys.stderr)

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
