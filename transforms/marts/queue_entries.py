"""The lines about messages to queue entries: what there is too much of for SQL, by arrays.

A queue entry is a message in a mail queue of a host, under one queue id, from its arrival until it left.
Every mail is several of them, and every one has five lines and more.

Short queue ids are used again. A lifetime begins with an arrival, or, where that was not logged, with the
first message id or activation after the entry left the queue. What else is logged then belongs to the message
that left: a delivery may be under way while an operator deletes or requeues its message. Lines are taken in
the order of their stamps, within one second in that of files and lines, and an arrival before all else of its
line.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from transforms.marts.database import execute
from transforms.parse.tables import UTC_TIME

Ints = NDArray[np.int64]
# Of lines and entries, of which a batch has fewer than two thousand million.
Numbers = NDArray[np.int32]
Bools = NDArray[np.bool_]

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

# What is worked on at a time.
LINES_AT_ONCE = 1_500_000
# To sort the lines by their parts takes as long as to read them some five times.
PARTS_READ_ANEW = 4
# What has no number or time, and what has no place.
NEVER = np.iinfo(np.int64).max
NOWHERE = np.iinfo(np.int32).max
# What a line says of its queue entry's lifetime.
NOTHING, ARRIVAL, SIGN_OF_LIFE, END = range(4)

# The kinds of lines, arrivals first, with what they tell beside their place. That two queue ids of a host
# have one hash of 64 bits is left to chance: once in a hundred million months of half a million messages.
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
_PLACE_COLUMNS = (
    "queue_id", "id_hash", "queue_number", "source_number", "line_number", "logged_at", "role",
)  # fmt: skip
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
# A number in the order of the arrivals, and of those in the same instant in that of their first lines, for a
# million files of 17 thousand million lines each.
_WITH_ENTRY_NUMBER = """
    (cast(made.came_at as hugeint) << 72)
    + (cast(made.first_source_number as hugeint) << 52)
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


@dataclass(frozen=True)
class _Lines:
    """The lines of one kind, or of all: what they tell, of which entries, and their places in the order."""

    told: pl.DataFrame
    entries: Numbers
    places: Numbers
    order: Numbers
    """The number of the line at each place, among all lines."""
    start: int
    """The number of the first of these lines."""
    entry_count: int

    def numbers(self, column: str) -> Ints:
        """Return a column; NEVER where it is NULL."""
        return self.told[column].cast(pl.Int64).fill_null(NEVER).to_numpy()

    def flags(self, column: str) -> Bools:
        """Return a column; false where it is NULL."""
        return self.told[column].fill_null(value=False).to_numpy()

    def any(self, flags: Bools) -> Bools:
        """Tell of each entry whether one of its lines has the flag."""
        found = np.zeros(self.entry_count, bool)
        found[self.entries[flags]] = True
        return found

    def least(self, numbers: Ints, where: Bools | slice = slice(None)) -> Ints:
        """Return the least number of each entry; NEVER where it has none."""
        found = np.full(self.entry_count, NEVER)
        np.minimum.at(found, self.entries[where], numbers[where])
        return found

    def greatest(self, numbers: Ints, where: Bools | slice = slice(None)) -> Ints:
        """Return the greatest number of each entry, none of them negative; NEVER where it has none."""
        found = np.full(self.entry_count, -1)
        np.maximum.at(found, self.entries[where], numbers[where])
        return np.where(found < 0, NEVER, found)

    def first(self, where: Bools | slice = slice(None)) -> Numbers:
        """Return the row of the first line of each entry; -1 where it has none."""
        places = np.full(self.entry_count, NOWHERE, np.int32)
        np.minimum.at(places, self.entries[where], self.places[where])
        rows = self.order.take(places, mode="clip") - np.int32(self.start)
        return np.where(places == NOWHERE, -1, rows)


def make_queue_entries(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the TABLES of the INPUTS, some queue ids after others so that memory does not grow with the log.

    staging.entry_facts: what is logged of each queue entry, with a number in the order of their arrivals.
    staging.entry_attempts: the delivery attempts, with the numbers of their entries.
    staging.later_lifetimes: the lines about a message whose queue id another message had before it.
    """
    queries = {
        kind: f"select {_PLACE}, {columns} from events.{kind} as lines {_JOINS} "
        f"where {_CONDITIONS.get(kind, 'true')}"
        for kind, columns in _LINES.items()
    }
    queries["attempts"] = _ATTEMPTS
    sources = [*(f"events.{kind}" for kind in _LINES), "staging.attempts"]
    counts = " + ".join(f"(select count(*) from {source})" for source in sources)
    ((line_count,),) = connection.execute(f"select {counts}").fetchall()
    # A power of two, as the last bits of the hash tell the part.
    parts = 1 << (line_count // LINES_AT_ONCE).bit_length()
    for part, told in enumerate(_told_by_part(connection, queries, parts)):
        for name, rows in _tables_of(told).items():
            connection.register("made", rows.to_arrow(compat_level=pl.CompatLevel.newest()))
            into = f"insert into staging.{name}" if part else f"create table staging.{name} as"
            execute(
                connection,
                f"""
                {into}
                select
                    queues.host,
                    queues.instance,
                    {_WITH_ENTRY_NUMBER if "came_at" in rows.columns else "made.*"}
                from made
                inner join (
                    select distinct
                        queue_number,
                        host,
                        instance
                    from staging.qmgr_instances
                ) as queues
                    on made.queue_number = queues.queue_number
                """,
            )
            connection.unregister("made")


def _told_by_part(
    connection: duckdb.DuckDBPyConnection, queries: Mapping[str, str], parts: int
) -> Iterator[dict[str, pl.DataFrame]]:
    """Yield the lines about some queue ids after others, by their kinds."""
    sources = {
        kind: f"(select *, id_hash & {parts - 1} as part from ({query}))" for kind, query in queries.items()
    }
    if parts > PARTS_READ_ANEW:
        for kind, source in sources.items():
            execute(connection, f"create temp table told_{kind} as from {source} order by part")
            sources[kind] = f"told_{kind}"
    for part in range(parts):
        yield {
            kind: connection.sql(f"select * exclude (part) from {source} where part = {part}").pl()
            for kind, source in sources.items()
        }
    for kind in sources:
        connection.execute(f"drop table if exists told_{kind}")


def _tables_of(told: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Return the rows of the tables to be made of all lines about some queue ids."""
    lines = pl.concat([rows.select(_PLACE_COLUMNS) for rows in told.values()])
    sorted_lines = np.lexsort([lines[name] for name in ("line_number", "source_number", "logged_at")])
    order: Numbers = sorted_lines.astype(np.int32)
    places: Numbers = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    ids = lines["id_hash"].rank("dense").to_numpy().astype(np.int32) - 1
    entries, lifetimes, entry_count = _lifetimes(ids, places, lines["role"].to_numpy())
    of_kind = {}
    start = 0
    for kind, rows in told.items():
        own = slice(start, start + len(rows))
        of_kind[kind] = _Lines(rows, entries[own], places[own], order, start, entry_count)
        start += len(rows)
    facts, fact_of_entry = _facts(of_kind, _Lines(lines, entries, places, order, 0, entry_count), lifetimes)
    attempts = of_kind["attempts"]
    return {
        "entry_facts": facts,
        "entry_attempts": attempts.told.select("recipient", "queued_as", "is_taken", "is_scan_hop").hstack(
            [
                *facts.select(_NUMBER_COLUMNS)[fact_of_entry[attempts.entries]],
                *(attempts.told[name].cast(UTC_TIME) for name in ("began_from", "logged_at")),
            ]
        ),
        "later_lifetimes": lines.select(
            "queue_number", "source_number", "line_number", lifetime=pl.Series(lifetimes).cast(pl.Int64)
        ).filter(pl.col("lifetime") > 0),
    }


def _lifetimes(ids: Numbers, places: Numbers, roles: Numbers) -> tuple[Numbers, Numbers, int]:
    """Return of each line the entry and its lifetime, from 0, and how many entries there are."""
    id_count = int(ids.max(initial=-1)) + 1

    def extreme(ufunc: np.ufunc, nothing: int, chosen: Bools | slice) -> Numbers:
        found = np.full(id_count, nothing, np.int32)
        ufunc.at(found, ids[chosen], places[chosen])
        return found

    first = extreme(np.minimum, NOWHERE, slice(None))
    last_arrival = extreme(np.maximum, -1, roles == ARRIVAL)
    first_end = extreme(np.minimum, NOWHERE, roles == END)
    last_sign_of_life = extreme(np.maximum, -1, roles == SIGN_OF_LIFE)
    # Few ids are used again: their lines alone are put in order.
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
    # The first lifetime of an id is its first entry; each that begins later is another one.
    entries[line[lifetime > 0]] = id_count + begun[lifetime > 0] - 1
    return entries, lifetimes, id_count + int(begun.max(initial=0))


def _facts(of_kind: Mapping[str, _Lines], every: _Lines, lifetimes: Numbers) -> tuple[pl.DataFrame, Numbers]:
    """Return what is logged of each entry, and the row of each."""
    clients, message_ids = of_kind["clients"], of_kind["message_ids"]
    activations, removals = of_kind["queue_activations"], of_kind["queue_removals"]
    notices, attempts = of_kind["other_lines"], of_kind["attempts"]
    client, activation = clients.first(), activations.first()
    first_logged_at = np.minimum.reduce(
        [kind.least(kind.numbers("logged_at")) for kind in of_kind.values() if kind is not notices]
    )
    told_arrival_at = np.where(
        client < 0,
        attempts.least(attempts.numbers("arrived_at")),
        clients.least(clients.numbers("logged_at")),
    )
    is_end, removal_times = removals.numbers("role") == END, removals.numbers("logged_at")
    # postsuper tells that a message is requeued, and pickup so again, up to a minute later.
    is_requeued = removals.any(removals.flags("is_requeued"))
    removed_at = np.where(
        is_requeued, removals.least(removal_times, is_end), removals.greatest(removal_times, is_end)
    )
    is_sent, is_taken = attempts.flags("is_sent"), attempts.flags("is_taken")
    is_scan_hop = attempts.flags("is_scan_hop")
    is_taken_at_scan = is_scan_hop & is_taken
    relay = np.full(every.entry_count, -1, np.int32)
    for candidates in (is_scan_hop & is_sent, is_taken_at_scan, is_taken):
        relay = np.where(relay < 0, attempts.first(candidates), relay)

    first_line = every.first()
    # In the order of their first lines, which lie together. A notice alone makes no entry.
    in_order = np.argsort(every.places[first_line])
    in_order = in_order[first_logged_at[in_order] != NEVER]

    def told(lines: _Lines, rows: Numbers, **columns: str) -> dict[str, pl.Series]:
        chosen = _with_nulls(rows[in_order], -1)
        return {name: lines.told[column].gather(chosen) for name, column in columns.items()}

    texts = {
        **told(
            every,
            first_line,
            queue_number="queue_number",
            queue_id="queue_id",
            first_source_number="source_number",
            first_line_number="line_number",
        ),
        **told(
            clients,
            client,
            client_sender="sender",
            client_host="client_host",
            client_address="client_address",
            original_queue_id="original_queue_id",
        ),
        **told(message_ids, _least_message_ids(message_ids), message_id="message_id"),
        **told(activations, activation, sender="sender", size_bytes="size_bytes"),
        **told(
            attempts, relay, relay_host="relay_host", relay_address="relay_address", relay_port="relay_port"
        ),
        **told(attempts, attempts.first(_is_told(attempts, "queued_as")), queued_as="queued_as"),
        **told(
            notices,
            notices.first(_is_told(notices, "notification_queue_id")),
            notification_queue_id="notification_queue_id",
        ),
    }
    counts = {
        # A later activation is for those who did not get it yet.
        "activated_recipient_count": activations.greatest(activations.numbers("recipient_count")),
        # Where the qmgr did not count the recipients, or did not take the message out of the queue.
        **_recipient_counts(attempts, (activation < 0) | (removed_at == NEVER)),
    }
    flags = {
        **{name: removals.any(removals.flags(name)) for name in ("is_expired", "is_deleted", "is_requeued")},
        **{name: attempts.any(attempts.flags(name)) for name in ("is_bounced", "is_deferred", "is_scan_hop")},
        "is_scanned": attempts.any(is_scan_hop & is_sent),
        "is_reactivated": np.bincount(activations.entries, minlength=every.entry_count) > 1,
    }
    instants = {
        "told_arrival_at": told_arrival_at,
        "first_logged_at": first_logged_at,
        "last_attempted_at": attempts.greatest(attempts.numbers("logged_at")),
        "scan_began_from": attempts.least(attempts.numbers("began_from"), is_taken_at_scan),
        "removed_at": removed_at,
    }
    facts = pl.DataFrame(
        {
            # A computed arrival may be later than the first line, by the rounding of the delay.
            "came_at": np.minimum(told_arrival_at, first_logged_at)[in_order],
            "lifetime": lifetimes[first_line[in_order]].astype(np.int64),
            **texts,
            **{name: found[in_order] for name, found in flags.items()},
            **{name: _with_nulls(found[in_order], NEVER) for name, found in counts.items()},
            **{name: _with_nulls(found[in_order], NEVER).cast(UTC_TIME) for name, found in instants.items()},
        }
    )
    fact_of_entry = np.full(every.entry_count, -1, np.int32)
    fact_of_entry[in_order] = np.arange(len(in_order), dtype=np.int32)
    return facts, fact_of_entry


def _least_message_ids(message_ids: _Lines) -> Numbers:
    """Return the row of each entry's message id; -1 where it has none.

    Of several (resent mail) it is the first of the alphabet: the same at every hop.
    """
    rows = message_ids.first()
    counts = np.bincount(message_ids.entries, minlength=message_ids.entry_count)
    of_several = np.flatnonzero(counts[message_ids.entries] > 1)
    least = (
        message_ids.told[of_several]
        .select("message_id", entry=pl.Series(message_ids.entries[of_several]), row=pl.Series(of_several))
        .sort("message_id", "row", nulls_last=True)
        .unique("entry", keep="first", maintain_order=True)
    )
    rows[least["entry"].to_numpy()] = least["row"].to_numpy()
    return rows


def _recipient_counts(attempts: _Lines, wanted: Bools) -> dict[str, Ints]:
    """Return how many recipients some entries were tried for, and for how many of them that is done."""
    rows = np.flatnonzero(wanted[attempts.entries])
    counted = (
        attempts.told[rows]
        .with_columns(entry=pl.Series(attempts.entries[rows]))
        # A recipient without an address (`to=,`) is one as well.
        .group_by("entry")
        .agg(
            attempted_recipient_count=pl.col("recipient").fill_null("").n_unique(),
            done_recipient_count=pl.col("recipient")
            .fill_null("")
            .filter(pl.col("is_sent") | pl.col("is_bounced"))
            .n_unique(),
        )
    )
    counts = {}
    for name in ("attempted_recipient_count", "done_recipient_count"):
        counts[name] = np.full(attempts.entry_count, NEVER)
        counts[name][counted["entry"].to_numpy()] = counted[name].to_numpy()
    return counts


def _is_told(lines: _Lines, column: str) -> Bools:
    return lines.told[column].is_not_null().to_numpy()


def _with_nulls(numbers: NDArray[np.signedinteger], null: int) -> pl.Series:
    return pl.Series(numbers).set(pl.Series(numbers == null), None)
