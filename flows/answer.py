"""Rows to the answer that a person reads: restarts, missing flushes, what was read, and any other rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from flows.catalog import Row, Values
from flows.machine import cell_text
from flows.report.rows import REPORT_NAME
from flows.tables import Column, for_logs, plain, show_table
from flows.words import counted, duration, first_few, local_time
from transforms.marts.advice import load_advice

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
# Why a line that matches a pattern is no event all the same (docs/hostile-text.md).
DOUBTFUL = {"ambiguous", "cut", "out_of_range"}
# Hosts named where many have the same problem.
HOSTS_SHOWN = 3


def show_rows(console: Console, columns: Sequence[str], rows: Sequence[Values]) -> None:
    """Print the rows of any query."""
    if not rows:
        console.print("none")
        return
    cells = [[cell_text(value) for value in row] for row in rows]
    shown = [
        Column(
            name,
            # A single word is an id.
            is_prose=any(" " in row[index] for row in cells),
            is_right=all(isinstance(row[index], int | float | Decimal | None) for row in rows),
        )
        for index, name in enumerate(columns)
    ]
    show_table(console, shown, cells)


def show_restarts(
    console: Console,
    rows: Sequence[Row],
    zones: Mapping[str, str],
    *,
    of_count: int | None = None,
    sighted: Mapping[str, bool] | None = None,
) -> None:
    """Print restarts, each with the mail it held and the verdict on its flush; say if there are more.

    `sighted` says of each host whether its logs could show a restart: only of those that could does the
    text say that none was found.
    """
    blind = [host for host, is_sighted in (sighted or {}).items() if not is_sighted]
    if not rows:
        _print_none(console, [host for host, is_sighted in (sighted or {}).items() if is_sighted], blind)
    if blind:
        hosts = plain(first_few(blind))
        console.print(Text(f"Nothing can be said of {hosts}: no line of their mail was read."))
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
    _print_rest(console, rows, of_count, "maillag restarts [--since DAY]")


def _print_none(console: Console, seen: Sequence[str], blind: Sequence[str]) -> None:
    if not blind:
        console.print("No restart of the scan service was found.")
    elif seen:
        console.print(Text(f"No restart of the scan service was found on {plain(first_few(seen))}."))


def show_missing_flushes(
    console: Console,
    rows: Sequence[Row],
    *,
    of_count: int | None = None,
    unknown_count: int = 0,
    sighted: Mapping[str, bool] | None = None,
) -> None:
    """Print the restarts without a flush, what that cost and what to do; say if there are more.

    `unknown_count` restarts have no verdict: there, too, a flush may be missing. `sighted` is as in
    show_restarts.
    """
    if not rows:
        if unknown_count:
            restarts = counted(unknown_count, "restart")
            console.print(f"No flush is known to be missing. The verdict on {restarts} is unknown.")
        elif all((sighted or {}).values()):
            console.print("No flush is missing.")
        else:
            console.print("No flush is known to be missing.")
        return
    titles = {advice.code: advice.title_en for advice in load_advice()}
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
    _print_rest(console, rows, of_count, "maillag query 'select * from marts.missing_flushes'")


def _print_rest(console: Console, rows: Sequence[Row], of_count: int | None, command: str) -> None:
    if of_count and of_count > len(rows):
        console.print(f"Only the newest {len(rows):,} of {of_count:,} are shown. For the others: {command}")


def show_counts(console: Console, counts: Row, catalog: Path) -> None:
    """Print what was read, what was left out, and where the tables are."""
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
        names = plain(first_few(counts["ignored_files"], noun="file"))
        console.print(Text(f"Ignored (file name not recognised): {names}."))
    if counts["hosts_without_logs"]:
        hosts = plain(first_few(counts["hosts_without_logs"], noun="host"))
        console.print(Text(f"No logs were found for: {hosts}."))
    console.print(Text(f"Lake: {catalog.parent}    Tables: duckdb -readonly {catalog}"))
    page = catalog.with_name(REPORT_NAME)
    if page.exists():
        console.print(Text(f"Page for the browser: {page}"))


def problem_lines(problems: Iterable[Row]) -> Iterator[str]:
    """Yield a line for each problem; hosts with the very same problem share one, which names the first few.

    A row has severity, place (a path or a host), rule, what and remedy.
    """
    places: dict[tuple[str, ...], list[str]] = {}
    for row in problems:
        file = row["place"] if "/" in row["place"] else ""
        problem = (file, *(row[name] for name in ("severity", "rule", "what", "remedy")))
        places.setdefault(problem, []).append(row["place"])
    for (_, severity, _, what, remedy), of_problem in places.items():
        named = first_few(of_problem, noun="host", shown=HOSTS_SHOWN)
        yield f"{severity}: {for_logs(f'{named}: {what}. {remedy}')}"


def verdict_in_words(restart: Row) -> str:
    """Return the verdict on a flush: one that was seen had some effect, even if it left mail behind."""
    if restart["flush_verdict"] == "ineffective" and restart["flush_observed_at"]:
        return "flush incomplete"
    return VERDICTS[restart["flush_verdict"]]


def _flush(row: Row) -> str:
    reason = row["verdict_reason"] or row["missing_reason"]
    return verdict_in_words(row) + (f" ({REASONS.get(reason, reason)})" if reason else "")


def _estimated(row: Row) -> str:
    about = "~" if row["is_up_at_estimated"] and row["outage_seconds"] is not None else ""
    return about + duration(row["outage_seconds"])
