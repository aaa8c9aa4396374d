"""Writes rows of the marts into the lake's files, by host and period, and reads them back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

import duckdb

from transforms.contracts.contracts import Contract, Kept, kept_tables
from transforms.lake.catalog import create_views, host_folder, period_of_file, show_files
from transforms.lake.records import LakeFile
from transforms.marts.database import execute
from transforms.marts.models import Model
from transforms.problems import MaillagError


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
    """Writes the rows of some hosts into separate files for each host; `part` is a number within the run."""

    connection: duckdb.DuckDBPyConnection
    lake: Path
    run_id: str
    part: int
    contracts: Mapping[str, Contract]
    hosts: set[str]
    files: list[LakeFile] = field(default_factory=list)

    def write(self, table: str, source: str) -> list[LakeFile]:
        """Write rows of a table or query, with the columns of the contract; return the new files."""
        kept = kept_tables()[table]
        name = f"{self.run_id}.{self.part}"
        columns = ", ".join(f'"{column}"' for column in self.contracts[table].columns)
        options = "format parquet, compression zstd, compression_level 1, return_stats"
        # In order of time, so that readers can skip row groups by time.
        order = f"order by {kept.instant}" if kept.instant and not kept.is_by_day else ""
        if kept.is_by_day:
            columns += f", strftime({kept.instant}, '%Y-%m-%d') as \"date\""
            options += f", partition_by (date), overwrite_or_ignore, filename_pattern '{name}.{{i}}'"
        if source != table:
            execute(self.connection, f"create temp table to_write as {source}")
            source = "to_write"
        written = []
        hosts = self.connection.execute(f"select distinct host from {source} order by host").fetchall()
        for (host,) in hosts:
            if host not in self.hosts:
                continue
            folder = Path(*table.split("."), host_folder(host))
            (self.lake / folder).mkdir(parents=True, exist_ok=True)
            target = folder if kept.is_by_day else folder / f"{name}.parquet"
            literal = str(self.lake / target).replace("'", "''")
            query = f"select {columns} from {source} where host = $host {order}"
            made = execute(self.connection, f"copy ({query}) to '{literal}' ({options})", {"host": host})
            written += [
                LakeFile(Path(path).relative_to(self.lake).as_posix(), table, (), row_count, self.run_id)
                for path, row_count, *_ in made
            ]
        if source == "to_write":
            self.connection.execute("drop table to_write")
        self.files += written
        return written


def show_marts(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    files: Mapping[str, list[str]],
    contracts: Mapping[str, Contract],
    *,
    schema: str,
) -> None:
    """Create or replace views of the kept tables' files, as <schema>.<name>."""
    connection.execute(f"create schema if not exists {schema}")
    for table in kept_tables():
        view = f"{schema}.{table.partition('.')[2]}"
        connection.execute(f"drop view if exists {view}")
        if paths := files.get(table):
            show_files(connection, lake, view, paths)
        else:
            create_views(connection, lake, contracts=[replace(contracts[table], table=view)], files={})


def replaced_files(
    table: str, paths: Iterable[str], kept_before: datetime | None, reopened: Iterable[date]
) -> list[str]:
    """Return the files of a table and host to be rewritten: all others have only settled rows."""
    if kept_before is None or not kept_tables()[table].is_by_day:
        return list(paths)
    first = f"{kept_before:%Y-%m-%d}"
    days = {f"{day}" for day in reopened}
    return [
        path
        for path in paths
        if (period := period_of_file(path)) is None
        # The period of a merged file is a month.
        or period >= first[: len(period)]
        or any(day.startswith(period) for day in days)
    ]
