"""The two steps of a run, which a scheduler may call separately: archive to events, and events to marts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

import polars as pl

from transforms.archive.files import Discovery, discover, passed_over
from transforms.contracts.contracts import Contract, Finding, load_contracts
from transforms.engine import Engine
from transforms.findings import rows_of_contracts, rows_of_problems
from transforms.fleet.fleet import Fleet, read_fleet
from transforms.ingest.hosts import hosts_without_logs, with_hosts_in_lines, write_fleet, zones_read_by
from transforms.ingest.plan import FoundZones, find_zones, plan_reads
from transforms.lake.adapt import adapt
from transforms.lake.heal import damaged_files, frozen_days, heal, lost_rows
from transforms.lake.ledger import Ledger
from transforms.lake.records import QuarantineRow
from transforms.marts.batch import Built
from transforms.marts.build import MartTask, build_marts
from transforms.marts.models import Model, load_models
from transforms.marts.news import BASIS, Basis, hosts_without_marts, news_since, read_basis, write_basis
from transforms.marts.silences import silent_hosts
from transforms.names import given_host
from transforms.problems import MaillagError, Problem
from transforms.publish import marts_fingerprint, publish_lake, rules_fingerprint
from transforms.reading import read_archive
from transforms.run import Job, Progress, sweep
from transforms.tasks import LIGHT_EVENT_BYTES, build_batch, run_tasks


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


def ingest(job: Job, ledger: Ledger, run_id: str, engine: Engine, progress: Progress) -> Ingested:
    """Read what is new in the archive, check it, and add it to the lake.

    A source file whose events break a critical rule is kept out. Raises MaillagError for wrong use.
    """
    healed = [*heal(job.lake, ledger, run_id, is_deep=job.is_deep), *adapt(job.lake, ledger, run_id)]
    fleet = read_fleet(job.archive, job.fleet_file)
    discovery = _discover(job, ledger, fleet)
    found_zones = _find_zones(job, ledger, fleet, discovery)
    plan = plan_reads(discovery.sources, ledger, fleet=fleet, zones=found_zones.zones, rules=job.log_rules)
    progress.start("Reading", sum(source.size_bytes for source, _ in plan.readings))
    reading = read_archive(job, ledger, run_id, engine, plan, progress)
    known = ledger.source_records().values()
    fleet, zones = with_hosts_in_lines(fleet, found_zones.zones, known)
    problems = [
        *fleet.problems,
        *discovery.problems,
        *passed_over(discovery.ignored),
        *hosts_without_logs(fleet, discovery, known),
        *reading.problems,
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
        *silent_hosts(
            fleet,
            job.lake,
            load_contracts()["ops.line_counts"],
            [file for file in ledger.files() if file.table_name == "ops.line_counts"],
            known,
            frozen_days(ledger),
        ),
    ]
    _replace_findings(job, ledger, run_id, fleet, discovery, problems)
    ledger.update_run(
        run_id,
        source_file_count=len(discovery.sources),
        line_count=reading.line_count,
        unparsed_line_count=reading.unparsed_line_count,
    )
    notes = [*healed, *problems, *reading.of_sources, *reading.of_expired_days]
    return Ingested(
        source_file_count=len(discovery.sources),
        new_file_count=reading.new_file_count,
        new_line_count=reading.line_count,
        notes=[problem for problem in notes if problem.is_note],
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


def analyze(job: Job, ledger: Ledger, run_id: str, engine: Engine, progress: Progress) -> Analyzed:
    """Rebuild the marts if anything that they depend on has changed; check and publish them.

    A host whose marts cannot be built, or break a critical rule, keeps its old marts.
    """
    if healed := heal(job.lake, ledger, run_id):
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
        built = _build_marts(job, ledger, run_id, models, contracts, files, engine, progress)
        ledger.name_marts(run_id, fingerprint)
        settled_hosts = sorted(built.settled_hosts)
    return Analyzed(is_stale, publish_lake(job, ledger, run_id, contracts), settled_hosts, healed + adapted)


def _build_marts(
    job: Job,
    ledger: Ledger,
    run_id: str,
    models: list[Model],
    contracts: Mapping[str, Contract],
    files: Mapping[str, list[str]],
    engine: Engine,
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

    def run(tasks: Sequence[MartTask]) -> Iterator[tuple[MartTask, Built | None]]:
        progress.start("Analyzing", sum(task.size_bytes for task in tasks))
        yield from run_tasks(engine, build_batch, tasks, progress, light_bytes=LIGHT_EVENT_BYTES)

    built = build_marts(
        # Workers may be in another folder.
        job.lake.absolute(),
        models=models,
        contracts=contracts,
        files=ledger.files(),
        frames={"ops.source_files": now.source_files},
        frozen=frozen_days(ledger),
        news=news_since(before, now, hosts, ledger.grown_sources(), ledger.stale_hosts()),
        log_dates=before.log_dates if before else None,
        thresholds=job.thresholds,
        run_id=run_id,
        run=run,
    )
    unchanged = hosts - built.hosts
    ledger.replace_findings(
        ("marts",),
        [
            *(row for row in ledger.findings() if row.stage == "marts" and row.place in unchanged),
            *rows_of_contracts(_once(built.findings), [], run_id),
            *rows_of_problems(built.failed.values(), "marts", run_id),
            *rows_of_problems(built.doubts, "marts", run_id),
        ],
    )
    _replace_marts(job, ledger, run_id, built, now, files)
    if built.has_leftovers or engine.loses_attempts:
        sweep(job.lake, ledger)
    return built


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings about no host once: every batch has the same configuration."""
    seen = {(finding.table, finding.rule): finding for finding in findings if finding.host is None}
    return [*seen.values(), *(finding for finding in findings if finding.host is not None)]


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
    if built.failed:
        # The next run heals what is damaged.
        of_failed = [file for file in ledger.files() if not built.failed.keys().isdisjoint(file.hosts)]
        ledger.suspect(damaged_files(job.lake, of_failed, is_deep=True))
