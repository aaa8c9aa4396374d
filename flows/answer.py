"""The published catalog to the answer a person reads, or rows that a machine does."""

import csv
import json
import math
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shlex import quote
from typing import Any, TextIO

import duckdb
from rich.console import Console
from rich.text import Text

from flows.layout import Column, plain, show_table
from transforms.lake.catalog import CATALOG_NAME, confine
from transforms.marts.advice import load_advice
from transforms.problems import HAS_MAIL_LINES, MaillagError
from transforms.zone import Zone

VERDICTS = {
    "effective": "flushed",
    "ineffective": "flush without effect",
    "missing": "NOT FLUSHED",
    "not_needed": "nothing waited",
    "unknown": "unknown",
}
REASONS = {
    "log_end": "the log ends too early",
    "coverage_gap": "the log has a gap, or lacks lines",
    "settings_unknown": "retry settings unknown",
    "too_few_messages": "too few messages to tell",
    "qmgr_restart": "Postfix was restarted",
    "still_down": "still down",
    "no_maillog": "no maillog",
    "clock_set_back": "the clock was set back",
    "several_hosts": "lines of several hosts",
    "not_noticed": "the manager did not notice",
    "wrapper_defect": "ordered, but the wrapper is defective",
    "order_without_effect": "ordered, but without effect",
    "not_ordered": "the manager ordered none",
}
# Names of ignored files that a run prints.
IGNORED_SHOWN = 5
# Hosts that are named where one is not known.
HOSTS_NAMED = 5
# Why a line that a pattern knows is no event all the same (docs/hostile-text.md).
DOUBTFUL = {"ambiguous", "cut", "out_of_range"}
# What a cell begins with that a spreadsheet takes for a formula.
FORMULA = ("=", "+", "-", "@", "\t")

# The restarts that a command is about, the newest last; `$since` and `$until` are days of the host, `$newest`
# is how many of them, if not all. No zone is a day from UTC: the other bounds, which need no zone, pass over
# what lies far from these days unread.
_CHOSEN = """
select chosen.* from (
    select {table}.*
    from marts.{table} as {table}
    inner join fleet.hosts as hosts on {table}.host = hosts.host
    where
        (len($hosts) = 0 or list_contains($hosts, {table}.host))
        and coalesce(cast(timezone(hosts.time_zone, {table}.down_at) as date) >= $since, true)
        and coalesce(cast(timezone(hosts.time_zone, {table}.down_at) as date) <= $until, true)
        and (
            cast($since as date) is null
            or {table}.down_at >= timezone('UTC', cast($since as date) - interval 1 day)
        )
        and (
            cast($until as date) is null
            or {table}.down_at < timezone('UTC', cast($until as date) + interval 2 days)
        )
    order by {table}.down_at desc, {table}.host desc
    limit $newest
) as chosen
order by chosen.down_at, chosen.host
"""
EVERYTHING: dict[str, Any] = {"hosts": [], "since": None, "until": None, "newest": None}
RESTARTS = _CHOSEN.format(table="restarts")
UNKNOWN_RESTARTS = f"select * from ({RESTARTS}) where flush_verdict = 'unknown'"
MISSING_FLUSHES = _CHOSEN.format(table="missing_flushes")
# What people are shown of a restart: reading all columns of a year takes four times as long.
_RESTART_COLUMNS = (
    "restart_id",
    "host",
    "down_at",
    "outage_seconds",
    "is_up_at_estimated",
    "held_message_count",
    "restart_delay_p50_seconds",
    "restart_delay_max_seconds",
    "flush_verdict",
    "flush_observed_at",
    "verdict_reason",
    "missing_reason",
)
SHOWN_RESTARTS = f"select {', '.join(_RESTART_COLUMNS)} from ({RESTARTS})"
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
# Chosen hosts that could have shown a restart (system events alone tell one), or could not.
SIGHTED = f"""
select
    hosts.host,
    count(source_files.source_id) > 0
    and (
        count(source_files.source_id) filter (where source_files.log_kind = 'system_events') > 0
        or count(findings.place) = 0
    ) as is_sighted
from fleet.hosts as hosts
left join ops.source_files as source_files
    on hosts.host = source_files.host and source_files.log_kind <> 'inventory'
left join ops.quarantine as findings
    on hosts.host = findings.place and findings.rule = '{HAS_MAIL_LINES.replace("'", "''")}'
where len($hosts) = 0 or list_contains($hosts, hosts.host)
group by hosts.host
order by hosts.host
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
UNPARSED_REASONS = """
select
    reason,
    count(*) as line_count,
    count(distinct host) as host_count,
    max(logged_at) as last_logged_at
from events.unparsed_lines
group by reason
order by line_count desc, reason
"""
UNPARSED_SHAPES = r"""
select
    count(*) as line_count,
    any_value(reason) as reason,
    regexp_replace(
        regexp_replace(line, '<[^>]*>|[^\s<>=]+@[^\s<>,]+', '<...>', 'g'),
        '[0-9A-Fa-f]*[0-9][0-9A-Fa-f]*', 'N', 'g'
    ) as shape
from events.unparsed_lines
group by shape
order by line_count desc, shape
limit 10
"""

Row = dict[str, Any]
Values = tuple[Any, ...]


def open_catalog(lake: Path, config: Mapping[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
    """Open the published catalog read-only, by DuckDB's settings, with no other file within reach.

    Raises MaillagError if nothing was published there yet.
    """
    catalog = lake / CATALOG_NAME
    if not catalog.is_file():
        raise MaillagError(
            f"{catalog}: does not exist. Make it with: maillag run ARCHIVE --lake {quote(str(lake))}"
        )
    connection = duckdb.connect(str(catalog), read_only=True, config=dict(config or {}))
    confine(connection, lake)
    return connection


def fetch(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Row | None = None) -> list[Row]:
    """Return a query's rows as dictionaries."""
    result = connection.execute(sql, parameters or {})
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def fetch_readable(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    """Return a query's rows, or one that says why there are none, as a file of the lake is damaged."""
    try:
        return fetch(connection, sql)
    except duckdb.Error as error:
        return [{"what": f"cannot be read ({str(error).splitlines()[0]})"}]


def count_rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Row | None = None) -> int:
    """Return how many rows a query has."""
    (row,) = fetch(connection, f"select count(*) as row_count from ({sql})", parameters)
    return int(row["row_count"])


def columns_of(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    """Return the column names of a table or a SELECT in parentheses."""
    return [row[0] for row in connection.execute(f"describe select * from {query}").fetchall()]


def check_hosts(connection: duckdb.DuckDBPyConnection, hosts: Sequence[str]) -> None:
    """Raise MaillagError, which names some that are, if one of these is no host of the fleet."""
    known = [row["host"] for row in fetch(connection, "select host from fleet.hosts order by host")]
    for host in hosts:
        if host not in known:
            more = len(known) - HOSTS_NAMED
            named = ", ".join(known[:HOSTS_NAMED]) + (f" and {more} more" if more > 0 else "")
            raise MaillagError(f"{host}: is no host of this lake. Its hosts: {named or 'none'}.")


def write_json(document: Any, stream: TextIO = sys.stdout) -> None:
    """Write JSON; times are ISO 8601 in UTC, durations seconds, and what is no number is null."""
    stream.write(_json(document) + "\n")


def _json(document: Any) -> str:
    text = json.dumps(json_value(document), indent=2, ensure_ascii=True, allow_nan=False)
    # The one control character that is ASCII and that JSON takes as it is.
    return text.replace("\x7f", r"\u007f")


def write_records(columns: Sequence[str], rows: Iterable[Values], stream: TextIO = sys.stdout) -> None:
    """Write rows as a JSON list of objects, as they come.

    Raises MaillagError if two columns have the same name.
    """
    for name in columns:
        if columns.count(name) > 1:
            raise MaillagError(f"query: two columns are called {name}. For JSON, rename one with `as`.")
    before = "[\n"
    for row in rows:
        stream.write(before + textwrap.indent(_json(dict(zip(columns, row, strict=True))), "  "))
        before = ",\n"
    stream.write("[]\n" if before == "[\n" else "\n]\n")


def write_csv(columns: Sequence[str], rows: Iterable[Iterable[Any]], stream: TextIO = sys.stdout) -> None:
    """Write CSV with a header, also where there are no rows; lists are JSON.

    A text that a spreadsheet would take for a formula, for it begins with = + - @ or a tab, begins with `'`.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_csv_cell(name) for name in columns])
    for row in rows:
        writer.writerow([_csv_cell(value) for value in row])


def _csv_cell(value: Any) -> str:
    if type(value) is int:
        return str(value)
    lines = "\n".join("\t".join(map(plain, line.split("\t"))) for line in cell_text(value).split("\n"))
    return f"'{lines}" if isinstance(value, str) and lines.startswith(FORMULA) else lines


def json_value(value: Any) -> Any:
    """Return a value of a row as JSON can hold it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return float(value) if Decimal(str(float(value))) == value else str(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): json_value(part) for key, part in value.items()}
        case list() | tuple():
            return [json_value(part) for part in value]
    return str(value)


def cell_text(value: Any) -> str:
    """Return a value of a row as the text of a cell: lists, structures and truth values as JSON."""
    held = json_value(value)
    if held is None or isinstance(held, str):
        return held or ""
    return json.dumps(held, ensure_ascii=True)


def show_rows(console: Console, columns: Sequence[str], rows: Sequence[Values]) -> None:
    """Print the rows of any query."""
    if not rows:
        console.print("none")
        return
    cells = [[cell_text(value) for value in row] for row in rows]
    shown = [
        Column(
            name,
            # A word alone is an id.
            is_prose=any(" " in row[index] for row in cells),
            is_right=all(isinstance(row[index], int | float | Decimal | None) for row in rows),
        )
        for index, name in enumerate(columns)
    ]
    show_table(console, shown, cells)


def show_restarts(
    console: Console,
    rows: Sequence[Row],
    zones: dict[str, str],
    *,
    of_count: int | None = None,
    sighted: Sequence[Row] = (),
) -> None:
    """Print restarts, each with the mail it held and the verdict on its flush; say if they are not all.

    `sighted` are the rows of SIGHTED: of hosts that could have shown no restart, that none was found means
    nothing.
    """
    blind = [row["host"] for row in sighted if not row["is_sighted"]]
    if not rows:
        _tell_none(console, [row["host"] for row in sighted if row["is_sighted"]], blind)
    if blind:
        console.print(Text(f"Nothing can be said of {_named(blind)}: no line of their mail was read."))
    if not rows:
        return
    cells = [
        (
            row["restart_id"],
            local_time(row["down_at"], zones[row["host"]]),
            _estimated(row),
            f"{row['held_message_count']:,}",
            duration(row["restart_delay_p50_seconds"]),
            duration(row["restart_delay_max_seconds"]),
            _flush(row),
        )
        for row in rows
    ]
    show_table(
        console,
        (
            Column("restart"),
            Column("down at (host time)"),
            Column("out for", is_right=True),
            Column("held", is_right=True),
            Column("median wait", is_right=True),
            Column("longest", is_right=True),
            Column("flush", is_prose=True),
        ),
        cells,
        title="Restarts of the scan service",
        red=[index for index, row in enumerate(rows) if row["flush_verdict"] in {"missing", "ineffective"}],
    )
    _tell_others(console, rows, of_count, "More, or all: maillag restarts [--since DAY]")


def _tell_none(console: Console, seen: Sequence[str], blind: Sequence[str]) -> None:
    if not blind:
        console.print("No restart of the scan service was found.")
    elif seen:
        console.print(Text(f"No restart of the scan service was found on {_named(seen)}."))


def _named(hosts: Sequence[str]) -> str:
    more = len(hosts) - HOSTS_NAMED
    return plain(", ".join(hosts[:HOSTS_NAMED])) + (f" and {more} more" if more > 0 else "")


def show_missing_flushes(
    console: Console,
    rows: Sequence[Row],
    *,
    of_count: int | None = None,
    unknown_count: int = 0,
    sighted: Sequence[Row] = (),
) -> None:
    """Print the restarts that lacked a flush, what it cost and what to do; say if they are not all.

    `unknown_count` restarts have no verdict: there a flush may be missing, too. `sighted` are the rows of
    SIGHTED.
    """
    if not rows:
        if unknown_count:
            restarts = counted(unknown_count, "restart")
            console.print(f"No flush is known to be missing. The verdict on {restarts} is unknown.")
        elif all(row["is_sighted"] for row in sighted):
            console.print("No flush is missing.")
        else:
            console.print("No flush is known to be missing.")
        return
    titles = {advice.code: advice.title for advice in load_advice()}
    cells = [
        (
            row["restart_id"],
            f"{row['held_message_count']:,}",
            duration(row["avoidable_delay_total_seconds"]),
            duration(row["avoidable_delay_max_seconds"]),
            row["build_verdict"].replace("_", " "),
            titles[row["advice"]],
        )
        for row in rows
    ]
    show_table(
        console,
        (
            Column("restart"),
            Column("held", is_right=True),
            Column("avoidable wait", is_right=True),
            Column("longest", is_right=True),
            Column("flush of its build", is_prose=True),
            Column("what to do", is_prose=True),
        ),
        cells,
        title="Missing flushes, and what they cost",
    )
    _tell_others(console, rows, of_count, "All of them: marts.missing_flushes")


def _tell_others(console: Console, rows: Sequence[Row], of_count: int | None, where: str) -> None:
    if of_count and of_count > len(rows):
        console.print(f"These are the newest of {of_count:,}. {where}")


def show_counts(console: Console, counts: Row, catalog: Path) -> None:
    """Print what was read, what is missing, and where the tables are."""
    reasons = ", ".join(f"{row['line_count']:,} {row['reason']}" for row in counts["unparsed_reasons"])
    console.print(
        f"{counted(counts['host_count'], 'host')}, {counted(counts['source_file_count'], 'log file')}, "
        f"{counted(counts['line_count'], 'line')}: {counts['unparsed_line_count']:,} unparsed"
        f"{f' ({reasons})' if reasons else ''}, "
        f"{counted(counts['quarantined_file_count'], 'file')} kept out, "
        f"{counts['damaged_file_count']} damaged. New in this run: "
        f"{counted(counts['new_file_count'], 'file')}, {counted(counts['new_line_count'], 'line')}."
    )
    if DOUBTFUL.intersection(row["reason"] for row in counts["unparsed_reasons"]):
        console.print(
            "Lines that can be read in two ways (ambiguous), were cut, or hold an impossible number "
            "(out_of_range) prove nothing. Look at them with: maillag status"
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


def verdict_in_words(restart: Row) -> str:
    """Return the verdict on a flush; one that was seen had some effect, whatever it left."""
    if restart["flush_verdict"] == "ineffective" and restart["flush_observed_at"]:
        return "flush incomplete"
    return VERDICTS[restart["flush_verdict"]]


def _flush(row: Row) -> str:
    reason = row["verdict_reason"] or row["missing_reason"]
    return verdict_in_words(row) + (f" ({REASONS.get(reason, reason)})" if reason else "")


def _estimated(row: Row) -> str:
    about = "~" if row["is_up_at_estimated"] and row["outage_seconds"] is not None else ""
    return about + duration(row["outage_seconds"])


def local_time(instant: datetime, zone: str) -> str:
    """Return an instant on the clock of a zone, such as `2026-11-24 12:07:08`."""
    return f"{Zone(zone, '').to_local(instant):%Y-%m-%d %H:%M:%S}"


def product_in_words(host: Row) -> str:
    """Return product, version and build, such as `IMSVA 9.1 b1631`."""
    if host["product"] is None:
        return "unknown"
    build = f"b{host['build']}" if host["build"] is not None else "(build unknown)"
    return " ".join(filter(None, (host["product"].upper(), host["version"], build)))


def counted(count: int, noun: str) -> str:
    """Return `1 message` or `1,200 messages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """Return `1:02:03`, `2:03` (minutes) or `45 s`; a dash if there is none."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"
