"""Rows to the answer that a person reads: restarts, missing flushes, what was read, and any other rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from rich.console import Console

from flows.catalog import Row, Values
from flows.findings_in_words import finding_in_words
from flows.language import Language, say
from flows.machine import cell_text
from flows.report.rows import REPORT_NAME
from flows.tables import Column, for_logs, plain, show_table, show_text
from flows.words import Clock, counted, first_few, named, waited
from transforms.marts.advice import advice_titles

# Why a line that matches a pattern is no event all the same (docs/hostile-text.md).
DOUBTFUL = {"ambiguous", "cut", "out_of_range"}
# Hosts named where many have the same problem.
HOSTS_SHOWN = 3


def show_rows(
    console: Console, columns: Sequence[str], rows: Sequence[Values], *, language: Language = "en"
) -> None:
    """Print the rows of any query."""
    if not rows:
        show_text(console, say(language, "terminal.none"))
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
    language: Language = "en",
    of_count: int | None = None,
    sighted: Mapping[str, bool] | None = None,
) -> None:
    """Print restarts, each with the mail it held and the verdict on its flush; say if there are more.

    `sighted` says of each host whether its logs could show a restart: only of those that could does the
    text say that none was found.
    """
    blind = [host for host, is_sighted in (sighted or {}).items() if not is_sighted]
    if not rows:
        seen = [host for host, is_sighted in (sighted or {}).items() if is_sighted]
        _print_none(console, seen, blind, language)
    if blind:
        hosts = plain(first_few(blind, language=language))
        show_text(console, say(language, "terminal.blind", hosts=hosts))
    if not rows:
        return
    clock = Clock.of((row["host"] for row in rows), zones, language)
    cells = [
        (
            row["restart_id"],
            # The id has the year and the second.
            clock.show(row["down_at"], row["host"], "%m-%d %H:%M"),
            _estimated(row, language),
            f"{row['held_message_count']:,}",
            waited(row["restart_delay_p50_seconds"], language),
            waited(row["restart_delay_max_seconds"], language),
            _flush(row, language),
        )
        for row in rows
    ]
    show_table(
        console,
        (
            Column(say(language, "terminal.restart")),
            Column(say(language, "terminal.down_at")),
            Column(say(language, "terminal.out_for"), is_right=True),
            Column(say(language, "terminal.held"), is_right=True),
            Column(say(language, "terminal.median"), is_right=True, is_spare=True),
            Column(say(language, "terminal.longest"), is_right=True),
            Column(say(language, "terminal.flush"), is_prose=True),
        ),
        cells,
        title=say(language, "terminal.restarts_title", zone=plain(clock.heading)),
        red=[index for index, row in enumerate(rows) if row["flush_verdict"] in {"missing", "ineffective"}],
        language=language,
    )
    if any(row["is_up_at_estimated"] for row in rows):
        show_text(console, say(language, "terminal.mark_estimated"))
    _print_rest(console, rows, of_count, "maillag restarts [--since DAY]", language)


def _print_none(console: Console, seen: Sequence[str], blind: Sequence[str], language: Language) -> None:
    if not blind:
        show_text(console, say(language, "terminal.no_restart"))
    elif seen:
        hosts = plain(first_few(seen, language=language))
        show_text(console, say(language, "terminal.no_restart_on", hosts=hosts))


def show_missing_flushes(
    console: Console,
    rows: Sequence[Row],
    *,
    language: Language = "en",
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
            show_text(console, say(language, "terminal.none_known_unknown", n=unknown_count))
        elif all((sighted or {}).values()):
            show_text(console, say(language, "terminal.none_missing"))
        else:
            show_text(console, say(language, "terminal.none_known_missing"))
        return
    titles = advice_titles(language)
    cells = [
        (
            row["restart_id"],
            f"{row['held_message_count']:,}",
            waited(row["avoidable_delay_total_seconds"], language),
            waited(row["avoidable_delay_max_seconds"], language),
            say(language, f"words.build_{row['build_verdict']}"),
            titles[row["advice"]],
        )
        for row in rows
    ]
    show_table(
        console,
        (
            Column(say(language, "terminal.restart")),
            Column(say(language, "terminal.held"), is_right=True),
            Column(say(language, "terminal.avoidable"), is_right=True),
            Column(say(language, "terminal.avoidable_longest"), is_right=True, is_spare=True),
            Column(say(language, "terminal.build_flush"), is_prose=True),
            Column(say(language, "terminal.to_do"), is_prose=True),
        ),
        cells,
        title=say(language, "terminal.missing_title"),
        language=language,
    )
    _print_rest(console, rows, of_count, "maillag query 'select * from marts.missing_flushes'", language)


def _print_rest(
    console: Console, rows: Sequence[Row], of_count: int | None, command: str, language: Language
) -> None:
    if of_count and of_count > len(rows):
        said = say(language, "terminal.newest_only", shown=len(rows), all=of_count, command=command)
        show_text(console, said)


def show_counts(console: Console, counts: Row, catalog: Path, *, language: Language = "en") -> None:
    """Print what was read, what was left out, and where the tables are."""
    reasons = say(language, "counted.comma").join(
        say(
            language,
            "terminal.reason_count",
            n=row["line_count"],
            reason=named("terminal.unparsed_", row["reason"], language),
        )
        for row in counts["unparsed_reasons"]
    )
    said = say(
        language,
        "terminal.counts",
        hosts=counted(counts["host_count"], "host", language),
        files=counted(counts["source_file_count"], "log_file", language),
        lines=counted(counts["line_count"], "line", language),
        unparsed=counts["unparsed_line_count"],
        reasons=f" ({reasons})" if reasons else "",
        kept_out=counted(counts["quarantined_file_count"], "file", language),
        damaged=counts["damaged_file_count"],
        new_files=counted(counts["new_file_count"], "file", language),
        new_lines=counted(counts["new_line_count"], "line", language),
    )
    show_text(console, said)
    if DOUBTFUL.intersection(row["reason"] for row in counts["unparsed_reasons"]):
        show_text(console, say(language, "terminal.doubtful"))
    if counts["ignored_file_count"]:
        files = plain(first_few(counts["ignored_files"], noun="file", language=language))
        show_text(console, say(language, "terminal.ignored", files=files))
    if counts["hosts_without_logs"]:
        hosts = plain(first_few(counts["hosts_without_logs"], noun="host", language=language))
        show_text(console, say(language, "terminal.without_logs", hosts=hosts))
    where = say(language, "terminal.lake", lake=plain(catalog.parent), catalog=plain(catalog))
    show_text(console, where, is_whole=True)
    page = catalog.with_name(REPORT_NAME)
    if page.exists():
        show_text(console, say(language, "terminal.page", page=plain(page)), is_whole=True)


def problem_lines(
    problems: Iterable[Row], language: Language = "en", *, hosts_shown: int | None = HOSTS_SHOWN
) -> Iterator[str]:
    """Yield a line for each problem; hosts with the very same problem share one, which names the first few.

    A row has severity, place (a path or a host), what and remedy. All hosts are named if `hosts_shown`
    is None.
    """
    places: dict[tuple[str, ...], list[str]] = {}
    for row in problems:
        file = row["place"] if "/" in row["place"] else ""
        problem = (file, *(row[name] for name in ("severity", "what", "remedy")))
        places.setdefault(problem, []).append(row["place"])
    for (_, severity, what, remedy), of_problem in places.items():
        shown = len(of_problem) if hosts_shown is None else hosts_shown
        where = first_few(of_problem, noun="host", shown=shown, language=language)
        text = finding_in_words(what, remedy, language)
        yield f"{named('terminal.severity_', severity, language)}: {for_logs(f'{where}: {text}')}"


def verdict_in_words(restart: Row, language: Language = "en") -> str:
    """Return the verdict on a flush: one that was seen had some effect, even if it left mail behind."""
    if restart["flush_verdict"] == "ineffective" and restart["flush_observed_at"]:
        return say(language, "terminal.flush_incomplete")
    return say(language, f"words.verdict_{restart['flush_verdict']}")


def _flush(row: Row, language: Language) -> str:
    reason = row["verdict_reason"] or row["missing_reason"]
    verdict = verdict_in_words(row, language)
    if not reason:
        return verdict
    return say(language, "terminal.in_brackets", text=verdict, more=named("words.why_", reason, language))


def _estimated(row: Row, language: Language) -> str:
    about = "~" if row["is_up_at_estimated"] and row["outage_seconds"] is not None else ""
    return about + waited(row["outage_seconds"], language)
