"""Queue entries against a fold that takes the lines one after another, as a reader would."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_sql import connect, schemas
from transforms.lake.catalog import create_tables
from transforms.marts import queue_entries
from transforms.marts.queue_entries import INPUTS, make_queue_entries

START = datetime(2026, 11, 24, 10, tzinfo=UTC)
QUEUES = ("postfix", "postfix-out")
KINDS = (
    "client", "message_id", "activation", "sent", "deferred", "notification", "removed", "expired", "held",
    "deleted", "requeued",
)  # fmt: skip
ENDS = ("removed", "deleted", "requeued")


@dataclass(frozen=True)
class Line:
    """One line about a queue id; files are in rotation order, and stamps have whole seconds."""

    kind: str
    instance: str
    queue_id: str
    file: int
    number: int
    second: int

    @property
    def place(self) -> tuple[int, int, int]:
        """Where it stands in the order of all lines."""
        return self.second, self.file, self.number

    @property
    def logged_at(self) -> datetime:
        """Its stamp."""
        return START + timedelta(seconds=self.second)


@dataclass
class Entry:
    """What the lines of one lifetime of a queue id say."""

    instance: str
    queue_id: str
    lifetime: int
    lines: list[Line] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Line]:
        """Return its lines of some kinds."""
        return [line for line in self.lines if line.kind in kinds]

    @property
    def row(self) -> dict[str, Any]:
        """The columns of staging.entry_facts that are compared."""
        tried = self.of("sent", "deferred")
        clients = self.of("client")
        return {
            "instance": self.instance,
            "queue_id": self.queue_id,
            "lifetime": self.lifetime,
            "told_arrival_at": (clients or tried)[0].logged_at if clients or tried else None,
            "first_logged_at": self.of(*(k for k in KINDS if k != "notification"))[0].logged_at,
            "last_attempted_at": tried[-1].logged_at if tried else None,
            # Of a requeued message postsuper tells, and pickup so again.
            "removed_at": (min if self.of("requeued") else max)(
                (line.logged_at for line in self.of(*ENDS)), default=None
            ),
            "is_expired": bool(self.of("expired")),
            "is_deferred": bool(self.of("deferred")),
            "activated_recipient_count": max((line.number for line in self.of("activation")), default=None),
            "message_id": min((f"<{line.number}>" for line in self.of("message_id")), default=None),
            "queued_as": next((f"B{line.number}" for line in self.of("sent")), None),
        }

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it stands in the order of the arrivals."""
        row = self.row
        came_at = min(row["told_arrival_at"] or row["first_logged_at"], row["first_logged_at"])
        return came_at, *self.lines[0].place[1:]


def fold(lines: list[Line]) -> list[Entry]:
    """Return the entries of all lines, in the order of the arrivals."""
    current: dict[tuple[str, str], Entry] = {}
    entries = []
    for line in sorted(lines, key=lambda line: line.place):
        key = (line.instance, line.queue_id)
        entry = current.get(key)
        told = entry.of("client", "message_id", "activation", *ENDS) if entry else []
        is_next = line.kind == "client" or (
            line.kind in ("message_id", "activation") and bool(told) and told[-1].kind in ENDS
        )
        if entry is None or is_next:
            entry = current[key] = Entry(*key, entry.lifetime + 1 if entry else 0)
            entries.append(entry)
        entry.lines.append(line)
    return sorted(
        (e for e in entries if {line.kind for line in e.lines} != {"notification"}), key=lambda e: e.place
    )


@st.composite
def logs(draw: st.DrawFn) -> list[Line]:
    """Draw the lines of some files of one host; clocks may go back within a file."""
    drawn = draw(
        st.lists(
            st.tuples(
                st.sampled_from(KINDS),
                st.sampled_from(QUEUES),
                st.sampled_from(("A1", "A2", "3Pt2mN2VXxznjll")),
                st.integers(1, 2),
                st.integers(0, 4),
            ),
            max_size=40,
        )
    )
    return [
        Line(kind, instance, queue_id, file, n, second)
        for n, (kind, instance, queue_id, file, second) in enumerate(drawn)
    ]


def tables(lines: list[Line]) -> dict[str, pl.DataFrame]:
    """Return the inputs of the entries that hold these lines."""
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in INPUTS}
    rows["staging.source_order"] = [
        {"host": "mx1", "source_id": f"file{number}", "source_number": number} for number in (1, 2)
    ]
    rows["staging.qmgr_instances"] = [
        {"host": "mx1", "logging_instance": name, "instance": name, "queue_number": number}
        for number, name in enumerate(QUEUES, start=1)
    ]
    for line in lines:
        place = {"queue_id": line.queue_id, "line_number": line.number, "logged_at": line.logged_at}
        of_table: dict[str, tuple[str, dict[str, Any]]] = {
            "client": ("events.clients", {}),
            "message_id": ("events.message_ids", {"message_id": f"<{line.number}>"}),
            "activation": ("events.queue_activations", {"recipient_count": line.number}),
            "notification": ("events.other_lines", {"line_kind": "notification", "message": "anything"}),
        }
        if line.kind in ("sent", "deferred"):
            rows["staging.attempts"].append(
                place
                | {
                    "queue_number": QUEUES.index(line.instance) + 1,
                    "source_number": line.file,
                    "status": line.kind,
                    "queued_as": f"B{line.number}" if line.kind == "sent" else None,
                    "arrived_at": line.logged_at,
                }
            )
            continue
        table, values = of_table.get(line.kind, ("events.queue_removals", {"removal_kind": line.kind}))
        rows[table].append(
            place | values | {"host": "mx1", "instance": line.instance, "source_id": f"file{line.file}"}
        )
    return {table: pl.DataFrame(rows[table], schema=schemas()[table]) for table in INPUTS}


@pytest.mark.parametrize("lines_at_once", [queue_entries.LINES_AT_ONCE, 5])
@given(logs())
@settings(max_examples=60)
def test_entries_are_those_of_a_fold(lines_at_once: int, lines: list[Line]) -> None:
    with connect() as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue_entries, "LINES_AT_ONCE", lines_at_once)
        patch.setattr(queue_entries, "LINES_TO_SPLIT", 3)
        create_tables(connection, tables(lines))
        connection.execute("create schema if not exists staging")
        make_queue_entries(connection)
        expected = [entry.row for entry in fold(lines)]
        columns = ", ".join(expected[0]) if expected else "queue_id"
        facts = connection.sql(f"select {columns} from staging.entry_facts order by entry_number")
        assert facts.pl().rows(named=True) == expected
        assert attempted(connection) == sorted(
            (line.logged_at, entry.queue_id, entry.lifetime)
            for entry in fold(lines)
            for line in entry.of("sent", "deferred")
        )


def attempted(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """Return of each attempt when it was logged, and the entry that has its number."""
    return connection.sql(
        """
        select attempts.logged_at, facts.queue_id, facts.lifetime
        from staging.entry_attempts as attempts
        inner join staging.entry_facts as facts on attempts.entry_number = facts.entry_number
        order by all
        """
    ).fetchall()
