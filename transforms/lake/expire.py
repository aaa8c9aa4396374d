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
from transforms.lake.records import LakeFile, Rows

# Mail stays in a queue for up to five days, and the manager's polls matter a day away: rows this long after
# the expired days may depend on them, and are frozen too.
FROZEN_BEYOND = timedelta(days=7)
# Frozen events must be complete: the days to expire must be at least this old.
YOUNGEST = 2 * FROZEN_BEYOND
# What a host is, and where its log has gaps, is always needed.
KEPT = frozenset({"events.inventory", "ops.line_counts"})


def events_since(
    lake: Path, file: LakeFile, expired_before: Mapping[str, date], run_id: str
) -> LakeFile | None:
    """Return a file without events of the hosts' expired days: the same file, a rewritten one, or None.

    `expired_before` has the first day that has not expired of some hosts (UTC).
    """
    days = {host: expired_before[host] for host in file.hosts if host in expired_before}
    period = period_of_file(file.path)
    if not days or period is None or file.table_name in KEPT:
        return file
    # A month is represented by its first day.
    if date.fromisoformat(f"{period}-01"[: len("2026-11-24")]) >= max(days.values()):
        return file
    if len(days) == len(file.hosts) and period < f"{min(days.values())}"[: len(period)]:
        return None
    rows = pq.read_table(lake / file.path, partitioning=None)
    is_gone = pa.array([False] * rows.num_rows)
    for day in set(days.values()):
        is_old = _are_before(rows, day)
        if file.shared_by:
            hosts = pa.array([host for host, before in days.items() if before == day])
            is_old = pc.and_(is_old, pc.is_in(rows["host"].cast(pa.string()), hosts))
        is_gone = pc.or_(is_gone, is_old)
    rest = rows.filter(pc.invert(is_gone))
    if rest.num_rows == rows.num_rows:
        return file
    return rewrite(lake, file, rest, run_id) if rest.num_rows else None


def hosts_before(lake: Path, file: LakeFile, day: date) -> set[str]:
    """Return the hosts with events in a file before a day (UTC)."""
    if not file.shared_by:
        return set(file.hosts)
    rows = pq.read_table(lake / file.path, columns=["host", "logged_at"], partitioning=None)
    hosts = pc.unique(rows.filter(_are_before(rows, day))["host"]).to_pylist()
    return {str(host) for host in hosts}


def _are_before(events: pa.Table, day: date) -> pa.BooleanArray:
    """Return of each event whether it was logged before a day (UTC)."""
    start = pa.scalar(datetime.combine(day, time(), UTC), pa.timestamp("us", "UTC"))
    return pc.less(events["logged_at"], start)


def changed_rows(lake: Path, contracts: Iterable[Contract], before: Rows, after: Rows) -> dict[str, int]:
    """Return the tables that differ between two sets of rows, with the number of rows in only one set."""
    changed = {}
    with duckdb.connect(":memory:") as connection:
        for contract in contracts:
            name = contract.table.partition(".")[2]
            for side, rows in (("before", before), ("after", after)):
                table = f"{side}.{name}"
                shown = {table: rows.paths.get(contract.table, [])}
                view = replace(contract, table=table)
                create_views(connection, lake, contracts=[view], files=shown, only=rows.only)
            # Sums of fractions depend on the order in which threads add them.
            columns = ", ".join(
                f'round("{column}", 3)' if field.data_type == "DOUBLE" else f'"{column}"'
                for column, field in contract.columns.items()
            )
            queries = {side: f"select {columns} from {side}.{name}" for side in ("before", "after")}
            ((count,),) = connection.execute(
                "select count(*) from ("
                f"({queries['before']} except all {queries['after']}) union all "
                f"({queries['after']} except all {queries['before']}))"
            ).fetchall()
            if count:
                changed[contract.table] = count
    return changed
