"""A job to one run on its lake: reads an archive, or changes what the lake keeps.

Imports polars, SQLAlchemy and Great Expectations' caller, which commands that ask the catalog do without.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from flows.catalog import open_catalog
from flows.language import Language, Seconds, say
from flows.report.page import leave_page
from flows.tables import plain
from flows.words import first_few
from transforms import pipeline, upkeep
from transforms.engine import Engine
from transforms.lake.ledger import Ledger
from transforms.lake.records import QuarantineRow
from transforms.pipeline import Analyzed, Ingested
from transforms.problems import MaillagError, Problem
from transforms.run import Job, Progress, open_run
from transforms.upkeep import Compacted, Expired

# The stage of a run whose units are bytes.
READING = "Reading"


class ProgressBar:
    """The progress of a run on standard error, with rate and time left; silent where that is no terminal.

    If it is verbose, it says of each stage how long it took, also where standard error is no terminal.
    """

    def __init__(self, language: Language, *, is_quiet: bool = False, is_verbose: bool = False) -> None:
        self._language = language
        self._is_verbose = is_verbose
        self._console = Console(stderr=True, highlight=False)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            _Rate(),
            _TimeLeft(language),
            console=self._console,
            transient=True,
            disable=is_quiet or not self._console.is_terminal,
        )
        self._stage: tuple[str, float] | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self._bar.stop()

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` units: bytes, if it is Reading."""
        self._finish()
        name = say(self._language, f"terminal.{stage.lower()}")
        self._task = self._bar.add_task(name, total=total or 1, is_in_bytes=stage == READING)
        self._stage = name, time.monotonic()

    def advance(self, amount: float) -> None:
        """Finish that many units of the current stage."""
        self._bar.advance(self._task, amount)

    def _finish(self) -> None:
        if self._stage and self._is_verbose:
            name, began = self._stage
            took = say(self._language, "terminal.took", stage=name, time=Seconds(time.monotonic() - began))
            self._console.print(took, soft_wrap=True)
        self._stage = None


class _Rate(ProgressColumn):
    """How much is read in a second."""

    def render(self, task: Task) -> Text:
        if not (task.fields["is_in_bytes"] and task.speed):
            return Text("")
        return Text(f"{task.speed / 1e6:,.0f} MB/s")


class _TimeLeft(ProgressColumn):
    """How long a stage will take to finish, if it goes on as it did."""

    max_refresh = 0.5

    def __init__(self, language: Language) -> None:
        super().__init__()
        self._language = language

    def render(self, task: Task) -> Text:
        if task.finished or task.time_remaining is None:
            return Text("")
        return Text(say(self._language, "terminal.time_left", time=Seconds(task.time_remaining)))


@dataclass(frozen=True)
class ArchiveRun:
    """What a run read and made, and the findings that are open after it."""

    ingested: Ingested
    analyzed: Analyzed
    findings: list[QuarantineRow]
    page_problem: Problem | None
    """Why the page could not be written, if so."""


def run_archive(
    job: Job, engine: AbstractContextManager[Engine], progress: Progress, *, page_language: Language | None
) -> ArchiveRun:
    """Read what is new in the archive, build the marts, publish them and, in a language, write the page."""
    with closing(job.open_ledger()) as ledger:
        with engine as opened, open_run(job, ledger) as run_id:
            ingested = pipeline.ingest(job, ledger, run_id, opened, progress)
            analyzed = pipeline.analyze(job, ledger, run_id, opened, progress)
            page_problem = leave_page(job.lake, run_id, page_language) if page_language else None
        return ArchiveRun(ingested, analyzed, ledger.findings(), page_problem)


def compact_lake(job: Job, *, today: date, is_dry_run: bool = False) -> Compacted:
    """Merge the lake's small files of past months; a dry run only says what would be merged."""
    with _run_on_lake(job) as (ledger, run_id):
        return upkeep.compact(job, ledger, run_id, today=today, is_dry_run=is_dry_run)


def expire_events(job: Job, *, before: date, today: date, is_dry_run: bool = False) -> Expired:
    """Remove the events of days before this one (UTC) from the lake; a dry run only says which."""
    with _run_on_lake(job) as (ledger, run_id):
        return upkeep.expire(job, ledger, run_id, before=before, today=today, is_dry_run=is_dry_run)


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
