"""The published catalog to the answer a person reads, or rows that a machine does."""

import csv
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, TextIO

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from transforms.catalog import CATALOG_NAME
from transforms.clock import Zone
from transforms.problems import MaillagError

# Wide enough for the tables where no terminal tells its width.
PIPE_COLUMNS = 132

VERDICTS = {
    "effective": "flushed",
    "ineffective": "flush without effect",
    "missing": "NOT FLUSHED",
    "not_needed": "nothing waited",
    "unknown": "unknown",
}
REASONS = {
    "log_end": "the log ends too early",
    "coverage_gap": "the log has a gap",
    "settings_unknown": "retry settings unknown",
    "too_few_messages": "too few messages to tell",
    "qmgr_restart": "Postfix was restarted",
    "still_down": "still down",
    "no_maillog": "no maillog",
    "not_noticed": "the manager did not notice",
    "wrapper_defect": "ordered, but the wrapper is defective",
    "not_ordered": "the manager ordered none",
}
# Names of ignored files that a run prints.
IGNORED_SHOWN = 5
ADVICE = {
    "apply_patch_1": "apply Patch 1 (b1335), then check the wrapper script",
    "apply_patch_2": "apply Patch 2 (b1830)",
    "check_wrapper": "check the md5 of script/postfix, then edit it",
    "edit_wrapper": "edit script/postfix",
    "shorten_retry": "shorten queue_run_delay and minimal_backoff_time",
    "shorten_queue_interval": "run sendmail's queue more often (-q)",
}

# Which restarts a command is about; `$since` and `$until` are days of the host.
CHOSEN = """
    (len($hosts) = 0 or list_contains($hosts, restarts.host))
    and coalesce(cast(timezone(hosts.time_zone, restarts.down_at) as date) >= $since, true)
    and coalesce(cast(timezone(hosts.time_zone, restarts.down_at) as date) <= $until, true)
"""
EVERYTHING: dict[str, Any] = {"hosts": [], "since": None, "until": None}
RESTARTS = f"""
select restarts.*
from marts.restarts as restarts
inner join fleet.hosts as hosts on restarts.host = hosts.host
where {CHOSEN}
order by restarts.down_at, restarts.host
"""
MISSING_FLUSHES = f"""
select missing_flushes.*
from marts.missing_flushes as missing_flushes
inner join marts.restarts as restarts on missing_flushes.restart_id = restarts.restart_id
inner join fleet.hosts as hosts on restarts.host = hosts.host
where {CHOSEN}
order by restarts.down_at, restarts.host
"""
ZONES = "select host, time_zone from fleet.hosts"
COUNTS = """
select
    count(*) as source_file_count,
    count(distinct host) as host_count,
    coalesce(sum(line_count), 0) as line_count,
    coalesce(sum(unparsed_line_count), 0) as unparsed_line_count,
    count(*) filter (where status = 'quarantined') as quarantined_file_count,
    count(*) filter (where status = 'damaged') as damaged_file_count
from ops.source_files
"""
SILENT_HOSTS = """
select host
from fleet.hosts
anti join ops.source_files as source_files using (host)
order by host
"""
HOSTS = """
select
    hosts.host,
    hosts.product,
    hosts.build,
    hosts.time_zone,
    hosts.time_zone_source,
    count(source_files.source_id) as source_file_count,
    coalesce(sum(source_files.line_count), 0) as line_count,
    coalesce(sum(source_files.unparsed_line_count), 0) as unparsed_line_count,
    min(source_files.first_logged_at) as first_logged_at,
    max(source_files.last_logged_at) as last_logged_at
from fleet.hosts as hosts
left join ops.source_files as source_files on hosts.host = source_files.host
group by all
order by hosts.host
"""
LAST_RUNS = """
select run_id, status, source_file_count, line_count, finding_count, started_at, finished_at
from ops.runs
order by started_at desc
limit 5
"""
FINDINGS = """
select severity, place, what, remedy, row_count, example_rows
from ops.quarantine
order by severity, place, rule
"""
UNPARSED_SHAPES = r"""
select
    count(*) as line_count,
    any_value(reason) as reason,
    regexp_replace(
        regexp_replace(line, '<[^>]*>', '<...>', 'g'), '[0-9A-Fa-f]*[0-9][0-9A-Fa-f]*', 'N', 'g'
    ) as shape
from events.unparsed_lines
group by shape
order by line_count desc, shape
limit 10
"""

Row = dict[str, Any]


def open_catalog(lake: Path) -> duckdb.DuckDBPyConnection:
    """Open the published catalog read-only, with no other file within reach.

    Raises MaillagError if nothing was published there yet.
    """
    catalog = lake / CATALOG_NAME
    if not catalog.is_file():
        raise MaillagError(f"{catalog}: does not exist. Make it with: maillag run ARCHIVE --lake {lake}")
    connection = duckdb.connect(str(catalog), read_only=True)
    connection.execute("set timezone = 'UTC'")
    connection.execute("set allowed_directories = [?]", [str(lake.resolve())])
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
    return connection


def fetch(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Row | None = None) -> list[Row]:
    """Return a query's rows as dictionaries."""
    result = connection.execute(sql, parameters or {})
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def columns_of(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    """Return the column names of a table or a SELECT in parentheses."""
    return [row[0] for row in connection.execute(f"describe select * from {query}").fetchall()]


def fetch_select(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[Row], list[str]]:
    """Run a user's query, and return its rows and columns.

    Raises MaillagError if it is not one SELECT, or if it fails.
    """
    try:
        statements = connection.extract_statements(sql)
        reading = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
        if len(statements) != 1 or statements[0].type not in reading:
            raise MaillagError("query: is not one SELECT. The catalog is for reading.")
        rows = fetch(connection, sql)
        return rows, [column[0] for column in connection.description or ()]
    except duckdb.Error as error:
        raise MaillagError(f"query: {error}") from None


def write_json(document: Any, stream: TextIO = sys.stdout) -> None:
    """Write JSON; times are ISO 8601 in UTC."""
    json.dump(document, stream, indent=2, ensure_ascii=True, default=_json_value)
    stream.write("\n")


def write_csv(rows: Sequence[Row], columns: Sequence[str], stream: TextIO = sys.stdout) -> None:
    """Write CSV with a header, also where there are no rows."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([plain(_json_value(row[column])) for column in columns])


def show_rows(console: Console, rows: Sequence[Row], columns: Sequence[str] = ()) -> None:
    """Print the rows of any query as a table."""
    if not rows:
        console.print(Text("none"))
        return
    table = Table(box=None, pad_edge=False)
    for name in columns or rows[0]:
        table.add_column(Text(plain(name)))
    for row in rows:
        table.add_row(*(Text(plain(_json_value(value))) for value in row.values()))
    console.print(table)


def show_restarts(console: Console, rows: Sequence[Row], zones: dict[str, str]) -> None:
    """Print restarts, each with the mail it held and the verdict on its flush."""
    table = _table(
        "Restarts of the scan service",
        ("restart", "down at (host time)", "out for", "held", "median wait", "longest", "flush"),
        right={"out for", "held", "median wait", "longest"},
    )
    for row in rows:
        verdict = VERDICTS[row["flush_verdict"]]
        reason = row["verdict_reason"] or row["missing_reason"]
        table.add_row(
            Text(plain(row["restart_id"])),
            local_time(row["down_at"], zones[row["host"]]),
            _estimated(row),
            f"{row['held_message_count']:,}",
            duration(row["restart_delay_p50_seconds"]),
            duration(row["restart_delay_max_seconds"]),
            verdict + (f" ({REASONS.get(reason, reason)})" if reason else ""),
            style="red" if row["flush_verdict"] in {"missing", "ineffective"} else None,
        )
    console.print(table if rows else Text("No restart of the scan service was found."))


def show_missing_flushes(console: Console, rows: Sequence[Row]) -> None:
    """Print the restarts that lacked a flush, with what it cost and what to do."""
    if not rows:
        console.print(Text("No flush is missing."))
        return
    table = _table(
        "Missing flushes, and what they cost",
        ("restart", "held", "avoidable wait", "longest", "build", "what to do"),
        right={"held", "avoidable wait", "longest"},
    )
    for row in rows:
        table.add_row(
            Text(plain(row["restart_id"])),
            f"{row['held_message_count']:,}",
            duration(row["avoidable_delay_total_seconds"]),
            duration(row["avoidable_delay_max_seconds"]),
            row["build_verdict"].replace("_", " "),
            ADVICE[row["advice"]],
        )
    console.print(table)


def show_counts(console: Console, counts: Row, catalog: Path) -> None:
    """Print what was read, what is missing, and where the tables are."""
    console.print(
        f"{counts['host_count']} hosts, {counts['source_file_count']} log files, "
        f"{counts['line_count']:,} lines: {counts['unparsed_line_count']:,} unparsed, "
        f"{counts['quarantined_file_count']} files kept out, "
        f"{counts['damaged_file_count']} damaged. "
        f"New in this run: {counts['new_file_count']} files, {counts['new_line_count']:,} lines."
    )
    if counts["ignored_file_count"]:
        names = [plain(name) for name in counts["ignored_files"][:IGNORED_SHOWN]]
        more = counts["ignored_file_count"] - len(names)
        console.print(
            Text(
                f"Ignored, for their names are no log's: {', '.join(names)}"
                + (f" and {more} more (all with --json)." if more else ".")
            )
        )
    if counts["hosts_without_logs"]:
        console.print(Text("No logs of: " + plain(", ".join(counts["hosts_without_logs"]))))
    console.print(Text(f"Lake: {catalog.parent}    Tables: duckdb -readonly {catalog}"))


def plain(value: object) -> str:
    r"""Return text for a terminal: what a sender put into a log must not steer it (`\xNN` instead)."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def output_console() -> Console:
    """Return a console on standard output, wide enough for the tables where it is no terminal."""
    width = shutil.get_terminal_size((PIPE_COLUMNS, 40)).columns
    return Console(width=width, highlight=False)


def _table(title: str, columns: Iterable[str], right: set[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=name in right)
    return table


def _estimated(row: Row) -> str:
    about = "~" if row["is_up_at_estimated"] and row["outage_seconds"] is not None else ""
    return about + duration(row["outage_seconds"])


def local_time(instant: datetime, zone: str) -> str:
    """Return an instant as the host's clock shows it, to the second."""
    return f"{Zone(zone, '').to_local(instant):%Y-%m-%d %H:%M:%S}"


def duration(seconds: float | None) -> str:
    """Return `1:02:03`, `2:03` (minutes) or `45 s`; a dash if there is none."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value
