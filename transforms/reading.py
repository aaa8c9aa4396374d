"""Reads what is new in an archive, batch by batch of hosts, and lists each batch in the ledger.

This is the driver's side; tasks.py has the workers'.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from transforms.contracts.contracts import Finding
from transforms.engine import Engine
from transforms.findings import rows_of_contracts, rows_of_sources
from transforms.ingest.batch import killed_by
from transforms.ingest.plan import Plan, plan_batches
from transforms.lake.expire import events_since
from transforms.lake.files import discard, without_sources
from transforms.lake.ledger import Ledger
from transforms.lake.records import LakeFile, SourceRecord
from transforms.problems import Problem
from transforms.run import Job, Progress, sweep
from transforms.tasks import LIGHT_LOG_BYTES, ReadPart, ReadTask, read_batch, run_tasks


@dataclass
class Read:
    """What a run has read so far: counts, and problems with files, sources and expired days."""

    new_file_count: int = 0
    line_count: int = 0
    unparsed_line_count: int = 0
    has_leftovers: bool = False
    problems: list[Problem] = field(default_factory=list)
    of_sources: list[Problem] = field(default_factory=list)
    of_expired_days: list[Problem] = field(default_factory=list)


def read_archive(
    job: Job, ledger: Ledger, run_id: str, engine: Engine, plan: Plan, progress: Progress
) -> Read:
    """Read the planned files batch by batch, and list each batch in the ledger as it comes."""
    reading = Read()
    # Workers may be in another folder.
    lake = job.lake.absolute()
    number = 0
    # A collector's files name hosts that have files of their own, which may hold the same lines.
    for is_central in (False, True):
        readings = [planned for planned in plan.readings if planned[0].is_central == is_central]
        if not readings:
            continue
        known = ledger.source_records()
        read_now = {source_id for source_id, record in known.items() if record.run_id == run_id}
        part = replace(plan, readings=readings, unchanged_ids=plan.unchanged_ids | read_now)
        tasks = plan_batches(part, known)
        are_suspect = False
        while tasks:
            numbered = [
                ReadTask(number + at, run_id, lake, part, of_hosts, are_suspect)
                for at, (part, of_hosts) in enumerate(tasks)
            ]
            number += len(tasks)
            tasks = []
            for task, done in run_tasks(engine, read_batch, numbered, progress, light_bytes=LIGHT_LOG_BYTES):
                if done:
                    _take_over(job, ledger, run_id, done, reading)
                else:
                    tasks += _smaller(task, reading)
            are_suspect = True
    if reading.has_leftovers or engine.loses_attempts:
        sweep(job.lake, ledger)
    return reading


def _smaller(task: ReadTask, reading: Read) -> list[tuple[Plan, dict[str, SourceRecord]]]:
    """Split a task whose worker was killed: into hosts, and these into files, one of which is to blame."""
    readings = task.plan.readings
    if len(readings) == 1:
        ((source, _),) = readings
        reading.problems.append(killed_by(source.path))
        return []
    hosts = {source.host for source, _ in readings}
    parts = (
        [[planned for planned in readings if planned[0].host == host] for host in sorted(hosts)]
        if len(hosts) > 1
        else [[planned] for planned in readings]
    )
    return [(replace(task.plan, readings=part), task.known) for part in parts]


def _take_over(job: Job, ledger: Ledger, run_id: str, done: ReadPart, reading: Read) -> None:
    """List a batch that was read and checked in the ledger, in one transaction.

    Events of expired days are left out.
    """
    reads, broken = done.reads, done.broken
    records = [_with_status(new.record, broken) for new in reads.new_sources]
    replaced = ledger.files_of(record.source_id for record in records)
    new_ids = {record.source_id for record in records}
    quarantined_ids = {record.source_id for record in records if record.status == "quarantined"}
    sound_files = list(without_sources(job.lake, reads.files, quarantined_ids, run_id))
    discard(job.lake, reads.files, sound_files)
    new_files, of_expired_days = _without_expired(job, ledger, sound_files, run_id)
    ledger.record_sources(
        records,
        seen=[new.seen for new in reads.new_sources] + reads.seen_copies,
        replaced=replaced,
        files=[*without_sources(job.lake, replaced, new_ids, run_id), *new_files],
        findings=[
            *rows_of_sources(reads.new_sources, run_id),
            *rows_of_contracts(broken, records, run_id),
        ],
        grown_ids={new.record.source_id for new in reads.new_sources if new.is_grown},
    )
    reading.new_file_count += len(records)
    reading.line_count += sum(record.line_count for record in records)
    reading.unparsed_line_count += sum(record.unparsed_line_count for record in records)
    reading.has_leftovers |= reads.has_leftovers
    reading.problems += reads.problems
    reading.of_sources += [problem for new in reads.new_sources for problem in new.problems]
    reading.of_expired_days += of_expired_days


def _without_expired(
    job: Job, ledger: Ledger, files: Collection[LakeFile], run_id: str
) -> tuple[list[LakeFile], list[Problem]]:
    """Return new files without the expired days of their host, and notes of what was left out."""
    expired_before = {host: days.expired_before for host, days in ledger.frozen_days().items()}
    kept, left_out = [], Counter[tuple[str, ...]]()
    for file in files:
        rest = events_since(job.lake, file, expired_before, run_id)
        if rest:
            kept.append(rest)
        if rest is not file:
            left_out[file.hosts] += file.row_count - (rest.row_count if rest else 0)
    discard(job.lake, files, kept)
    notes = [
        Problem(
            ", ".join(hosts),
            f"{count} events before {max(expired_before[host] for host in hosts if host in expired_before)} "
            "were left out: these days have expired",
            "Nothing needs to be done: the mart rows of these days are frozen.",
            is_note=True,
        )
        for hosts, count in left_out.items()
    ]
    return kept, notes


def _with_status(record: SourceRecord, broken: list[Finding]) -> SourceRecord:
    is_broken = any(
        finding.severity == "critical" and record.source_id == finding.source_id for finding in broken
    )
    return replace(record, status="quarantined") if is_broken else record
