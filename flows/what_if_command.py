"""The command that simulates other retry settings on the published lake: options to scenarios to tables.

What takes long to import (polars, the simulator) is imported by the command.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import duckdb
import typer

from flows.catalog import NOT_FLUSHED, RETRY_CONDITIONS, Row, check_hosts, fetch, open_catalog
from flows.machine import write_csv, write_records
from flows.options import (
    AsCsv,
    AsJson,
    Hosts,
    Lake,
    Lang,
    Since,
    Until,
    chosen_lake,
    chosen_language,
    restart_choice,
)
from flows.show_what_if import show_back_test, show_retry_advice, show_what_if
from flows.tables import output_console
from transforms.problems import MaillagError
from transforms.queries import read_query

# It imports numpy.
if TYPE_CHECKING:
    from transforms.marts.retries.given import Scenario

# Settings that decide how often mail is retried, and the figures of what that costs.
COSTLY = ("queue_run_delay_seconds", "minimal_backoff_seconds", "maximal_backoff_seconds")
COSTS = (
    "daily_retry_count",
    "daily_extra_retry_count",
    "daily_queue_run_count",
    "daily_extra_queue_run_count",
)
LEFT_OUT = f"""
select reason, count(*) as restart_count
from (
    select restart_id, min(no_answer_reason) as reason from ({RETRY_CONDITIONS}) group by restart_id
)
where reason is not null
group by reason
order by reason
"""
ADVICE = """
select host, reason, recommended_queue_run_delay_seconds, recommended_minimal_backoff_seconds
from marts.retry_advice
where len($hosts) = 0 or list_contains($hosts, host)
order by host
"""
TIME = "A time as in main.cf, such as 300s, 15m or 1d."


def what_if(
    context: typer.Context,
    lake: Lake = None,
    host: Hosts = None,
    since: Since = None,
    until: Until = None,
    queue_run_delay: Annotated[str | None, typer.Option("--queue-run-delay", help=TIME)] = None,
    minimal_backoff_time: Annotated[str | None, typer.Option("--minimal-backoff-time", help=TIME)] = None,
    maximal_backoff_time: Annotated[str | None, typer.Option("--maximal-backoff-time", help=TIME)] = None,
    flush_after: Annotated[
        str | None, typer.Option("--flush-after", help="Flush the queue so long after the service is up.")
    ] = None,
    no_throttling: Annotated[
        bool, typer.Option("--no-throttling", help="Never take the scan service for dead.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Instead, compare the simulation with what happened.")
    ] = False,
    lang: Lang = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print how long held mail would wait under other settings.

    Without settings: under the standard scenarios. What is not given is the host's own.
    """
    given = {
        "queue_run_delay": queue_run_delay,
        "minimal_backoff_time": minimal_backoff_time,
        "maximal_backoff_time": maximal_backoff_time,
        "flush_after": flush_after,
    }
    if check and (no_throttling or any(given.values())):
        raise MaillagError(
            "what-if: --check simulates the settings that the hosts had. Leave out the others."
        )
    left_out: list[Row] = []
    advice: list[Row] = []
    with open_catalog(chosen_lake(lake)) as catalog:
        check_hosts(catalog, host or ())
        choice = restart_choice(host, since, until)
        del choice["newest"]
        if check:
            rows = _check(catalog, choice)
        else:
            rows = _simulate(catalog, choice, _scenarios(catalog, given, is_throttled=not no_throttling))
            left_out = fetch(catalog, LEFT_OUT, choice)
            advice = fetch(catalog, ADVICE, {"hosts": choice["hosts"]}) if rows else []
    columns = list(rows[0]) if rows else ["host"]
    if as_json:
        write_records(columns, map(dict.values, rows))
    elif as_csv:
        write_csv(columns, map(dict.values, rows))
    elif check:
        show_back_test(output_console(), rows, chosen_language(context, lang))
    else:
        language = chosen_language(context, lang)
        show_what_if(output_console(), rows, left_out, language)
        show_retry_advice(output_console(), advice, language)


def _scenarios(
    catalog: duckdb.DuckDBPyConnection, given: Mapping[str, str | None], *, is_throttled: bool
) -> "Sequence[Scenario]":
    """Return the scenario of the options, beside the hosts' own settings; without any, the standard ones."""
    from transforms.marts.retries.given import Scenario  # numpy takes 0.1 s
    from transforms.marts.what_if import standard_scenarios

    if is_throttled and not any(given.values()):
        (thresholds,) = fetch(catalog, "select * from config.thresholds")
        return standard_scenarios(thresholds["expected_flush_seconds"], thresholds["advised_retry_seconds"])
    times = {name: None if text is None else _seconds(name, text) for name, text in given.items()}
    chosen = Scenario(
        "chosen",
        queue_run_delay_seconds=times["queue_run_delay"],
        minimal_backoff_seconds=times["minimal_backoff_time"],
        maximal_backoff_seconds=times["maximal_backoff_time"],
        flush_after_seconds=times["flush_after"],
        is_throttled=is_throttled,
    )
    return (Scenario("as_configured"), chosen)


def _seconds(name: str, text: str) -> int:
    """Read a time of main.cf. Raises MaillagError for what is none, or what Postfix refuses."""
    from transforms.fleet.host_settings import LONGEST_SECONDS, setting_bounds
    from transforms.fleet.inventory_settings import postfix_seconds

    option = f"--{name.replace('_', '-')}"
    try:
        seconds = postfix_seconds(text)
    except ValueError:
        raise MaillagError(
            f"{option}: {text!r} is no time. Write it as in main.cf, such as 300s, 15m or 1d."
        ) from None
    setting = f"{name.removesuffix('_time')}_seconds"
    least, most = (0, LONGEST_SECONDS) if name == "flush_after" else setting_bounds(setting)
    if not least <= seconds <= most:
        raise MaillagError(
            f"{option}: {text!r} is out of range ({least} s to {most} s). Choose another time."
        )
    return seconds


def _simulate(catalog: duckdb.DuckDBPyConnection, choice: Row, scenarios: "Sequence[Scenario]") -> list[Row]:
    """Return how long mail waited, as it was and under scenarios, and the cost, by host and for all."""
    from transforms.marts.what_if import what_if as simulate_all

    (thresholds,) = fetch(catalog, "select * from config.thresholds")
    made = simulate_all(
        catalog,
        catalog.sql(RETRY_CONDITIONS, params=choice).pl(),
        scenarios,
        keys=("host",),
        close_bounds_seconds=thresholds["close_bounds_seconds"],
        has_total=True,
    )
    costs: dict[tuple[str | None, str], Row] = {}
    for scenario in scenarios:
        parameters: dict[str, Any] = {"hosts": choice["hosts"]}
        parameters |= {name: getattr(scenario, name) for name in COSTLY}
        for row in fetch(catalog, read_query("answers.retry_costs"), parameters):
            costs[row.pop("host"), scenario.name] = row
    of_none = dict.fromkeys(COSTS)
    return [row | costs.get((row["host"], row["scenario"]), of_none) for row in made.rows(named=True)]


def _check(catalog: duckdb.DuckDBPyConnection, choice: Row) -> list[Row]:
    """Return how far simulated releases are from observed ones, by host and for all."""
    from transforms.marts.back_test import back_test, summary

    return summary(back_test(catalog, catalog.sql(NOT_FLUSHED, params=choice).pl())).rows(named=True)
