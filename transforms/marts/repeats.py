"""Reduces events of lines that were written twice to one event for each line.

The syslog daemon writes lines again when it reads its journal again, a second daemon writes the same lines,
and a log server's copy has another header. Events of one host that are equal in program, process id and text,
and at most REPEATED_WITHIN apart, are one event: no program writes the same text again that soon, because
every delivery line contains a delay.
"""

from datetime import timedelta

import duckdb

from transforms.marts.database import execute
from transforms.parse.tables import EVENT_TABLES

REPEATED_WITHIN = timedelta(seconds=2)
# The events that verdicts and counts rest on, with the lines that are checked first. Notices of lost lines
# are about different lines each time.
_FIRST = {
    "clients": "true",
    "queue_activations": "true",
    "queue_removals": "true",
    "delivery_attempts": "status <> 'sent'",
    "manager_log": "true",
    "service_events": "event_kind <> 'lines_lost'",
    "system_events": "true",
}
# These are checked only if the lines above are repeated: daemons repeat whole stretches, and each message has
# a line above. A single activation may only look repeated: a flush takes mail that was just deferred.
_AFTERWARDS = ("delivery_attempts", "message_ids")
_PROVES_NOTHING = "queue_activations"
# Where and when a line was written, and how that was found; all other columns are its text.
_PLACE = frozenset({"source_id", "line_number", "logged_at", "year_source", "zone_source"})


def show_lines_once(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace the tables or views of events that have repeated lines by views without them.

    Of equal lines the earliest counts; with equal stamps, the first by file name and line number. Needs the
    events and ops.source_files.
    """
    repeated = {name for name, condition in _FIRST.items() if _find(connection, name, condition)}
    if repeated - {_PROVES_NOTHING}:
        repeated |= {name for name in _AFTERWARDS if _find(connection, name)}
    for name in repeated:
        _hide(connection, name)


def _find(connection: duckdb.DuckDBPyConnection, name: str, condition: str = "true") -> bool:
    """Put the repeated lines of a table into another table; return whether there are any.

    A line is repeated if it equals a line shortly before in everything but its place.
    """
    columns = [column for column in EVENT_TABLES[name] if column not in _PLACE]
    text = ", ".join(columns)
    execute(
        connection,
        f"""
        create or replace table events.repeated_{name} as
        with lines as not materialized (
            select source_id, line_number, logged_at, {text}, hash({text}) as text_hash
            from events.{name}
            where {condition}
        ),

        equal_texts as (
            select text_hash from lines group by text_hash having count(*) > 1
        )

        select distinct source_id, line_number
        from (
            select
                lines.source_id,
                lines.line_number,
                lines.logged_at,
                lag(struct_pack(lines.source_id, lines.line_number, lines.logged_at)) over (
                    partition by {", ".join(f"lines.{column}" for column in columns)}
                    order by lines.logged_at, files.path, lines.line_number
                ) as previous
            from lines
            semi join equal_texts on lines.text_hash = equal_texts.text_hash
            left join ops.source_files as files on lines.source_id = files.source_id
        )
        where
            logged_at <= previous.logged_at + to_seconds({REPEATED_WITHIN.total_seconds():.0f})
            -- A line may name the same recipient twice.
            and (source_id, line_number) <> (previous.source_id, previous.line_number)
        """,
    )
    return bool(execute(connection, f"select 1 from events.repeated_{name} limit 1"))


def _hide(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Replace a table or view of events by a view without repeated lines."""
    ((is_view,),) = connection.execute(
        "select count(*) > 0 from duckdb_views() where schema_name = 'events' and view_name = $name",
        {"name": name},
    ).fetchall()
    connection.execute(f"alter {'view' if is_view else 'table'} events.{name} rename to {name}_with_repeats")
    connection.execute(
        f"""
        create view events.{name} as
        from events.{name}_with_repeats as lines
        anti join events.repeated_{name} as repeated
            on lines.source_id = repeated.source_id and lines.line_number = repeated.line_number
        """
    )
