"""A job to one run on its lake: reads an archive, or changes what the lake keeps.

Imports polars, SQLAlchemy and Great Expectations' caller, which commands that ask the catalog do without.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from flows.catalog import open_catalog
from flows.report.page import leave_page
from flows.tables import plain
from flows.words import first_few
from transforms import pipeline, upkeep
from transforms.contracts.contracts import Checker
from transforms.lake.ledger import Ledger
from transforms.lake.records import QuarantineRow
from transforms.pipeline import Analyzed, Ingested
from transforms.problems import MaillagError, Problem
from transforms.run import Job, Progress, open_run
from transforms.upkeep import Compacted, Expired


class ProgressBar:
    """The progress of a run as a bar on standard error; silent where that is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` units."""
        self._task = self._bar.add_task(stage, total=total or 1)

    def advance(self, amount: float) -> None:
        """Finish that many units of the current stage."""
        self._bar.advance(self._task, amount)


@dataclass(frozen=True)
class ArchiveRun:
    """What a run read and made, and the findings that are open after it."""

    ingested: Ingested
    analyzed: Analyzed
    findings: list[QuarantineRow]
    page_problem: Problem | None
    """Why the page could not be written, if so."""


def run_archive(job: Job, progress: Progress, *, has_page: bool) -> ArchiveRun:
    """Read what is new in the archive, build the marts, publish them and, if wanted, write the page."""
    with closing(job.open_ledger()) as ledger:
        with Checker() as checker, open_run(job, ledger) as run_id:
            ingested = pipeline.ingest(job, ledger, run_id, checker, progress)
            analyzed = pipeline.analyze(job, ledger, run_id, checker, progress)
            page_problem = leave_page(job.lake, run_id) if has_page else None
        return ArchiveRun(ingested, analyzed, ledger.findings(), page_problem)


def compact_lake(job: Job, *, today: date) -> Compacted:
    """Merge the lake's small files of past months."""
    with _run_on_lake(job) as (ledger, run_id):
        return upkeep.compact(job, ledger, run_id, today=today)


def expire_events(job: Job, *, before: date, today: date) -> Expired:
    """Remove the events of days before this one (UTC) from the lake."""
    with _run_on_lake(job) as (ledger, run_id):
        return upkeep.expire(job, ledger, run_id, before=before, today=today)


def acknowledge_findings(job: Job, place: str) -> int:
    """Make the critical findings about a place warnings, and return how many they are.

    Raises MaillagError if there is none.
    """
    with _run_on_lake(job) as (ledger, run_id):
        critical = [finding for finding in ledger.findings() if finding.severity == "critical"]
        about_place = [finding for finding in critical if place in {finding.place, plain(finding.place)}]
        if not about_place:
            places = first_few(sorted({finding.place for finding in critical})) or "none"
            raise MaillagError(f"{place}: has no critical finding. Places that have one: {places}.")
        upkeep.acknowledge(job, ledger, run_id, about_place)
        return len(about_place)


@contextmanager
def _run_on_lake(job: Job) -> Iterator[tuple[Ledger, str]]:
    """Open a run on a lake that exists already, without an archive."""
    open_catalog(job.lake).close()
    with closing(job.open_ledger()) as ledger, open_run(job, ledger) as run_id:
        yield ledger, run_id
