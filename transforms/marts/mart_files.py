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
        files = [
            file
            for number, hosts in enumerate(_sharing(of_hosts))
            for file in self._files(table, source, hosts, number)
        ]
        # DuckDB writes a file of few rows with one thread.
        with ThreadPoolExecutor(self.at_once) as pool:
            written = [*pool.map(lambda file: self._write(table, *file), files)]
        if source == "to_write":
            self.connection.execute("drop table to_write")
        self.files += written
        return written

    def _files(
        self, table: str, source: str, hosts: list[str], number: int
    ) -> Iterator[tuple[Path, list[str], str, dict[str, object]]]:
        """Yield the path of each file of some hosts, one or one a day, the hosts, and a query of its rows."""
        kept = kept_tables()[table]
        folder = Path(*table.split("."), host_folder(hosts[0]) if len(hosts) == 1 else "")
        # Compared with a list, DuckDB would first gather the rows.
        are_theirs = "host = $host" if len(hosts) == 1 else "list_contains($hosts, host)"
        given: dict[str, object] = {"host": hosts[0]} if len(hosts) == 1 else {"hosts": hosts}
        # Readers skip row groups of other hosts, and of other times.
        order = ["host"] if len(hosts) > 1 else []
        if kept.instant and not kept.is_by_day:
            order.append(kept.instant)
        columns = ", ".join(f'"{column}"' for column in self.contracts[table].columns)
        order_by = f"order by {', '.join(order)}" if order else ""
        parts: Iterable[tuple[str, str, dict[str, object]]] = [("", are_theirs, given)]
        if kept.is_by_day:
            parts = self._days(source, str(kept.instant), are_theirs, given)
        for name, are_its, parameters in parts:
            path = folder / name / f"{self.run_id}.{self.part}.{number}.parquet"
            yield path, hosts, f"select {columns} from {source} where {are_its} {order_by}", parameters

    def _write(
        self, table: str, path: Path, hosts: list[str], query: str, parameters: dict[str, object]
    ) -> LakeFile:
        options = "format parquet, compression zstd, compression_level 1"
        shared_by = tuple(hosts) if len(hosts) > 1 else ()
        if shared_by:
            options += f", row_group_size {SHARED_ROW_GROUP_ROWS}"
        (self.lake / path).parent.mkdir(parents=True, exist_ok=True)
        with self.connection.cursor() as cursor:
            ((row_count,),) = execute(
                cursor, f"copy ({query}) to {literal(str(self.lake / path))} ({options})", parameters
            )
        return LakeFile(path.as_posix(), table, (), row_count, self.run_id, shared_by=shared_by)

    def _days(
        self, source: str, instant: str, are_theirs: str, given: dict[str, object]
    ) -> Iterator[tuple[str, str, dict[str, object]]]:
        """Yield the folder of each day, with the condition on its rows and the condition's parameters.

        One query for all days (`partition_by`) takes half as much time again for the one to three days of a
        night, and two thirds of the time for the thirty of a first run over a month.
        """
        days = execute(
            self.connection,
            f"select distinct cast({instant} as date) as day from {source} where {are_theirs} order by day",
            given,
        )
        for (day,) in days:
            if day is None:
                yield f"date={NULL_NAME}", f"{are_theirs} and {instant} is null", given
            else:
                start = datetime.combine(day, time(), UTC)
                span = {"start": start, "end": start + timedelta(days=1)}
                condition = f"{are_theirs} and {instant} >= $start and {instant} < $end"
                yield f"date={day}", condition, given | span


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
