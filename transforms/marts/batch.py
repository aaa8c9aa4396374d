"""Groups hosts into batches, and builds and writes all marts of a batch in one database."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from transforms.contracts.contracts import Contract, Finding, kept_tables
from transforms.lake.catalog import create_tables, create_views, files_by_host, host_of_file
from transforms.lake.records import FrozenDays, LakeFile
from transforms.marts.database import execute, open_database
from transforms.marts.mart_files import MartWriter, handed_on, marts, of_all_days, replaced_files, show_marts
from transforms.marts.models import Model, last_uses, run_model, tables_in
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
from transforms.problems import MaillagError, Problem

# Total size of the events of a batch's hosts: every batch has a fixed cost.
BATCH_BYTES = 64 * 2**20
# Number of hosts in a batch: each file that DuckDB opens takes memory, even if nearly empty.
BATCH_HOSTS = 500
# For the database of a batch; the frames of queue_entries.py come on top.
MEMORY_LIMIT = "400 MiB"


@dataclass(frozen=True)
class Batch:
    """Some hosts, their files of the lake by table name, and from when on their marts are rebuilt."""

    hosts: tuple[str, ...]
    files: Mapping[str, list[str]]
    settled: Mapping[str, Settled]


@dataclass
class Built:
    """New files of the marts, which stay unseen until the ledger lists them, and the files that they replace.

    `hosts`: the hosts with news. `log_dates`: the local days on which any host of the fleet logged.
    `settled_hosts`: the hosts whose settled days were carried over. `findings`: the rules that rows of hosts
    break. `failed`: why hosts keep their old marts.
    """

    hosts: set[str] = field(default_factory=set)
    files: list[LakeFile] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    log_dates: pl.DataFrame = field(default_factory=pl.DataFrame)
    settled_hosts: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    failed: dict[str, Problem] = field(default_factory=dict)

    def files_after(self, before: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Return the lake's files by table name after this build, given the files before it."""
        gone = set(self.replaced)
        after = {table: [path for path in paths if path not in gone] for table, paths in before.items()}
        for file in self.files:
            after.setdefault(file.table_name, []).append(file.path)
        return after

    @property
    def failed_hosts(self) -> set[str]:
        """The hosts that keep their old marts."""
        broken = {finding.host for finding in self.findings if finding.severity == "critical"}
        return {*self.failed, *filter(None, broken)}

    def add(self, made: "Built") -> None:
        """Add the result of a batch, without the files of hosts that break a critical rule.

        Raises MaillagError if a critical rule is broken by rows that name no host.
        """
        for finding in made.findings:
            if finding.severity == "critical" and finding.host is None:
                raise MaillagError(f"{finding.table}: breaks a critical rule: {finding.rule} {finding.rows}")
        failed = made.failed_hosts
        self.files += [file for file in made.files if host_of_file(file.path) not in failed]
        self.replaced += [path for path in made.replaced if host_of_file(path) not in failed]
        self.settled_hosts += [host for host in made.settled_hosts if host not in failed]
        self.findings += made.findings


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
    recipe: Recipe, batch: Batch, part: int, progress: Callable[[Model], None]
) -> tuple[Built, list[str]]:
    """Build and write all marts of a batch of hosts: first those of single days, then those of all days.

    `part` is the number of the batch. Returns what was written, and the hosts that must be rebuilt as a whole
    because the settled rows are not proved to be right.
    """
    spill = recipe.lake / f"spill.{recipe.run_id}.{part}"
    with open_database(spill, memory_limit=MEMORY_LIMIT) as connection:
        create_tables(connection, {table: _of_hosts(rows, batch) for table, rows in recipe.given.items()})
        return _build(connection, recipe, batch, part, progress)


def _build(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    batch: Batch,
    part: int,
    progress: Callable[[Model], None],
) -> tuple[Built, list[str]]:
    create_settled_hosts(connection, batch.hosts, batch.settled, recipe.frozen)
    # Hosts that are rebuilt as a whole need none of the old marts, which may be damaged.
    before = batch.files if batch.settled or recipe.frozen.keys() & set(batch.hosts) else {}
    show_marts(connection, recipe.lake, before, recipe.contracts, schema="before")
    shown = set()
    if batch.settled:
        shown = show_events(connection, recipe.lake, files=batch.files, contracts=recipe.contracts)
    others = [
        contract for table, contract in recipe.inputs.items() if table not in shown | recipe.given.keys()
    ]
    create_views(connection, recipe.lake, contracts=others, files=batch.files)
    show_lines_once(connection)
    replaced = _replaced(connection, batch)
    show_marts(connection, recipe.lake, replaced if before else {}, recipe.contracts, schema="kept")
    asked_at_the_end = tables_in(NOT_PROVED, where="NOT_PROVED") if batch.settled else set()
    writer = MartWriter(connection, recipe.lake, recipe.run_id, part, recipe.contracts, set(batch.hosts))
    unproved: set[str] = set()
    is_written = False
    for model, unused in last_uses(recipe.models):
        if model.name in of_all_days() and not is_written:
            if batch.settled:
                unproved = {host for (host,) in execute(connection, NOT_PROVED)}
                writer.hosts -= unproved
            _write_days(writer, batch.files, replaced)
            is_written = True
        if model.name in handed_on():
            run_model(connection, model, with_kept_rows(connection, model.name, f"({model.source})"))
        else:
            run_model(connection, model)
        if model.name in of_all_days():
            writer.write(model.name, with_kept_rows(connection, model.name, model.name))
        for table in set(unused) - asked_at_the_end - handed_on().keys():
            connection.execute(f"drop table {table}")
        progress(model)
    gone = [path for paths in replaced.values() for path in paths if host_of_file(path) not in unproved]
    settled_hosts = sorted(batch.settled.keys() - unproved)
    return Built(files=writer.files, replaced=gone, settled_hosts=settled_hosts), sorted(unproved)


def _replaced(connection: duckdb.DuckDBPyConnection, batch: Batch) -> dict[str, list[str]]:
    """Return the files of the old marts that are rewritten, by table."""
    kept_before = dict(connection.execute("select host, kept_before from settled.hosts").fetchall())
    reopened: dict[str, set[date]] = {}
    for host, day in connection.execute(
        "select distinct host, cast(timezone('UTC', arrived_at) as date) from settled.reopened"
    ).fetchall():
        reopened.setdefault(host, set()).add(day)
    replaced: dict[str, list[str]] = {}
    by_host = files_by_host(batch.files)
    for table in kept_tables():
        replaced[table] = [
            path
            for host, of_host in by_host.items()
            for path in replaced_files(
                table, of_host.get(table, ()), kept_before.get(host), reopened.get(host or "", ())
            )
        ]
    return replaced


def _write_days(
    writer: MartWriter, files: Mapping[str, list[str]], replaced: Mapping[str, list[str]]
) -> None:
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


def _of_hosts(rows: pl.DataFrame, batch: Batch) -> pl.DataFrame:
    return rows.filter(pl.col("host").is_in(batch.hosts)) if "host" in rows.columns else rows


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
        host_size = _size_bytes(lake, files.get(host, {}), settled.get(host))
        size += host_size
        is_full = size > BATCH_BYTES or (chosen and len(chosen[-1]) == BATCH_HOSTS)
        if is_full or was_settled != (host in settled):
            chosen.append([])
            size = host_size
        was_settled = host in settled
        chosen[-1].append(host)
    # Marts of older versions, which wrote no separate files for each host.
    unsorted = {table: paths for table, paths in files.get(None, {}).items() if table in marts()}
    return [
        Batch(
            tuple(names),
            merged_files([unsorted, *(files.get(name, {}) for name in names)]),
            {name: settled[name] for name in names if name in settled},
        )
        for names in chosen
    ]


def merged_files(files: Iterable[Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """Merge several mappings of files by table."""
    merged: dict[str, list[str]] = {}
    for by_table in files:
        for table, paths in by_table.items():
            merged.setdefault(table, []).extend(paths)
    return merged


def _size_bytes(lake: Path, files: Mapping[str, list[str]], settled: Settled | None) -> int:
    """Return how many bytes of a host's events are read."""
    return sum(
        (lake / path).stat().st_size
        for table, paths in files.items()
        if table.startswith("events.")
        for path in paths
        if settled is None or may_hold(path, settled.read_from.date())
    )
