"""Tries the retry simulator on what happened: simulated and observed releases of mail that nobody flushed."""

import duckdb
import polars as pl

from transforms.marts.retries.given import Scenario
from transforms.marts.retries.simulate import simulate
from transforms.marts.what_if import as_conditions, as_messages, message_batches, numbered

# A prediction this close counts as right: the log's stamps are whole seconds.
CLOSE_SECONDS = 2


def back_test(connection: duckdb.DuckDBPyConnection, conditions: pl.DataFrame) -> pl.DataFrame:
    """Return how the simulated activation of each message differs from the observed one: a row per message.

    `conditions` are rows of sql/what_if/not_flushed.sql. Columns: host, restart_id, instance, released_by,
    deferred_at, reactivated_at, earliest, latest (seconds since 1970), is_rhythm_known,
    outside_bounds_seconds (0 within the bounds), and error_seconds: from the middle of the bounds. What the
    simulator expects to expire, and what was never activated again, is left out.
    """
    parts = []
    for some, messages in message_batches(connection, numbered(conditions, is_answered=True)):
        found = simulate(as_messages(messages), as_conditions(some), Scenario("as_configured"))
        parts.append(
            messages.with_columns(earliest=pl.Series(found.earliest), latest=pl.Series(found.latest)).join(
                some.select(
                    "number",
                    "host",
                    "restart_id",
                    "instance",
                    is_rhythm_known=pl.col("phase_at").is_not_null(),
                ),
                on="number",
                maintain_order="left",
            )
        )
    seen = pl.col("reactivated_at")
    return (
        pl.concat(parts)
        .filter(seen.is_not_null() & pl.col("earliest").is_not_nan() & pl.col("latest").is_finite())
        .select(
            "host",
            "restart_id",
            "instance",
            "released_by",
            "deferred_at",
            "reactivated_at",
            "earliest",
            "latest",
            "is_rhythm_known",
            outside_bounds_seconds=pl.max_horizontal(
                pl.col("earliest") - seen, seen - pl.col("latest"), pl.lit(0.0)
            ),
            error_seconds=((pl.col("earliest") + pl.col("latest")) / 2 - seen).abs(),
        )
    )


def summary(tried: pl.DataFrame) -> pl.DataFrame:
    """Return the distribution of errors, a row for each host and, with a NULL host, one for all."""
    figures = (
        pl.col("restart_id").n_unique().cast(pl.Int64).alias("restart_count"),
        pl.len().cast(pl.Int64).alias("message_count"),
        (pl.col("outside_bounds_seconds") == 0).mean().alias("within_bounds_share"),
        (pl.col("outside_bounds_seconds") <= CLOSE_SECONDS).mean().alias("close_share"),
        (pl.col("released_by") == "queue_run").mean().alias("queue_run_share"),
        pl.col("is_rhythm_known").mean().alias("rhythm_known_share"),
        (pl.col("latest") - pl.col("earliest")).median().alias("bounds_width_p50_seconds"),
        pl.col("error_seconds").median().alias("error_p50_seconds"),
        pl.col("error_seconds").quantile(0.95, "linear").alias("error_p95_seconds"),
        pl.col("error_seconds").max().alias("error_max_seconds"),
    )
    by_host = tried.group_by("host").agg(*figures).sort("host")
    if tried.is_empty():
        return by_host
    return pl.concat([by_host, tried.select(pl.lit(None, pl.String).alias("host"), *figures)])
