"""Files of events to those that are left of them once their old days have expired."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.analyze import write_query
from transforms.catalog import create_tables, period_of_file, show_files
from transforms.contracts import Contract
from transforms.frozen import TIMES, frozen_hosts
from transforms.lake import write_anew
from transforms.ledger import FrozenDays, LakeFile

# Mail stays in a queue for five days, and a poll of the manager tells of others a day away: what happened
# this long after the expired days may rest on them, and is frozen too.
MARGIN = timedelta(days=7)
# What happened then must be over before it is frozen.
YOUNGEST = 2 * MARGIN
# What a host is, and where its log has gaps, is needed for good.
KEPT = frozenset({"events.inventory", "ops.line_counts"})


def events_since(lake: Path, file: LakeFile, before: date | None, run_id: str) -> LakeFile | None:
    """Return a file without events of expired days: itself, one that is written anew, or none."""
    period = period_of_file(file.path)
    if before is None or period is None or file.table_name in KEPT:
        return file
    # A day by itself, a month by its first one.
    if date.fromisoformat(f"{period}-01"[: len("2026-11-24")]) >= before:
        return file
    if period != f"{before:%Y-%m}":
        return None
    rows = pq.read_table(lake / file.path, partitioning=None)
    start = pa.scalar(datetime.combine(before, time(), UTC), pa.timestamp("us", "UTC"))
    rows = rows.filter(pc.greater_equal(rows["logged_at"], start))
    return write_anew(lake, file, rows, run_id) if rows.num_rows else None


def changed_rows(
    lake: Path,
    contracts: Iterable[Contract],
    before: Mapping[str, Iterable[str]],
    after: Mapping[str, Iterable[str]],
) -> dict[str, int]:
    """Return the tables whose rows differ between two sets of files, with how many only one of them has.

    Lifetimes of a queue id are numbered from where the events begin, and not compared.
    """
    changed = {}
    with duckdb.connect(":memory:") as connection:
        for contract in contracts:
            name = contract.table.partition(".")[2]
            show_files(connection, lake, f"before.{name}", before[contract.table])
            show_files(connection, lake, f"after.{name}", after[contract.table])
            # Sums of parts of seconds depend on the order in which threads add them.
            columns = ", ".join(
                f'round("{column}", 3)' if field.data_type == "DOUBLE" else f'"{column}"'
                for column, field in contract.columns.items()
                if column != "lifetime"
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


def with_lifetimes_in_order(
    lake: Path,
    marts: Iterable[LakeFile],
    before: Mapping[str, Iterable[str]],
    frozen: Iterable[FrozenDays],
    run_id: str,
) -> list[LakeFile]:
    """Return the new marts with the lifetimes of queue ids in frozen rows before those of all others.

    The models count them from 0, as far as the events go back, so that frozen ones are below 0.
    """
    marts = list(marts)
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'UTC'")
        create_tables(connection, {"frozen.hosts": frozen_hosts(frozen)})
        for table in _KEYS:
            name = table.removeprefix("marts.")
            show_files(connection, lake, f"before.{name}", before[table])
            show_files(
                connection, lake, f"after.{name}", [mart.path for mart in marts if mart.table_name == table]
            )
        pairs = " union all ".join(_lifetime_pairs(table) for table in _KEYS)
        connection.execute(
            "create table shifts as "
            "select host, instance, queue_id, coalesce(max(shift), max(lifetime) + 1) as shift "
            f"from ({pairs}) group by host, instance, queue_id"
        )
        renumbered = [
            write_query(connection, lake, table, _renumbered(table), run_id=f"{run_id}.lifetimes")
            for table in _KEYS
        ]
    return [mart for mart in marts if mart.table_name not in _KEYS] + renumbered


# What tells a row of the marts, whatever the lifetime's number.
_KEYS = {
    "marts.message_trace": "host, trace_id, hop_number, instance, queue_id",
    "marts.held_messages": "host, restart_id, instance, queue_id, first_deferred_at",
}


def _lifetime_pairs(table: str) -> str:
    """Return the query of a mart's lifetimes, and of by how much those that are made anew fell."""
    name = table.removeprefix("marts.")
    return f"""
        select
            old.host,
            old.instance,
            old.queue_id,
            old.lifetime,
            if({TIMES[table]} < hosts.frozen_before, null, old.lifetime - new.lifetime) as shift
        from before.{name} as old
        inner join (select {_KEYS[table]}, lifetime from after.{name}) as new using ({_KEYS[table]})
        inner join frozen.hosts as hosts on old.host = hosts.host
    """


def _renumbered(table: str) -> str:
    is_frozen = f"coalesce({TIMES[table]} < hosts.frozen_before, false)"
    return f"""
        select
            kept.* replace (kept.lifetime - if({is_frozen}, coalesce(shifts.shift, 0), 0) as lifetime)
        from after.{table.removeprefix("marts.")} as kept
        left join frozen.hosts as hosts on kept.host = hosts.host
        left join shifts
            on
                kept.host = shifts.host
                and kept.instance = shifts.instance
                and kept.queue_id = shifts.queue_id
    """
