"""The lake's events to the marts: runs the SQL models, batch of hosts by batch, into new immutable files."""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from transforms.contracts.contracts import Contract, Finding
from transforms.lake.catalog import create_tables, create_views, files_by_host, host_of_file
from transforms.lake.files import write_parquet
from transforms.marts.advice import load_advice
from transforms.marts.database import execute, open_database
from transforms.marts.mart_files import HANDED_ON, MARTS, OF_ALL_DAYS, MartWriter, replaced_files, show_marts
from transforms.marts.models import Model, last_uses, needed_models, run_model, run_models, tables_in
from transforms.marts.news import LATE, News, settle
from transforms.marts.repeats import show_lines_once
from transforms.marts.settled import (
    NOT_PROVED,
    Settled,
    create_settled_hosts,
    is_counted_anew,
    may_hold,
    show_events,
    with_kept_rows,
)
from transforms.problems import MaillagError, Problem, cause
from transforms.thresholds import Thresholds

# All that the models of one host need of the others.
FLEET_TABLES = frozenset({"staging.log_dates"})
# Hosts are taken together up to this size of their events: a batch has costs of its own.
BATCH_BYTES = 64 * 2**20
# And up to so many: each file of a host that DuckDB opens takes memory, be it nearly empty.
BATCH_HOSTS = 500
# For a batch, of which one is worked on at a time; the frames of queue_entries.py come on top.
MEMORY_LIMIT = "400 MiB"

if TYPE_CHECKING:
    from transforms.lake.ledger import FrozenDays, LakeFile


def config_tables(thresholds: Thresholds) -> dict[str, pl.DataFrame]:
    """Return the tables of what is set and not logged: thresholds in one row, advice with its position."""
    advice = pl.DataFrame([asdict(one) for one in load_advice()]).with_row_index("position")
    return {"config.thresholds": pl.DataFrame([asdict(thresholds)]), "config.advice": advice}


@dataclass(frozen=True)
class Batch:
    """Some hosts, their files of the lake by table name, and from when on their marts are made anew."""

    hosts: tuple[str, ...]
    files: Mapping[str, list[str]]
    settled: Mapping[str, Settled]


Check = Callable[[Batch, "Built"], list[Finding]]


def no_check(batch: Batch, built: "Built") -> list[Finding]:
    """Find nothing."""
    return []


@dataclass
class Built:
    """New files of the marts, which stay unseen until the ledger lists them, and those that they replace.

    `hosts`: those of which there was news. `log_dates`: the local days on which any host of the fleet logged.
    `settled_hosts`: those of which only the days were made anew that something new can change. `findings`:
    the rules that the hosts' rows break. `failed`: why hosts keep the marts that they had.
    """

    hosts: set[str] = field(default_factory=set)
    files: "list[LakeFile]" = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    log_dates: pl.DataFrame = field(default_factory=pl.DataFrame)
    settled_hosts: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    failed: dict[str, Problem] = field(default_factory=dict)

    def files_after(self, before: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Return the lake's files by table name as they will be, of what they were before."""
        gone = set(self.replaced)
        after = {table: [path for path in paths if path not in gone] for table, paths in before.items()}
        for file in self.files:
            after.setdefault(file.table_name, []).append(file.path)
        return after

    @property
    def failed_hosts(self) -> set[str]:
        """The hosts that keep the marts that they had."""
        broken = {finding.host for finding in self.findings if finding.severity == "critical"}
        return {*self.failed, *filter(None, broken)}

    def add(self, made: "Built") -> None:
        """Take over what was made of a batch, without the files of hosts that break a critical rule.

        Raises MaillagError where no host is named that breaks one.
        """
        for finding in made.findings:
            if finding.severity == "critical" and finding.host is None:
                raise MaillagError(f"{finding.table}: breaks a critical rule: {finding.rule} {finding.rows}")
        failed = made.failed_hosts
        self.files += [file for file in made.files if host_of_file(file.path) not in failed]
        self.replaced += [path for path in made.replaced if host_of_file(path) not in failed]
        self.settled_hosts += [host for host in made.settled_hosts if host not in failed]
        self.findings += made.findings


def build_marts(
    lake: Path,
    *,
    models: list[Model],
    contracts: Iterable[Contract],
    files: Mapping[str, list[str]],
    frames: Mapping[str, pl.DataFrame],
    thresholds: Thresholds,
    run_id: str,
    frozen: "Mapping[str, FrozenDays] | None" = None,
    news: Iterable[News] | None = None,
    log_dates: pl.DataFrame | None = None,
    check: Check = no_check,
    progress: Callable[[Model, float], None] = lambda model, share: None,
) -> Built:
    """Run the models over the lake's files and the ledger's tables, for the hosts of which there is news.

    Without `news` all hosts are made anew, as a whole; `log_dates` are those of the marts before. The
    thresholds that the marts were made with are written beside them. Rows of settled and frozen days are
    taken over from the marts among `files`. Batches of hosts are worked on one after another, each in a
    database of its own, and checked by `check`; `progress` is told every model that was made, with the share
    of the batches for which it was.

    One host's trouble stays its own: a batch that fails is made again host by host, a host that fails as a
    whole, and what fails then, or breaks a critical rule, keeps the marts that it had. Raises what is no
    host's fault, such as a full disk.
    """
    promised = {contract.table: contract for contract in contracts}
    frozen = frozen or {}
    given = {**frames, **config_tables(thresholds)}
    read = frozenset().union(*(model.inputs for model in models)) - given.keys()
    inputs = {table: c for table, c in promised.items() if table in read and not table.startswith("marts.")}
    by_host = files_by_host(files)
    built = Built()
    prepare = partial(
        _prepare, lake, models=models, inputs=inputs, given=given, contracts=promised, run_id=run_id
    )
    try:
        fleet = prepare(by_host, news=news, log_dates=log_dates)
    except Exception as error:
        _raise_if_of_machine(error)
        for host in filter(None, by_host):
            try:
                prepare({None: by_host.get(None, {}), host: by_host[host]})
            except Exception as own_error:
                built.failed[host] = _failure(host, own_error)
        if not built.failed:
            raise
        sound = {host: own for host, own in by_host.items() if host not in built.failed}
        fleet = prepare(sound, news=news, log_dates=log_dates)
    given |= fleet.tables
    built.hosts = fleet.hosts | built.failed.keys()
    built.log_dates = fleet.tables["staging.log_dates"]
    of_fleet = needed_models(models, FLEET_TABLES)
    of_hosts = [model for model in models if model not in of_fleet]
    of_days = needed_models(of_hosts, (MARTS.keys() | HANDED_ON) - OF_ALL_DAYS)
    of_hosts = [*of_days, *(model for model in of_hosts if model not in of_days)]
    batches = deque(host_batches(lake, by_host, fleet.hosts - built.failed.keys(), fleet.settled))
    as_a_whole: list[str] = []
    number, count = 0, len(batches)
    while batches:
        batch = batches.popleft()
        try:
            with open_database(lake / f"spill.{run_id}.{number}", memory_limit=MEMORY_LIMIT) as connection:
                create_tables(connection, {table: _of_hosts(rows, batch) for table, rows in given.items()})
                made, unproved = _build_batch(
                    connection,
                    lake,
                    batch,
                    models=of_hosts,
                    contracts=promised,
                    inputs={table: c for table, c in inputs.items() if table not in given},
                    frozen=frozen,
                    run_id=run_id,
                    part=number,
                    progress=lambda model: progress(model, 1 / count),
                )
            made.findings = check(batch, made)
        except Exception as error:
            _raise_if_of_machine(error)
            if len(batch.hosts) > 1:
                batches.extendleft(
                    one
                    for host in reversed(batch.hosts)
                    for one in host_batches(lake, by_host, [host], batch.settled)
                )
            elif batch.settled:
                as_a_whole += batch.hosts
            else:
                (host,) = batch.hosts
                built.failed[host] = _failure(host, error)
        else:
            built.add(made)
            as_a_whole += unproved
        number += 1
        if not batches:
            batches.extend(host_batches(lake, by_host, as_a_whole, {}))
            as_a_whole = []
    built.files.append(_write_thresholds(lake, thresholds, run_id))
    built.replaced += files.get("config.thresholds", ())
    return built


@dataclass(frozen=True)
class _Fleet:
    """What the batches need: tables of all hosts, the hosts to make anew, and from when on."""

    tables: dict[str, pl.DataFrame]
    hosts: set[str]
    settled: dict[str, Settled]


def _prepare(
    lake: Path,
    by_host: Mapping[str | None, Mapping[str, list[str]]],
    *,
    models: list[Model],
    inputs: Mapping[str, Contract],
    given: Mapping[str, pl.DataFrame],
    contracts: Mapping[str, Contract],
    run_id: str,
    news: Iterable[News] | None = None,
    log_dates: pl.DataFrame | None = None,
) -> _Fleet:
    """Look at all hosts' files at once, for what tells how the batches are to be made."""
    needed = needed_models(models, {*FLEET_TABLES, "staging.log_gaps"})
    read = frozenset().union(*(model.inputs for model in needed)) | {
        table for table in inputs if table.startswith("fleet.")
    }
    with open_database(lake / f"spill.{run_id}") as connection:
        create_views(
            connection,
            lake,
            contracts=[contract for table, contract in inputs.items() if table in read],
            files=merged_files(by_host.values()),
        )
        create_tables(connection, given)
        run_models(connection, needed)
        of_all = [*FLEET_TABLES, *(table for table in inputs if table.startswith("fleet."))]
        tables = {table: connection.table(table).pl() for table in of_all}
        hosts = {*tables["fleet.host_history"]["host"], *filter(None, by_host)}
        if news is None:
            return _Fleet(tables, hosts, {})
        news = [one for one in news if one.host in hosts]
        dates = tables["staging.log_dates"].sort("date")
        if log_dates is None or not dates.equals(log_dates.sort("date")):
            # Each host has a row for every day.
            news += [News(host, LATE) for host in sorted(hosts - {one.host for one in news})]
        settled = settle(connection, lake, news, files=by_host, contracts=contracts)
    return _Fleet(tables, {one.host for one in news}, settled)


def _failure(host: str, error: Exception) -> Problem:
    """Return why a host keeps the marts that it had."""
    model = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return Problem(
        host,
        f"its marts could not be made{model}: {cause(error)}",
        "It keeps those that it had, and all other hosts have new ones. The next run makes anew what is "
        "damaged in the lake (maillag status --verify --deep); if nothing is, report this as a defect.",
        rule="the marts can be made",
    )


def _raise_if_of_machine(error: Exception) -> None:
    """Raise what is no host's fault: there is no room on the disk, or it cannot be written to."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if getattr(error, "errno", None) in numbers or (
        isinstance(error, duckdb.Error) and any(os.strerror(number) in str(error) for number in numbers)
    ):
        raise error


def _build_batch(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    batch: Batch,
    *,
    models: list[Model],
    contracts: Mapping[str, Contract],
    inputs: Mapping[str, Contract],
    frozen: "Mapping[str, FrozenDays]",
    run_id: str,
    part: int,
    progress: Callable[[Model], None],
) -> tuple[Built, list[str]]:
    """Make and write all marts of a batch of hosts: first those of the days anew, then those of all days.

    Returns them, and the hosts that are to be made anew as a whole instead.
    """
    create_settled_hosts(connection, batch.hosts, batch.settled, frozen)
    # Hosts that are made as a whole need none of the marts before, which may be damaged.
    before = batch.files if batch.settled or frozen.keys() & set(batch.hosts) else {}
    show_marts(connection, lake, before, contracts, schema="before")
    shown = set()
    if batch.settled:
        shown = show_events(connection, lake, files=batch.files, contracts=contracts)
    others = [contract for table, contract in inputs.items() if table not in shown]
    create_views(connection, lake, contracts=others, files=batch.files)
    show_lines_once(connection)
    replaced = _replaced(connection, batch)
    show_marts(connection, lake, replaced if before else {}, contracts, schema="kept")
    asked_at_the_end = tables_in(NOT_PROVED, where="NOT_PROVED") if batch.settled else set()
    writer = MartWriter(connection, lake, run_id, part, contracts, set(batch.hosts))
    unproved: set[str] = set()
    is_written = False
    for model, unused in last_uses(models):
        if model.name in OF_ALL_DAYS and not is_written:
            if batch.settled:
                unproved = {host for (host,) in execute(connection, NOT_PROVED)}
                writer.hosts -= unproved
            _write_days(writer, batch.files, replaced)
            is_written = True
        if model.name in HANDED_ON:
            run_model(connection, model, with_kept_rows(model.name, f"({model.source})"))
        else:
            run_model(connection, model)
        if model.name in OF_ALL_DAYS:
            writer.write(model.name, with_kept_rows(model.name, model.name))
        for table in set(unused) - asked_at_the_end - HANDED_ON.keys():
            connection.execute(f"drop table {table}")
        progress(model)
    gone = [path for paths in replaced.values() for path in paths if host_of_file(path) not in unproved]
    settled_hosts = sorted(batch.settled.keys() - unproved)
    return Built(files=writer.files, replaced=gone, settled_hosts=settled_hosts), sorted(unproved)


def _replaced(connection: duckdb.DuckDBPyConnection, batch: Batch) -> dict[str, list[str]]:
    """Return the files of the marts before that are written anew, by table."""
    kept_before = dict(connection.execute("select host, kept_before from settled.hosts").fetchall())
    reopened: dict[str, set[date]] = {}
    for host, day in connection.execute(
        "select distinct host, cast(timezone('UTC', arrived_at) as date) from settled.reopened"
    ).fetchall():
        reopened.setdefault(host, set()).add(day)
    replaced: dict[str, list[str]] = {}
    by_host = files_by_host(batch.files)
    for table in [*MARTS, *HANDED_ON]:
        replaced[table] = [
            path
            for host, own in by_host.items()
            for path in replaced_files(
                table, own.get(table, ()), kept_before.get(host), reopened.get(host or "", ())
            )
        ]
    return replaced


def _write_days(
    writer: MartWriter, files: Mapping[str, list[str]], replaced: Mapping[str, list[str]]
) -> None:
    """Write the tables of the days that were made anew, and let the marts show all days from here on.

    Of marts.message_trace, which is large, they show what the days of marts.fleet_daily count.
    """
    has_kept_rows = bool(
        writer.connection.execute(
            "select 1 from settled.hosts where kept_before is not null limit 1"
        ).fetchall()
    )
    for table in [*(MARTS.keys() - OF_ALL_DAYS), *HANDED_ON]:
        is_mart = table in MARTS
        written = writer.write(table, with_kept_rows(table, table) if is_mart and has_kept_rows else table)
        if is_mart:
            gone = set(replaced[table])
            stay = [path for path in files.get(table, ()) if path not in gone]
            name = table.partition(".")[2]
            writer.connection.execute(f"drop table {table}")
            create_views(
                writer.connection,
                writer.lake,
                contracts=[replace(writer.contracts[table], table=f"written.{name}")],
                files={f"written.{name}": [*stay, *(file.path for file in written)]},
            )
            chosen = is_counted_anew(writer.connection) if table == "marts.message_trace" else "true"
            writer.connection.execute(f"create view {table} as from written.{name} where {chosen}")


def host_batches(
    lake: Path,
    files: Mapping[str | None, Mapping[str, list[str]]],
    hosts: Iterable[str],
    settled: Mapping[str, Settled],
) -> list[Batch]:
    """Return the hosts in name order and their files, in batches of a fair size, settled ones together."""
    chosen: list[list[str]] = []
    size = 0
    was_settled = None
    for host in sorted(hosts, key=lambda host: (host in settled, host)):
        own = _size_bytes(lake, files.get(host, {}), settled.get(host))
        size += own
        is_full = size > BATCH_BYTES or (chosen and len(chosen[-1]) == BATCH_HOSTS)
        if is_full or was_settled != (host in settled):
            chosen.append([])
            size = own
        was_settled = host in settled
        chosen[-1].append(host)
    # Marts that were written before there were files of each host.
    unsorted = {table: paths for table, paths in files.get(None, {}).items() if table in MARTS}
    return [
        Batch(
            tuple(names),
            merged_files([unsorted, *(files.get(name, {}) for name in names)]),
            {name: settled[name] for name in names if name in settled},
        )
        for names in chosen
    ]


def merged_files(files: Iterable[Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """Return files by table, of several such lists."""
    merged: dict[str, list[str]] = {}
    for own in files:
        for table, paths in own.items():
            merged.setdefault(table, []).extend(paths)
    return merged


def _size_bytes(lake: Path, files: Mapping[str, list[str]], settled: Settled | None) -> int:
    """Return how many bytes of events are read of a host."""
    return sum(
        (lake / path).stat().st_size
        for table, paths in files.items()
        if table.startswith("events.")
        for path in paths
        if settled is None or may_hold(path, settled.read_from.date())
    )


def _of_hosts(rows: pl.DataFrame, batch: Batch) -> pl.DataFrame:
    return rows.filter(pl.col("host").is_in(batch.hosts)) if "host" in rows.columns else rows


def _write_thresholds(lake: Path, thresholds: Thresholds, run_id: str) -> "LakeFile":
    # SQLAlchemy takes 0.2 s, and settings import this module for its thresholds.
    from transforms.lake.ledger import LakeFile

    table = "config.thresholds"
    path = Path(*table.split("."), f"{run_id}.parquet")
    write_parquet(config_tables(thresholds)[table], lake / path)
    return LakeFile(path.as_posix(), table, (), 1, run_id)
