"""Lines that were written twice: makes the events of a database those of each line once.

The syslog daemon writes lines again when it reads its journal anew, a second daemon writes what the first one
wrote, and a log server's copy bears another header. Events of one host that are equal in program, process id
and text, and at most REPEATED_WITHIN apart, are one event: no program writes the same twice as fast, as every
delivery bears its delay.
"""

from datetime import timedelta

import duckdb

from transforms.database import execute
from transforms.tables import EVENT_TABLES

REPEATED_WITHIN = timedelta(seconds=2)
# What a verdict or a count rests on. A notice of lost lines tells of other lines each time.
TABLES = (
    "clients", "delivery_attempts", "manager_log", "message_ids", "queue_activations", "queue_removals",
    "service_events", "system_events",
)  # fmt: skip
# Where these have no repeated lines, none of the others is looked for: the daemon writes stretches again, and
# each message has a line in one of these. Of the attempts those that failed are asked, as one alone matters.
# What most lines are is told apart by the queue id, which is cheap to read.
TELLING = {
    "queue_activations": "true",
    "queue_removals": "true",
    "delivery_attempts": "status <> 'sent'",
    "manager_log": "true",
    "service_events": "event_kind <> 'lines_lost'",
    "system_events": "true",
}
# Where and when a line was written, and how that was found; all else is its text.
_CHEAP = dict.fromkeys(
    ("queue_activations", "queue_removals"), ("host", "instance", "queue_id", "pid", "removal_kind")
)
_PLACE = frozenset({"source_id", "line_number", "logged_at", "year_source", "zone_source"})


def show_lines_once(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace the tables or views of events by views without repeated lines, where there are any.

    Of equal lines the earliest counts, of those with equal stamps the first by the files' names and the
    lines' numbers. Needs the events and ops.source_files.
    """
    if any(_has_repeats(connection, name, condition) for name, condition in TELLING.items()):
        for name in TABLES:
            _show_once(connection, name)


def _has_repeats(connection: duckdb.DuckDBPyConnection, name: str, condition: str) -> bool:
    """Tell whether lines of a table are equal and close in time, by what is cheap to read of them."""
    columns = [
        column
        for column in EVENT_TABLES[name]
        if column not in _PLACE and column in _CHEAP.get(name, (column,))
    ]
    close = f"to_seconds({REPEATED_WITHIN.total_seconds():.0f})"
    found = connection.execute(
        f"""
        with lines as (
            select hash({", ".join(columns)}) as text_hash, source_id, line_number, logged_at
            from events.{name}
            where {condition}
        ),

        equal_texts as (
            select text_hash from lines group by text_hash having count(*) > 1
        )

        select 1 from (
            select
                logged_at,
                (source_id, line_number) as place,
                lag(logged_at) over in_time as previous_at,
                lag((source_id, line_number)) over in_time as previous_place
            from lines
            semi join equal_texts on lines.text_hash = equal_texts.text_hash
            window in_time as (partition by lines.text_hash order by logged_at, source_id, line_number)
        )
        where logged_at <= previous_at + {close} and place <> previous_place
        limit 1
        """
    ).fetchone()
    return found is not None


def _show_once(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    text = ", ".join(f"lines.{column}" for column in EVENT_TABLES[name] if column not in _PLACE)
    condition = TELLING[name] if name == "service_events" else "true"
    execute(
        connection,
        f"""
        create or replace temp table repeated_{name} as
        select distinct
            source_id,
            line_number
        from (
            select
                lines.source_id,
                lines.line_number,
                lines.logged_at,
                lag(struct_pack(lines.source_id, lines.line_number, lines.logged_at)) over (
                    partition by {text}
                    order by lines.logged_at, files.path, lines.line_number
                ) as previous
            from events.{name} as lines
            left join ops.source_files as files
                on lines.source_id = files.source_id
            where {condition}
        ) as lines
        where
            logged_at <= previous.logged_at + to_seconds({REPEATED_WITHIN.total_seconds():.0f})
            -- A line may name the same recipient twice.
            and (source_id, line_number) <> (previous.source_id, previous.line_number)
        """,
    )
    if connection.execute(f"select 1 from repeated_{name} limit 1").fetchone() is None:
        return
    ((is_view,),) = connection.execute(
        "select count(*) > 0 from duckdb_views() where schema_name = 'events' and view_name = $name",
        {"name": name},
    ).fetchall()
    connection.execute(f"alter {'view' if is_view else 'table'} events.{name} rename to {name}_with_repeats")
    connection.execute(
        f"""
        create view events.{name} as
        from events.{name}_with_repeats as lines
        anti join repeated_{name} as repeated
            on lines.source_id = repeated.source_id and lines.line_number = repeated.line_number
        """
    )
