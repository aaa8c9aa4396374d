"""The commands that read an archive or change the lake: arguments to one run each.

What takes long to import (polars, SQLAlchemy, pydantic) is imported by the command that needs it.
"""

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import duckdb
import typer
from rich.console import Console

from flows.answer import HOSTS_SHOWN, problem_lines, show_counts, show_missing_flushes, show_restarts
from flows.catalog import (
    MISSING_FLUSHES,
    RESTARTS,
    SHOWN_RESTARTS,
    UNKNOWN_RESTARTS,
    Row,
    count_rows,
    fetch,
    fetch_sighted,
    fetch_zones,
    open_catalog,
)
from flows.language import Language, say
from flows.machine import write_json
from flows.options import (
    Archive,
    AsJson,
    DryRun,
    Hosts,
    Lake,
    Lang,
    Since,
    Until,
    chosen_language,
    exit_code,
    read_settings,
    restart_choice,
)
from flows.tables import output_console, plain, show_text
from flows.words import counted, first_few
from transforms.problems import Problem
from transforms.queries import read_query

if TYPE_CHECKING:
    from flows.runs import ArchiveRun

# Restarts that a run prints unless --since is given: a fleet has a million in a year.
NEWEST_SHOWN = 100


def run(
    context: typer.Context,
    archive: Archive,
    lake: Lake = None,
    fleet: Annotated[
        Path | None, typer.Option("--fleet", help="Fleet file. Default: fleet.toml in the archive.")
    ] = None,
    host: Hosts = None,
    since: Since = None,
    until: Until = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="First check the content of every lake file for damage.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but problems: no tables, no progress.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Name every host with a problem, and time each step.")
    ] = False,
    lang: Lang = None,
    as_json: AsJson = False,
) -> None:
    """Read new logs; print the restarts and the missing flushes.

    Without --since it prints the newest 100 of each.
    """
    from flows.runs import ProgressBar, run_archive

    settings = read_settings()
    job = settings.job(archive, lake=lake, fleet_file=fleet, hosts=tuple(host or ()), is_deep=deep)
    language = chosen_language(context, lang)
    with ProgressBar(language, is_quiet=quiet, is_verbose=verbose) as progress:
        done = run_archive(
            job, settings.open_engine(), progress, page_language=language if settings.report else None
        )
    notes = [*done.ingested.notes, *filter(None, [done.page_problem])]
    shown = [] if quiet else [_problem_row(note) for note in notes]
    _print_problems([*shown, *map(vars, done.findings)], language, is_whole=verbose)
    choice = restart_choice(host, since, until)
    if as_json or not quiet:
        with open_catalog(job.lake) as catalog:
            counts = _counts(catalog, done)
            if as_json:
                write_json(
                    {
                        "restarts": fetch(catalog, RESTARTS, choice),
                        "missing_flushes": fetch(catalog, MISSING_FLUSHES, choice),
                        "counts": counts,
                        "findings": [vars(finding) for finding in done.findings],
                        "catalog": str(done.analyzed.catalog),
                    }
                )
            else:
                console = output_console()
                newest = NEWEST_SHOWN if since is None else None
                _show_answer(console, catalog, choice, newest=newest, language=language)
                show_counts(console, counts, done.analyzed.catalog, language=language)
    raise typer.Exit(exit_code(finding.severity for finding in done.findings))


def init(
    context: typer.Context,
    archive: Archive,
    force: Annotated[
        bool, typer.Option("--force", help="Write both files anew, whatever they say now.")
    ] = False,
    lang: Lang = None,
) -> None:
    """Write maillag.toml and fleet.toml for an archive.

    Both go into the current folder, with a comment on each key. A fleet.toml that is there gets the hosts
    that it lacks, and keeps all that it says.
    """
    from flows.init import write_settings

    language = chosen_language(context, lang)
    done = write_settings(archive, may_overwrite=force)
    _print_problems([_problem_row(problem) for problem in done.problems], language)
    console = output_console()

    def tell(key: str, **figures: object) -> None:
        show_text(console, say(language, f"terminal.{key}", **figures))

    if done.written:
        files = say(language, "counted.comma").join(file.name for file in done.written)
        tell("wrote", files=files, hosts=counted(len(done.hosts), "host", language))
    if done.added:
        tell(
            "merged_hosts",
            file=done.fleet_file.name,
            hosts=plain(first_few(done.added, noun="host", language=language)),
        )
    for file in done.kept:
        tell("kept_file", file=file.name)
    if not done.is_used:
        tell("name_fleet_file", file=done.fleet_file.name, line=plain(f"fleet_file = '{done.fleet_file}'"))
    if done.to_ask:
        tell("ask_backoff", hosts=plain(first_few(done.to_ask, noun="host", language=language)))
    tell("next", command=f"maillag run {plain(shlex.quote(str(archive)))}")
    raise typer.Exit(exit_code(problem.severity for problem in done.problems))


def compact(
    context: typer.Context,
    lake: Lake = None,
    dry_run: DryRun = False,
    lang: Lang = None,
) -> None:
    """Merge the small files of past months.

    Afterwards the lake has one file for each month, host and table.
    """
    from flows.runs import compact_lake

    language = chosen_language(context, lang)
    job = read_settings().job(Path(), lake=lake)
    done = compact_lake(job, today=datetime.now(UTC).date(), is_dry_run=dry_run)
    files = counted(done.old_file_count, "file", language)
    key = "terminal.would_compact" if dry_run else "terminal.compacted"
    show_text(output_console(), say(language, key, files=files, n=done.new_file_count))


def expire(
    context: typer.Context,
    before: Annotated[
        datetime,
        typer.Option("--before", formats=["%Y-%m-%d"], help="The first day (UTC) whose events are kept."),
    ],
    lake: Lake = None,
    dry_run: DryRun = False,
    lang: Lang = None,
) -> None:
    """Remove the events of old days from the lake.

    What the marts say about these days is kept, frozen.
    """
    from flows.runs import expire_events

    language, console = chosen_language(context, lang), output_console()
    job = read_settings().job(Path(), lake=lake)
    today = datetime.now(UTC).date()
    expired = expire_events(job, before=before.date(), today=today, is_dry_run=dry_run)
    key = "terminal.would_expire" if dry_run else "terminal.expired"
    for days in expired.frozen:
        dates = {"day": days.expired_before, "frozen": days.frozen_before}
        show_text(console, say(language, key, host=plain(days.host), **dates))
    if not expired.frozen:
        show_text(console, say(language, "terminal.none_to_expire", day=before.date()))
    elif dry_run:
        show_text(console, say(language, "terminal.would_change_nothing"))


def acknowledge(
    context: typer.Context,
    place: Annotated[str, typer.Argument(help="What the finding is about, as `maillag status` prints it.")],
    lake: Lake = None,
    lang: Lang = None,
) -> None:
    """Turn a critical finding into a warning.

    For findings about which nothing can be done. A finding that changes is critical again.
    """
    from flows.runs import acknowledge_findings

    language = chosen_language(context, lang)
    count = acknowledge_findings(read_settings().job(Path(), lake=lake), place)
    findings = counted(count, "finding", language)
    show_text(output_console(), say(language, "terminal.acknowledged", findings=findings, place=plain(place)))


def _print_problems(problems: Iterable[Row], language: Language, *, is_whole: bool = False) -> None:
    """Print problems on standard error; `is_whole` names every host that has one."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    shown = None if is_whole else HOSTS_SHOWN
    for line in problem_lines(problems, language, hosts_shown=shown):
        console.print(line, markup=False)


def _show_answer(
    console: Console,
    catalog: duckdb.DuckDBPyConnection,
    choice: Row,
    *,
    newest: int | None,
    language: Language,
) -> None:
    """Print the chosen restarts and missing flushes, of each only the newest if a number is given."""
    sighted = fetch_sighted(catalog, choice["hosts"])
    show_restarts(
        console,
        fetch(catalog, SHOWN_RESTARTS, choice | {"newest": newest}),
        fetch_zones(catalog),
        language=language,
        of_count=count_rows(catalog, RESTARTS, choice),
        sighted=sighted,
    )
    console.print()
    show_missing_flushes(
        console,
        fetch(catalog, MISSING_FLUSHES, choice | {"newest": newest}),
        language=language,
        of_count=count_rows(catalog, MISSING_FLUSHES, choice),
        unknown_count=count_rows(catalog, UNKNOWN_RESTARTS, choice),
        sighted=sighted,
    )
    console.print()


def _counts(catalog: duckdb.DuckDBPyConnection, done: "ArchiveRun") -> Row:
    """Return what the lake holds, and what this run read and ignored."""
    (counts,) = fetch(catalog, read_query("answers.counts"))
    ingested = done.ingested
    return counts | {
        "unparsed_reasons": fetch(catalog, read_query("answers.unparsed_reasons")),
        "new_file_count": ingested.new_file_count,
        "new_line_count": ingested.new_line_count,
        "ignored_file_count": len(ingested.ignored),
        "ignored_files": ingested.ignored,
        "hosts_without_logs": [row["host"] for row in fetch(catalog, read_query("answers.silent_hosts"))],
    }


def _problem_row(problem: Problem) -> Row:
    return {"severity": problem.severity, "place": problem.where, **vars(problem)}
