"""Turns the lines about messages into queue entries, by arrays: there are too many of them for SQL.

A queue entry is a message in a mail queue of a host, under one queue id, from its arrival until it left.
Every mail has several entries, and every entry has five lines or more.

Short queue ids are reused. A lifetime begins with an arrival or, if that was not logged, with the first
message id or activation after the entry left the queue. All other lines after that belong to the message that
left: a delivery may be under way while an operator deletes or requeues the message. Lines are ordered by
stamp, within one second by file and line number; at the same line, an arrival comes first.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from transforms.cores import thread_count
from transforms.marts import entry_facts
from transforms.marts.database import execute, spill_folder, with_memory
from transforms.marts.entry_facts import (
    ARRIVAL,
    END,
    NOTHING,
    NOWHERE,
    SIGN_OF_LIFE,
    Bools,
    Ints,
    Lines,
    Numbers,
    facts_of_entries,
)
from transforms.memory import release_memory
from transforms.parse.tables import UTC_TIME

TABLES = ("staging.entry_facts", "staging.entry_attempts", "staging.later_lifetimes")
INPUTS = frozenset(
    {
        "events.clients",
        "events.message_ids",
        "events.other_lines",
        "events.queue_activations",
        "events.queue_removals",
        "staging.attempts",
        "staging.qmgr_instances",
        "staging.source_order",
    }
)

# The source code of this model.
MODULES = (__file__, entry_facts.__file__)

# Lines that a thread processes at a time.
LINES_AT_ONCE = 200_000
# Entries that are stored at a time, at least: one by one, DuckDB adds fewer rows than it keeps together.
ENTRIES_TO_STORE = 120_000
# A file has fewer than 17 thousand million lines.
LINE_BITS = 34
# Lines that are split into groups at a time.
LINES_TO_SPLIT = 100_000
# The kinds of lines, arrivals first, with their columns besides the place. Two queue ids of a host have the
# same 64-bit hash once in a hundred million months of half a million messages, which is accepted.
_LINES = {
    "clients": f"""
        cast({ARRIVAL} as tinyint) as role,
        lines.original_queue_id,
        lines.client_host,
        lines.client_address,
        lines.sender
    """,
    "message_ids": f"cast({SIGN_OF_LIFE} as tinyint) as role, lines.message_id",
    "queue_activations": f"""
        cast({SIGN_OF_LIFE} as tinyint) as role,
        lines.sender,
        lines.size_bytes,
        lines.recipient_count
    """,
    "queue_removals": f"""
        cast(
            if(lines.removal_kind in ('removed', 'deleted', 'requeued'), {END}, {NOTHING}) as tinyint
        ) as role,
        lines.removal_kind = 'expired' as is_expired,
        lines.removal_kind = 'deleted' as is_deleted,
        lines.removal_kind = 'requeued' as is_requeued
    """,
    "other_lines": f"""
        cast({NOTHING} as tinyint) as role,
        nullif(
            regexp_extract(
                lines.message,
                '^sender (?:non-delivery|delay|delivery status) notification: ([0-9A-Za-z]{{6,}})$',
                1
            ),
            ''
        ) as notification_queue_id
    """,
}
_NAME_COLUMNS = ("queue_id", "queue_number", "source_number", "line_number")
_PLACE = """
    lines.queue_id,
    hash(qmgr_instances.queue_number, lines.queue_id) as id_hash,
    cast(qmgr_instances.queue_number as integer) as queue_number,
    cast(source_order.source_number as integer) as source_number,
    lines.line_number,
    epoch_us(lines.logged_at) as logged_at
"""
_JOINS = """
    inner join staging.source_order as source_order
        on lines.source_id = source_order.source_id
    inner join staging.qmgr_instances as qmgr_instances
        on lines.host = qmgr_instances.host and lines.instance = qmgr_instances.logging_instance
"""
# A number in the order of arrivals, at the same instant in the order of first lines, for up to a million
# files of 17 thousand million lines each.
_WITH_ENTRY_NUMBER = f"""
    (cast(made.came_at as hugeint) << {LINE_BITS + 38})
    + (cast(made.first_source_number as hugeint) << {LINE_BITS + 18})
    + (made.first_line_number << 18)
    + made.queue_number
        as entry_number,
    made.* exclude (came_at, first_source_number, first_line_number)
"""
_NUMBER_COLUMNS = ("came_at", "first_source_number", "first_line_number", "queue_number")
_CONDITIONS = {
    "clients": "lines.queue_id is not null",
    "other_lines": "lines.line_kind in ('notification', 'still_being_delivered')",
}
_ATTEMPTS = f"""
    select
        queue_id,
        hash(queue_number, queue_id) as id_hash,
        cast(queue_number as integer) as queue_number,
        cast(source_number as integer) as source_number,
        line_number,
        epoch_us(logged_at) as logged_at,
        cast({NOTHING} as tinyint) as role,
        recipient,
        relay_host,
        relay_address,
        relay_port,
        queued_as,
        is_sent,
        is_bounced,
        status = 'deferred' as is_deferred,
        is_taken,
        is_scan_hop,
        epoch_us(arrived_at) as arrived_at,
        epoch_us(began_from) as began_from
    from staging.attempts
    where true
"""


def make_queue_entries(connection: duckdb.DuckDBPyConnection) -> None:
    """Build the TABLES from the INPUTS, group by group of queue ids, in bounded memory.

    staging.entry_facts: the facts of each queue entry, with a number in the order of arrivals.
    staging.entry_attempts: the delivery attempts, with the numbers of their entries.
    staging.later_lifetimes: the lines about a message whose queue id another message had before.
    """
    queries = {
        kind: f"select {_PLACE}, {columns} from events.{kind} as lines {_JOINS} "
        f"where {_CONDITIONS.get(kind, 'true')}"
        for kind, columns in _LINES.items()
    }
    queries["attempts"] = _ATTEMPTS
    sources = [*(f"events.{kind}" for kind in _LINES), "staging.attempts"]
    counts = " + ".join(f"(select count(*) from {source})" for source in sources)
    ((line_count,),) = execute(connection, f"select {counts}")
    parts = line_count // LINES_AT_ONCE + 1
    made: dict[str, list[pa.Table]] = {table: [] for table in TABLES}
    threads = thread_count()
    with _lines_by_part(connection, queries, parts) as lines_of, ThreadPoolExecutor(threads) as pool:
        for first in range(0, parts, threads):
            some = range(first, min(first + threads, parts))
            # No name is given to the lines of a part: what is done with is freed.
            for tables in pool.map(lambda part: _tables_of(lines_of(part)), some):
                for table, rows in tables.items():
                    made[table].append(rows)
            if some.stop == parts or sum(map(len, made["staging.entry_facts"])) >= ENTRIES_TO_STORE:
                for table, frames in made.items():
                    _store(connection, table, pa.concat_tables(frames))
                    frames.clear()


@contextmanager
def _lines_by_part(
    connection: duckdb.DuckDBPyConnection, queries: Mapping[str, str], parts: int
) -> Iterator[Callable[[int], dict[str, pl.DataFrame]]]:
    """Yield a function that returns the lines of a group of queue ids, by kind."""
    if parts == 1:
        yield lambda part: {
            kind: with_memory(connection, connection.sql(query).pl) for kind, query in queries.items()
        }
        return
    with TemporaryDirectory(dir=spill_folder(connection)) as folder:
        for kind, query in queries.items():
            with_memory(connection, partial(_split_lines, connection, query, parts, Path(folder, kind)))
        # What splitting took would come on top of what the parts take.
        release_memory()
        yield lambda part: {kind: _read_lines(Path(folder, kind), part) for kind in queries}


def _split_lines(connection: duckdb.DuckDBPyConnection, query: str, parts: int, folder: Path) -> None:
    """Write the lines of one kind into a file for each group of queue ids."""
    folder.mkdir(exist_ok=True)
    reader = connection.sql(f"select *, hash(queue_id) % {parts} as part from ({query})").to_arrow_reader(
        LINES_TO_SPLIT
    )
    schema = pl.DataFrame(reader.schema.empty_table()).drop("part").to_arrow().schema
    with ExitStack() as files:
        writers = [
            files.enter_context(pa.ipc.new_stream(str(folder / f"{part}"), schema)) for part in range(parts)
        ]
        for lines in reader:
            by_part = pl.DataFrame(lines).partition_by("part", as_dict=True, include_key=False)
            for (part,), rows in by_part.items():
                writers[part].write_table(rows.to_arrow())


def _read_lines(folder: Path, part: int) -> pl.DataFrame:
    """Return the lines of one kind and group of queue ids; the file is mapped into memory."""
    return pl.DataFrame(pa.ipc.open_stream(pa.memory_map(str(folder / f"{part}"))).read_all())


def _store(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Create a table of rows, with their host and instance and the numbers of their entries, or add them."""
    connection.register("made", rows)
    select = f"""
        select
            queues.host,
            queues.instance,
            {_WITH_ENTRY_NUMBER if "came_at" in rows.column_names else "made.*"}
        from made
        inner join (
            select distinct
                queue_number,
                host,
                instance
            from staging.qmgr_instances
        ) as queues
            on made.queue_number = queues.queue_number
    """
    execute(connection, f"create table if not exists {table} as {select} limit 0")
    execute(connection, f"insert into {table} {select}")
    connection.unregister("made")


def _tables_of(by_kind: Mapping[str, pl.DataFrame]) -> dict[str, pa.Table]:
    """Return the rows of the tables for all lines about a group of queue ids."""

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([rows[name].to_numpy() for rows in by_kind.values()])

    order = _order(column("logged_at"), column("source_number"), column("line_number"))
    places: Numbers = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    entries, lifetimes, entry_count = _lifetimes(_numbered(column("id_hash")), places, column("role"))
    lines = pl.concat([rows.select(_NAME_COLUMNS) for rows in by_kind.values()], rechunk=True)
    of_kind = {}
    start = 0
    for kind, rows in by_kind.items():
        span = slice(start, start + len(rows))
        of_kind[kind] = Lines(rows, entries[span], places[span], order, start, entry_count)
        start += len(rows)
    every = Lines(lines, entries, places, order, 0, entry_count)
    facts, fact_of_entry = facts_of_entries(of_kind, every, lifetimes)
    attempts = of_kind["attempts"]
    tables = {
        "staging.entry_facts": facts,
        "staging.entry_attempts": attempts.columns.select(
            "recipient",
            "queued_as",
            "is_taken",
            "is_scan_hop",
            pl.col("began_from", "logged_at").cast(UTC_TIME),
        ).hstack([*facts.select(_NUMBER_COLUMNS)[fact_of_entry[attempts.entries]]]),
        "staging.later_lifetimes": lines.select(
            "queue_number", "source_number", "line_number", lifetime=pl.Series(lifetimes).cast(pl.Int64)
        ).filter(pl.col("lifetime") > 0),
    }
    # Texts of Arrow are copies; those of polars would keep all lines of the part in memory.
    return {table: rows.to_arrow() for table, rows in tables.items()}


def _order(logged_at: Ints, source_numbers: Numbers, line_numbers: Ints) -> Numbers:
    """Return the numbers of the lines in order: by stamp, then by file and line.

    Lines are nearly in order as they come, and a stable sort takes that in a sixth of the time of np.lexsort.
    """
    by_line = np.argsort((source_numbers.astype(np.int64) << LINE_BITS) + line_numbers, kind="stable")
    return by_line[np.argsort(logged_at[by_line], kind="stable")].astype(np.int32)


def _numbered(hashes: NDArray[np.uint64]) -> Numbers:
    """Return a number for each value, the same for equal ones, from 0 in the order of first occurrence."""
    numbers = pa.array(hashes).dictionary_encode().indices.to_numpy().copy()
    # The table that finds equal values takes several times the memory of the values.
    pa.default_memory_pool().release_unused()
    return numbers


def _lifetimes(ids: Numbers, places: Numbers, roles: Numbers) -> tuple[Numbers, Numbers, int]:
    """Return the entry and the lifetime (from 0) of each line, and the number of entries."""
    id_count = int(ids.max(initial=-1)) + 1

    def extreme(ufunc: np.ufunc, nothing: int, chosen: Bools | slice) -> Numbers:
        found = np.full(id_count, nothing, np.int32)
        ufunc.at(found, ids[chosen], places[chosen])
        return found

    first = extreme(np.minimum, NOWHERE, slice(None))
    last_arrival = extreme(np.maximum, -1, roles == ARRIVAL)
    first_end = extreme(np.minimum, NOWHERE, roles == END)
    last_sign_of_life = extreme(np.maximum, -1, roles == SIGN_OF_LIFE)
    # Few ids are reused: only their lines are sorted.
    line = np.flatnonzero(((last_arrival > first) | (last_sign_of_life > first_end))[ids])
    role = pl.col("role")
    role_before = pl.when(role != NOTHING).then(role).forward_fill().shift().over("id")
    begins = (pl.col("id") == pl.col("id").shift()).fill_null(False) & (
        (role == ARRIVAL) | ((role == SIGN_OF_LIFE) & (role_before == END).fill_null(False))
    )
    in_order = (
        pl.DataFrame({"line": line, "id": ids[line], "place": places[line], "role": roles[line]})
        .sort("id", "place")
        .with_columns(begins=begins)
        .select(
            "line",
            begun=pl.col("begins").cum_sum().cast(pl.Int32),
            lifetime=pl.col("begins").cum_sum().over("id").cast(pl.Int32),
        )
    )
    line, begun, lifetime = (in_order[name].to_numpy() for name in ("line", "begun", "lifetime"))
    entries, lifetimes = ids.copy(), np.zeros(len(ids), np.int32)
    lifetimes[line] = lifetime
    # The first lifetime of an id is its first entry; each later lifetime is another entry.
    entries[line[lifetime > 0]] = id_count + begun[lifetime > 0] - 1
    return entries, lifetimes, id_count + int(begun.max(initial=0))
