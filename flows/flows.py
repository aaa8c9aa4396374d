"""The Prefect flows ingest, analyze, nightly and backfill, over the same functions as the command line."""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from flows import night
from flows.answer import problem_lines
from flows.catalog import Row
from flows.findings_in_words import in_language
from flows.language import language_of, say
from flows.report.page import leave_page
from flows.settings import load_settings
from flows.tables import for_logs
from transforms import pipeline
from transforms.engine import Engine
from transforms.lake import backfill as lake_backfill
from transforms.lake.ledger import Ledger
from transforms.problems import MaillagError
from transforms.run import Job, NoProgress, open_run

# A run that hangs ends before the next night; a first run over a year of logs takes an hour.
TIMEOUT_SECONDS = 20 * 3600
# Retries are only for what passes: a mount that went away, a server that restarts. A run reports what it
# cannot read, and the next run reads it; the next run also finishes what this one did not.
RETRY_DELAY_SECONDS = [10.0, 60.0, 300.0]


@atexit.register
def _leave_quietly() -> None:
    """Drop what is written to standard error while Python shuts down.

    DuckDB's binding lists there, line by line, what Prefect's threads still hold; the end of each run would
    be a page of it in the worker's log.
    """
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


EngineName = Literal["local", "dask"]


@dataclass(frozen=True)
class Night:
    """The state that the tasks of one flow run share."""

    job: Job
    day: date
    ledger: Ledger
    run_id: str
    engine: Engine


def day_of_run() -> date:
    """Return the day for which the flow run was scheduled, in the zone of its process (see prefect.yaml)."""
    scheduled_at: datetime = flow_run.scheduled_start_time
    return scheduled_at.astimezone().date()


def name_run() -> str:
    """Name a flow run by the minute for which it was scheduled."""
    scheduled_at: datetime = flow_run.scheduled_start_time
    return f"{flow_run.flow_name} {scheduled_at.astimezone():%Y-%m-%d %H:%M}"


@task(
    retries=len(RETRY_DELAY_SECONDS),
    retry_delay_seconds=RETRY_DELAY_SECONDS,
    cache_policy=NO_CACHE,
    task_run_name="reach {archive}",
)
def reach_archive(archive: Path) -> None:
    """Fail while the archive is empty or cannot be listed: a mount that went away may come back."""
    try:
        is_empty = not any(archive.iterdir())
    except OSError as error:
        raise MaillagError(
            f"{archive}: cannot be listed ({error.strerror}). Check that it is mounted."
        ) from None
    if is_empty:
        raise MaillagError(f"{archive}: is empty. Check that it is mounted.")


@task(cache_policy=NO_CACHE, task_run_name="forget {this.day}")
def forget_files(this: Night, hosts: list[str] | None, since: date | None, until: date | None) -> None:
    """Mark files as not yet read, so that this run reads them again."""
    paths = lake_backfill.forget_files(this.ledger, hosts=hosts or (), since=since, until=until)
    get_run_logger().info("%d files will be read again", len(paths))


@task(cache_policy=NO_CACHE, task_run_name="ingest {this.day}")
def ingest_archive(this: Night) -> None:
    """Read what is new in the archive."""
    ingested = pipeline.ingest(this.job, this.ledger, this.run_id, this.engine, NoProgress())
    logger = get_run_logger()
    for note in ingested.notes:
        logger.info("%s", for_logs(note))
    logger.info("Read %d new files, %d lines", ingested.new_file_count, ingested.new_line_count)


@task(cache_policy=NO_CACHE, task_run_name="analyze {this.day}")
def analyze_lake(this: Night) -> list[Row]:
    """Build the marts, publish them and the page; return the missing flushes that are new."""
    before = night.fetch_missing_flushes(this.job.lake)
    analyzed = pipeline.analyze(this.job, this.ledger, this.run_id, this.engine, NoProgress())
    for note in analyzed.notes:
        get_run_logger().info("%s", for_logs(note))
    settings = load_settings()
    if settings.report:
        problem = leave_page(this.job.lake, this.run_id, language_of(settings.lang))
        if problem:
            get_run_logger().warning("%s", for_logs(problem))
    return night.find_new(before, night.fetch_missing_flushes(this.job.lake))


@task(
    retries=len(RETRY_DELAY_SECONDS),
    retry_delay_seconds=RETRY_DELAY_SECONDS,
    cache_policy=NO_CACHE,
    task_run_name="report {this.day}",
)
def report_night(this: Night, new: list[Row]) -> None:
    """Leave a summary of the night as an artifact."""
    settings = load_settings()
    with closing(this.job.open_ledger()) as ledger:
        findings = [vars(finding) for finding in ledger.findings()]
    create_markdown_artifact(
        key="night",
        markdown=night.summary(
            this.job.lake,
            night.fetch_missing_flushes(this.job.lake),
            new,
            findings,
            language=language_of(settings.lang),
            report_url=settings.report_url,
        ),
        description="Missing flushes, what to do, and what could not be read.",
    )


@task(cache_policy=NO_CACHE, task_run_name="announce {this.day}")
def announce_missing(this: Night, new: list[Row]) -> None:
    """Emit one event about all missing flushes that are new in this run."""
    settings = load_settings()
    night.announce(this.day, new, language=language_of(settings.lang), report_url=settings.report_url)
    get_run_logger().info("%d new missing flushes", len(new))


@flow(flow_run_name=name_run, timeout_seconds=TIMEOUT_SECONDS)
def ingest(
    archive: Path | None = None,
    lake: Path | None = None,
    hosts: list[str] | None = None,
    engine: EngineName | None = None,
) -> State | None:
    """Read what is new in the archive into the lake's events.

    Args:
        archive: Folder with one folder of logs per host. Default: `archive` of the settings.
        lake: Folder for events and marts. Default: `lake` of the settings.
        hosts: Only these hosts. Default: all.
        engine: Where the work is done, "local" or "dask" (scaling.md). Default: `engine` of the settings.

    """
    job = load_settings().job(archive, lake=lake, hosts=tuple(hosts or ()))
    reach_archive(job.archive)
    with _open_night(job, engine) as this:
        ingest_archive(this)
    return _end(this)


@flow(flow_run_name=name_run, timeout_seconds=TIMEOUT_SECONDS)
def analyze(
    archive: Path | None = None, lake: Path | None = None, engine: EngineName | None = None
) -> State | None:
    """Build the marts of all hosts from the lake's events, publish and report them.

    Args:
        archive: Folder with one folder of logs per host. Default: `archive` of the settings.
        lake: Folder for events and marts. Default: `lake` of the settings.
        engine: Where the work is done, "local" or "dask" (scaling.md). Default: `engine` of the settings.

    """
    with _open_night(load_settings().job(archive, lake=lake), engine) as this:
        new = analyze_lake(this)
    return _report(this, new)


@flow(flow_run_name=name_run, timeout_seconds=TIMEOUT_SECONDS)
def nightly(
    archive: Path | None = None,
    lake: Path | None = None,
    hosts: list[str] | None = None,
    engine: EngineName | None = None,
) -> State | None:
    """Read what is new, build the marts, publish and report.

    Args:
        archive: Folder with one folder of logs per host. Default: `archive` of the settings.
        lake: Folder for events and marts. Default: `lake` of the settings.
        hosts: Only these hosts. Default: all.
        engine: Where the work is done, "local" or "dask" (scaling.md). Default: `engine` of the settings.

    """
    job = load_settings().job(archive, lake=lake, hosts=tuple(hosts or ()))
    reach_archive(job.archive)
    with _open_night(job, engine) as this:
        ingest_archive(this)
        new = analyze_lake(this)
    return _report(this, new)


@flow(flow_run_name=name_run, timeout_seconds=TIMEOUT_SECONDS)
def backfill(
    archive: Path | None = None,
    lake: Path | None = None,
    hosts: list[str] | None = None,
    since: date | None = None,
    until: date | None = None,
    engine: EngineName | None = None,
) -> State | None:
    """Read files again, and those that are new; build the marts, publish and report.

    Args:
        archive: Folder with one folder of logs per host. Default: `archive` of the settings.
        lake: Folder for events and marts. Default: `lake` of the settings.
        hosts: Read the files of these hosts again. Default: all.
        since: Read files with lines from this day on again (host time). Default: the first day.
        until: Read files with lines up to this day again (host time). Default: the last day.
        engine: Where the work is done, "local" or "dask" (scaling.md). Default: `engine` of the settings.

    """
    job = load_settings().job(archive, lake=lake)
    reach_archive(job.archive)
    with _open_night(job, engine) as this:
        forget_files(this, hosts, since, until)
        ingest_archive(this)
        new = analyze_lake(this)
    return _report(this, new)


@contextmanager
def _open_night(job: Job, engine: EngineName | None) -> Iterator[Night]:
    """Open what the tasks share; the end of the run is recorded even if they fail."""
    with (
        closing(job.open_ledger()) as ledger,
        load_settings().open_engine(engine) as opened,
        open_run(job, ledger) as run_id,
    ):
        yield Night(job, day_of_run(), ledger, run_id, opened)


def _report(this: Night, new: list[Row]) -> State | None:
    report_night(this, new)
    announce_missing(this, new)
    return _end(this)


def _end(this: Night) -> State | None:
    """Log the open findings; return the state of a failed run, with what to do, if one is critical."""
    with closing(this.job.open_ledger()) as ledger:
        findings = ledger.findings()
    logger = get_run_logger()
    language = language_of(load_settings().lang)
    for line in problem_lines(map(vars, findings), language):
        logger.warning("%s", line)
    critical = [finding for finding in findings if finding.severity == "critical"]
    if not critical:
        return None
    first, others = critical[0], len(critical) - 1
    message = say(
        language,
        "night.failed",
        place=first.place,
        remedy=in_language(first.remedy, language),
        what=in_language(first.what, language),
        more=say(language, "night.and_others", n=others) if others else "",
    )
    # Everything else was finished and published, so this is no exception.
    return Failed(message=for_logs(message))
