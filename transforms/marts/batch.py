"""Builds and writes all marts of a batch of hosts in one database."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import takewhile
from pathlib import Path
from threading import Lock

import duckdb
import polars as pl

from transforms.contracts.contracts import Contract, Finding, kept_tables
from transforms.cores import thread_count
from transforms.lake.catalog import create_tables, create_views, period_of_file
from transforms.lake.files import without_hosts
from transforms.lake.records import FrozenDays, LakeFile, Rows, by_size, rows_of
from transforms.marts.database import execute, open_database
from transforms.marts.mart_files import MartWriter, handed_on, is_replaced, marts, of_all_days, show_marts
from transforms.marts.models import (
    Model,
    readers_of_staging,
    run_model,
    run_side_by_side,
    tables_in,
    take_unused,
)
from transforms.marts.repeats import show_lines_once
from transforms.marts.settled import (
    NOT_PROVED,
    Settled,
    create_settled_hosts,
    is_counted_anew,
    may_hold_period,
    show_events,
    with_kept_rows,
)
from transforms.problems import Problem

# For the database of a batch; the frames of queue_entries.py come on top.
MEMORY_LIMIT = "400 MiB"


@dataclass(frozen=True)
class Batch:
    """Some hosts, the files of the lake with their rows, and from when on their marts are rebuilt.

    `at_once`: how many models run, and how many files are written, at the same time.
    """

    hosts: tuple[str, ...]
    files: list[LakeFile]
    settled: Mapping[str, Settled]
    at_once: int = field(default_factory=thread_count)


@dataclass
class Built:
    """New files of the marts, which stay unseen until the ledger lists them, and the files that they replace.

    `replaced` has, by path, the hosts whose rows are replaced. `hosts`: the hosts with news. `log_dates`: the
    local days on which any host of the fleet logged. `settled_hosts`: the hosts whose settled days were
    carried over. `findings`: the rules that rows of hosts break. `doubts`: what the new marts reveal about
    logs and settings. `failed`: why hosts keep their old marts. `has_leftovers`: whether files that are not
    among `files` were left in the lake.
    """

    hosts: set[str] = field(default_factory=set)
    files: list[LakeFile] = field(default_factory=list)
    replaced: dict[str, set[str]] = field(default_factory=dict)
    log_dates: pl.DataFrame = field(default_factory=pl.DataFrame)
    settled_hosts: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    doubts: list[Problem] = field(default_factory=list)
    failed: dict[str, Problem] = field(default_factory=dict)
    has_leftovers: bool = False

    def rows_after(self, before: Iterable[LakeFile], hosts: Collection[str] | None = None) -> Rows:
        """Return the rows of the lake after this build, of all or some hosts, given the files before it."""
        return rows_of([*before, *self.files], hosts, without=self.replaced)

    @property
    def failed_hosts(self) -> set[str]:
        """The hosts that keep their old marts."""
        broken = {finding.host for finding in self.findings if finding.severity == "critical"}
        return {*self.failed, *filter(None, broken)}

    def add(self, made: "Built") -> None:
        """Add the result of a batch."""
        self.files += made.files
        for path, hosts in made.replaced.items():
            self.replaced.setdefault(path, set()).update(hosts)
        self.settled_hosts += made.settled_hosts
        self.findings += made.findings
        self.doubts += made.doubts
        self.failed |= made.failed
        self.has_leftovers |= made.has_leftovers

    def leave_out(self, hosts: Collection[str], lake: Path, run_id: str) -> None:
        """Leave out what was made of these hosts: they keep their old marts."""
        before = self.files
        self.files = list(without_hosts(lake, before, hosts, run_id))
        self.has_leftovers |= self.files != before
        for replaced in self.replaced.values():
            replaced.difference_update(hosts)
        self.replaced = {path: replaced for path, replaced in self.replaced.items() if replaced}
        self.settled_hosts = [host for host in self.settled_hosts if host not in hosts]


@dataclass(frozen=True)
class Recipe:
    """How marts are built: the models in order, all contracts, and where the models' inputs come from.

    `inputs` are the contracts of the lake's tables that are read. `given` has the ledger's tables,
    thresholds, advice, and the tables of the whole fleet. `frozen` has, by host, the days whose mart rows
    stay as they are.
    """

    lake: Path
    models: list[Model]
    contracts: Mapping[str, Contract]
    inputs: Mapping[str, Contract]
    given: Mapping[str, pl.DataFrame]
    frozen: Mapping[str, FrozenDays]
    run_id: str


def build_batch(
    recipe: Recipe, batch: Batch, part: str, progress: Callable[[Model], None]
) -> tuple[Built, list[str]]:
    """Build and write all marts of a batch of hosts: first those of single days, then those of all days.

    `part` names the batch within the run. Returns what was written, and the hosts that must be rebuilt as a
    whole because the settled rows are not proved to be right.
    """
    spill = recipe.lake / f"spill.{recipe.run_id}.{part}"
    with open_database(spill, memory_limit=MEMORY_LIMIT) as connection:
        create_tables(
            connection, {table: of_hosts(rows, batch.hosts) for table, rows in recipe.given.items()}
        )
        return _build(connection, recipe, batch, part, progress)


def _build(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    batch: Batch,
    part: str,
    progress: Callable[[Model], None],
) -> tuple[Built, list[str]]:
    create_settled_hosts(connection, batch.hosts, batch.settled, recipe.frozen)
    rows = rows_of(batch.files, batch.hosts)
    # Hosts that are rebuilt as a whole need none of the old marts, which may be damaged.
    needs_old = bool(batch.settled or recipe.frozen.keys() & set(batch.hosts))
    no_rows = Rows({}, {})
    show_marts(connection, recipe.lake, rows if needs_old else no_rows, recipe.contracts, schema="before")
    shown = set()
    if batch.settled:
        shown = show_events(connection, recipe.lake, rows, contracts=recipe.contracts)
    others = [
        contract for table, contract in recipe.inputs.items() if table not in shown | recipe.given.keys()
    ]
    create_views(connection, recipe.lake, contracts=others, files=rows.paths, only=rows.only)
    show_lines_once(connection)
    replaced = _replaced(connection, batch)
    kept = _rows_replaced(batch, replaced) if needs_old else no_rows
    show_marts(connection, recipe.lake, kept, recipe.contracts, schema="kept")
    asked_at_the_end = tables_in(NOT_PROVED, where="NOT_PROVED") if batch.settled else set()
    writer = MartWriter(
        connection, recipe.lake, recipe.run_id, part, recipe.contracts, set(batch.hosts), batch.at_once
    )
    unproved: set[str] = set()
    readers = readers_of_staging(recipe.models)
    one_by_one = Lock()

    def run(cursor: duckdb.DuckDBPyConnection, model: Model) -> None:
        if model.name in handed_on():
            with one_by_one:
                run_model(cursor, model, with_kept_rows(cursor, model.name, f"({model.source})"))
        else:
            run_model(cursor, model)

    def run_all(models: list[Model]) -> None:
        for model in run_side_by_side(connection, models, run, at_once=batch.at_once):
            for table in set(take_unused(readers, model)) - asked_at_the_end - handed_on().keys():
                execute(connection, f"drop table {table}")
            progress(model)

    of_days = [*takewhile(lambda model: model.name not in of_all_days(), recipe.models)]
    run_all(of_days)
    if batch.settled:
        unproved = {host for (host,) in execute(connection, NOT_PROVED)}
        writer.hosts -= unproved
    _write_days(writer, batch, replaced)
    run_all(recipe.models[len(of_days) :])
    for table in sorted(of_all_days() & {model.name for model in recipe.models}):
        writer.write(table, with_kept_rows(connection, table, table))
    gone = {path: hosts - unproved for path, hosts in replaced.items() if hosts - unproved}
    settled_hosts = sorted(batch.settled.keys() - unproved)
    return Built(files=writer.files, replaced=gone, settled_hosts=settled_hosts), sorted(unproved)


def _replaced(connection: duckdb.DuckDBPyConnection, batch: Batch) -> dict[str, set[str]]:
    """Return the hosts whose rows are written again, by the path of a file of the old marts."""
    kept_before = dict(connection.execute("select host, kept_before from settled.hosts").fetchall())
    reopened: dict[str, set[date]] = {}
    for host, day in connection.execute(
        "select distinct host, cast(timezone('UTC', arrived_at) as date) from settled.reopened"
    ).fetchall():
        reopened.setdefault(host, set()).add(day)
    replaced = {}
    for file in batch.files:
        if file.table_name in kept_tables():
            hosts = kept_before.keys() & set(file.hosts)
            again = {host for host in hosts if is_replaced(file, kept_before[host], reopened.get(host, ()))}
            if again:
                replaced[file.path] = again
    return replaced


def _rows_replaced(batch: Batch, replaced: Mapping[str, set[str]]) -> Rows:
    """Return the rows of the old marts that are written again."""
    paths: dict[str, list[str]] = {}
    only = {}
    for file in batch.files:
        if hosts := replaced.get(file.path):
            paths.setdefault(file.table_name, []).append(file.path)
            if hosts != set(file.hosts):
                only[file.path] = frozenset(hosts)
    return Rows(paths, only)


def _write_days(writer: MartWriter, batch: Batch, replaced: Mapping[str, set[str]]) -> None:
    """Write the tables of the rebuilt days, and replace the marts by views of all days.

    The view of marts.message_trace, which is large, has only the rows that the days of marts.fleet_daily
    count.
    """
    has_kept_rows = bool(
        writer.connection.execute(
            "select 1 from settled.hosts where kept_before is not null limit 1"
        ).fetchall()
    )
    for table in kept_tables().keys() - of_all_days():
        is_mart = table in marts()
        source = table
        if is_mart and has_kept_rows:
            source = with_kept_rows(writer.connection, table, table)
        written = writer.write(table, source)
        if is_mart:
            old = [file for file in batch.files if file.table_name == table]
            rows = rows_of([*old, *written], batch.hosts, without=replaced)
            name = table.partition(".")[2]
            writer.connection.execute(f"drop table {table}")
            create_views(
                writer.connection,
                writer.lake,
                contracts=[replace(writer.contracts[table], table=f"written.{name}")],
                files={f"written.{name}": rows.paths.get(table, [])},
                only=rows.only,
            )
            chosen = is_counted_anew(writer.connection) if table == "marts.message_trace" else "true"
            writer.connection.execute(f"create view {table} as from written.{name} where {chosen}")


def of_hosts(rows: pl.DataFrame, hosts: Collection[str]) -> pl.DataFrame:
    """Return the rows of some hosts; all rows of a table that is not kept by host."""
    return rows.filter(pl.col("host").is_in(hosts)) if "host" in rows.columns else rows


def host_batches(
    files: Iterable[LakeFile], hosts: Iterable[str], settled: Mapping[str, Settled]
) -> list[Batch]:
    """Return the hosts in name order with their files, in batches of a fair size, settled ones together."""
    files = list(files)
    sizes = event_bytes(files, {host: settled[host].read_from.date() for host in settled})
    groups: list[Batch] = []
    for is_settled in (False, True):
        names = sorted(host for host in hosts if (host in settled) == is_settled)
        groups += [
            Batch(
                tuple(some),
                [file for file in files if not wanted.isdisjoint(file.hosts)],
                {name: settled[name] for name in some if is_settled},
            )
            for some in by_size(names, sizes)
            for wanted in [set(some)]
        ]
    return groups


def event_bytes(files: Iterable[LakeFile], since: Mapping[str, date]) -> dict[str, float]:
    """Return how many bytes of each host's events are read; of the hosts in `since`, those from that day on.

    A file that hosts share counts in equal parts.
    """
    by_members: dict[tuple[str, ...], Counter[str | None]] = {}
    for file in files:
        if file.table_name.startswith("events.") and file.content:
            counts = by_members.setdefault(file.hosts, Counter())
            counts[period_of_file(file.path)] += file.content.size_bytes
    sizes: dict[str, float] = {}
    for hosts, by_period in by_members.items():
        whole = by_period.total()
        for host in hosts:
            day = since.get(host)
            size = (
                whole
                if day is None
                else sum(
                    size_bytes for period, size_bytes in by_period.items() if may_hold_period(period, day)
                )
            )
            sizes[host] = sizes.get(host, 0) + size / len(hosts)
    return sizes
