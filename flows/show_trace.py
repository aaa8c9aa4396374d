"""Rows of hops to what a person reads: the path of each mail, hop by hop, with the restarts that held it."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from flows.catalog import Row
from flows.tables import Column, plain, show_table
from flows.words import duration, local_time

# Traces printed for people; machines get all.
TRACES_SHOWN = 20

STATUSES = {
    "passed_on": "passed on",
    "scanned": "taken by the scan service",
    "ended_at_scan": "ended at the scan service",
    "removed": "removed without an attempt",
    "abandoned": "given up by the client",
}
COLUMNS = (
    Column("hop"),
    Column("arrived (host time)"),
    Column("queue id"),
    Column("to", is_prose=True),
    Column("relay", is_prose=True),
    Column("what became of it", is_prose=True),
    Column("held"),
    Column("by restart"),
)


def show_hops(console: Console, rows: Sequence[Row], zones: dict[str, str], wanted: str) -> None:
    """Print each trace as a table of its hops."""
    traces = [list(hops) for _, hops in groupby(rows, lambda row: row["trace_id"])]
    if not traces:
        text = f"No mail in the lake has {wanted} as its queue id, message id, sender or recipient."
        console.print(Text(plain(text)))
    for hops in traces[:TRACES_SHOWN]:
        console.print(Text(plain(_title(hops[0])), style="bold"))
        show_table(console, COLUMNS, [_cells(hop, zones[hop["host"]]) for hop in hops])
        console.print()
    if len(traces) > TRACES_SHOWN:
        console.print(f"{len(traces) - TRACES_SHOWN:,} more (all with --json or --csv).")


def _title(first: Row) -> str:
    sender = "sender unknown" if first["sender"] is None else f"from <{first['sender']}>"
    return f"{first['trace_id']}  {sender}  {first['message_id'] or 'without a message id'}"


def _cells(row: Row, zone: str) -> tuple[object, ...]:
    return (
        row["hop_number"],
        local_time(row["arrived_at"], zone),
        row["queue_id"],
        ", ".join(row["recipients"] or ()),
        row["relay"],
        _ending(row),
        _held(row),
        row["restart_id"],
    )


def _ending(row: Row) -> str:
    status = STATUSES.get(row["status"]) or str(row["status"])
    # Only the reply names a next hop that the log does not show.
    is_by_reply = row["next_queue_id"] is not None and not row["next_hop_count"]
    return f"{status} as {row['next_queue_id']}" if is_by_reply else status


def _held(row: Row) -> str:
    if row["restart_id"] is None:
        return ""
    seconds = row["restart_delay_seconds"]
    return "not released" if seconds is None else duration(seconds)
