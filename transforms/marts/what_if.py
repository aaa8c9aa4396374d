"""Turns held mail into how long it would have waited under other retry settings (marts.retry_what_if)."""

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import polars as pl

from transforms.fleet.host_settings import IMSVA_DEFAULTS, POSTFIX_DEFAULTS, HostSettings
from transforms.marts.database import execute, with_memory
from transforms.marts.retries import deaths, given, waits
from transforms.marts.retries import simulate as simulation
from transforms.marts.retries.given import Bools, Conditions, Floats, Messages, Scenario
from transforms.marts.retries.simulate import simulate
from transforms.queries import SQL_FOLDER, read_query

TABLES = ("marts.retry_what_if",)
INPUTS = frozenset({"marts.held_messages", "marts.retry_conditions", "config.thresholds"})
# The source code of this model.
MODULES = (
    __file__,
    *(str(module.__file__) for module in (deaths, given, simulation, waits)),
    str(SQL_FOLDER / "what_if" / "messages.sql"),
)

# The scenario of what the log shows.
AS_IT_WAS = "as_it_was"
# Messages that are simulated at a time.
MESSAGES_AT_ONCE = 200_000
SETTINGS = (
    "queue_run_delay_seconds",
    "minimal_backoff_seconds",
    "maximal_backoff_seconds",
    "maximal_queue_lifetime_seconds",
    "bounce_queue_lifetime_seconds",
)
# The figures of how long mail waited, each with its bounds.
FIGURES = ("p50", "p95", "max", "total")
FIGURE_COLUMNS = tuple(
    f"restart_delay_{figure}{bound}_seconds" for figure in FIGURES for bound in ("", "_at_least", "_at_most")
)
COUNTS = ("flushed_count", "not_held_count", "expired_count", "expired_at_most_count")
# Why there are only bounds, or no answer.
BOUNDS_ONLY, SETTINGS_UNKNOWN = "bounds_only", "settings_unknown"


def _with_settings_of(name: str, settings: HostSettings) -> Scenario:
    return Scenario(name, **{setting: getattr(settings, setting) for setting in SETTINGS})


def standard_scenarios(flush_after_seconds: float, advised_retry_seconds: float) -> tuple[Scenario, ...]:
    """Return the scenarios of marts.retry_what_if, in the order in which they are shown."""
    return (
        Scenario("as_configured"),
        Scenario("flushed", flush_after_seconds=flush_after_seconds),
        Scenario(
            "short_retry",
            queue_run_delay_seconds=advised_retry_seconds,
            minimal_backoff_seconds=advised_retry_seconds,
        ),
        _with_settings_of("postfix_defaults", POSTFIX_DEFAULTS),
        _with_settings_of("imsva_defaults", IMSVA_DEFAULTS),
        Scenario("not_throttled", is_throttled=False),
    )


def make_retry_what_if(connection: duckdb.DuckDBPyConnection) -> None:
    """Build marts.retry_what_if from the INPUTS."""
    ((flush_after, advised, close_bounds),) = execute(
        connection,
        "select expected_flush_seconds, advised_retry_seconds, close_bounds_seconds from config.thresholds",
    )
    made = what_if(
        connection,
        with_memory(connection, connection.sql("from marts.retry_conditions").pl),
        standard_scenarios(flush_after, advised),
        keys=("restart_id", "host"),
        close_bounds_seconds=close_bounds,
    )
    connection.register("made", made.to_arrow(compat_level=pl.CompatLevel.newest()))
    execute(connection, "create table marts.retry_what_if as from made")
    connection.unregister("made")


def what_if(
    connection: duckdb.DuckDBPyConnection,
    conditions: pl.DataFrame,
    scenarios: Sequence[Scenario],
    *,
    keys: Sequence[str],
    close_bounds_seconds: float,
    has_total: bool = False,
) -> pl.DataFrame:
    """Return how long held mail waited, as it was and under scenarios: a row for each group and scenario.

    `conditions` are rows of marts.retry_conditions, `keys` columns of it. Groups by restart have restarts
    without an answer too, all others leave them out. `has_total`: a group of all, with NULL keys, comes last,
    unless there is but one. A figure is NULL where its bounds are more than `close_bounds_seconds` apart.
    """
    every = (Scenario(AS_IT_WAS), *scenarios)
    is_by_restart = "restart_id" in keys
    conditions = numbered(conditions, is_answered=not is_by_restart)
    groupings = [keys, ()] if has_total and conditions.select(keys).n_unique() > 1 else [keys]
    sums: list[list[pl.DataFrame]] = [[] for _ in groupings]
    gathered: list[list[pl.DataFrame]] = [[] for _ in every]
    for some, messages in message_batches(connection, conditions):
        for waited, of_scenario in zip(_waits(some, messages, scenarios), gathered, strict=True):
            # A restart is in one batch, other groups may be in all.
            if is_by_restart:
                sums[0].append(_sums(waited, conditions, keys))
            else:
                of_scenario.append(waited)
    for of_scenario in gathered:
        if of_scenario:
            waited = pl.concat(of_scenario)
            for made, grouping in zip(sums, groupings, strict=True):
                made.append(_sums(waited, conditions, grouping))
    return pl.concat(
        [
            _summary(pl.concat(made), conditions, every, grouping, close_bounds_seconds)
            for made, grouping in zip(sums, groupings, strict=True)
        ],
        how="diagonal",
    )


def numbered(conditions: pl.DataFrame, *, is_answered: bool) -> pl.DataFrame:
    """Return rows of marts.retry_conditions with a `number`; `is_answered`: only what can be simulated.

    What one queue of a restart has no answer for, the whole restart has none for.
    """
    reason = pl.col("no_answer_reason").drop_nulls().min().over("restart_id")
    conditions = conditions.sort("restart_id", "instance").with_columns(no_answer_reason=reason)
    if is_answered:
        conditions = conditions.filter(pl.col("no_answer_reason").is_null())
    return conditions.with_row_index("number")


def message_batches(
    connection: duckdb.DuckDBPyConnection, conditions: pl.DataFrame
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield numbered conditions, and the messages (sql/what_if/messages.sql) with the same numbers.

    `place` is that of a message's condition in the batch.
    A restart is in one batch, and there is a batch even without restarts.
    """
    batch = pl.col("held_message_count").cum_sum() // MESSAGES_AT_ONCE
    batches = conditions.with_columns(batch=batch.min().over("restart_id"))
    for some in batches.partition_by("batch", maintain_order=True) or [batches]:
        parameters = {"restart_ids": some["restart_id"].unique().to_list()}
        query = connection.sql(read_query("what_if.messages"), params=parameters)
        messages = with_memory(connection, query.pl)
        places = some.select("restart_id", "instance", "number").with_row_index("place")
        keys = ["restart_id", "instance"]
        yield some, messages.join(places, on=keys, maintain_order="left").drop(keys)


def as_conditions(rows: pl.DataFrame) -> Conditions:
    """Return rows of marts.retry_conditions as the simulator takes them."""
    starts = [[at.timestamp() for at in row] for row in rows["qmgr_started_at"].to_list()]
    most = max(map(len, starts), default=0)
    padded = np.array([row + [np.inf] * (most - len(row)) for row in starts]).reshape(len(rows), most)
    instants = ("up_at_earliest", "up_at_latest", "death_at_earliest", "death_at_latest", "phase_at")
    named = {name.replace("_at_", "_"): _instants(rows[name]) for name in instants}
    named["answered_at"] = _instants(rows["answered_at"])
    numbers = {name: _numbers(rows[name]) for name in (*SETTINGS, "phase_error_seconds")}
    return Conditions(
        **named,
        **numbers,
        is_phase_of_start=rows["is_phase_of_start"].fill_null(value=False).to_numpy(),
        starts=padded,
    )


def as_messages(rows: pl.DataFrame) -> Messages:
    """Return messages of a batch as the simulator takes them."""
    deferred_at = _numbers(rows["deferred_at"])
    arrived_at = np.minimum(_numbers(rows["arrived_at"]), deferred_at)
    is_unknown = np.isnan(arrived_at)
    return Messages(
        condition=rows["place"].cast(pl.Int64).to_numpy(),
        deferred_at=deferred_at,
        # Without an arrival, a message may be of any age.
        created_earliest=np.where(is_unknown, -np.inf, arrived_at),
        created_latest=np.where(is_unknown, deferred_at, arrived_at),
        is_never_tried=rows["is_never_tried"].to_numpy(),
        is_null_sender=rows["is_null_sender"].to_numpy(),
    )


def _waits(
    conditions: pl.DataFrame, messages: pl.DataFrame, scenarios: Sequence[Scenario]
) -> Iterator[pl.DataFrame]:
    """Yield what became of each message: first as it was, then under each scenario."""
    number = messages["number"]
    nowhere = pl.Series(np.zeros(len(messages), bool))
    yield pl.DataFrame(
        {
            "position": pl.repeat(0, len(messages), dtype=pl.Int8, eager=True),
            "number": number,
            "at_least": messages["restart_delay_seconds"].cast(pl.Float64),
            "at_most": messages["restart_delay_seconds"].cast(pl.Float64),
            "is_expired": messages["is_expired"],
            "is_maybe_expired": messages["is_expired"],
            "is_flushed": messages["released_by"].eq("flush").fill_null(value=False),
            "is_not_held": nowhere,
        }
    )
    of_restarts, mail = as_conditions(conditions), as_messages(messages)
    answer_seconds = _numbers(messages["answer_seconds"])
    is_answered = conditions["no_answer_reason"].is_null().to_numpy()[mail.condition]
    for position, scenario in enumerate(scenarios, 1):
        released = simulate(mail, of_restarts, scenario)
        after = np.where(released.is_not_held, 0.0, answer_seconds) - mail.deferred_at
        yield pl.DataFrame(
            {
                "position": pl.repeat(position, len(messages), dtype=pl.Int8, eager=True),
                "number": number,
                "at_least": _or_null(released.earliest + after, is_answered),
                "at_most": _or_null(released.latest + after, is_answered),
                "is_expired": released.is_expired,
                "is_maybe_expired": released.is_maybe_expired,
                "is_flushed": released.is_flushed,
                "is_not_held": released.is_not_held,
            }
        )


def _or_null(values: Floats, is_known: Bools) -> pl.Series:
    return pl.Series(np.where(is_known, values, np.nan), nan_to_null=True)


def _sums(waits: pl.DataFrame, conditions: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return counts, and figures of how long mail waited, of each group and scenario."""
    bounds = [
        expression.alias(f"restart_delay_{figure}_{bound}_seconds")
        for bound in ("at_least", "at_most")
        for figure, expression in (
            ("p50", pl.col(bound).quantile(0.5, "linear")),
            ("p95", pl.col(bound).quantile(0.95, "linear")),
            ("max", pl.col(bound).max()),
            ("total", pl.when(pl.col(bound).count() > 0).then(pl.col(bound).sum())),
        )
    ]
    return (
        waits.join(conditions.select("number", *keys), on="number")
        .group_by(*keys, "position")
        .agg(
            *bounds,
            message_count=pl.len().cast(pl.Int64),
            released_count=pl.col("at_least").count(),
            expired_count=pl.col("is_expired").sum().cast(pl.Int64),
            expired_at_most_count=pl.col("is_maybe_expired").sum().cast(pl.Int64),
            flushed_count=pl.col("is_flushed").sum().cast(pl.Int64),
            not_held_count=pl.col("is_not_held").sum().cast(pl.Int64),
        )
    )


def _summary(
    sums: pl.DataFrame,
    conditions: pl.DataFrame,
    scenarios: Sequence[Scenario],
    keys: Sequence[str],
    close_bounds_seconds: float,
) -> pl.DataFrame:
    """Return the columns of marts.retry_what_if after the keys, of each group and scenario."""
    # A group's own settings, if they are the same in all of it.
    own = [
        pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(f"own_{name}")
        for name in SETTINGS
    ]
    reason = pl.col("no_answer_reason").first()
    if keys:
        described = sums.join(conditions.group_by(*keys).agg(reason, *own), on=keys, maintain_order="left")
    else:
        described = sums.join(conditions.select(reason, *own), how="cross")
    return (
        _with_answers(
            described.join(_scenario_rows(scenarios), on="position", maintain_order="left"),
            close_bounds_seconds,
        )
        .sort(*keys, "position")
        .select(
            *keys,
            *("scenario", "reason", *SETTINGS, "message_count", *COUNTS, *FIGURE_COLUMNS),
            *("is_flushed", "is_throttled"),
        )
    )


def _with_answers(summed: pl.DataFrame, close_bounds_seconds: float) -> pl.DataFrame:
    """Add figures where bounds are close, leave out what is not known, and say why."""
    is_simulated = pl.col("position") > 0
    is_answered = ~is_simulated | pl.col("no_answer_reason").is_null()
    is_lifetime_known = pl.all_horizontal(pl.col(name).is_not_null() for name in SETTINGS[3:])
    bounds = [column for column in FIGURE_COLUMNS if "_at_" in column]
    figures = [column for column in FIGURE_COLUMNS if column not in bounds]
    has_releases = pl.col("released_count") > 0
    return (
        summed.with_columns(pl.coalesce(name, f"own_{name}").alias(name) for name in SETTINGS)
        .with_columns(pl.when(pl.col(column).is_finite()).then(column).alias(column) for column in bounds)
        .with_columns(
            *(_figure(figure, close_bounds_seconds) for figure in FIGURES),
            *(
                pl.when(is_answered & (~is_simulated | is_lifetime_known | ~pl.lit("expired" in name)))
                .then(name)
                .alias(name)
                for name in COUNTS
            ),
            is_flushed=pl.when(is_simulated).then("is_flushed").otherwise(pl.col("flushed_count") > 0),
        )
        .with_columns(
            reason=pl.when(~is_simulated)
            .then(None)
            .when(pl.col("no_answer_reason").is_not_null())
            .then("no_answer_reason")
            .when(has_releases & pl.any_horizontal(pl.col(column).is_null() for column in bounds))
            .then(pl.lit(SETTINGS_UNKNOWN))
            .when(has_releases & pl.any_horizontal(pl.col(column).is_null() for column in figures))
            .then(pl.lit(BOUNDS_ONLY))
        )
    )


def _figure(figure: str, close_bounds_seconds: float) -> pl.Expr:
    """Return a figure whose bounds are close: the middle. The bounds of a sum are those of its messages."""
    least, most = (pl.col(f"restart_delay_{figure}_{bound}_seconds") for bound in ("at_least", "at_most"))
    close = close_bounds_seconds * (pl.col("released_count") if figure == "total" else 1)
    return pl.when(most - least <= close).then((least + most) / 2).alias(f"restart_delay_{figure}_seconds")


def _scenario_rows(scenarios: Sequence[Scenario]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "position": position,
                "scenario": scenario.name,
                **{name: getattr(scenario, name) for name in SETTINGS},
                "is_flushed": scenario.flush_after_seconds is not None,
                "is_throttled": scenario.is_throttled,
            }
            for position, scenario in enumerate(scenarios)
        ],
        schema={
            "position": pl.Int8,
            "scenario": pl.String,
            **dict.fromkeys(SETTINGS, pl.Int64),
            "is_flushed": pl.Boolean,
            "is_throttled": pl.Boolean,
        },
    )


def _numbers(column: pl.Series) -> Floats:
    """Return numbers as float, NULL as NaN."""
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _instants(column: pl.Series) -> Floats:
    """Return instants as seconds since 1970, NULL as NaN."""
    return _numbers(column.dt.epoch("us")) / 1e6
