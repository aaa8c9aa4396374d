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

from flows.answer import problem_lines, show_counts, show_missing_flushes, show_restarts
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
from flows.machine import write_json
from flows.options import Archive, AsJson, Hosts, Lake, Since, Until, exit_code, read_settings, restart_choice
from flows.tables import output_console, plain
from flows.words import counted, first_few
from transforms.problems import Problem
from transforms.queries import read_query

if TYPE_CHECKING:
    from flows.runs import ArchiveRun

# Restarts that a run prints unless --since is given: a fleet has a million in a year.
NEWEST_SHOWN = 100


def run(
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
    as_json: AsJson = False,
) -> None:
    """Read new logs; print the restarts and the missing flushes.

    Without --since it prints the newest 100 of each.
    """
    from flows.runs import ProgressBar, run_archive

    settings = read_settings()
    job = settings.job(archive, lake=lake, fleet_file=fleet, hosts=tuple(host or ()), is_deep=deep)
    with ProgressBar() as progress:
        done = run_archive(job, progress, has_page=settings.report)
    _print_problems(
        [_problem_row(note) for note in (*done.ingested.notes, *filter(None, [done.page_problem]))]
    )
    _print_problems([vars(finding) for finding in done.findings])
    choice = restart_choice(host, since, until)
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
            _show_answer(console, catalog, choice, newest=NEWEST_SHOWN if since is None else None)
            show_counts(console, counts, done.analyzed.catalog)
    raise typer.Exit(exit_code(finding.severity for finding in done.findings))


def init(
    archive: Archive,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Write maillag.toml and fleet.toml for an archive.

    Both go into the current folder, with a comment on each key.
    """
    from flows.init import write_settings

    written = write_settings(archive, may_overwrite=force)
    _print_problems([_problem_row(problem) for problem in written.problems])
    hosts = counted(len(written.hosts), "host")
    print(f"Wrote {' and '.join(file.name for file in written.files)}. The archive has {hosts}.")
    if written.hosts_to_ask:
        unknown = plain(first_few(written.hosts_to_ask, noun="host"))
        print(f"minimal_backoff_seconds is not known of {unknown}.")
    print(f"Next: maillag run {plain(shlex.quote(str(archive)))}")
    raise typer.Exit(exit_code(problem.severity for problem in written.problems))


def compact(lake: Lake = None) -> None:
    """Merge the small files of past months.

    Afterwards the lake has one file for each month, host and table.
    """
    from flows.runs import compact_lake

    compacted = compact_lake(read_settings().job(Path(), lake=lake), today=datetime.now(UTC).date())
    merged = counted(compacted.old_file_count, "file")
    print(f"Merged {merged} of events into {compacted.new_file_count:,}.")


def expire(
    before: Annotated[
        datetime,
        typer.Option("--before", formats=["%Y-%m-%d"], help="The first day (UTC) whose events are kept."),
    ],
    lake: Lake = None,
) -> None:
    """Remove the events of old days from the lake.

    What the marts say about these days is kept, frozen.
    """
    from flows.runs import expire_events

    job = read_settings().job(Path(), lake=lake)
    expired = expire_events(job, before=before.date(), today=datetime.now(UTC).date())
    for days in expired.frozen:
        host = plain(days.host)
        print(f"{host}: no events before {days.expired_before}; marts frozen before {days.frozen_before}.")
    if not expired.frozen:
        print(f"There are no events before {before.date()}.")


def acknowledge(
    place: Annotated[str, typer.Argument(help="What the finding is about, as `maillag status` prints it.")],
    lake: Lake = None,
) -> None:
    """Turn a critical finding into a warning.

    For findings about which nothing can be done. A finding that changes is critical again.
    """
    from flows.runs import acknowledge_findings

    count = acknowledge_findings(read_settings().job(Path(), lake=lake), place)
    print(f"Acknowledged {counted(count, 'finding')} about {plain(place)}.")


def _print_problems(problems: Iterable[Row]) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in problem_lines(problems):
        console.print(line, markup=False)


def _show_answer(
    console: Console, catalog: duckdb.DuckDBPyConnection, choice: Row, *, newest: int | None
) -> None:
    """Print the chosen restarts and missing flushes, of each only the newest if a number is given."""
    sighted = fetch_sighted(catalog, choice["hosts"])
    show_restarts(
        console,
        fetch(catalog, SHOWN_RESTARTS, choice | {"newest": newest}),
        fetch_zones(catalog),
        of_count=count_rows(catalog, RESTARTS, choice),
        sighted=sighted,
    )
    console.print()
    show_missing_flushes(
        console,
        fetch(catalog, MISSING_FLUSHES, choice | {"newest": newest}),
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
