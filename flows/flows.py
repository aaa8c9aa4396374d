"""The Prefect flows ingest, analyze, nightly and backfill, over the same functions as the command line."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows import missing_flushes
from flows.answer import problem_lines
from flows.catalog import EVERYTHING, MISSING_FLUSHES, RESTARTS, Row, count_rows, fetch, open_catalog
from flows.machine import cell_text
from flows.report.page import leave_page
from flows.settings import load_settings
from flows.tables import for_logs, for_pages
from flows.words import counted
from transforms import pipeline
from transforms.contracts.contracts import Checker
from transforms.lake import backfill as lake_backfill
from transforms.lake.ledger import Ledger
from transforms.problems import MaillagError
from transforms.queries import read_query
from transforms.run import Job, NoProgress, open_run

# As many as a page shows well and the server's database takes easily; the catalog has the rest.
ARTIFACT_ROWS = 200
# Retries are only for what passes: a mount that went away, a server that restarts. A run reports what it
# cannot read, and the next run reads it; the next run also finishes what this one did not.
RETRY_DELAY_SECONDS = [10.0, 60.0, 300.0]


class FindingsError(Exception):
    """A file could not be read or a contract was violated; the rest of the run was finished and published."""


@dataclass(frozen=True)
class Night:
    """The state that the tasks of one flow run share."""

    job: Job
    day: date
    ledger: Ledger
    run_id: str
    checker: Checker


def day_of_run() -> date:
    """Return the day for which the flow run was scheduled, in the zone of its process (see prefect.yaml)."""
    scheduled_at: datetime = flow_run.scheduled_start_time
    return scheduled_at.astimezone().date()


def name_run() -> str:
    """Name a flow run by its night."""
    return f"{flow_run.flow_name} {day_of_run()}"


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


@task(cache_policy=NO_CACHE, task_run_name="forget {night.day}")
def forget_files(night: Night, hosts: list[str] | None, since: date | None, until: date | None) -> None:
    """Mark files as not yet read, so that this run reads them again."""
    paths = lake_backfill.forget_files(night.ledger, hosts=hosts or (), since=since, until=until)
    get_run_logger().info("%d files will be read again", len(paths))


@task(cache_policy=NO_CACHE, task_run_name="ingest {night.day}")
def ingest_archive(night: Night) -> None:
    """Read what is new in the archive."""
    ingested = pipeline.ingest(night.job, night.ledger, night.run_id, night.checker, NoProgress())
    logger = get_run_logger()
    for note in ingested.notes:
        logger.info("%s", for_logs(note))
    logger.info("Read %d new files, %d lines", ingested.new_file_count, ingested.new_line_count)


@task(cache_policy=NO_CACHE, task_run_name="analyze {night.day}")
def analyze_lake(night: Night) -> list[Row]:
    """Build the marts, publish them and the page; return the missing flushes that are new."""
    before = missing_flushes.fetch_published(night.job.lake)
    analyzed = pipeline.analyze(night.job, night.ledger, night.run_id, night.checker, NoProgress())
    for note in analyzed.notes:
        get_run_logger().info("%s", for_logs(note))
    if load_settings().report and (problem := leave_page(night.job.lake, night.run_id)):
        get_run_logger().warning("%s", for_logs(problem))
    return missing_flushes.find_new(before, missing_flushes.fetch_published(night.job.lake))


@task(
    retries=len(RETRY_DELAY_SECONDS),
    retry_delay_seconds=RETRY_DELAY_SECONDS,
    cache_policy=NO_CACHE,
    task_run_name="report {night.day}",
)
def report_night(night: Night, new: list[Row]) -> None:
    """Create artifacts of the missing flushes, the findings and the counts."""
    with open_catalog(night.job.lake) as catalog:
        newest = EVERYTHING | {"newest": ARTIFACT_ROWS}
        missing = fetch(catalog, MISSING_FLUSHES, newest)
        missing_count = count_rows(catalog, MISSING_FLUSHES, EVERYTHING)
        restart_count = count_rows(catalog, RESTARTS, EVERYTHING)
        # Their example rows are for those who may read the lake.
        findings = fetch(catalog, f"select * exclude (example_rows) from ({read_query('answers.findings')})")
        (counts,) = fetch(catalog, read_query("answers.counts"))
    counts |= {
        "restart_count": restart_count,
        "missing_flush_count": missing_count,
        "new_missing_flush_count": len(new),
        "finding_count": len(findings),
    }
    _leave_table(
        "missing-flushes",
        missing[::-1],
        missing_count,
        "restarts whose waiting mail was not flushed, newest first",
    )
    _leave_table(
        "findings",
        findings[:ARTIFACT_ROWS],
        len(findings),
        "files that could not be read and data contracts that were violated",
    )
    create_markdown_artifact(
        key="counts",
        markdown="\n".join(f"- {name.replace('_', ' ')}: {count:,}" for name, count in counts.items()),
        description="Contents of the lake.",
    )


@task(cache_policy=NO_CACHE, task_run_name="announce {night.day}")
def announce_missing(night: Night, new: list[Row]) -> None:
    """Emit an event for each missing flush that is new in this run."""
    for row in new:
        missing_flushes.emit(row)
    get_run_logger().info("%d new missing flushes", len(new))


@flow(flow_run_name=name_run)
def ingest(archive: Path | None = None, lake: Path | None = None, hosts: list[str] | None = None) -> None:
    """Read what is new in the archive into the lake's events. Unset parameters come from the settings."""
    job = load_settings().job(archive, lake=lake, hosts=tuple(hosts or ()))
    reach_archive(job.archive)
    with _night(job) as night:
        ingest_archive(night)
    _fail_if_critical(night)


@flow(flow_run_name=name_run)
def analyze(archive: Path | None = None, lake: Path | None = None) -> None:
    """Build the marts of all hosts from the lake's events, publish and report them."""
    with _night(load_settings().job(archive, lake=lake)) as night:
        new = analyze_lake(night)
    _report(night, new)


@flow(flow_run_name=name_run)
def nightly(archive: Path | None = None, lake: Path | None = None, hosts: list[str] | None = None) -> None:
    """Read what is new, build the marts, publish and report."""
    job = load_settings().job(archive, lake=lake, hosts=tuple(hosts or ()))
    reach_archive(job.archive)
    with _night(job) as night:
        ingest_archive(night)
        new = analyze_lake(night)
    _report(night, new)


@flow(flow_run_name=name_run)
def backfill(
    archive: Path | None = None,
    lake: Path | None = None,
    hosts: list[str] | None = None,
    since: date | None = None,
    until: date | None = None,
) -> None:
    """Read files again, and those that are new; build the marts, publish and report.

    `hosts`, `since` and `until` (days in the host's time) choose which of the files read before are read
    again: all, if none is given.
    """
    job = load_settings().job(archive, lake=lake)
    reach_archive(job.archive)
    with _night(job) as night:
        forget_files(night, hosts, since, until)
        ingest_archive(night)
        new = analyze_lake(night)
    _report(night, new)


@contextmanager
def _night(job: Job) -> Iterator[Night]:
    """Open what the tasks share; the end of the run is recorded even if they fail."""
    with closing(job.open_ledger()) as ledger, Checker() as checker, open_run(job, ledger) as run_id:
        yield Night(job, day_of_run(), ledger, run_id, checker)


def _report(night: Night, new: list[Row]) -> None:
    report_night(night, new)
    announce_missing(night, new)
    _fail_if_critical(night)


def _leave_table(key: str, rows: list[Row], of_count: int, what: str) -> None:
    create_table_artifact(
        key=key,
        table=[{name: for_pages(cell_text(value)) for name, value in row.items()} for row in rows],
        description=f"{len(rows):,} of {of_count:,} {what}.",
    )


def _fail_if_critical(night: Night) -> None:
    """Log the open findings. Raises FindingsError if one is critical, so that the flow run fails."""
    with closing(night.job.open_ledger()) as ledger:
        findings = ledger.findings()
    logger = get_run_logger()
    for line in problem_lines(map(vars, findings)):
        logger.warning("%s", line)
    critical = [finding for finding in findings if finding.severity == "critical"]
    if critical:
        raise FindingsError(f"{counted(len(critical), 'critical finding')}, such as: {for_logs(critical[0])}")
