"""Turns files of events into what is left of them after old days have expired."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.contracts.contracts import Contract
from transforms.lake.catalog import create_views, period_of_file
from transforms.lake.files import rewrite
from transforms.lake.records import LakeFile

# Mail stays in a queue for up to five days, and the manager's polls matter a day away: rows this long after
# the expired days may depend on them, and are frozen too.
FROZEN_BEYOND = timedelta(days=7)
# Frozen events must be complete: the days to expire must be at least this old.
YOUNGEST = 2 * FROZEN_BEYOND
# What a host is, and where its log has gaps, is always needed.
KEPT = frozenset({"events.inventory", "ops.line_counts"})


def events_since(lake: Path, file: LakeFile, before: date | None, run_id: str) -> LakeFile | None:
    """Return a file without events of expired days: the same file, a rewritten one, or None."""
    period = period_of_file(file.path)
    if before is None or period is None or file.table_name in KEPT:
        return file
    # A month is represented by its first day.
    if date.fromisoformat(f"{period}-01"[: len("2026-11-24")]) >= before:
        return file
    if period != f"{before:%Y-%m}":
        return None
    rows = pq.read_table(lake / file.path, partitioning=None)
    start = pa.scalar(datetime.combine(before, time(), UTC), pa.timestamp("us", "UTC"))
    rows = rows.filter(pc.greater_equal(rows["logged_at"], start))
    return rewrite(lake, file, rows, run_id) if rows.num_rows else None


def changed_rows(
    lake: Path,
    contracts: Iterable[Contract],
    before: Mapping[str, Iterable[str]],
    after: Mapping[str, Iterable[str]],
) -> dict[str, int]:
    """Return the tables that differ between two sets of files, with the number of rows in only one set."""
    changed = {}
    with duckdb.connect(":memory:") as connection:
        for contract in contracts:
            name = contract.table.partition(".")[2]
            for side, files in (("before", before), ("after", after)):
                table = f"{side}.{name}"
                shown = {table: files.get(contract.table, [])}
                create_views(connection, lake, contracts=[replace(contract, table=table)], files=shown)
            # Sums of fractions depend on the order in which threads add them.
            columns = ", ".join(
                f'round("{column}", 3)' if field.data_type == "DOUBLE" else f'"{column}"'
                for column, field in contract.columns.items()
            )
            rows = {side: f"select {columns} from {side}.{name}" for side in ("before", "after")}
            ((count,),) = connection.execute(
                "select count(*) from ("
                f"({rows['before']} except all {rows['after']}) union all "
                f"({rows['after']} except all {rows['before']}))"
            ).fetchall()
            if count:
                changed[contract.table] = count
    return changed
