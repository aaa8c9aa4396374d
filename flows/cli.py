"""The command line: arguments to runs and answers. Results on stdout, progress and problems on stderr."""

import io
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from transforms.names import AS_SHOWN, given_host
from transforms.problems import MaillagError

if TYPE_CHECKING:
    from transforms.lake.ledger import Ledger
    from transforms.pipeline import Job

DONE, BROKEN, WRONG_USE = 0, 1, 2
PIPE_CLOSED = 128 + signal.SIGPIPE
# Restarts that a run prints unless it is told since when: a fleet has a million in a year.
NEWEST_SHOWN = 100
# Rows of a query that a table shows, and what a query may take unless it is given more.
ROWS_SHOWN = 1000
QUERY_TIMEOUT_SECONDS = 300
QUERY_MEMORY_MIB = 1024

app = typer.Typer(
    help="Which mail waited for restarts of the InterScan MSS / IMSVA scan service, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Archive = Annotated[Path, typer.Argument(help="Folder with one folder of logs per host.")]
Lake = Annotated[
    Path | None, typer.Option("--lake", help="Folder for events and marts. Default: `lake` of the settings.")
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        help="Only this host; may be repeated.",
        callback=lambda names: [given_host(name) for name in names or ()],
    ),
]
Day = datetime | None
Since = Annotated[
    Day, typer.Option("--since", formats=["%Y-%m-%d"], help="Restarts from this day of the host.")
]
Until = Annotated[
    Day, typer.Option("--until", formats=["%Y-%m-%d"], help="Restarts up to this day of the host.")
]


def _alone(context: typer.Context, value: bool) -> bool:
    """Refuse --json and --csv together: this is called for each, and knows those that were read before."""
    if value and (context.params.get("as_json") or context.params.get("as_csv")):
        raise typer.BadParameter("--json and --csv exclude each other.")
    return value


AsJson = Annotated[bool, typer.Option("--json", help="JSON for machines instead of tables.", callback=_alone)]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV for machines instead of tables.", callback=_alone)]


@app.command()
def run(
    archive: Archive,
    lake: Lake = None,
    fleet: Annotated[Path | None, typer.Option("--fleet", help="Fleet file, if elsewhere.")] = None,
    host: Hosts = None,
    since: Since = None,
    until: Until = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Look for damage in the content of every lake file first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read what is new in an archive, and print the restarts and the missing flushes."""
    from flows import answer, layout
    from flows.settings import load_settings
    from transforms import pipeline
    from transforms.contracts.contracts import Checker

    job = load_settings().job(archive, lake=lake, fleet_file=fleet, hosts=tuple(host or ()), is_deep=deep)
    ledger = job.open_ledger()
    with Checker() as checker, _ProgressBar() as progress, pipeline.open_run(job, ledger) as run_id:
        ingested = pipeline.ingest(job, ledger, run_id, checker, progress)
        analyzed = pipeline.analyze(job, ledger, run_id, checker, progress)
    findings = ledger.findings()
    ledger.close()
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in ingested.notes:
        errors.print(f"note: {layout.for_logs(note)}", markup=False)
    for finding in findings:
        errors.print(f"{finding.severity}: {layout.for_logs(finding)}", markup=False)
    with answer.open_catalog(job.lake) as catalog:
        choice = _choice(host, since, until)
        restart_count = answer.count_rows(catalog, answer.RESTARTS, choice)
        missing_count = answer.count_rows(catalog, answer.MISSING_FLUSHES, choice)
        unknown_count = answer.count_rows(catalog, answer.UNKNOWN_RESTARTS, choice)
        sighted = answer.fetch(catalog, answer.SIGHTED, {"hosts": choice["hosts"]})
        if not as_json and since is None:
            choice["newest"] = NEWEST_SHOWN
        restarts = answer.fetch(catalog, answer.RESTARTS if as_json else answer.SHOWN_RESTARTS, choice)
        missing = answer.fetch(catalog, answer.MISSING_FLUSHES, choice)
        (counts,) = answer.fetch(catalog, answer.COUNTS)
        counts["unparsed_reasons"] = answer.fetch(catalog, answer.UNPARSED_REASONS)
        silent = [row["host"] for row in answer.fetch(catalog, answer.SILENT_HOSTS)]
        zones = {row["host"]: row["time_zone"] for row in answer.fetch(catalog, answer.ZONES)}
    counts |= {
        "new_file_count": len(ingested.new_sources),
        "new_line_count": sum(record.line_count for record in ingested.new_sources),
        "ignored_file_count": len(ingested.ignored),
        "ignored_files": ingested.ignored,
        "hosts_without_logs": silent,
    }
    if as_json:
        answer.write_json(
            {
                "restarts": restarts,
                "missing_flushes": missing,
                "counts": counts,
                "findings": [vars(finding) for finding in findings],
                "catalog": str(analyzed.catalog),
            }
        )
    else:
        console = layout.output_console()
        answer.show_restarts(console, restarts, zones, of_count=restart_count, sighted=sighted)
        console.print()
        answer.show_missing_flushes(
            console, missing, of_count=missing_count, unknown_count=unknown_count, sighted=sighted
        )
        console.print()
        answer.show_counts(console, counts, analyzed.catalog)
    raise typer.Exit(_exit_code(findings))


@app.command()
def init(
    archive: Archive,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist already.")] = False,
) -> None:
    """Write a commented maillag.toml, and a fleet.toml of the archive's hosts, into the current folder."""
    from flows import answer, layout
    from flows.init import write_settings

    written = write_settings(archive, may_overwrite=force)
    for problem in written.problems:
        print(f"{problem.severity}: {layout.for_logs(problem)}", file=sys.stderr)
    hosts = answer.counted(len(written.hosts), "host")
    print(f"Wrote {' and '.join(file.name for file in written.files)}. The archive has {hosts}.")
    if written.hosts_to_ask:
        print(f"minimal_backoff_seconds is not known of {layout.plain(', '.join(written.hosts_to_ask))}.")
    print(f"Next: maillag run {layout.plain(shlex.quote(str(archive)))}")
    raise typer.Exit(_exit_code(written.problems))


@app.command()
def status(
    lake: Lake = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Whether the lake, its ledger and the catalog agree, as well.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="With --verify: read all of every lake file, not only its size.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what the lake holds, what is kept out of it and why, and what could not be parsed."""
    from flows import answer, layout

    wrong = []
    if verify:
        from flows.settings import load_settings
        from transforms.lake.verify import verify_lake

        wrong = verify_lake(_lake(lake), load_settings().ledger_url, is_deep=deep)
    with answer.open_catalog(_lake(lake)) as catalog:
        report = {
            name: answer.fetch_readable(catalog, sql) if wrong else answer.fetch(catalog, sql)
            for name, sql in (
                ("counts", answer.COUNTS),
                ("hosts", answer.HOSTS),
                ("runs", answer.LAST_RUNS),
                ("findings", answer.FINDINGS),
                ("unparsed_reasons", answer.UNPARSED_REASONS),
                ("unparsed_shapes", answer.UNPARSED_SHAPES),
            )
        }
    if verify:
        report["verified"] = [vars(problem) for problem in wrong] or [{"where": "lake", "what": "all agree"}]
    if as_json:
        answer.write_json(report)
    else:
        console = layout.output_console()
        for name, rows in report.items():
            console.print(name.replace("_", " ").capitalize(), style="bold")
            columns = [column.replace("_", " ") for column in rows[0]] if rows else []
            answer.show_rows(console, columns, [tuple(row.values()) for row in rows])
            console.print()
    critical = [row for row in report["findings"] if row["severity"] == "critical"]
    raise typer.Exit(BROKEN if critical or wrong else DONE)


@app.command()
def compact(lake: Lake = None) -> None:
    """Put the lake's many small files together into few: one per month that is over, host and table."""
    from flows import answer
    from transforms import pipeline

    with _run_on(lake) as (job, ledger, run_id):
        compacted = pipeline.compact(job, ledger, run_id, today=datetime.now(UTC).date())
    old = answer.counted(compacted.old_file_count, "file")
    print(f"Put {old} of events together into {compacted.new_file_count:,}.")


@app.command()
def expire(
    before: Annotated[
        datetime,
        typer.Option("--before", formats=["%Y-%m-%d"], help="The first day (UTC) whose events stay."),
    ],
    lake: Lake = None,
) -> None:
    """Take the events of old days out of the lake; what the marts say of these days stays, frozen."""
    from flows import layout
    from transforms import pipeline

    with _run_on(lake) as (job, ledger, run_id):
        expired = pipeline.expire(job, ledger, run_id, before=before.date(), today=datetime.now(UTC).date())
    for days in expired.frozen:
        host = layout.plain(days.host)
        print(f"{host}: no events before {days.expired_before}; frozen before {days.frozen_before}.")
    if not expired.frozen:
        print(f"There are no events before {before.date()}.")


@app.command()
def acknowledge(
    place: Annotated[str, typer.Argument(help="What the finding is about, as `maillag status` prints it.")],
    lake: Lake = None,
) -> None:
    """Make a critical finding about which nothing can be done a warning, as long as it stays what it is."""
    from flows import answer, layout
    from transforms import pipeline

    with _run_on(lake) as (job, ledger, run_id):
        critical = [finding for finding in ledger.findings() if finding.severity == "critical"]
        meant = [finding for finding in critical if place in {finding.place, layout.plain(finding.place)}]
        if not meant:
            places = ", ".join(sorted({finding.place for finding in critical})) or "none"
            raise MaillagError(f"{place}: has no critical finding. Places that have one: {places}.")
        pipeline.acknowledge(job, ledger, run_id, meant)
    print(f"Acknowledged {answer.counted(len(meant), 'finding')} about {layout.plain(place)}.")


@app.command()
def restarts(
    lake: Lake = None,
    host: Hosts = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print the restarts of the scan service, with the mail they held and the verdict on the flush."""
    from flows import answer, layout

    with answer.open_catalog(_lake(lake)) as catalog:
        answer.check_hosts(catalog, host or ())
        sql = answer.RESTARTS if as_json or as_csv else answer.SHOWN_RESTARTS
        rows = answer.fetch(catalog, sql, _choice(host, since, until))
        sighted = answer.fetch(catalog, answer.SIGHTED, {"hosts": list(host or ())})
        zones = {row["host"]: row["time_zone"] for row in answer.fetch(catalog, answer.ZONES)}
        columns = answer.columns_of(catalog, "marts.restarts")
    if as_json:
        answer.write_json(rows)
    elif as_csv:
        answer.write_csv(columns, [row.values() for row in rows])
    else:
        answer.show_restarts(layout.output_console(), rows, zones, sighted=sighted)


@app.command()
def trace(
    wanted: Annotated[
        str, typer.Argument(metavar="QUEUE_ID|MESSAGE_ID|ADDRESS", help="What the mail is known by.")
    ],
    lake: Lake = None,
    host: Hosts = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print the way of mail through all hops, with the restarts that held it."""
    from flows import answer, layout
    from flows.trace import fetch_hops, show_hops

    with answer.open_catalog(_lake(lake)) as catalog:
        answer.check_hosts(catalog, host or ())
        rows, columns = fetch_hops(catalog, wanted, host or ())
        zones = {row["host"]: row["time_zone"] for row in answer.fetch(catalog, answer.ZONES)}
    if as_json:
        answer.write_json(rows)
    elif as_csv:
        answer.write_csv(columns, [row.values() for row in rows])
    else:
        show_hops(layout.output_console(), rows, zones, wanted)


@app.command()
def fleet(
    lake: Lake = None,
    host: Hosts = None,
    changes: Annotated[
        bool, typer.Option("--changes", help="What each change of settings did, instead.")
    ] = False,
    lang: Annotated[Literal["en", "ja"], typer.Option("--lang", help="Language of the advice.")] = "en",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print what each host is, how it behaves, and what to do about it."""
    from flows import answer, layout
    from flows import fleet as shown

    with answer.open_catalog(_lake(lake)) as catalog:
        answer.check_hosts(catalog, host or ())
        sql = shown.CHANGES if changes else shown.DIAGNOSIS
        rows = answer.fetch(catalog, sql, {"hosts": list(host or ())})
        zones = {row["host"]: row["time_zone"] for row in answer.fetch(catalog, answer.ZONES)}
        columns = answer.columns_of(catalog, "marts.fleet_changes" if changes else "marts.host_diagnosis")
    if as_json:
        answer.write_json(rows)
    elif as_csv:
        answer.write_csv(columns, [row.values() for row in rows])
    elif changes:
        shown.show_changes(layout.output_console(), rows, zones)
    else:
        shown.show_diagnosis(layout.output_console(), rows, zones, lang)


@app.command()
def explain(
    restart_id: Annotated[str, typer.Argument(help="Its id, or host and any instant inside it (UTC).")],
    lake: Lake = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            "--archive", help="Where the log lines are read. Default: `archive` of the settings, if any."
        ),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="All messages, not only the worst.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the log lines behind one restart, and why its flush got this verdict and no other."""
    from flows import answer, layout
    from flows.explain import (
        FROZEN_DAYS,
        RESTART,
        SHOWN,
        as_document,
        difference_in_words,
        frozen_in_words,
        show_explanation,
    )
    from transforms.explain.explain import explain_restart, find_restart

    lake, archive = _lake(lake), _archive(archive)
    with answer.open_catalog(lake) as catalog:
        found = find_restart(catalog, restart_id)
        if frozen := answer.fetch(catalog, FROZEN_DAYS, {"restart_id": found}):
            (restart,) = answer.fetch(catalog, RESTART, {"restart_id": found})
            zones = {row["host"]: row["time_zone"] for row in answer.fetch(catalog, answer.ZONES)}
            if as_json:
                answer.write_json({"restart": restart, "frozen": frozen[0]})
            else:
                answer.show_restarts(layout.output_console(), [restart], zones)
                print(f"\n{layout.plain(frozen_in_words(frozen[0]))}")
            return
    limit = None if show_all or as_json else SHOWN
    explanation = explain_restart(lake, found, archive=archive, message_limit=limit)
    if as_json:
        answer.write_json(as_document(explanation))
    else:
        show_explanation(layout.output_console(), explanation, is_all=show_all)
    if explanation.differences:
        print(f"critical: {layout.plain(difference_in_words(explanation))}", file=sys.stderr)
        raise typer.Exit(BROKEN)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over events., fleet., ops. and marts.")],
    lake: Lake = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, max=1e9, help="Seconds after which it is ended; 0 is never.")
    ] = QUERY_TIMEOUT_SECONDS,
    memory: Annotated[
        int, typer.Option("--memory", min=256, max=2**24, help="MiB of memory that it may take.")
    ] = QUERY_MEMORY_MIB,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Run a query, read-only, against the published tables."""
    from flows import answer, layout
    from flows.sandbox import open_sandbox

    with open_sandbox(_lake(lake), timeout_seconds=timeout, memory_mib=memory, may_exit=True) as sandbox:
        columns, rows = sandbox.select(sql)
        if as_json:
            answer.write_records(columns, rows)
        elif as_csv:
            answer.write_csv(columns, rows)
        else:
            shown = list(islice(rows, ROWS_SHOWN))
            answer.show_rows(layout.output_console(), columns, shown)
            if next(rows, None):
                print(
                    f"These are the first {ROWS_SHOWN:,} rows. All of them: --csv or --json", file=sys.stderr
                )


def main() -> None:
    """Run the command line; errors of the MaillagError family, and a damaged lake, end it with code 2.

    A reader who closes the pipe ends it without a word, as SIGPIPE would; a character that the terminal
    lacks is shown as `%XX`, as in names.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=AS_SHOWN)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except MaillagError as error:
        from flows.layout import plain_lines

        print(f"maillag: {plain_lines(error)}", file=sys.stderr)
        sys.exit(WRONG_USE)
    except (BrokenPipeError, SystemExit) as end:
        # typer and rich make a closed pipe exit code 1.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, BrokenPipeError):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        sys.exit(PIPE_CLOSED)
    except Exception as error:
        # Imported by then, if the error is one of its own.
        import duckdb

        if not isinstance(error, duckdb.Error):
            raise
        from flows.layout import plain

        reason = plain(str(error).splitlines()[0])
        print(
            f"maillag: The lake cannot be read ({reason}). `maillag run ARCHIVE` makes anew what is damaged, "
            "`maillag status --verify --deep` names it; if that finds nothing, report this as a defect.",
            file=sys.stderr,
        )
        sys.exit(WRONG_USE)


class _ProgressBar:
    """The Progress of a run as a bar on standard error; silent where that is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "_ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, stage: str, total: int) -> None:
        self._task = self._bar.add_task(stage, total=total or 1)

    def advance(self, amount: float) -> None:
        self._bar.advance(self._task, amount)


@contextmanager
def _run_on(lake: Path | None) -> Iterator["tuple[Job, Ledger, str]"]:
    """Open a run on a lake that is there already, without an archive."""
    from flows import answer
    from flows.settings import load_settings
    from transforms import pipeline

    job = load_settings().job(Path(), lake=lake)
    answer.open_catalog(job.lake).close()
    with closing(job.open_ledger()) as ledger, pipeline.open_run(job, ledger) as run_id:
        yield job, ledger, run_id


def _lake(lake: Path | None) -> Path:
    if lake:
        return lake
    # A second of imports that a given lake saves.
    from flows.settings import load_settings

    return load_settings().lake


def _archive(archive: Path | None) -> Path | None:
    if archive is None:
        from flows.settings import load_settings

        return load_settings().archive
    if not archive.is_dir():
        raise MaillagError(f"{archive}: is not a folder. Give the archive that the lake was made from.")
    return archive


def _choice(hosts: list[str] | None, since: Day, until: Day) -> dict[str, Any]:
    return {
        "hosts": list(hosts or ()),
        "since": since and since.date(),
        "until": until and until.date(),
        "newest": None,
    }


def _exit_code(findings: list[Any]) -> int:
    return BROKEN if any(finding.severity == "critical" for finding in findings) else DONE
