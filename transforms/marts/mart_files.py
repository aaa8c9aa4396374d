"""Rows of the marts to the lake's files of each host and period, and the other way round."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from transforms.lake.catalog import create_views, host_folder, period_of_file, show_files
from transforms.marts.database import execute

if TYPE_CHECKING:
    from transforms.contracts.contracts import Contract
    from transforms.lake.ledger import LakeFile


@dataclass(frozen=True)
class Rows:
    """How the rows of a table lie in the lake, those of each host by themselves.

    `instant` places a row in time: it is settled with all that was before then. Where there is none, the rows
    are made of the whole of other marts. `is_by_day`: a file has a host's rows of one UTC day, which `maillag
    compact` puts together by months; else it has all of a host, for who asks opens every file.
    """

    instant: str | None = None
    is_by_day: bool = False


def instant_in(column: str) -> str:
    """Return the instant that a restart_id or trace_id tells: to the second, when it went down or arrived."""
    told = f"regexp_extract({column}, '-([0-9]{{8}}T[0-9]{{6}})Z(-[0-9]+)?$', 1)"
    return f"timezone('UTC', strptime({told}, '%Y%m%dT%H%M%S'))"


MARTS = {
    "marts.coverage": Rows("gap_until"),
    "marts.fleet_changes": Rows(),
    "marts.fleet_daily": Rows("date"),
    "marts.held_messages": Rows(instant_in("restart_id")),
    "marts.host_diagnosis": Rows(),
    "marts.message_trace": Rows("coalesce(arrived_at, left_at)", is_by_day=True),
    "marts.missing_flushes": Rows("down_at"),
    "marts.restarts": Rows("down_at"),
}
# What later days rest on however long ago it was, and nobody asks for.
HANDED_ON = {
    "staging.backoff_estimates": Rows(),
    "staging.known_runs": Rows("began_at"),
    "staging.log_instances": Rows(),
    "staging.qmgr_changes": Rows("began_at"),
    "staging.refuted_settings": Rows(),
    "staging.refuting_scans": Rows("began_at"),
    "staging.reinjections": Rows("arrived_at"),
    "staging.run_bounds": Rows("began_at"),
}
HANDED_ON_COLUMNS = {
    "staging.backoff_estimates": {
        "host": "VARCHAR",
        "instance": "VARCHAR",
        "backoff_above_seconds": "DOUBLE",
        "backoff_up_to_seconds": "DOUBLE",
    },
    "staging.known_runs": {"host": "VARCHAR", "instance": "VARCHAR", "began_at": "TIMESTAMPTZ"},
    "staging.log_instances": {
        "host": "VARCHAR",
        "instance": "VARCHAR",
        "is_by_sendmail": "BOOLEAN",
        "is_qmgr": "BOOLEAN",
        "has_relay_port": "BOOLEAN",
    },
    "staging.qmgr_changes": {
        "host": "VARCHAR",
        "instance": "VARCHAR",
        "source_id": "VARCHAR",
        "line_number": "BIGINT",
        "previous_at": "TIMESTAMPTZ",
        "began_at": "TIMESTAMPTZ",
    },
    "staging.refuted_settings": {"host": "VARCHAR", "instance": "VARCHAR", "is_backoff_known": "BOOLEAN"},
    "staging.refuting_scans": {
        "host": "VARCHAR",
        "instance": "VARCHAR",
        "is_backoff_known": "BOOLEAN",
        "shortest_taken_seconds": "DOUBLE",
        "began_at": "TIMESTAMPTZ",
    },
    "staging.reinjections": {"host": "VARCHAR", "arrived_at": "TIMESTAMPTZ"},
    "staging.run_bounds": {
        "host": "VARCHAR",
        "instance": "VARCHAR",
        "is_odd": "BOOLEAN",
        "began_at": "TIMESTAMPTZ",
        "shortest_taken_seconds": "DOUBLE",
        "longest_left_seconds": "DOUBLE",
    },
}
# These are made of the marts of all days.
OF_ALL_DAYS = frozenset({"marts.fleet_daily", "marts.host_diagnosis", "marts.fleet_changes"})


@dataclass
class MartWriter:
    """Writes the rows of some hosts, each host's by themselves; `part` is one of the run."""

    connection: duckdb.DuckDBPyConnection
    lake: Path
    run_id: str
    part: int
    contracts: "Mapping[str, Contract]"
    hosts: set[str]
    files: "list[LakeFile]" = field(default_factory=list)

    def write(self, table: str, source: str) -> "list[LakeFile]":
        """Write rows of a table or query, of the columns of the table's contract; return the new files."""
        # SQLAlchemy takes 0.2 s, and settings import the marts for their thresholds.
        from transforms.lake.ledger import LakeFile

        rows = (MARTS | HANDED_ON)[table]
        name = f"{self.run_id}.{self.part}"
        contract = self.contracts.get(table)
        columns = ", ".join(f'"{column}"' for column in contract.columns) if contract else "*"
        options = "format parquet, compression zstd, compression_level 1, return_stats"
        # In the order of time row groups are told apart by it.
        order = f"order by {rows.instant}" if rows.instant and not rows.is_by_day else ""
        if rows.is_by_day:
            columns += f", strftime({rows.instant}, '%Y-%m-%d') as \"date\""
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
            target = folder if rows.is_by_day else folder / f"{name}.parquet"
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
    contracts: "Mapping[str, Contract]",
    *,
    schema: str,
) -> None:
    """Create views of files of the marts and of what is handed on, as <schema>.<name>; replaces others."""
    connection.execute(f"create schema if not exists {schema}")
    for table in [*MARTS, *HANDED_ON]:
        view = f"{schema}.{table.partition('.')[2]}"
        connection.execute(f"drop view if exists {view}")
        if paths := files.get(table):
            show_files(connection, lake, view, paths)
        elif table in contracts:
            create_views(connection, lake, contracts=[replace(contracts[table], table=view)], files={})
        else:
            columns = ", ".join(
                f"cast(null as {t}) as {name}" for name, t in HANDED_ON_COLUMNS[table].items()
            )
            connection.execute(f"create view {view} as select {columns} where false")


def replaced_files(
    table: str, paths: Iterable[str], kept_before: datetime | None, reopened: Iterable[date]
) -> list[str]:
    """Return which files of a table and host are to be written anew: all others have settled rows alone."""
    if kept_before is None or not (MARTS | HANDED_ON)[table].is_by_day:
        return list(paths)
    first = f"{kept_before:%Y-%m-%d}"
    days = {f"{day}" for day in reopened}
    return [
        path
        for path in paths
        if (own := period_of_file(path)) is None
        # A month of days that were put together.
        or own >= first[: len(own)]
        or any(day.startswith(own) for day in days)
    ]
