"""Rows of hosts to what a person reads: what each is, how it behaves, what to do, and what changes did."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from flows.catalog import Row
from flows.tables import Column, plain, show_table
from flows.words import duration, local_time, product_in_words

DIAGNOSIS = """
select *
from marts.host_diagnosis
where len($hosts) = 0 or list_contains($hosts, host)
order by host
"""
CHANGES = """
select *
from marts.fleet_changes
where len($hosts) = 0 or list_contains($hosts, host)
order by host, changed_at
"""
TEXT_COLUMNS = {"en": "advice_text", "ja": "advice_text_ja"}


def show_diagnosis(console: Console, rows: Sequence[Row], zones: dict[str, str], language: str) -> None:
    """Print one line per host, then the advice for each host that needs some; `language` is en or ja."""
    if not rows:
        console.print(Text("No host was found."))
        return
    cells = [
        (
            row["host"],
            product_in_words(row),
            row["build_verdict"].replace("_", " "),
            row["behaviour"].replace("_", " "),
            _retry(row),
            f"{row['restart_count']:,}",
            _not_flushed(row, zones[row["host"]]),
            duration(row["restart_delay_max_seconds"]),
        )
        for row in rows
    ]
    show_table(
        console,
        (
            Column("host"),
            Column("product", is_prose=True),
            Column("flush of its build", is_prose=True),
            Column("behaviour", is_prose=True),
            Column("queue run / backoff (s)"),
            Column("restarts", is_right=True),
            Column("not flushed", is_prose=True, is_right=True),
            Column("longest wait", is_right=True),
        ),
        cells,
        title="The fleet",
        red=[index for index, row in enumerate(rows) if row["current_missing_count"]],
    )
    for row in rows:
        if row["advice"]:
            console.print()
            console.print(Text(plain(row["host"]), style="bold"))
            for line in row[TEXT_COLUMNS[language]].split("\n"):
                # Commands are indented, and must not be folded.
                console.print(Text(plain(line)), soft_wrap=line.startswith(" ") or None)


def show_changes(console: Console, rows: Sequence[Row], zones: dict[str, str]) -> None:
    """Print each change of a host's settings, with its restarts before and after it."""
    if not rows:
        console.print(Text("No host's settings changed."))
    numbers = ("restarts", "with held mail", "not flushed", "median wait", "95 %", "longest")
    columns = (Column(""), *(Column(name, is_right=True) for name in numbers))
    for row in rows:
        when = f"{row['host']}, {local_time(row['changed_at'], zones[row['host']])} (host time): "
        console.print(Text(plain(when + ", ".join(row["changes"])), style="bold"))
        show_table(console, columns, [("before", *_side(row, "before")), ("after", *_side(row, "after"))])
        console.print()


def _retry(row: Row) -> str:
    settings = (row["queue_run_delay_seconds"], row["minimal_backoff_seconds"])
    return " / ".join("?" if seconds is None else str(seconds) for seconds in settings)


def _not_flushed(row: Row, zone: str) -> str:
    if row["current_from"] is None:
        return f"{row['missing_flush_count']:,}"
    since = local_time(row["current_from"], zone)[:10]
    return f"{row['missing_flush_count']:,} ({row['current_missing_count']:,} since {since})"


def _side(row: Row, side: str) -> tuple[str, ...]:
    share = row[f"missing_share_{side}"]
    return (
        f"{row[f'restart_count_{side}']:,}",
        f"{row[f'restarts_with_held_mail_count_{side}']:,}",
        f"{row[f'missing_flush_count_{side}']:,}" + ("" if share is None else f" ({share:.0%})"),
        *(duration(row[f"restart_delay_{part}_seconds_{side}"]) for part in ("p50", "p95", "max")),
    )
