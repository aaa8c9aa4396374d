"""Rows of hosts to what a person reads: what each is, how it behaves, what to do, and what changes did."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console

from flows.catalog import Row
from flows.language import Language, percent, say
from flows.tables import Column, plain, show_table, show_text
from flows.words import Clock, first_few, local_time, product_in_words, waited
from transforms.marts.advice import load_advice

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
ADVICE = """
select *
from marts.host_advice
where len($hosts) = 0 or list_contains($hosts, host)
order by host, position
"""
# Where the settings that the verdicts rest on come from.
SOURCES = """
select host, product_source, build_source, queue_run_delay_seconds_source, minimal_backoff_seconds_source
from fleet.hosts
order by host
"""
STATED = {"fleet_file", "fleet_defaults", "inventory", "file_path"}


def show_diagnosis(
    console: Console,
    rows: Sequence[Row],
    advice: Sequence[Row],
    sources: Iterable[Row],
    zones: dict[str, str],
    language: Language,
) -> None:
    """Print one line per host, then each piece of advice with the hosts that need it.

    `advice` has the rows of the query ADVICE, and `sources` those of SOURCES.
    """
    if not rows:
        show_text(console, say(language, "terminal.no_host"))
        return
    by_host = {row["host"]: row for row in sources}
    cells = [
        (
            row["host"],
            product_in_words(row, language) + _mark(by_host[row["host"]], "product", row["product"]),
            say(language, f"words.build_{row['build_verdict']}"),
            say(language, f"words.behaviour_{row['behaviour']}"),
            _retry(row, by_host[row["host"]]),
            f"{row['restart_count']:,}",
            _not_flushed(row, zones[row["host"]], language),
            waited(row["restart_delay_max_seconds"], language),
        )
        for row in rows
    ]
    show_table(
        console,
        (
            Column(say(language, "terminal.host")),
            Column(say(language, "terminal.product"), is_prose=True),
            Column(say(language, "terminal.build_flush"), is_prose=True),
            Column(say(language, "terminal.behaviour"), is_prose=True),
            Column(say(language, "terminal.retry"), is_right=True),
            Column(say(language, "terminal.restart_count"), is_right=True),
            Column(say(language, "terminal.not_flushed"), is_prose=True, is_right=True),
            Column(say(language, "terminal.longest"), is_right=True, is_spare=True),
        ),
        cells,
        title=say(language, "terminal.fleet_title"),
        red=[index for index, row in enumerate(rows) if row["current_missing_count"]],
        language=language,
    )
    if any("*" in cell for row in cells for cell in (row[1], row[4])):
        show_text(console, say(language, "terminal.mark_assumed"))
    if not advice:
        console.print()
        show_text(console, say(language, "terminal.no_advice"))
    for code in _codes_in_order(advice):
        console.print()
        _show_advice(console, [row for row in advice if row["code"] == code], language)


def _codes_in_order(advice: Sequence[Row]) -> list[str]:
    """Return the codes in the order of advice.yaml, which is that of each host: a step may speak of the next.

    The first of them comes last if it does on every host: raise_bounce_lifetime, unless bounces were lost.
    """
    given = {row["code"] for row in advice}
    codes = [entry.code for entry in load_advice() if entry.code in given]
    last = {row["host"]: row["code"] for row in advice}
    if codes and all(last[row["host"]] == codes[0] for row in advice if row["code"] == codes[0]):
        codes.append(codes.pop(0))
    return codes


def _show_advice(console: Console, rows: Sequence[Row], language: Language) -> None:
    """Print one piece of advice: the hosts that need it, then what it says and its commands."""
    text, title = f"text_{language}", f"title_{language}"
    hosts = say(language, "counted.comma").join(plain(row["host"]) for row in rows)
    heading = say(language, "terminal.advice_hosts", title=plain(rows[0][title]), hosts=hosts)
    show_text(console, heading, style="bold")
    # The figures, such as the build, may differ from host to host.
    same = sorted(rows, key=lambda row: (row[text], row["commands"], row["host"]))
    groups = [list(group) for _, group in groupby(same, lambda row: (row[text], row["commands"]))]
    for group in groups:
        said = "\n".join(plain(line) for line in group[0][text].split("\n"))
        if len(groups) > 1:
            some = first_few([plain(row["host"]) for row in group], noun="host", language=language)
            said = say(language, "terminal.advice_for", host=some, text=said)
        show_text(console, said)
        for command in group[0]["commands"]:
            # It is one line, to be copied.
            show_text(console, f"    {plain(command)}", is_whole=True)


def show_changes(console: Console, rows: Sequence[Row], zones: dict[str, str], language: Language) -> None:
    """Print each change of a host's settings, with its restarts before and after it."""
    if not rows:
        show_text(console, say(language, "terminal.no_change"))
    numbers = ("restart_count", "with_held_mail", "not_flushed", "median", "percentile_95", "longest")
    columns = (Column(""), *(Column(say(language, f"terminal.{name}"), is_right=True) for name in numbers))
    for row in rows:
        clock = Clock.of([row["host"]], zones, language)
        said = say(
            language,
            "terminal.change",
            host=plain(row["host"]),
            at=clock.show(row["changed_at"], row["host"]),
            zone=plain(clock.heading),
            changes=plain(say(language, "counted.comma").join(row["changes"])),
        )
        show_text(console, said, style="bold")
        sides = [
            (say(language, f"terminal.{side}"), *_side(row, side, language)) for side in ("before", "after")
        ]
        show_table(console, columns, sides, language=language)
        console.print()


def _mark(sources: Row, setting: str, value: object) -> str:
    """Return the mark of a value that is assumed or guessed."""
    return "" if value is None or sources[f"{setting}_source"] in STATED else "*"


def _retry(row: Row, sources: Row) -> str:
    settings = ("queue_run_delay_seconds", "minimal_backoff_seconds")
    return " / ".join(
        "?" if row[name] is None else f"{row[name]}{_mark(sources, name, row[name])}" for name in settings
    )


def _not_flushed(row: Row, zone: str, language: Language) -> str:
    if row["current_from"] is None:
        return f"{row['missing_flush_count']:,}"
    since = local_time(row["current_from"], zone)[: len("2026-11-24")]
    return say(
        language,
        "terminal.not_flushed_since",
        n=row["missing_flush_count"],
        current=row["current_missing_count"],
        day=since,
    )


def _side(row: Row, side: str, language: Language) -> tuple[str, ...]:
    share = row[f"missing_share_{side}"]
    missing = f"{row[f'missing_flush_count_{side}']:,}"
    return (
        f"{row[f'restart_count_{side}']:,}",
        f"{row[f'restarts_with_held_mail_count_{side}']:,}",
        missing if share is None else f"{missing} ({percent(share)})",
        *(waited(row[f"restart_delay_{part}_seconds_{side}"], language) for part in ("p50", "p95", "max")),
    )
