"""Rows of simulated scenarios to what a person reads: how long mail would have waited, and at what cost."""

from collections.abc import Sequence

from rich.console import Console

from flows.catalog import Row
from flows.language import Language, Seconds, duration, percent, say
from flows.tables import Column, show_table, show_text
from flows.words import counted, first_few, named

# Bounds that are closer read as one figure.
SHOWN_APART_SECONDS = 5


def show_what_if(
    console: Console, rows: Sequence[Row], left_out: Sequence[Row], language: Language = "en"
) -> None:
    """Print a line for each host and scenario, those of all hosts last.

    `left_out` has the numbers of restarts that cannot be simulated, by reason.
    """
    if rows:
        cells = [_cells(row, language) for row in rows]
        names = (
            "messages",
            "median",
            "percentile_95",
            "longest",
            "total",
            "extra_retries",
            "extra_queue_runs",
        )
        show_table(
            console,
            (
                Column(say(language, "what_if.host")),
                Column(say(language, "what_if.scenario"), is_prose=True),
                *(
                    Column(
                        say(language, f"what_if.{name}"),
                        is_right=True,
                        is_spare=name not in ("messages", "longest"),
                    )
                    for name in names
                ),
            ),
            cells,
            title=say(language, "what_if.title"),
            language=language,
        )
        show_text(console, say(language, "what_if.note"))
        if any(row["daily_retry_count"] is None for row in rows if row["scenario"] != "as_it_was"):
            show_text(console, say(language, "what_if.no_cost"))
    else:
        show_text(console, say(language, "what_if.none"))
    if left_out:
        reasons = say(language, "counted.comma").join(
            say(
                language,
                "terminal.in_brackets",
                text=counted(row["restart_count"], "restart", language),
                more=named("what_if.why_", row["reason"], language),
            )
            for row in left_out
        )
        show_text(console, say(language, "what_if.left_out", reasons=reasons))


def show_retry_advice(console: Console, advice: Sequence[Row], language: Language = "en") -> None:
    """Print the recommended settings (rows of marts.retry_advice), with the hosts for which they are."""
    together: dict[tuple[str, int, int], list[str]] = {}
    for row in advice:
        delay, backoff = (
            row[f"recommended_{name}_seconds"] for name in ("queue_run_delay", "minimal_backoff")
        )
        settings = (delay, backoff) if row["reason"] == "shorter_waits" else (0, 0)
        together.setdefault((row["reason"], *settings), []).append(row["host"])
    for (reason, delay, backoff), hosts in together.items():
        show_text(
            console,
            say(
                language,
                "what_if.recommended" if delay else "what_if.as_it_is",
                hosts=first_few(hosts, noun="host", language=language),
                delay=delay,
                backoff=backoff,
                reason=say(language, f"words.retry_{reason}"),
            ),
        )


def wait_in_words(row: Row, figure: str, language: Language = "en") -> str:
    """Return a figure of marts.retry_what_if, such as `max`, as one length of time or as its bounds."""
    name = f"restart_delay_{figure}"
    least, most = row[f"{name}_at_least_seconds"], row[f"{name}_at_most_seconds"]
    if least is None:
        return "-"
    if most is None:
        return say(language, "what_if.at_least", seconds=Seconds(least))
    low, high = duration(least, language), duration(most, language)
    value = row[f"{name}_seconds"]
    if value is not None and (most - least <= SHOWN_APART_SECONDS or low == high):
        return duration(value, language)
    if low == high:
        return low
    return say(language, "what_if.between", low=low, high=high)


def _cells(row: Row, language: Language) -> tuple[str, ...]:
    return (
        row["host"] or say(language, "what_if.all_hosts"),
        say(language, f"words.scenario_{row['scenario']}"),
        f"{row['message_count']:,}",
        *(wait_in_words(row, figure, language) for figure in ("p50", "p95", "max", "total")),
        *(_extra(row[f"daily_extra_{name}_count"]) for name in ("retry", "queue_run")),
    )


def _extra(count: float | None) -> str:
    return "-" if count is None else f"{count:+,.0f}" if round(count) else "0"


def show_back_test(console: Console, rows: Sequence[Row], language: Language = "en") -> None:
    """Print how far the simulation is from what happened, a line for each host and one for all."""
    if not rows:
        show_text(console, say(language, "what_if.check_none"))
        return
    names = (
        "restarts", "messages", "within_bounds", "close", "rhythm_known", "width", "error", "error_95",
        "error_longest",
    )  # fmt: skip
    show_table(
        console,
        (
            Column(say(language, "what_if.host")),
            *(
                Column(
                    say(language, f"what_if.{name}"),
                    is_right=True,
                    is_spare=name in ("rhythm_known", "width"),
                )
                for name in names
            ),
        ),
        [
            (
                row["host"] or say(language, "what_if.all_hosts"),
                f"{row['restart_count']:,}",
                f"{row['message_count']:,}",
                *(percent(row[f"{name}_share"]) for name in ("within_bounds", "close", "rhythm_known")),
                *(
                    f"{row[f'{name}_seconds']:,.1f} s"
                    for name in ("bounds_width_p50", "error_p50", "error_p95", "error_max")
                ),
            )
            for row in rows
        ],
        title=say(language, "what_if.check_title"),
        language=language,
    )
    show_text(console, say(language, "what_if.check_note"))
