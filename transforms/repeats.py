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
# Where and when a line was written, and how that was found; all else is its text.
_PLACE = frozenset({"source_id", "line_number", "logged_at", "year_source", "zone_source"})
_CONDITIONS = {"service_events": "event_kind <> 'lines_lost'"}


def show_lines_once(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace the tables or views of events by views without repeated lines, where there are any.

    Of equal lines the earliest counts, of those with equal stamps the first by the files' names and the
    lines' numbers. Needs the events and ops.source_files.
    """
    for name in TABLES:
        _show_once(connection, name)


def _show_once(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    text = ", ".join(f"lines.{column}" for column in EVENT_TABLES[name] if column not in _PLACE)
    lines = f"events.{name} as lines where {_CONDITIONS.get(name, 'true')}"
    # One pass over the texts is all that it costs where no line is repeated.
    execute(
        connection,
        f"""
        create or replace temp table equal_texts as
        select hash({text}) as text_hash from {lines} group by text_hash having count(*) > 1
        """,
    )
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
            semi join equal_texts
                on hash({text}) = equal_texts.text_hash
            left join ops.source_files as files
                on lines.source_id = files.source_id
            where {_CONDITIONS.get(name, "true")}
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
