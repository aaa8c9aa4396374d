"""The two steps of a run, which a scheduler may call separately: archive to events, and events to marts."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

import polars as pl

from transforms.archive.files import Discovery, discover, passed_over
from transforms.contracts.contracts import Checker, Contract, Finding, load_contracts
from transforms.findings import (
    check_events,
    check_marts,
    doubts,
    rows_of_contracts,
    rows_of_problems,
    rows_of_sources,
)
from transforms.fleet.fleet import Fleet, read_fleet
from transforms.fleet.history import latest_hosts
from transforms.ingest.hosts import hosts_without_logs, with_hosts_in_lines, write_fleet, zones_read_by
from transforms.ingest.plan import FoundZones, find_zones, plan_reads
from transforms.ingest.read import Reads, read_sources
from transforms.lake.adapt import adapt
from transforms.lake.catalog import host_of_file
from transforms.lake.expire import events_since
from transforms.lake.files import discard, without_sources
from transforms.lake.heal import damaged_files, frozen_days, heal, lost_rows
from transforms.lake.ledger import Ledger
from transforms.lake.records import LakeFile, QuarantineRow, SourceRecord
from transforms.marts.batch import Built
from transforms.marts.build import build_marts
from transforms.marts.models import Model, load_models
from transforms.marts.news import BASIS, Basis, hosts_without_marts, news_since, read_basis, write_basis
from transforms.marts.silences import silent_hosts
from transforms.names import given_host
from transforms.problems import MaillagError, Problem
from transforms.publish import marts_fingerprint, publish_lake, rules_fingerprint
from transforms.run import Job, Progress, sweep


@dataclass(frozen=True)
class Ingested:
    """What a run found in the archive, what of it was new, notes for the user, and what was ignored."""

    source_file_count: int
    new_file_count: int
    new_line_count: int
    notes: list[Problem]
    ignored: list[str]


@dataclass(frozen=True)
class Analyzed:
    """Whether marts were rebuilt, where the catalog is, and the hosts whose settled days were kept.

    `notes` are about files of the lake that were damaged, or written by another version.
    """

    is_rebuilt: bool
    catalog: Path
    settled_hosts: Sequence[str] = ()
    notes: Sequence[Problem] = ()


def ingest(job: Job, ledger: Ledger, run_id: str, checker: Checker, progress: Progress) -> Ingested:
    """Read what is new in the archive, check it, and add it to the lake.

    A source file whose events break a critical rule is kept out. Raises MaillagError for wrong use.
    """
    healed = [*heal(job.lake, ledger, is_deep=job.is_deep), *adapt(job.lake, ledger, run_id)]
    fleet = read_fleet(job.archive, job.fleet_file)
    discovery = _discover(job, ledger, fleet)
    found_zones = _find_zones(job, ledger, fleet, discovery)
    plan = plan_reads(discovery.sources, ledger, fleet=fleet, zones=found_zones.zones, rules=job.log_rules)
    if plan.readings:
        checker.start()
    progress.start("Reading", sum(source.size_bytes for source, _ in plan.readings))
    reads = read_sources(
        plan,
        job.lake,
        ledger,
        run_id=run_id,
        progress=lambda source: progress.advance(source.size_bytes),
    )
    records, of_expired_days = _take_over(job, ledger, run_id, checker, reads)
    line_count = sum(record.line_count for record in records)
    known = ledger.source_records().values()
    fleet, zones = with_hosts_in_lines(fleet, found_zones.zones, known)
    problems = [
        *fleet.problems,
        *discovery.problems,
        *passed_over(discovery.ignored),
        *hosts_without_logs(fleet, discovery, known),
        *reads.problems,
        *write_fleet(
            fleet,
            zones,
            known,
            lake=job.lake,
            ledger=ledger,
            run_id=run_id,
            imss_ini_keys=job.imss_ini_keys,
        ),
        *found_zones.problems,
        *silent_hosts(fleet, ledger.lake_files(), known, frozen_days(ledger)),
    ]
    _replace_findings(job, ledger, run_id, fleet, discovery, problems)
    ledger.update_run(
        run_id,
        source_file_count=len(discovery.sources),
        line_count=line_count,
        unparsed_line_count=sum(record.unparsed_line_count for record in records),
    )
    of_sources = [problem for new in reads.new_sources for problem in new.problems]
    return Ingested(
        source_file_count=len(discovery.sources),
        new_file_count=len(records),
        new_line_count=line_count,
        notes=[problem for problem in healed + problems + of_sources + of_expired_days if problem.is_note],
        ignored=discovery.ignored,
    )


def _discover(job: Job, ledger: Ledger, fleet: Fleet) -> Discovery:
    """List the source files of the job's hosts."""
    wanted = _wanted_hosts(job)
    known = [host.name for host in fleet.hosts]
    if unknown := sorted(wanted - {*known}):
        near = get_close_matches(unknown[0], known, 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise MaillagError(
            f"{job.archive}: has no host {', '.join(unknown)}.{meant} Its hosts: {', '.join(known)}."
        )
    discovery = discover(job.archive, fleet, only=wanted, limits=job.limits)
    if not discovery.sources and not job.hosts and ledger.seen_files():
        raise MaillagError(
            f"{job.archive}: holds no log file, although some were read there before. Check that it is "
            "mounted."
        )
    return discovery


def _wanted_hosts(job: Job) -> set[str]:
    return {given_host(host) for host in job.hosts}


def _find_zones(job: Job, ledger: Ledger, fleet: Fleet, discovery: Discovery) -> FoundZones:
    wanted = _wanted_hosts(job)
    read_now = {host.name for host in fleet.hosts if not wanted or host.name in wanted}
    return find_zones(
        fleet,
        discovery.sources,
        job.default_time_zone,
        rules=job.log_rules,
        known=zones_read_by(ledger, read_now),
    )


def _take_over(
    job: Job, ledger: Ledger, run_id: str, checker: Checker, reads: Reads
) -> tuple[list[SourceRecord], list[Problem]]:
    """Check what was read, and list it in the ledger in one transaction.

    Returns the records of the new source files, and notes on events of expired days, which are left out.
    """
    broken = check_events(job.lake, reads, run_id, checker) if reads.new_sources else []
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
    if reads.has_leftovers:
        sweep(job.lake, ledger, run_id)
    return records, of_expired_days


def _replace_findings(
    job: Job, ledger: Ledger, run_id: str, fleet: Fleet, discovery: Discovery, problems: list[Problem]
) -> None:
    """Replace the findings about archive and lake; end those about files that left the archive."""
    ledger.replace_findings(
        ("archive", "lake"),
        [
            *_findings_of_other_hosts(job, ledger, fleet),
            *rows_of_problems(problems, "archive", run_id),
            *rows_of_problems(lost_rows(ledger), "lake", run_id),
        ],
    )
    if not job.hosts:
        seen = ledger.seen_files()
        ledger.end_findings(
            {row.source_id for source in discovery.sources for row in seen.get(source.path, ())}
        )


def _findings_of_other_hosts(job: Job, ledger: Ledger, fleet: Fleet) -> list[QuarantineRow]:
    """Return the findings about hosts that this run does not look at, unchanged."""
    if not job.hosts:
        return []
    others = {host.name for host in fleet.hosts} - _wanted_hosts(job)
    return [
        row for row in ledger.findings() if row.stage == "archive" and row.place.partition("/")[0] in others
    ]


def analyze(job: Job, ledger: Ledger, run_id: str, checker: Checker, progress: Progress) -> Analyzed:
    """Rebuild the marts if anything that they depend on has changed; check and publish them.

    A host whose marts cannot be built, or break a critical rule, keeps its old marts.
    """
    if healed := heal(job.lake, ledger):
        ledger.replace_findings(("lake",), rows_of_problems(lost_rows(ledger), "lake", run_id))
    adapted = adapt(job.lake, ledger, run_id)
    files = ledger.lake_files()
    if "fleet.host_history" not in files:
        raise MaillagError(
            f"{job.lake}: has no table of hosts. Read the archive first: "
            f"maillag run ARCHIVE --lake {quote(str(job.lake))}"
        )
    contracts, models = load_contracts(), load_models()
    fingerprint = marts_fingerprint(job, files, models, contracts)
    is_stale = fingerprint != ledger.last_marts_fingerprint() or bool(hosts_without_marts(job.lake, files))
    settled_hosts: Sequence[str] = ()
    if is_stale:
        checker.start()
        progress.start("Analyzing", len(models))
        built = _build_marts(job, ledger, run_id, models, contracts, files, checker, progress)
        ledger.name_marts(run_id, fingerprint)
        settled_hosts = built.settled_hosts
    return Analyzed(is_stale, publish_lake(job, ledger, run_id, contracts), settled_hosts, healed + adapted)


def _build_marts(
    job: Job,
    ledger: Ledger,
    run_id: str,
    models: list[Model],
    contracts: Mapping[str, Contract],
    files: Mapping[str, list[str]],
    checker: Checker,
    progress: Progress,
) -> Built:
    """Rebuild the marts of the hosts with news, and replace the old marts and findings."""
    now = Basis(
        rules=rules_fingerprint(job, models, contracts),
        source_files=ledger.table("source_files"),
        host_history=pl.concat(
            pl.read_parquet(job.lake / path, glob=False) for path in files["fleet.host_history"]
        ),
        log_dates=pl.DataFrame(),
    )
    before = read_basis(job.lake, files)
    hosts = {
        host
        for basis in filter(None, (before, now))
        for table in (basis.source_files, basis.host_history)
        for host in table["host"]
    }
    built = build_marts(
        job.lake,
        models=models,
        contracts=contracts,
        files=files,
        frames={"ops.source_files": now.source_files},
        frozen=frozen_days(ledger),
        news=news_since(before, now, hosts, ledger.grown_sources(), ledger.stale_hosts()),
        log_dates=before.log_dates if before else None,
        thresholds=job.thresholds,
        run_id=run_id,
        check=lambda batch, made: check_marts(job, batch, made, contracts, run_id, checker),
        progress=lambda model, share: progress.advance(share),
    )
    zones = dict(latest_hosts(now.host_history).select("host", "time_zone").iter_rows())
    unchanged = hosts - built.hosts
    ledger.replace_findings(
        ("marts",),
        [
            *(row for row in ledger.findings() if row.stage == "marts" and row.place in unchanged),
            *rows_of_contracts(built.findings, [], run_id),
            *rows_of_problems(built.failed.values(), "marts", run_id),
            *rows_of_problems(doubts(job.lake, files, built, contracts, zones), "marts", run_id),
        ],
    )
    _replace_marts(job, ledger, run_id, built, now, files)
    return built


def _replace_marts(
    job: Job, ledger: Ledger, run_id: str, built: Built, now: Basis, files: Mapping[str, list[str]]
) -> None:
    """Replace the old marts by the new ones in the ledger, with the basis that they were built from."""
    # The next run rebuilds the hosts that failed as a whole.
    is_made = ~pl.col("host").is_in(built.failed_hosts)
    basis = Basis(
        rules=now.rules,
        source_files=now.source_files.filter(is_made),
        host_history=now.host_history.filter(is_made),
        log_dates=built.log_dates,
    )
    ledger.replace_marts(
        [*built.files, *write_basis(job.lake, basis, run_id)],
        replaced=[*built.replaced, *(path for table in BASIS for path in files.get(table, ()))],
    )
    if built.failed_hosts:
        sweep(job.lake, ledger, run_id)
    if built.failed:
        # The next run heals what is damaged.
        of_failed = [file for file in ledger.files() if host_of_file(file.path) in built.failed]
        ledger.suspect(damaged_files(job.lake, of_failed, is_deep=True))


def _without_expired(
    job: Job, ledger: Ledger, files: Collection[LakeFile], run_id: str
) -> tuple[list[LakeFile], list[Problem]]:
    """Return new files without the expired days of their host, and notes of what was left out."""
    frozen = ledger.frozen_days()
    kept, left_out = [], Counter[str]()
    for file in files:
        host = host_of_file(file.path)
        if host not in frozen:
            kept.append(file)
            continue
        rest = events_since(job.lake, file, frozen[host].expired_before, run_id)
        if rest:
            kept.append(rest)
        if rest is not file:
            left_out[host] += file.row_count - (rest.row_count if rest else 0)
    discard(job.lake, files, kept)
    notes = [
        Problem(
            host,
            f"{count} events before {frozen[host].expired_before} were left out: these days have expired",
            "Nothing needs to be done: the mart rows of these days are frozen.",
            is_note=True,
        )
        for host, count in left_out.items()
    ]
    return kept, notes


def _with_status(record: SourceRecord, broken: list[Finding]) -> SourceRecord:
    is_broken = any(
        finding.severity == "critical" and record.source_id == finding.source_id for finding in broken
    )
    return replace(record, status="quarantined") if is_broken else record
