"""A run in the two steps that a scheduler may call apart: an archive to events, and events to marts."""

import hashlib
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import Any, Protocol

import duckdb
import polars as pl
import pyarrow as pa
from sqlalchemy.exc import SQLAlchemyError

from transforms.archive.files import Discovery, discover, passed_over
from transforms.bounds import DEFAULT_LIMITS, Limits
from transforms.contracts.contracts import Checker, Contract, Finding, load_contracts
from transforms.fleet.fleet import (
    Fleet,
    host_history,
    inventory_problems,
    latest_hosts,
    product_problems,
    read_fleet,
    with_found_hosts,
)
from transforms.fleet.inventory_settings import IMSVA_PATH
from transforms.ingest.plan import PARSER_VERSION, find_zones, plan_reads
from transforms.ingest.read import NewSource, Reads, read_inventory, read_sources
from transforms.lake.catalog import (
    CATALOG_NAME,
    create_database,
    create_tables,
    create_views,
    files_by_host,
    host_of_file,
    publish,
)
from transforms.lake.compact import compacted
from transforms.lake.expire import MARGIN, YOUNGEST, changed_rows, events_since
from transforms.lake.files import discard, hold_lake, remove_unlisted, without_sources, write_parquet
from transforms.lake.heal import damaged_files, frozen_days, heal, lost_rows
from transforms.lake.ledger import (
    FrozenDays,
    LakeFile,
    Ledger,
    QuarantineRow,
    SourceRecord,
    open_ledger,
    paths_by_table,
)
from transforms.log_rules import LogRules
from transforms.marts.advice import load_advice
from transforms.marts.build import (
    BATCH_HOSTS,
    Batch,
    Built,
    build_marts,
    config_tables,
    merged_files,
)
from transforms.marts.mart_files import MARTS
from transforms.marts.models import Model, load_models
from transforms.marts.news import BASIS, Basis, news_since, read_basis, write_basis
from transforms.marts.silences import contradicted_settings, mixed_hosts, silent_hosts, witnesses_apart
from transforms.names import given_host
from transforms.problems import MaillagError, Problem
from transforms.rights import LAKE_MODE, mend_rights, writing
from transforms.thresholds import Thresholds
from transforms.zone import Zone

# Tables of the ledger that are in the catalog, as ops.<name>.
PUBLISHED_OF_LEDGER = ("source_files", "runs", "quarantine")
LOOK = "Its rows: maillag status --json"
# What to do about a broken rule, by stage and by whether it is critical.
REMEDIES = {
    ("source", True): f"The file is kept out until its lines are mended and read again. {LOOK}",
    ("source", False): f"The file was taken all the same. {LOOK}",
    (
        "marts",
        True,
    ): f"The host keeps the marts that it had, all others have new ones. Report this as a defect. {LOOK}",
    ("marts", False): f"The marts were published all the same. {LOOK}",
}


class Progress(Protocol):
    """Where a run tells how far it is."""

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` units."""

    def advance(self, amount: float) -> None:
        """Finish that many units of the current stage."""


class NoProgress:
    """Tells nobody."""

    def start(self, stage: str, total: int) -> None:
        """Do nothing."""

    def advance(self, amount: float) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Job:
    """What to read, where the lake is, and the rules; empty `hosts` means all."""

    archive: Path
    lake: Path
    fleet_file: Path | None = None
    ledger_url: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    default_time_zone: str = "UTC"
    log_rules: LogRules = field(default_factory=LogRules)
    imss_ini_keys: Mapping[str, str] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    limits: Limits = DEFAULT_LIMITS
    lake_mode: int = LAKE_MODE
    reader_grace: timedelta = timedelta(days=1)
    """Files that were replaced stay this long, for who reads an older catalog."""
    is_deep: bool = False
    """Look at the content of all lake files first, not only at those whose size or time has changed."""

    def open_ledger(self) -> Ledger:
        """Open the ledger of the lake; raises MaillagError."""
        with writing(self.lake_mode):
            return open_ledger(self.lake, self.ledger_url)


@dataclass(frozen=True)
class Ingested:
    """What a run read: the records of new source files, notes for the user, and what was ignored."""

    source_file_count: int
    new_sources: list[SourceRecord]
    notes: list[Problem]
    ignored: list[str]


@dataclass(frozen=True)
class Analyzed:
    """Whether the marts were built anew, where the catalog is, and the hosts whose settled days were kept.

    `notes` are about damaged files of the lake.
    """

    is_rebuilt: bool
    catalog: Path
    settled_hosts: Sequence[str] = ()
    notes: Sequence[Problem] = ()


@dataclass(frozen=True)
class Compacted:
    """How many of the lake's files of events were put together into how many, and where the catalog is."""

    old_file_count: int
    new_file_count: int
    catalog: Path


@dataclass(frozen=True)
class Expired:
    """The days that were expired, by host, and where the catalog is."""

    frozen: list[FrozenDays]
    catalog: Path


@contextmanager
def run(job: Job, ledger: Ledger) -> Iterator[str]:
    """Hold the lake, open a run in the ledger and yield its id; its end, good or bad, is recorded.

    What runs left behind that were killed or failed is removed, and what was replaced, once no reader of an
    older catalog needs it.
    Raises MaillagError if another run holds the lake, or if it cannot be written to.
    """
    with writing(job.lake_mode), hold_lake(job.lake):
        mend_rights(job.lake, job.lake_mode)
        for lost_id in ledger.end_lost_runs():
            _remove_unlisted(job.lake, ledger, lost_id)
        started_at = datetime.now(UTC)
        run_id = f"{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        ledger.start_run(run_id, started_at)
        try:
            yield run_id
        except BaseException as error:
            # Where even this cannot be written, the next run does it.
            with suppress(OSError, SQLAlchemyError):
                _close_run(ledger, run_id, "failed")
                _remove_unlisted(job.lake, ledger, run_id)
            if told := _in_words(job, ledger, error):
                raise told from error
            raise
        _close_run(ledger, run_id, "done")
        _remove_dropped(job.lake, ledger, datetime.now(UTC) - job.reader_grace)


def _in_words(job: Job, ledger: Ledger, error: BaseException) -> MaillagError | None:
    """Return what to tell of an error that ended a run, None where it is a defect of maillag."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, SQLAlchemyError):
        return MaillagError(
            f"{job.lake}: its ledger cannot be written to ({reason}). See that its database runs and has "
            "room, and run again: what was published stays, and nothing is lost."
        )
    if not isinstance(error, (OSError, duckdb.Error, pa.ArrowException, pl.exceptions.PolarsError)):
        return None
    try:
        damaged = damaged_files(job.lake, ledger.files(), is_deep=True)
        ledger.suspect(damaged)
    except (OSError, SQLAlchemyError):
        damaged = {}
    if damaged:
        return _damaged(job.lake, damaged)
    if isinstance(error, (OSError, duckdb.IOException)):
        return MaillagError(
            f"{job.lake}: cannot be written to ({reason}). Make room or mend that, and run again: "
            "what was published stays, and nothing is lost."
        )
    return None


def _damaged(lake: Path, damaged: Mapping[LakeFile, str]) -> MaillagError:
    (file, trouble), *others = damaged.items()
    more = f", and {len(others)} other files are damaged or missing" if others else ""
    return MaillagError(
        f"{lake / file.path}: {trouble}{more}. What is damaged is made anew by: "
        f"maillag run ARCHIVE --lake {quote(str(lake))}"
    )


def _refuse_damaged(job: Job, ledger: Ledger, files: Iterable[LakeFile]) -> None:
    """Raise MaillagError if one of these files is not what was written: its rows must not go on."""
    if damaged := damaged_files(job.lake, files, is_deep=True):
        ledger.suspect(damaged)
        raise _damaged(job.lake, damaged)


def _remove_unlisted(lake: Path, ledger: Ledger, run_id: str) -> None:
    listed = {path for paths in ledger.lake_files().values() for path in paths}
    remove_unlisted(lake, run_id, listed | ledger.dropped_files().keys())


def _remove_dropped(lake: Path, ledger: Ledger, before: datetime) -> None:
    paths = [path for path, dropped_at in ledger.dropped_files().items() if dropped_at < before]
    for path in paths:
        (lake / path).unlink(missing_ok=True)
    ledger.forget_dropped(paths)


def _close_run(ledger: Ledger, run_id: str, status: str) -> None:
    ledger.update_run(
        run_id, status=status, finding_count=len(ledger.findings()), finished_at=datetime.now(UTC)
    )


def ingest(job: Job, ledger: Ledger, run_id: str, checker: Checker, progress: Progress) -> Ingested:
    """Read what is new in the archive, check it, and take it over at once.

    A source file whose events break a critical rule is kept out. Raises MaillagError for wrong use.
    """
    healed = heal(job.lake, ledger, is_deep=job.is_deep)
    fleet = read_fleet(job.archive, job.fleet_file)
    wanted = {given_host(host) for host in job.hosts}
    unknown = wanted - {host.name for host in fleet.hosts}
    if unknown:
        raise MaillagError(
            f"{job.archive}: has no host {', '.join(sorted(unknown))}. Its hosts: "
            f"{', '.join(host.name for host in fleet.hosts)}."
        )
    chosen = replace(
        fleet,
        hosts=tuple(host for host in fleet.hosts if not wanted or host.name in wanted),
    )
    discovery = discover(job.archive, fleet, only=wanted, limits=job.limits)
    if not discovery.sources and not job.hosts and ledger.seen_files():
        raise MaillagError(
            f"{job.archive}: holds no log file, although some were read there before. See if it is mounted."
        )
    found_zones = find_zones(
        fleet,
        discovery.sources,
        job.default_time_zone,
        rules=job.log_rules,
        known=_zones_read_by(ledger, {host.name for host in chosen.hosts}),
    )
    zones = found_zones.zones
    plan = plan_reads(
        discovery.sources,
        ledger,
        fleet=fleet,
        zones=zones,
        rules=job.log_rules,
    )
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
    broken = _check_events(job.lake, reads, run_id, checker) if reads.new_sources else []
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
            *_source_findings(reads.new_sources, run_id),
            *_contract_findings(broken, records, run_id),
        ],
        grown_ids={new.record.source_id for new in reads.new_sources if new.is_grown},
    )
    if reads.has_leftovers:
        _remove_unlisted(job.lake, ledger, run_id)
    fleet, zones = _with_hosts_in_lines(fleet, zones, ledger)
    inventory = read_inventory(
        job.lake, ledger.lake_files().get("events.inventory", []), ledger.source_records().values()
    )
    imsva_paths = _imsva_paths(ledger.source_records().values())
    history = host_history(fleet, zones, inventory, imss_ini_keys=job.imss_ini_keys, imsva_paths=imsva_paths)
    problems = [
        *fleet.problems,
        *discovery.problems,
        *passed_over(discovery.ignored),
        *_hosts_without_logs(fleet, discovery, ledger),
        *reads.problems,
        *inventory_problems(fleet, inventory, imss_ini_keys=job.imss_ini_keys),
        *product_problems(history.iter_rows(named=True), imsva_paths),
        *found_zones.problems,
        *silent_hosts(fleet, ledger.lake_files(), ledger.source_records().values(), frozen_days(ledger)),
    ]
    ledger.replace_findings(
        ("archive", "lake"),
        [*_findings(problems, "archive", run_id), *_findings(lost_rows(ledger), "lake", run_id)],
    )
    if not job.hosts:
        seen = ledger.seen_files()
        ledger.end_findings(
            {row.source_id for source in discovery.sources for row in seen.get(source.path, ())}
        )
    _write_tables(
        job.lake,
        ledger,
        {"fleet.hosts": latest_hosts(history), "fleet.host_history": history},
        run_id,
    )
    ledger.update_run(
        run_id,
        source_file_count=len(discovery.sources),
        line_count=sum(record.line_count for record in records),
        unparsed_line_count=sum(record.unparsed_line_count for record in records),
    )
    of_sources = [problem for new in reads.new_sources for problem in new.problems]
    return Ingested(
        source_file_count=len(discovery.sources),
        new_sources=records,
        notes=[problem for problem in healed + problems + of_sources + of_expired_days if problem.is_note],
        ignored=discovery.ignored,
    )


def analyze(job: Job, ledger: Ledger, run_id: str, checker: Checker, progress: Progress) -> Analyzed:
    """Build the marts from the lake's events if anything they rest on changed, check and publish them.

    A host whose marts cannot be made, or break a critical rule, keeps those that it had.
    """
    if healed := heal(job.lake, ledger):
        ledger.replace_findings(("lake",), _findings(lost_rows(ledger), "lake", run_id))
    files = ledger.lake_files()
    if "fleet.host_history" not in files:
        raise MaillagError(
            f"{job.lake}: does not know its hosts. Read the archive first: "
            f"maillag run ARCHIVE --lake {quote(str(job.lake))}"
        )
    contracts = load_contracts()
    models = load_models()
    fingerprint = _fingerprint(job, files, models, contracts)
    is_rebuilt = fingerprint != ledger.last_marts_fingerprint() or bool(_hosts_without_marts(job, files))
    settled_hosts: Sequence[str] = ()
    if is_rebuilt:
        checker.start()
        progress.start("Analyzing", len(models))
        now = Basis(
            rules=_rules(job, models, contracts),
            source_files=ledger.table("source_files"),
            host_history=pl.concat(
                pl.read_parquet(job.lake / path, glob=False) for path in files["fleet.host_history"]
            ),
            log_dates=pl.DataFrame(),
        )
        basis = read_basis(job.lake, files)
        hosts = {*now.source_files["host"], *now.host_history["host"]}
        if basis:
            hosts |= {*basis.source_files["host"], *basis.host_history["host"]}
        built = build_marts(
            job.lake,
            models=models,
            contracts=contracts.values(),
            files=files,
            frames={"ops.source_files": now.source_files},
            frozen=frozen_days(ledger),
            news=news_since(basis, now, hosts, ledger.grown_sources(), ledger.stale_hosts()),
            log_dates=basis.log_dates if basis else None,
            thresholds=job.thresholds,
            run_id=run_id,
            check=lambda batch, made: _check_marts(job, batch, made, contracts, run_id, checker),
            progress=lambda model, share: progress.advance(share),
        )
        zones = dict(latest_hosts(now.host_history).select("host", "time_zone").iter_rows())
        failed = built.failed_hosts
        unchanged = hosts - built.hosts
        ledger.replace_findings(
            ("marts",),
            [
                *(row for row in ledger.findings() if row.stage == "marts" and row.place in unchanged),
                *_contract_findings(built.findings, [], run_id),
                *_findings(built.failed.values(), "marts", run_id),
                *_findings(_doubts(job.lake, files, built, contracts, zones), "marts", run_id),
            ],
        )
        # What failed is made anew by the next run, as a whole.
        is_made = ~pl.col("host").is_in(failed)
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
        ledger.name_marts(run_id, fingerprint)
        if failed:
            _remove_unlisted(job.lake, ledger, run_id)
        if built.failed:
            # The next run heals what is damaged.
            own = [file for file in ledger.files() if host_of_file(file.path) in built.failed]
            ledger.suspect(damaged_files(job.lake, own, is_deep=True))
        settled_hosts = built.settled_hosts
    return Analyzed(is_rebuilt, _publish(job, ledger, run_id, contracts), settled_hosts, healed)


def compact(job: Job, ledger: Ledger, run_id: str, *, today: date) -> Compacted:
    """Put the many files of events together into few, with the same rows, and publish these.

    The old files stay where they are for those who read the catalog before.
    """
    contracts, models = load_contracts(), load_models()
    before = _fingerprint(job, ledger.lake_files(), models, contracts)
    of_days = [file for file in ledger.files() if file.source_ids or file.table_name == "marts.message_trace"]
    _refuse_damaged(job, ledger, of_days)
    merged = list(compacted(job.lake, of_days, today=today, run_id=run_id))
    old_files = [file for files, _ in merged for file in files]
    ledger.record_sources([], seen=[], replaced=old_files, files=[new for _, new in merged], findings=[])
    if before == ledger.last_marts_fingerprint():
        # The same rows give the same marts.
        after = _fingerprint(job, ledger.lake_files(), models, contracts)
        ledger.name_marts(run_id, after)
    return Compacted(len(old_files), len(merged), _publish(job, ledger, run_id, contracts))


def expire(job: Job, ledger: Ledger, run_id: str, *, before: date, today: date) -> Expired:
    """Take the events of days before a UTC day out of the lake, and freeze what the marts say of them.

    Raises MaillagError, and changes nothing, if any row of the marts would not be as it is, or if that day
    is too young.
    """
    if before > today - YOUNGEST:
        raise MaillagError(
            f"{before}: is too young, for what happened before it may not be over. Give a day up to "
            f"{today - YOUNGEST}."
        )
    _refuse_damaged(job, ledger, ledger.files())
    contracts, models = load_contracts(), load_models()
    files = ledger.lake_files()
    if _fingerprint(job, files, models, contracts) != ledger.last_marts_fingerprint():
        raise MaillagError(f"{job.lake}: is not up to date. Run this first: maillag run ARCHIVE")
    # The days of these stay until their marts are made.
    failed = _hosts_without_marts(job, files)
    left = {
        file: events_since(job.lake, file, before, run_id)
        for file in ledger.files_of(ledger.source_records())
        if host_of_file(file.path) not in failed
    }
    replaced = [file for file, rest in left.items() if rest is not file]
    new_files = [rest for file, rest in left.items() if rest is not None and rest is not file]
    hosts = {host_of_file(file.path) for file in replaced}
    frozen = [
        FrozenDays(host, before, before + MARGIN, datetime.now(UTC)) for host in sorted(filter(None, hosts))
    ]
    if not frozen:
        return Expired([], job.lake / CATALOG_NAME)
    gone = {file.path for file in replaced}
    kept = {table: [path for path in paths if path not in gone] for table, paths in files.items()}
    for file in new_files:
        kept[file.table_name].append(file.path)
    built = build_marts(
        job.lake,
        models=models,
        contracts=contracts.values(),
        files=kept,
        frames={"ops.source_files": ledger.table("source_files")},
        frozen={days.host: days for days in [*frozen, *_later(frozen_days(ledger), before)]},
        thresholds=job.thresholds,
        run_id=run_id,
    )
    if failing := built.failed.keys() - failed:
        raise MaillagError(f"{built.failed[min(failing)]} Nothing was expired.")
    made = built.files_after(files)
    if changed := changed_rows(job.lake, [contracts[table] for table in MARTS], files, made):
        told = ", ".join(f"{count} rows of {table}" for table, count in changed.items())
        raise MaillagError(
            f"{before}: what came later rests on days before it ({told} would change), so that nothing was "
            "expired. Give an earlier day, or the hosts' retry settings in the fleet file."
        )
    ledger.freeze(
        frozen,
        replaced=[*gone, *built.replaced],
        files=[*new_files, *built.files],
    )
    after = _fingerprint(job, ledger.lake_files(), models, contracts)
    ledger.name_marts(run_id, after)
    return Expired(frozen, _publish(job, ledger, run_id, contracts))


def _hosts_without_marts(job: Job, files: Mapping[str, list[str]]) -> set[str]:
    """Return the hosts whose marts are older than what they rest on, for they could not be made."""
    known, made = (
        {host for path in files.get(f"{schema}.host_history", ()) for host in _hosts_in(job.lake / path)}
        for schema in ("fleet", "basis")
    )
    return known - made if "basis.host_history" in files else set()


def _hosts_in(path: Path) -> list[str]:
    return pl.read_parquet(path, columns=["host"], glob=False)["host"].to_list()


def _later(frozen: Mapping[str, FrozenDays], before: date) -> list[FrozenDays]:
    return [days for days in frozen.values() if days.expired_before > before]


def acknowledge(job: Job, ledger: Ledger, run_id: str, findings: Iterable[QuarantineRow]) -> None:
    """Make findings warnings for as long as they stay what they are, and publish that."""
    ledger.acknowledge(findings)
    _publish(job, ledger, run_id, load_contracts())


def _without_expired(
    job: Job, ledger: Ledger, files: Collection[LakeFile], run_id: str
) -> tuple[list[LakeFile], list[Problem]]:
    """Return new files without the days that were expired on their host, and notes of what was left out."""
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
            f"{count} events of days before {frozen[host].expired_before}, which were expired, were left out",
            "Nothing to do: what the marts say of these days is frozen.",
            is_note=True,
        )
        for host, count in left_out.items()
    ]
    return kept, notes


def _publish(job: Job, ledger: Ledger, run_id: str, contracts: Mapping[str, Contract]) -> Path:
    # The last thing that can fail is the publication itself: let it show this run as done.
    _close_run(ledger, run_id, "done")
    frozen = pl.DataFrame(
        [asdict(days) for days in frozen_days(ledger).values()], schema=Ledger.schema("frozen_days")
    )
    return publish(
        job.lake,
        files=ledger.lake_files(),
        frames={
            **{f"ops.{name}": ledger.table(name) for name in PUBLISHED_OF_LEDGER},
            "ops.frozen_days": frozen,
        },
        contracts=contracts.values(),
        run_id=run_id,
    )


def _fingerprint(
    job: Job, files: dict[str, list[str]], models: list[Model], contracts: dict[str, Contract]
) -> str:
    """Name everything that the marts rest on: events, fleet, rules, SQL and promises."""
    return _name_of(
        {
            "files": {
                table: paths
                for table, paths in sorted(files.items())
                if table.startswith(("events.", "ops."))
            },
            "fleet": [
                hashlib.blake2b((job.lake / path).read_bytes()).hexdigest()
                for path in files.get("fleet.host_history", ())
            ],
            "rules": _rules(job, models, contracts),
        }
    )


def _rules(job: Job, models: list[Model], contracts: dict[str, Contract]) -> str:
    """Name all by which events become marts."""
    return _name_of(
        {
            "parser": PARSER_VERSION,
            "log_rules": asdict(job.log_rules),
            "thresholds": asdict(job.thresholds),
            "advice": [asdict(advice) for advice in load_advice()],
            "models": {model.name: model.source for model in models},
            "contracts": {name: asdict(contract) for name, contract in contracts.items()},
        }
    )


def _name_of(inputs: Mapping[str, Any]) -> str:
    # The models come in an order that may differ from process to process.
    return hashlib.blake2b(json.dumps(inputs, sort_keys=True).encode(), digest_size=16).hexdigest()


def _hosts_without_logs(fleet: Fleet, discovery: Discovery, ledger: Ledger) -> list[Problem]:
    """Return a problem for each host that has neither a log file of its own nor a line in a collector's."""
    collectors = {host.name for host in fleet.hosts if host.is_collector}
    records = ledger.source_records().values()
    # A collector has a source of its own in each of its files.
    paths = {record.path for record in records if record.host in collectors}
    told = {record.host for record in records if record.path in paths}
    return [problem for host, problem in discovery.without_files.items() if host not in told]


def _zones_read_by(ledger: Ledger, hosts: Collection[str]) -> dict[str, Zone]:
    """Return the zones by which the files of other hosts were last read: this run does not look at these."""
    return {
        record.host: Zone(record.time_zone, record.zone_source)
        for record in sorted(ledger.source_records().values(), key=lambda record: record.run_id)
        if record.host not in hosts
    }


def _imsva_paths(records: Iterable[SourceRecord]) -> dict[str, str]:
    """Return a path of each host that only IMSVA has."""
    return {record.host: record.path for record in records if IMSVA_PATH.search(record.path)}


def _with_hosts_in_lines(
    fleet: Fleet, zones: Mapping[str, Zone], ledger: Ledger
) -> tuple[Fleet, dict[str, Zone]]:
    """Add the hosts that only a collector's lines name, each with the zone its lines were read by."""
    known = {host.name for host in fleet.hosts}
    collectors = {host.name for host in fleet.hosts if host.is_collector}
    records = ledger.source_records().values()
    # A collector has a source of its own in each of its files.
    collector_of = {record.path: record.host for record in records if record.host in collectors}
    with_files = {record.host for record in records if record.path not in collector_of}
    found = {}
    found_zones = {}
    for record in records:
        if record.path not in collector_of:
            continue
        if record.host not in known:
            found[record.host] = collector_of[record.path]
        is_open = record.host not in known or (
            record.host not in with_files and zones[record.host].is_assumed
        )
        if is_open and record.host not in collectors:
            found_zones[record.host] = Zone(record.time_zone, record.zone_source)
    return with_found_hosts(fleet, found), {**zones, **found_zones}


def _write_tables(lake: Path, ledger: Ledger, frames: dict[str, pl.DataFrame], run_id: str) -> None:
    files = []
    for table, frame in frames.items():
        path = Path(*table.split("."), f"{run_id}.parquet")
        write_parquet(frame, lake / path)
        files.append(LakeFile(path.as_posix(), table, (), len(frame), run_id))
    ledger.replace_tables(files)


def _check_events(lake: Path, reads: Reads, run_id: str, checker: Checker) -> list[Finding]:
    """Check only what is new, some hosts at a time, before anybody sees it."""
    contracts = load_contracts()
    by_host = files_by_host(paths_by_table(reads.files))
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for new in reads.new_sources:
        records[new.record.host].append(asdict(new.record))
    findings: list[Finding] = []
    for hosts in _some_at_a_time(records):
        files = merged_files(by_host.get(host, {}) for host in hosts)
        checked = [contracts[table] for table in files]
        sources = pl.DataFrame(
            [record for host in hosts for record in records[host]],
            schema_overrides=Ledger.schema("source_files"),
        )
        with _check_database(lake, f"{run_id}.events", checked, files, {"ops.source_files": sources}) as made:
            findings += checker.check(made, [*checked, contracts["ops.source_files"]])
    return findings


def _check_marts(
    job: Job,
    batch: Batch,
    made: Built,
    contracts: Mapping[str, Contract],
    run_id: str,
    checker: Checker,
) -> list[Finding]:
    """Check a batch's marts before anybody sees them: of message_trace, which is large, only what is new."""
    new = paths_by_table(made.files)
    shown = made.files_after(batch.files) | {"marts.message_trace": new.get("marts.message_trace", [])}
    marts, thresholds = [contracts[table] for table in MARTS], "config.thresholds"
    frames = {thresholds: config_tables(job.thresholds)[thresholds]}
    with _check_database(job.lake, f"{run_id}.marts", marts, shown, frames) as database:
        return checker.check(database, [contracts[thresholds], *marts])


def _doubts(
    lake: Path,
    before: Mapping[str, list[str]],
    built: Built,
    contracts: Mapping[str, Contract],
    zones: Mapping[str, str],
) -> list[Problem]:
    """Return what the new marts show to be wrong with what their hosts log, or with what is told of them.

    `zones` are the names of the hosts' zones.
    """
    by_host = files_by_host(built.files_after(before))
    doubts: list[Problem] = []
    for hosts in _some_at_a_time(built.hosts - built.failed_hosts):
        made = merged_files(by_host.get(host, {}) for host in hosts)
        doubts += [
            *witnesses_apart(lake, contracts["marts.restarts"], made.get("marts.restarts", []), zones),
            *mixed_hosts(lake, contracts, made),
            *contradicted_settings(lake, made.get("staging.refuted_settings", [])),
        ]
    return doubts


def _some_at_a_time(hosts: Iterable[str]) -> Iterator[list[str]]:
    """Yield hosts in name order, some at a time: each file that DuckDB opens takes memory."""
    names = sorted(hosts)
    for start in range(0, len(names), BATCH_HOSTS):
        yield names[start : start + BATCH_HOSTS]


@contextmanager
def _check_database(
    lake: Path,
    name: str,
    contracts: Iterable[Contract],
    files: Mapping[str, Iterable[str]],
    frames: Mapping[str, pl.DataFrame],
) -> Iterator[Path]:
    """Yield a database beside the catalog that shows files and frames, and is there no longer than needed."""
    database = lake / f"check.{name}.duckdb"
    try:
        with create_database(database) as connection:
            create_views(connection, lake, contracts=contracts, files=files)
            create_tables(connection, frames)
        yield database
    finally:
        database.unlink(missing_ok=True)


def _with_status(record: SourceRecord, broken: list[Finding]) -> SourceRecord:
    is_broken = any(
        finding.severity == "critical" and record.source_id == finding.source_id for finding in broken
    )
    return replace(record, status="quarantined") if is_broken else record


def _findings(problems: Iterable[Problem], stage: str, run_id: str) -> list[QuarantineRow]:
    """Return one row per place and rule: what is wrong there in several ways is said together."""
    together: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        if not problem.is_note:
            together.setdefault((problem.where, problem.rule), []).append(problem)
    return [
        QuarantineRow(
            place=place,
            stage=stage,
            rule=rule,
            severity=min(problem.severity for problem in its),
            what="; ".join(dict.fromkeys(problem.what for problem in its)),
            remedy=" ".join(dict.fromkeys(problem.remedy for problem in its)),
            row_count=None,
            example_rows=None,
            source_id=None,
            run_id=run_id,
        )
        for (place, rule), its in together.items()
    ]


def _source_findings(new_sources: list[NewSource], run_id: str) -> list[QuarantineRow]:
    return [
        replace(row, source_id=new.record.source_id)
        for new in new_sources
        for row in _findings(new.problems, "source", run_id)
    ]


def _contract_findings(
    broken: list[Finding], records: list[SourceRecord], run_id: str
) -> list[QuarantineRow]:
    """Return the findings of new source files, or of the hosts' marts, as rows of the ledger."""
    files = Counter(record.path for record in records)
    paths = {
        record.source_id: record.path if files[record.path] == 1 else f"{record.path} ({record.host})"
        for record in records
    }
    rows = []
    for finding in broken:
        stage = "source" if finding.source_id else "marts"
        rows.append(
            QuarantineRow(
                place=paths[finding.source_id] if finding.source_id else finding.host or finding.table,
                stage=stage,
                rule=f"{finding.table}: {finding.rule}",
                severity=finding.severity,
                what=f"breaks a rule of {finding.table} in {finding.row_count} rows: "
                + finding.rule.rstrip("."),
                remedy=REMEDIES[stage, finding.severity == "critical"],
                row_count=finding.row_count,
                example_rows=finding.rows,
                source_id=finding.source_id,
                run_id=run_id,
            )
        )
    return rows
