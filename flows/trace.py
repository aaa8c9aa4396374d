"""A queue id, message id or address to the ways of the mail that it is about, hop by hop, with its holds."""

from collections.abc import Sequence
from itertools import groupby

import duckdb
from rich.console import Console
from rich.text import Text

from flows import answer
from flows.answer import Row
from flows.layout import Column, plain, show_table

# Traces that a person is shown; machines get all.
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

# An attempt belongs to the hop in whose time it lies: stamps are whole seconds, arrivals may be computed.
HOPS = """
with hops as (
    select * from marts.message_trace
    where len($hosts) = 0 or list_contains($hosts, host)
),

attempted as (
    select hops.trace_id
    from events.delivery_attempts as attempts
    inner join hops
        on
            attempts.host = hops.host
            and attempts.queue_id = hops.queue_id
            and attempts.logged_at >= hops.arrived_at - interval 1 second
            and coalesce(attempts.logged_at <= hops.left_at + interval 1 second, true)
    where
        lower($wanted) in (lower(attempts.recipient), lower(attempts.original_recipient))
),

wanted as (
    select trace_id
    from hops
    where
        $wanted in (queue_id, trace_id, message_id)
        or '<' || $wanted || '>' = message_id
        or lower($wanted) = lower(sender)

    union

    select trace_id
    from attempted
),

chosen as (
    select hops.*
    from hops
    semi join wanted on hops.trace_id = wanted.trace_id
),

recipients as (
    select
        chosen.trace_id,
        chosen.instance,
        chosen.queue_id,
        chosen.arrived_at,
        list(distinct attempts.recipient order by attempts.recipient)
        filter (where attempts.recipient is not null) as recipients
    from chosen
    inner join events.delivery_attempts as attempts
        on
            chosen.host = attempts.host
            and chosen.queue_id = attempts.queue_id
            and attempts.logged_at >= chosen.arrived_at - interval 1 second
            and coalesce(attempts.logged_at <= chosen.left_at + interval 1 second, true)
    group by all
)

select
    chosen.*,
    recipients.recipients,
    held_messages.restart_id,
    held_messages.restart_delay_seconds,
    held_messages.first_deferred_at,
    held_messages.released_at
from chosen
left join recipients
    on
        chosen.trace_id = recipients.trace_id
        and chosen.instance = recipients.instance
        and chosen.queue_id = recipients.queue_id
        and chosen.arrived_at = recipients.arrived_at
left join marts.held_messages as held_messages
    on
        chosen.host = held_messages.host
        and chosen.instance = held_messages.instance
        and chosen.queue_id = held_messages.queue_id
        and chosen.arrived_at = held_messages.arrived_at
order by
    min(chosen.arrived_at) over (partition by chosen.trace_id),
    chosen.trace_id,
    chosen.hop_number,
    chosen.arrived_at,
    chosen.queue_id,
    held_messages.first_deferred_at
"""


def fetch_hops(
    catalog: duckdb.DuckDBPyConnection, wanted: str, hosts: Sequence[str]
) -> tuple[list[Row], list[str]]:
    """Return the hops of all traces that a text names, and their columns.

    A row is a hop, once for each restart that held it there (`restart_id` is None where none did). An
    address finds the mail that it sent and that was tried for it. Message ids match with or without their
    angle brackets, addresses in any case.
    """
    rows = answer.fetch(catalog, HOPS, {"wanted": wanted, "hosts": list(hosts)})
    return rows, [column[0] for column in catalog.description or ()]


def show_hops(console: Console, rows: Sequence[Row], zones: dict[str, str], wanted: str) -> None:
    """Print each trace as a table of its hops."""
    traces = [list(hops) for _, hops in groupby(rows, lambda row: row["trace_id"])]
    if not traces:
        text = f"No mail of the lake has {wanted} as its queue id, message id, sender or recipient."
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
        answer.local_time(row["arrived_at"], zone),
        row["queue_id"],
        ", ".join(row["recipients"] or ()),
        row["relay"],
        _ending(row),
        _held(row),
        row["restart_id"],
    )


def _ending(row: Row) -> str:
    status = STATUSES.get(row["status"]) or str(row["status"])
    # A next hop that the log does not show is known by the reply alone.
    is_told = row["next_queue_id"] is not None and not row["next_hop_count"]
    return f"{status} as {row['next_queue_id']}" if is_told else status


def _held(row: Row) -> str:
    if row["restart_id"] is None:
        return ""
    seconds = row["restart_delay_seconds"]
    return "not released" if seconds is None else answer.duration(seconds)
