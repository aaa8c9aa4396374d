"""Upkeep of the lake: merges small files, removes old days, and acknowledges findings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from transforms.contracts.contracts import Contract, load_contracts
from transforms.lake.adapt import adapt
from transforms.lake.catalog import CATALOG_NAME
from transforms.lake.compact import compacted, mergeable
from transforms.lake.expire import FROZEN_BEYOND, YOUNGEST, changed_rows, events_since, hosts_before
from transforms.lake.heal import frozen_days
from transforms.lake.ledger import Ledger
from transforms.lake.records import FrozenDays, LakeFile, QuarantineRow, Rows, rows_of
from transforms.marts.build import build_marts
from transforms.marts.mart_files import marts
from transforms.marts.models import load_models
from transforms.marts.news import hosts_without_marts
from transforms.problems import MaillagError
from transforms.publish import marts_fingerprint, publish_lake
from transforms.run import Job, refuse_damaged, sweep


@dataclass(frozen=True)
class Compacted:
    """How many files were merged into how many, and where the catalog is."""

    old_file_count: int
    new_file_count: int
    catalog: Path


@dataclass(frozen=True)
class Expired:
    """The days that were expired, by host, and where the catalog is."""

    frozen: list[FrozenDays]
    catalog: Path


def compact(job: Job, ledger: Ledger, run_id: str, *, today: date, is_dry_run: bool = False) -> Compacted:
    """Merge the many files of events into few with the same rows, and publish these.

    The old files stay for readers of the previous catalog. A dry run changes nothing.
    """
    if is_dry_run:
        groups = [part for _, part in mergeable(job.lake, _files_of_days(ledger), today=today)]
        return Compacted(sum(map(len, groups)), len(groups), job.lake / CATALOG_NAME)
    adapt(job.lake, ledger, run_id)
    contracts, models = load_contracts(), load_models()
    before = marts_fingerprint(job, ledger.lake_files(), models, contracts)
    of_days = _files_of_days(ledger)
    refuse_damaged(job, ledger, of_days)
    merged = list(compacted(job.lake, of_days, today=today, run_id=run_id))
    old_files = [file for files, _ in merged for file in files]
    ledger.record_sources([], seen=[], replaced=old_files, files=[new for _, new in merged], findings=[])
    if before == ledger.last_marts_fingerprint():
        # The same rows give the same marts.
        after = marts_fingerprint(job, ledger.lake_files(), models, contracts)
        ledger.name_marts(run_id, after)
    return Compacted(len(old_files), len(merged), publish_lake(job, ledger, run_id, contracts))


def _files_of_days(ledger: Ledger) -> list[LakeFile]:
    return [file for file in ledger.files() if file.source_ids or file.table_name == "marts.message_trace"]


def expire(
    job: Job, ledger: Ledger, run_id: str, *, before: date, today: date, is_dry_run: bool = False
) -> Expired:
    """Remove the events of days before a UTC day from the lake, and freeze the mart rows of these days.

    A dry run does all that can fail, and changes nothing.
    Raises MaillagError, and changes nothing, if any row of the marts would change, or if the day is too
    recent.
    """
    if before > today - YOUNGEST:
        raise MaillagError(
            f"{before}: is too recent, because restarts and mail before it may not be finished. Give "
            f"{today - YOUNGEST} or an earlier day."
        )
    refuse_damaged(job, ledger, ledger.files())
    contracts, models = load_contracts(), load_models()
    files = ledger.files()
    paths = ledger.lake_files()
    if marts_fingerprint(job, paths, models, contracts) != ledger.last_marts_fingerprint():
        raise MaillagError(f"{job.lake}: is not up to date. Run this first: maillag run ARCHIVE")
    # The events of these hosts stay until the marts are built.
    failed = hosts_without_marts(job.lake, paths)
    expired = {host: before for file in files if file.source_ids for host in file.hosts if host not in failed}
    left = {file: events_since(job.lake, file, expired, run_id) for file in files if file.source_ids}
    replaced = [file for file, rest in left.items() if rest is not file]
    new_files = [rest for file, rest in left.items() if rest is not None and rest is not file]
    hosts = expired.keys() & {host for file in replaced for host in hosts_before(job.lake, file, before)}
    frozen = [FrozenDays(host, before, before + FROZEN_BEYOND, datetime.now(UTC)) for host in sorted(hosts)]
    if not frozen:
        return Expired([], job.lake / CATALOG_NAME)
    gone = set(replaced)
    kept = [*(file for file in files if file not in gone), *new_files]
    built = build_marts(
        job.lake,
        models=models,
        contracts=contracts,
        files=kept,
        frames={"ops.source_files": ledger.table("source_files")},
        frozen={days.host: days for days in [*frozen, *_later(frozen_days(ledger), before)]},
        thresholds=job.thresholds,
        run_id=run_id,
    )
    if failing := built.failed.keys() - failed:
        raise MaillagError(f"{built.failed[min(failing)]} Nothing was expired.")
    _refuse_changes(job, before, contracts, rows_of(files), built.rows_after(files))
    if is_dry_run:
        sweep(job.lake, ledger)
        return Expired(frozen, job.lake / CATALOG_NAME)
    ledger.freeze(
        frozen, replaced=[*(file.path for file in gone), *built.replaced], files=[*new_files, *built.files]
    )
    if built.has_leftovers:
        sweep(job.lake, ledger)
    after = marts_fingerprint(job, ledger.lake_files(), models, contracts)
    ledger.name_marts(run_id, after)
    return Expired(frozen, publish_lake(job, ledger, run_id, contracts))


def _refuse_changes(
    job: Job,
    before: date,
    contracts: Mapping[str, Contract],
    rows: Rows,
    made: Rows,
) -> None:
    """Raise MaillagError if the marts without the expired events differ from those with them."""
    changed = changed_rows(job.lake, [contracts[table] for table in marts()], rows, made)
    if changed:
        counts = ", ".join(f"{count} rows of {table}" for table, count in changed.items())
        raise MaillagError(
            f"{before}: later days depend on earlier ones ({counts} would change), so nothing was expired. "
            "Give an earlier day, or write the hosts' retry settings into the fleet file."
        )


def _later(frozen: Mapping[str, FrozenDays], before: date) -> list[FrozenDays]:
    return [days for days in frozen.values() if days.expired_before > before]


def acknowledge(job: Job, ledger: Ledger, run_id: str, findings: Iterable[QuarantineRow]) -> None:
    """Turn findings into warnings for as long as they do not change, and publish that."""
    ledger.acknowledge(findings)
    adapt(job.lake, ledger, run_id)
    publish_lake(job, ledger, run_id, load_contracts())
