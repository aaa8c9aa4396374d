"""Turns the lines about queue entries, as arrays, into one row of facts for each entry."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from transforms.parse.tables import UTC_TIME

Ints = NDArray[np.int64]
# For numbers of lines and entries; a batch has fewer than two thousand million.
Numbers = NDArray[np.int32]
Bools = NDArray[np.bool_]

# Stand for a missing number or time, and for a missing place.
NEVER = np.iinfo(np.int64).max
NOWHERE = np.iinfo(np.int32).max
# What a line says about its queue entry's lifetime.
NOTHING, ARRIVAL, SIGN_OF_LIFE, END = range(4)


@dataclass(frozen=True)
class Lines:
    """The lines of one kind, or of all kinds: their columns, their entries, and their places in the order."""

    columns: pl.DataFrame
    entries: Numbers
    places: Numbers
    order: Numbers
    """The number of the line at each place, among all lines."""
    start: int
    """The number of the first of these lines."""
    entry_count: int

    def numbers(self, column: str) -> Ints:
        """Return a column, with NEVER for NULL."""
        return self.columns[column].cast(pl.Int64).fill_null(NEVER).to_numpy()

    def flags(self, column: str) -> Bools:
        """Return a column, with false for NULL."""
        return self.columns[column].fill_null(value=False).to_numpy()

    def any(self, flags: Bools) -> Bools:
        """Return for each entry whether one of its lines has the flag."""
        found = np.zeros(self.entry_count, bool)
        found[self.entries[flags]] = True
        return found

    def least(self, numbers: Ints, where: Bools | slice = slice(None)) -> Ints:
        """Return the least number of each entry; NEVER without one."""
        found = np.full(self.entry_count, NEVER)
        np.minimum.at(found, self.entries[where], numbers[where])
        return found

    def greatest(self, numbers: Ints, where: Bools | slice = slice(None)) -> Ints:
        """Return the greatest number of each entry, for non-negative numbers; NEVER without one."""
        found = np.full(self.entry_count, -1)
        np.maximum.at(found, self.entries[where], numbers[where])
        return np.where(found < 0, NEVER, found)

    def first(self, where: Bools | slice = slice(None)) -> Numbers:
        """Return the row of the first line of each entry; -1 without one."""
        places = np.full(self.entry_count, NOWHERE, np.int32)
        np.minimum.at(places, self.entries[where], self.places[where])
        rows = self.order.take(places, mode="clip") - np.int32(self.start)
        return np.where(places == NOWHERE, -1, rows)


def facts_of_entries(
    of_kind: Mapping[str, Lines], every: Lines, lifetimes: Numbers
) -> tuple[pl.DataFrame, Numbers]:
    """Return the facts of each entry, and the row of each entry; -1 for an entry that only a notice names.

    `of_kind` has the lines of each kind, `every` those of all kinds.
    """
    first_logged_at = np.minimum.reduce(
        [lines.least(lines.numbers("logged_at")) for kind, lines in of_kind.items() if kind != "other_lines"]
    )
    first_line = every.first()
    # In the order of first lines, so that entries of one time are adjacent. A notice alone makes no entry.
    in_order = np.argsort(every.places[first_line])
    in_order = in_order[first_logged_at[in_order] != NEVER]
    instants = {"first_logged_at": first_logged_at, **_instants(of_kind)}
    flags = _flags(of_kind)
    counts = _counts(of_kind, instants["removed_at"])
    facts = pl.DataFrame(
        {
            # A computed arrival may be later than the first line, because the delay is rounded.
            "came_at": np.minimum(instants["told_arrival_at"], first_logged_at)[in_order],
            "lifetime": lifetimes[first_line[in_order]].astype(np.int64),
            **_texts(of_kind, every, first_line, in_order),
            **{name: found[in_order] for name, found in flags.items()},
            **{name: _with_nulls(found[in_order], NEVER) for name, found in counts.items()},
            **{name: _with_nulls(found[in_order], NEVER).cast(UTC_TIME) for name, found in instants.items()},
        }
    )
    fact_of_entry = np.full(every.entry_count, -1, np.int32)
    fact_of_entry[in_order] = np.arange(len(in_order), dtype=np.int32)
    return facts, fact_of_entry


def _instants(of_kind: Mapping[str, Lines]) -> dict[str, Ints]:
    """Return when each entry arrived, was tried and left; NEVER if no line shows it."""
    clients, removals, attempts = (of_kind[kind] for kind in ("clients", "queue_removals", "attempts"))
    told_arrival_at = np.where(
        clients.first() < 0,
        attempts.least(attempts.numbers("arrived_at")),
        clients.least(clients.numbers("logged_at")),
    )
    is_end, removal_times = removals.numbers("role") == END, removals.numbers("logged_at")
    # postsuper logs that a message is requeued, and pickup logs it again up to a minute later.
    is_requeued = removals.any(removals.flags("is_requeued"))
    removed_at = np.where(
        is_requeued, removals.least(removal_times, is_end), removals.greatest(removal_times, is_end)
    )
    is_taken_at_scan = attempts.flags("is_scan_hop") & attempts.flags("is_taken")
    return {
        "told_arrival_at": told_arrival_at,
        "last_attempted_at": attempts.greatest(attempts.numbers("logged_at")),
        "scan_began_from": attempts.least(attempts.numbers("began_from"), is_taken_at_scan),
        "removed_at": removed_at,
    }


def _flags(of_kind: Mapping[str, Lines]) -> dict[str, Bools]:
    """Return what became of each entry."""
    activations, removals, attempts = (
        of_kind[kind] for kind in ("queue_activations", "queue_removals", "attempts")
    )
    return {
        **{name: removals.any(removals.flags(name)) for name in ("is_expired", "is_deleted", "is_requeued")},
        **{name: attempts.any(attempts.flags(name)) for name in ("is_bounced", "is_deferred", "is_scan_hop")},
        "is_scanned": attempts.any(attempts.flags("is_scan_hop") & attempts.flags("is_sent")),
        "is_reactivated": np.bincount(activations.entries, minlength=activations.entry_count) > 1,
    }


def _counts(of_kind: Mapping[str, Lines], removed_at: Ints) -> dict[str, Ints]:
    """Return how many recipients each entry has; NEVER if they were not counted."""
    activations = of_kind["queue_activations"]
    # Counted by attempts if the qmgr did not count them, or did not remove the message from the queue.
    is_uncounted = (activations.first() < 0) | (removed_at == NEVER)
    return {
        # A later activation counts only the recipients that are still to be served.
        "activated_recipient_count": activations.greatest(activations.numbers("recipient_count")),
        **_recipient_counts(of_kind["attempts"], is_uncounted),
    }


def _texts(
    of_kind: Mapping[str, Lines], every: Lines, first_line: Numbers, in_order: Numbers
) -> dict[str, pl.Series]:
    """Return what the first line of each kind says about the entries, in the given order."""
    clients, message_ids, activations = (
        of_kind[kind] for kind in ("clients", "message_ids", "queue_activations")
    )
    notices, attempts = of_kind["other_lines"], of_kind["attempts"]

    def first_values(lines: Lines, rows: Numbers, **columns: str) -> dict[str, pl.Series]:
        chosen = _with_nulls(rows[in_order], -1)
        # Rows are taken from one piece of memory twenty times as fast as from several.
        return {name: lines.columns[column].rechunk().gather(chosen) for name, column in columns.items()}

    return {
        **first_values(
            every,
            first_line,
            queue_number="queue_number",
            queue_id="queue_id",
            first_source_number="source_number",
            first_line_number="line_number",
        ),
        **first_values(
            clients,
            clients.first(),
            client_sender="sender",
            client_host="client_host",
            client_address="client_address",
            original_queue_id="original_queue_id",
        ),
        **first_values(message_ids, _least_message_ids(message_ids), message_id="message_id"),
        **first_values(activations, activations.first(), sender="sender", size_bytes="size_bytes"),
        **first_values(
            attempts,
            _relays(attempts),
            relay_host="relay_host",
            relay_address="relay_address",
            relay_port="relay_port",
        ),
        **first_values(attempts, attempts.first(_is_present(attempts, "queued_as")), queued_as="queued_as"),
        **first_values(
            notices,
            notices.first(_is_present(notices, "notification_queue_id")),
            notification_queue_id="notification_queue_id",
        ),
    }


def _relays(attempts: Lines) -> Numbers:
    """Return the row of the attempt that names each entry's relay, preferably one at the scan service."""
    is_scan_hop, is_taken = attempts.flags("is_scan_hop"), attempts.flags("is_taken")
    relay = np.full(attempts.entry_count, -1, np.int32)
    for candidates in (is_scan_hop & attempts.flags("is_sent"), is_scan_hop & is_taken, is_taken):
        relay = np.where(relay < 0, attempts.first(candidates), relay)
    return relay


def _least_message_ids(message_ids: Lines) -> Numbers:
    """Return the row of each entry's message id; -1 without one.

    Of several (resent mail), the first in alphabetical order: the same at every hop.
    """
    rows = message_ids.first()
    counts = np.bincount(message_ids.entries, minlength=message_ids.entry_count)
    of_several = np.flatnonzero(counts[message_ids.entries] > 1)
    least = (
        message_ids.columns[of_several]
        .select("message_id", entry=pl.Series(message_ids.entries[of_several]), row=pl.Series(of_several))
        .sort("message_id", "row", nulls_last=True)
        .unique("entry", keep="first", maintain_order=True)
    )
    rows[least["entry"].to_numpy()] = least["row"].to_numpy()
    return rows


def _recipient_counts(attempts: Lines, wanted: Bools) -> dict[str, Ints]:
    """Return how many recipients of some entries were tried, and how many of them are finished."""
    rows = np.flatnonzero(wanted[attempts.entries])
    counted = (
        attempts.columns[rows]
        .with_columns(entry=pl.Series(attempts.entries[rows]))
        # A recipient without an address (`to=,`) counts as well.
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


def _is_present(lines: Lines, column: str) -> Bools:
    return lines.columns[column].is_not_null().to_numpy()


def _with_nulls(numbers: NDArray[np.signedinteger], null: int) -> pl.Series:
    return pl.Series(numbers).set(pl.Series(numbers == null), None)
