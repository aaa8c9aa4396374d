"""The Prefect flows ingest, analyze and nightly, over the same functions as the command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows import answer
from flows.layout import plain
from flows.settings import load_settings
from transforms import pipeline
from transforms.contracts import Checker
from transforms.ledger import Ledger
from transforms.pipeline import Job, NoProgress


class FindingsError(Exception):
    """A file could not be read or a contract broke; all the rest of the run was done and published."""


@dataclass(frozen=True)
class Night:
    """What the tasks of one flow run share."""

    job: Job
    ledger: Ledger
    run_id: str
    checker: Checker


# No retries: only reading files can fail for a while, and a file that cannot be read does not fail a run.
@task(cache_policy=NO_CACHE, task_run_name="ingest {night.job.archive}")
def ingest_archive(night: Night) -> None:
    """Read what is new in the archive."""
    ingested = pipeline.ingest(night.job, night.ledger, night.run_id, night.checker, NoProgress())
    logger = get_run_logger()
    for note in ingested.notes:
        logger.info("%s", plain(note))
    line_count = sum(record.line_count for record in ingested.new_sources)
    logger.info("Read %d new files, %d lines", len(ingested.new_sources), line_count)


@task(cache_policy=NO_CACHE, task_run_name="analyze {night.job.lake}")
def analyze_lake(night: Night) -> None:
    """Build the marts and publish the catalog."""
    pipeline.analyze(night.job, night.ledger, night.run_id, night.checker, NoProgress())


@task(cache_policy=NO_CACHE)
def report_night(lake: Path) -> None:
    """Leave the counts and the missing flushes as artifacts of the flow run."""
    with answer.open_catalog(lake) as catalog:
        missing = answer.fetch(catalog, answer.MISSING_FLUSHES, answer.EVERYTHING)
        (counts,) = answer.fetch(catalog, answer.COUNTS)
    create_table_artifact(
        key="missing-flushes",
        table=[{name: plain(value) for name, value in row.items()} for row in missing],
        description="Restarts after which waiting mail was not flushed.",
    )
    create_markdown_artifact(
        key="counts",
        markdown="\n".join(f"- {name.replace('_', ' ')}: {count}" for name, count in counts.items()),
        description="What the lake holds.",
    )


@flow
def ingest(archive: Path | None = None, lake: Path | None = None, hosts: list[str] | None = None) -> None:
    """Read what is new in the archive into the lake's events. Unset parameters come from the settings."""
    with _night(archive, lake, hosts) as night:
        ingest_archive(night)
    _fail_if_critical(night)


@flow
def analyze(archive: Path | None = None, lake: Path | None = None) -> None:
    """Build the marts of all hosts from the lake's events, and publish them."""
    with _night(archive, lake, None) as night:
        analyze_lake(night)
    report_night(night.job.lake)
    _fail_if_critical(night)


@flow
def nightly(archive: Path | None = None, lake: Path | None = None, hosts: list[str] | None = None) -> None:
    """Read what is new, build the marts, publish and report."""
    with _night(archive, lake, hosts) as night:
        ingest_archive(night)
        analyze_lake(night)
    report_night(night.job.lake)
    _fail_if_critical(night)


@contextmanager
def _night(archive: Path | None, lake: Path | None, hosts: list[str] | None) -> Iterator[Night]:
    """Open what the tasks share; the run is closed, and recorded, whatever happens to them."""
    job = load_settings().job(archive, lake=lake, hosts=tuple(hosts or ()))
    ledger = job.open_ledger()
    with Checker() as checker, pipeline.run(job, ledger) as run_id:
        yield Night(job, ledger, run_id, checker)
    ledger.close()


def _fail_if_critical(night: Night) -> None:
    """Log the open findings. Raises FindingsError if one is critical, so that the flow run fails."""
    ledger = night.job.open_ledger()
    findings = ledger.findings()
    ledger.close()
    logger = get_run_logger()
    for finding in findings:
        logger.warning("%s: %s", finding.severity, plain(finding))
    critical = [finding for finding in findings if finding.severity == "critical"]
    if critical:
        raise FindingsError(f"{len(critical)} critical findings, such as: {plain(critical[0])}")
