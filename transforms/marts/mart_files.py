"""Writes rows of the marts into the lake's files, by host and period, and reads them back."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import duckdb

from transforms.contracts.contracts import Contract, Kept, kept_tables
from transforms.lake.catalog import NULL_NAME, create_views, host_folder, literal, period_of_file, show_files
from transforms.lake.files import may_share
from transforms.lake.records import LakeFile, Rows
from transforms.marts.database import execute
from transforms.marts.models import Model
from transforms.problems import MaillagError

# A host with this many rows of a table has a file of its own; others share files of at most so many rows,
# because a night writes a file again if one of its hosts has news.
OWN_FILE_ROWS = 100_000
MOST_SHARED_ROWS = 1_000_000
SHARED_ROW_GROUP_ROWS = 32_768
# Up to so many days of a host are written by a query for each, which takes two thirds of the time of one for
# all (`partition_by`). For more, a table that does not fit into memory would be read again and again.
FEW_DAYS = 4


def marts() -> dict[str, Kept]:
    """Return how the marts are kept, by table."""
    return {table: kept for table, kept in kept_tables().items() if table.startswith("marts.")}


def handed_on() -> dict[str, Kept]:
    """Return how the staging tables are kept that later days need, however old their rows are."""
    return {table: kept for table, kept in kept_tables().items() if table.startswith("staging.")}


def of_all_days() -> set[str]:
    """Return the marts that are built from the marts of all days."""
    return {table for table, kept in kept_tables().items() if kept.is_of_all_days}


def refuse_unkept(models: Iterable[Model]) -> None:
    """Raise MaillagError if the contract of a mart is missing, or does not say how its rows are kept."""
    for model in models:
        if model.name.startswith("marts.") and model.name not in kept_tables():
            raise MaillagError(
                f"sql/{model.name.replace('.', '/')}.sql: expectations/{model.name}.yaml does not say how "
                "its rows are kept from night to night. Write meta.kept there, such as "
                "`kept: {settled_by: [down_at]}`; Kept in transforms/contracts/contracts.py explains it."
            )


@dataclass
class MartWriter:
    """Writes the rows of some hosts; those with few share files. `part` names the batch within the run.

    `at_once`: how many files are written at the same time.
    """

    connection: duckdb.DuckDBPyConnection
    lake: Path
    run_id: str
    part: str
    contracts: Mapping[str, Contract]
    hosts: set[str]
    at_once: int
    files: list[LakeFile] = field(default_factory=list)

    def write(self, table: str, source: str) -> list[LakeFile]:
        """Write rows of a table or query, with the columns of the contract; return the new files."""
        if source != table:
            execute(self.connection, f"create table to_write as {source}")
            source = "to_write"
        counts = execute(self.connection, f"select host, count(*) from {source} group by host order by host")
        of_hosts = [(host, row_count) for host, row_count in counts if host in self.hosts]
        copies = [
            copy
            for number, hosts in enumerate(_sharing(of_hosts))
            for copy in self._copies(table, source, hosts, number)
        ]
        # DuckDB writes a file of few rows with one thread.
        with ThreadPoolExecutor(self.at_once) as pool:
            written = [file for files in pool.map(self._write, copies) for file in files]
        if source == "to_write":
            self.connection.execute("drop table to_write")
        self.files += written
        return written

    def _copies(self, table: str, source: str, hosts: list[str], number: int) -> Iterator["_Copy"]:
        """Yield how the rows of some hosts are written: into one file, or one or more for each day."""
        kept, is_alone = kept_tables()[table], len(hosts) == 1
        folder = Path(*table.split("."), host_folder(hosts[0]) if is_alone else "")
        name = f"{self.run_id}.{self.part}.{number}"
        columns = ", ".join(f'"{column}"' for column in self.contracts[table].columns)
        # Compared with a list, DuckDB would first gather the rows.
        theirs = f"from {source} where {'host = $host' if is_alone else 'list_contains($hosts, host)'}"
        given: dict[str, object] = {"host": hosts[0]} if is_alone else {"hosts": hosts}
        options = "format parquet, compression zstd, compression_level 1, return_stats"
        # Readers skip row groups of other hosts, and of other times.
        keys = []
        if not is_alone:
            keys.append("host")
            options += f", row_group_size {SHARED_ROW_GROUP_ROWS}"
        if kept.instant and not kept.is_by_day:
            keys.append(kept.instant)
        order = f"order by {', '.join(keys)}" if keys else ""
        if not kept.is_by_day:
            query = f"select {columns} {theirs} {order}"
            yield _Copy(table, folder / f"{name}.parquet", hosts, query, given, options)
            return
        days = execute(
            self.connection,
            f"select distinct cast({kept.instant} as date) as day {theirs} order by day",
            given,
        )
        if is_alone and len(days) > FEW_DAYS:
            query = f"select {columns}, strftime({kept.instant}, '%Y-%m-%d') as \"date\" {theirs}"
            options += f", partition_by (date), overwrite_or_ignore, filename_pattern '{name}.{{i}}'"
            yield _Copy(table, folder, hosts, query, given, options)
            return
        for (day,) in days:
            condition, span = f"{kept.instant} is null", given
            if day is not None:
                start = datetime.combine(day, time(), UTC)
                condition = f"{kept.instant} >= $start and {kept.instant} < $end"
                span = given | {"start": start, "end": start + timedelta(days=1)}
            path = folder / f"date={day or NULL_NAME}" / f"{name}.parquet"
            query = f"select {columns} {theirs} and {condition} {order}"
            yield _Copy(table, path, hosts, query, span, options)

    def _write(self, copy: "_Copy") -> list[LakeFile]:
        (self.lake / copy.target).parent.mkdir(parents=True, exist_ok=True)
        target = literal(str(self.lake / copy.target))
        with self.connection.cursor() as cursor:
            made = execute(cursor, f"copy ({copy.query}) to {target} ({copy.options})", copy.parameters)
        shared_by = tuple(copy.hosts) if len(copy.hosts) > 1 else ()
        return [
            LakeFile(
                Path(path).relative_to(self.lake).as_posix(),
                copy.table,
                (),
                row_count,
                self.run_id,
                shared_by=shared_by,
            )
            for path, row_count, *_ in made
        ]


@dataclass(frozen=True)
class _Copy:
    """A query of rows of a table, and the file, or the folder of days, in the lake that it is written to."""

    table: str
    target: Path
    hosts: list[str]
    query: str
    parameters: dict[str, object]
    options: str


def _sharing(row_counts: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    """Yield the hosts that share a file, in the given order; a host with many rows has its own."""
    small = [(host, row_count) for host, row_count in row_counts if row_count < OWN_FILE_ROWS]
    if not may_share(len(small)):
        small = []
    sharing: list[str] = []
    shared_rows = 0
    for host, row_count in small:
        if sharing and shared_rows + row_count > MOST_SHARED_ROWS:
            yield sharing
            sharing, shared_rows = [], 0
        sharing.append(host)
        shared_rows += row_count
    if sharing:
        yield sharing
    small_hosts = {host for host, _ in small}
    yield from ([host] for host, _ in row_counts if host not in small_hosts)


def show_marts(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    rows: Rows,
    contracts: Mapping[str, Contract],
    *,
    schema: str,
) -> None:
    """Create or replace views of rows of the kept tables, as <schema>.<name>."""
    connection.execute(f"create schema if not exists {schema}")
    for table in kept_tables():
        view = f"{schema}.{table.partition('.')[2]}"
        connection.execute(f"drop view if exists {view}")
        if paths := rows.paths.get(table):
            show_files(connection, lake, view, paths, rows.only)
        else:
            create_views(connection, lake, contracts=[replace(contracts[table], table=view)], files={})


def is_replaced(file: LakeFile, kept_before: datetime | None, reopened: Collection[date]) -> bool:
    """Return whether a host's rows of a file are written again: otherwise, all of them are settled."""
    period = period_of_file(file.path)
    if kept_before is None or period is None or not kept_tables()[file.table_name].is_by_day:
        return True
    # The period of a merged file is a month.
    return period >= f"{kept_before:%Y-%m-%d}"[: len(period)] or any(
        f"{day}".startswith(period) for day in reopened
    )
