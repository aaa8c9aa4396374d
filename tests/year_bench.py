"""Made-up marts of a year of 200 hosts to figures of speed: how long the common questions take.

The marts are written as files by host, as runs leave them, without the events that they stand for; the traces
are by month, as `maillag compact` leaves them, those of the last month by day. The service restarts 14 times
a day and holds ten messages each time; after every seventh restart the flush is missing. marts.message_trace
has every held mail and a few others, all of two hops: real hosts have many times as many. Each question is
asked by a process of its own, which is measured. `python -m tests.year_bench [FOLDER]`; a lake that is in
FOLDER already is used again, its catalog is published anew.
"""

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from tests.bench.document import DOCUMENT, replace_section
from tests.bench.measure import Figure, measure, size_bytes
from tests.cookbook import RECIPES
from tests.marts_bench import Numbers, addresses, clients, hexadecimal, queue_ids
from transforms.contracts.contracts import Contract, load_contracts
from transforms.fleet.fleet import Fleet, Host
from transforms.fleet.history import host_history, latest_hosts
from transforms.fleet.host_settings import HostSettings
from transforms.lake.catalog import CATALOG_NAME, publish
from transforms.lake.files import ROW_GROUP_ROWS, write_parquet
from transforms.lake.ledger import Ledger
from transforms.marts.advice import load_advice
from transforms.marts.mart_files import MartWriter
from transforms.marts.what_if import AS_IT_WAS, standard_scenarios
from transforms.thresholds import Thresholds
from transforms.zone import Zone

START = datetime(2025, 12, 1, tzinfo=UTC)
DAYS = 365
LAST_MONTH = "2026-11"
HOST_COUNT = 200
SECONDS_PER_DAY = 86_400
RESTARTS_PER_DAY = 14
HELD_PER_RESTART = 10
# Beside the mail that is held.
OTHER_MAILS_PER_DAY = 20
MISSING_SHARE = 1 / 7
UNKNOWN_SHARE = 0.02
LOST_SHARE = 0.001
BACKOFF_SECONDS = 300
# Every other host is patched in the middle of the year.
PATCHED_DAY = 182
OLD_BUILD, NEW_BUILD = 1631, 1830
ZONE = Zone("Asia/Tokyo", "fleet_file")
ZONE_SECONDS = 9 * 3600
BY_DAY = "marts.message_trace"

LIMIT_SECONDS = 1.0
ROUNDS = 5
# Written together, as a batch is.
HOSTS_AT_A_TIME = 50
ASK = "import sys, duckdb; duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall()"
# What has no files here.
NOT_MADE = ("events.", "ops.line_counts")
LEDGER_TABLES = ("source_files", "runs", "quarantine", "frozen_days")

TYPES: dict[str, pl.DataType] = {
    "BIGINT": pl.Int64(),
    "BOOLEAN": pl.Boolean(),
    "DATE": pl.Date(),
    "DOUBLE": pl.Float64(),
    "VARCHAR": pl.String(),
    "VARCHAR[]": pl.List(pl.String()),
    "TIMESTAMP WITH TIME ZONE[]": pl.List(pl.Datetime("us", "UTC")),
}
DELAY = pl.col("restart_delay_seconds")
DELAYS = {
    "restart_delay_p50_seconds": DELAY.median(),
    "restart_delay_p95_seconds": DELAY.quantile(0.95, "linear"),
    "restart_delay_max_seconds": DELAY.max(),
}
TOTAL = {"restart_delay_total_seconds": DELAY.sum()}
STATUSES_COUNTED = {
    "delivered": ["delivered"],
    "ended_at_scan": ["ended_at_scan"],
    "not_seen_again": ["scanned"],
    "returned": ["bounced", "expired"],
    "pending": ["pending"],
}
NOT_FLUSHED = pl.col("flush_verdict") == "missing"
JUDGED = pl.col("flush_verdict") != "unknown"
ADVISED = {"apply_patch_2", "flush_after_restart"}
RESTART_COUNTS = {
    "restart_count": pl.len(),
    "judged_restart_count": JUDGED.sum(),
    "unknown_restart_count": (~JUDGED).sum(),
    "restarts_with_held_mail_count": (pl.col("held_message_count") > 0).sum(),
    "missing_flush_count": NOT_FLUSHED.sum(),
}


def main() -> None:
    """Write the lake if it is not there yet, ask it everything, and put a table into the document."""
    with tempfile.TemporaryDirectory() as temporary:
        lake = Path(sys.argv[1] if len(sys.argv) > 1 else temporary) / "year"
        # It is written last.
        if not (lake / "fleet/hosts/bench.parquet").exists():
            write_lake(lake)
        publish_lake(lake)
        figures = {name: seconds(command) for name, command in commands(lake).items()}
        text = render(lake, figures, measured_on=datetime.now(UTC).date())
    print(text)
    replace_section(DOCUMENT, "year", text)


def render(lake: Path, figures: Mapping[str, Figure], *, measured_on: date) -> str:
    """Return the document's table, with what the lake has."""
    counts = []
    with duckdb.connect(str(lake / CATALOG_NAME), read_only=True) as catalog:
        for table in ("restarts", "held_messages", "missing_flushes", "message_trace"):
            ((count,),) = catalog.execute(f"select count(*) from marts.{table}").fetchall()
            file_count = len(list((lake / "marts" / table).rglob("*.parquet")))
            counts.append(f"| marts.{table} | {count:,} | {file_count:,} |")
    return "\n".join(
        [
            f"Measured by `python -m tests.year_bench` on {measured_on}: {HOST_COUNT} hosts, {DAYS} days, "
            f"{size_bytes(lake) / 1e9:.1f} GB, on {os.cpu_count()} cores.",
            f"Medians (minimum to maximum) of {ROUNDS} processes, including start-up.",
            "",
            "| table | rows | files |",
            "|---|---:|---:|",
            *counts,
            "",
            f"| question or command | s | at most {LIMIT_SECONDS:g} s |",
            "|---|---:|---|",
            *(
                f"| {name} | {figure.median:.2f} ({figure.low:.2f} to {figure.high:.2f}) "
                f"| {'yes' if figure.median <= LIMIT_SECONDS else '**no**'} |"
                for name, figure in figures.items()
            ),
        ]
    )


def seconds(command: list[str]) -> Figure:
    """Return the wall time of a command."""
    return Figure.of([measure(command).wall_seconds for _ in range(ROUNDS)])


def commands(lake: Path) -> dict[str, list[str]]:
    """Return what is measured: the cookbook's questions that have rows here, and commands, by their names."""
    catalog = lake / CATALOG_NAME
    host, message_id = some_mail(lake)
    last_day = f"{START + timedelta(days=DAYS - 1):%Y-%m-%d}"
    maillag = [
        ["restarts", "--host", host],
        ["restarts", "--since", last_day],
        ["fleet"],
        ["status"],
        ["trace", message_id, "--host", host],
        ["query", "select flush_verdict, count(*) as restart_count from marts.restarts group by all"],
    ]
    asked = [recipe for recipe in RECIPES if not any(table in recipe.query for table in NOT_MADE)]
    program = str(Path(sys.executable).parent / "maillag")
    return {
        **{str(recipe): [sys.executable, "-c", ASK, str(catalog), recipe.query] for recipe in asked},
        **{
            f"`{shlex.join(['maillag', *words])}`": [program, *words, "--lake", str(lake)]
            for words in maillag
        },
    }


def some_mail(lake: Path) -> tuple[str, str]:
    """Return a host, and the message id of a mail that it held in the middle of the year."""
    host = host_name(HOST_COUNT // 2)
    files = [*(lake / "marts/held_messages").rglob("*.parquet")]
    held = pl.scan_parquet(files).filter(pl.col("host") == host).sort("first_deferred_at").collect()
    return host, held["message_id"][len(held) // 2]


def publish_lake(lake: Path) -> None:
    """Publish the catalog of all files of the lake, and of a ledger with two log files a host and day."""
    files = {
        f"{table.parent.name}.{table.name}": sorted(
            file.relative_to(lake).as_posix() for file in table.rglob("*.parquet")
        )
        for schema in ("config", "fleet", "marts")
        for table in lake.glob(f"{schema}/*")
    }
    frames = {f"ops.{name}": Ledger.schema(name).to_frame() for name in LEDGER_TABLES}
    frames["ops.source_files"] = source_files()
    publish(lake, files=files, frames=frames, contracts=load_contracts().values(), run_id="bench")


def source_files() -> pl.DataFrame:
    """Return the rows of ops.source_files."""
    day = pl.lit(START).dt.cast_time_unit("us") + pl.duration(days=pl.col("day"))
    rows = (
        pl.DataFrame({"host": [host_name(number) for number in range(HOST_COUNT)]})
        .join(pl.DataFrame({"day": range(DAYS)}), how="cross")
        .join(pl.DataFrame({"log_kind": ["maillog", "manager_log"]}), how="cross")
        .with_columns(path=pl.format("{}/{}-{}", "host", "log_kind", day.dt.strftime("%Y%m%d")))
        .with_columns(
            source_id=pl.col("path").hash(seed=1).cast(pl.String).str.pad_start(20, "0").str.slice(4),
            status=pl.lit("loaded"),
            name_date=day.dt.date(),
            line_count=100_000,
            event_line_count=60_000,
            noise_line_count=40_000,
            unparsed_line_count=0,
            time_zone=pl.lit(ZONE.name),
            zone_source=pl.lit(ZONE.source),
            run_id=pl.lit("bench"),
            first_logged_at=day,
            last_logged_at=day + pl.duration(seconds=SECONDS_PER_DAY - 1),
        )
    )
    schema = Ledger.schema("source_files")
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None).alias(name)).cast(dtype)
        for name, dtype in schema.items()
    )


def write_lake(lake: Path) -> None:
    """Write the marts of all hosts, the fleet and the thresholds."""
    contracts = load_contracts()
    settings = HostSettings(
        product="imsva",
        version="9.1",
        build=OLD_BUILD,
        time_zone=ZONE.name,
        queue_run_delay_seconds=BACKOFF_SECONDS,
        minimal_backoff_seconds=BACKOFF_SECONDS,
    )
    patch = ((START + timedelta(days=PATCHED_DAY)).date(), HostSettings(build=NEW_BUILD))
    hosts = tuple(
        Host(host_name(number), settings, changes=(patch,) if is_patched(number) else ())
        for number in range(HOST_COUNT)
    )
    with duckdb.connect() as connection:
        for first in range(0, HOST_COUNT, HOSTS_AT_A_TIME):
            tables: dict[str, list[pl.DataFrame]] = {}
            for number in range(first, first + HOSTS_AT_A_TIME):
                for table, rows in marts_of(number, np.random.default_rng(number)):
                    tables.setdefault(table, []).append(rows)
            for table, of_hosts in tables.items():
                write_mart(connection, lake, contracts, table, pl.concat(of_hosts), part=str(first))
    history = host_history(Fleet(hosts), {host.name: ZONE for host in hosts})
    write_parquet(pl.DataFrame([asdict(Thresholds())]), lake / "config/thresholds/bench.parquet")
    write_parquet(history, lake / "fleet/host_history/bench.parquet")
    write_parquet(latest_hosts(history), lake / "fleet/hosts/bench.parquet")


def write_mart(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    contracts: Mapping[str, Contract],
    table: str,
    rows: pl.DataFrame,
    *,
    part: str,
) -> None:
    """Write rows of some hosts as a run does, or those of each `month` as a compaction does."""
    parts = {("",): rows} if "month" not in rows.columns else rows.partition_by("month", as_dict=True)
    for (period,), of_period in parts.items():
        connection.register("part", as_promised(of_period, contracts[table]).to_arrow())
        if period:
            key = "month" if len(str(period)) == len(LAST_MONTH) else "date"
            folder = lake / table.replace(".", "/") / f"{key}={period}"
            folder.mkdir(parents=True, exist_ok=True)
            connection.execute(
                f"copy (from part order by host) to '{folder}/bench.{part}.parquet' "
                f"(format parquet, compression zstd, compression_level 1, row_group_size {ROW_GROUP_ROWS})"
            )
        else:
            hosts = set(rows["host"].unique())
            MartWriter(connection, lake, "bench", part, contracts, hosts, 1).write(table, "from part")
        connection.unregister("part")


def as_promised(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return a contract's columns; instants are given as seconds since the start, NaN where there is none."""
    return rows.select(
        instant(pl.col(name)).alias(name)
        if column.data_type == "TIMESTAMP WITH TIME ZONE"
        else pl.col(name).cast(TYPES[column.data_type])
        for name, column in contract.columns.items()
    )


def instant(since_start: pl.Expr) -> pl.Expr:
    """Return the instants that seconds since the start tell."""
    microseconds = (since_start.cast(pl.Float64).fill_nan(None) * 1e6).cast(pl.Int64)
    return pl.lit(START).dt.cast_time_unit("us") + pl.duration(microseconds=microseconds)


def local_date(since_start: pl.Expr) -> pl.Expr:
    """Return the host's day of an instant."""
    return instant(since_start + ZONE_SECONDS).dt.date()


def marts_of(number: int, random: np.random.Generator) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield a host's marts, each with the name of its table."""
    host = pl.lit(host_name(number))
    restarts = make_restarts(number, random)
    held = make_held_messages(restarts, random)
    restarts = restarts.join(held_by_restart(held), on="restart_id", how="left", maintain_order="left")
    restarts = restarts.with_columns(
        pl.col("^(held_recipient|never_tried|interrupted|pending|lost_message|delayed).*_count$").fill_null(0)
    )
    trace = make_message_trace(host_name(number), held, random)
    yield "marts.restarts", restarts.with_columns(host=host)
    yield "marts.held_messages", held.with_columns(host=host)
    yield "marts.held_recipients", make_held_recipients(held).with_columns(host=host)
    yield "marts.missing_flushes", make_missing_flushes(restarts, held).with_columns(host=host)
    arrived = instant(pl.col("arrived_at"))
    yield (
        "marts.message_trace",
        trace.with_columns(host=host, month=arrived.dt.strftime("%Y-%m")).with_columns(
            month=pl.when(pl.col("month") == LAST_MONTH)
            .then(arrived.dt.strftime("%Y-%m-%d"))
            .otherwise("month")
        ),
    )
    daily = make_fleet_daily(number, restarts, held, trace)
    yield "marts.fleet_daily", daily.with_columns(host=host)
    gaps = np.sort(random.uniform(0, DAYS * SECONDS_PER_DAY, 6))
    coverage = pl.DataFrame({"gap_from": gaps, "gap_until": gaps + 7 * 3600})
    yield (
        "marts.coverage",
        coverage.with_columns(
            host=host,
            log_kind=pl.lit("maillog"),
            reason=pl.lit("silence"),
        ),
    )
    yield "marts.host_diagnosis", make_host_diagnosis(number, restarts, held).with_columns(host=host)
    yield "marts.host_advice", make_host_advice().with_columns(host=host)
    conditions = make_retry_conditions(restarts)
    yield "marts.retry_conditions", conditions.with_columns(host=host)
    yield "marts.retry_what_if", make_retry_what_if(held).with_columns(host=host)
    yield "marts.retries", make_retries(held).with_columns(host=host)
    yield "marts.retry_advice", make_retry_advice(conditions).with_columns(host=host)
    if is_patched(number):
        yield "marts.fleet_changes", make_fleet_changes(restarts, held).with_columns(host=host)


def make_restarts(number: int, random: np.random.Generator) -> pl.DataFrame:
    """Return a host's restarts, without what their held mail tells."""
    count = RESTARTS_PER_DAY * DAYS
    slot = SECONDS_PER_DAY / RESTARTS_PER_DAY
    down = np.floor(np.arange(count) * slot + random.uniform(60, slot - 1200, count))
    up = down + np.floor(random.uniform(15, 50, count))
    held = random.poisson(HELD_PER_RESTART, count)
    chance = random.random(count)
    verdict = np.select(
        [held == 0, chance < MISSING_SHARE, chance < MISSING_SHARE + UNKNOWN_SHARE],
        ["not_needed", "missing", "unknown"],
        "effective",
    )
    is_ordered = (verdict == "effective") & (random.random(count) < 0.99)
    flushed = np.where(verdict == "effective", up + random.uniform(0, 60, count), np.nan)
    ordered = np.where(is_ordered, np.floor(flushed), np.nan)
    is_known = pl.col("flush_verdict") != "unknown"
    return pl.DataFrame(
        {
            "down_at": down,
            "down_at_earliest": down - random.uniform(0, 20, count),
            "down_at_latest": down + 1,
            "up_at": up,
            "up_at_earliest": up - random.uniform(0, 12, count),
            "up_at_latest": up + random.uniform(0, 3, count),
            "window_from": down - 20,
            "window_until": up + 120,
            "flush_observed_at": flushed,
            "flush_commanded_at": ordered,
            "flush_marked_at": ordered,
            "flush_verdict": verdict,
            "flush_order": np.where(is_ordered, "ordered", "not_ordered"),
            "held_message_count": held,
            "chance": random.random(count),
        }
    ).with_columns(
        restart_id=pl.lit(host_name(number) + "-") + instant(pl.col("down_at")).dt.strftime("%Y%m%dT%H%M%SZ"),
        verdict_reason=pl.when(~is_known).then(pl.lit("too_few_messages")),
        missing_reason=pl.when(NOT_FLUSHED).then(
            pl.when(pl.col("chance") < 0.5).then(pl.lit("not_noticed")).otherwise(pl.lit("not_ordered"))
        ),
        product=pl.lit("imsva"),
        build=pl.when(is_new(number, pl.col("down_at"))).then(NEW_BUILD).otherwise(OLD_BUILD),
        build_verdict=build_verdict(number, pl.col("down_at")),
        time_zone=pl.lit(ZONE.name),
        queue_run_count=pl.lit(0),
        confidence=pl.when(pl.col("chance") < 0.9).then(pl.lit("certain")).otherwise(pl.lit("likely")),
        evidence=pl.lit(["maillog", "manager_log"], dtype=pl.List(pl.String)),
        restart_trigger=pl.when(pl.col("chance") < 0.8)
        .then(pl.lit("component_update"))
        .otherwise(pl.lit("unknown")),
        outage_seconds=pl.col("up_at") - pl.col("down_at"),
        possible_duplicate_count=0,
        flush_missed_count=pl.when(is_known).then(
            pl.when(NOT_FLUSHED).then("held_message_count").otherwise(0)
        ),
        flush_failed_count=pl.when(is_known).then(0),
        is_up_at_estimated=pl.col("up_at_latest") - pl.col("up_at_earliest") > 5,
        is_overlong=False,
    )


def make_held_messages(restarts: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    """Return the messages that a host's restarts held."""
    restart = np.repeat(np.arange(len(restarts)), restarts["held_message_count"].to_numpy())
    count = len(restart)
    down, up, flushed = (
        restarts[name].to_numpy()[restart] for name in ("down_at", "up_at", "flush_observed_at")
    )
    deferred = down + (up - down) * random.random(count)
    arrived = deferred - random.exponential(0.5, count)
    is_flushed = ~np.isnan(flushed)
    retried = deferred + BACKOFF_SECONDS * (1 + random.random(count))
    is_lost = random.random(count) < LOST_SHARE
    released = np.where(is_flushed, flushed + random.random(count), retried)
    released[is_lost] = np.nan
    is_suspended = random.random(count) < 0.6
    is_interrupted = ~is_suspended & (random.random(count) < 0.01)
    lost = np.array(["expired", "bounced", "pending"])[random.integers(0, 3, count)]
    return make_mail(arrived, random).with_columns(
        restart_id=restarts["restart_id"].gather(restart),
        down_at=pl.Series(down),
        first_cause=pl.Series(
            np.select([is_suspended, is_interrupted], ["suspended", "session_lost"], "refused")
        ),
        outcome=pl.Series(np.where(is_lost, lost, "delivered")),
        released_by=pl.when(pl.Series(~is_lost)).then(pl.Series(np.where(is_flushed, "flush", "queue_run"))),
        held_recipient_count="recipient_count",
        failed_attempt_count="recipient_count",
        restart_delay_seconds=pl.Series(released - deferred).fill_nan(None),
        total_delay_seconds=pl.Series(released - arrived).fill_nan(None),
        is_never_tried=pl.Series(is_suspended),
        is_interrupted=pl.Series(is_interrupted),
        is_hop_inferred=False,
        is_pending_proved=pl.lit(None),
        first_deferred_at=pl.Series(deferred),
        last_deferred_at=pl.Series(deferred),
        reactivated_at=pl.Series(released) - 1,
        released_at=pl.Series(released),
        removed_at=pl.Series(released + 0.01),
    )


def make_mail(arrived: Numbers, random: np.random.Generator) -> pl.DataFrame:
    """Return mail that arrives at given seconds."""
    count = len(arrived)
    return pl.DataFrame(
        {
            "arrived_at": arrived,
            "queue_id": queue_ids(arrived, random),
            "sender": addresses(count, "sender", random),
            "client_host": clients(count, random),
            "size_bytes": random.lognormal(10, 1.5, count).astype(np.int64),
            "recipient_count": 1 + random.geometric(0.8, count) - 1,
        }
    ).with_columns(
        instance=pl.lit("postfix"),
        message_id="<"
        + hexadecimal(random.integers(0, 1 << 48, count), 12)
        + "@"
        + pl.col("client_host")
        + ">",
    )


def held_by_restart(held: pl.DataFrame) -> pl.DataFrame:
    """Return what the held mail tells of each restart."""
    is_lost = pl.col("outcome").is_in(["expired", "bounced"]) & pl.col("released_at").is_nan()
    return held.group_by("restart_id").agg(
        held_recipient_count=pl.sum("held_recipient_count"),
        never_tried_count=pl.sum("is_never_tried"),
        interrupted_count=pl.sum("is_interrupted"),
        pending_count=(pl.col("outcome") == "pending").sum(),
        lost_message_count=is_lost.sum(),
        delayed_over_5_min_count=(DELAY > 300).sum(),
        first_deferred_at=pl.min("first_deferred_at"),
        last_released_at=pl.col("released_at").max(),
        **DELAYS,
        **TOTAL,
    )


def make_missing_flushes(restarts: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Return the restarts without a flush, with what it would have saved."""
    missing = restarts.filter(NOT_FLUSHED).with_columns(
        expected_flush_at=pl.col("up_at") + 60,
        advice=pl.when(pl.col("build_verdict") == "fixed")
        .then(pl.lit("flush_after_restart"))
        .otherwise(pl.lit("apply_patch_2")),
    )
    avoidable = (pl.col("released_at") - pl.col("expected_flush_at")).fill_nan(0).clip(0)
    saved = (
        held.join(missing.select("restart_id", "expected_flush_at"), on="restart_id")
        .group_by("restart_id")
        .agg(avoidable_delay_total_seconds=avoidable.sum(), avoidable_delay_max_seconds=avoidable.max())
    )
    return missing.join(saved, on="restart_id", how="left")


def make_message_trace(host: str, held: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    """Return both hops of all held mail and of some that was not held; a little ends at the scan service."""
    span = DAYS * SECONDS_PER_DAY
    others = np.sort(random.uniform(1, span - 3600, OTHER_MAILS_PER_DAY * DAYS))
    mail = pl.concat(
        [
            held.with_columns(left_at="removed_at", status="outcome"),
            make_mail(others, random).with_columns(left_at="arrived_at", status=pl.lit("delivered")),
        ],
        how="diagonal",
    )
    count = len(mail)
    is_delivered = pl.col("status") == "delivered"
    left = mail["left_at"].to_numpy() + random.exponential(0.2, count)
    first = mail.with_columns(
        trace_id=pl.concat_str(
            pl.lit(host + "-postfix-"),
            "queue_id",
            instant(pl.col("arrived_at")).dt.strftime("-%Y%m%dT%H%M%SZ"),
        ),
        left_at=pl.Series(left),
        next_queue_id=queue_ids(np.nan_to_num(left), random),
        status=pl.when(is_delivered & pl.Series(random.random(count) < 0.01))
        .then(pl.lit("ended_at_scan"))
        .when(is_delivered)
        .then(pl.lit("passed_on"))
        .otherwise("status"),
    )
    is_passed_on = pl.col("status") == "passed_on"
    second = first.filter(is_passed_on).with_columns(
        arrived_at=pl.col("left_at") - 0.05, previous_queue_id="queue_id", queue_id="next_queue_id"
    )
    left = second["left_at"].to_numpy() + random.exponential(0.5, len(second))
    return (
        pl.concat(
            [
                first.with_columns(
                    hop_number=1,
                    client_address=pl.lit("192.0.2.1"),
                    relay=pl.lit("localhost[127.0.0.1]:10025"),
                    previous_queue_id=pl.lit(None, pl.String),
                    next_queue_id=pl.when(is_passed_on).then("next_queue_id"),
                    link=pl.when(is_passed_on).then(pl.lit("queued_as")),
                    next_hop_count=is_passed_on.cast(pl.Int64),
                    is_scan_hop=True,
                    is_counted=True,
                ),
                second.with_columns(
                    hop_number=2,
                    client_host=pl.lit("localhost"),
                    client_address=pl.lit("127.0.0.1"),
                    relay=pl.lit("mx.example.com[192.0.2.25]:25"),
                    status=pl.when(pl.Series(random.random(len(second)) < 0.005))
                    .then(pl.lit("bounced"))
                    .otherwise(pl.lit("delivered")),
                    next_queue_id=pl.lit(None, pl.String),
                    link=pl.lit(None, pl.String),
                    next_hop_count=pl.lit(0, pl.Int64),
                    is_scan_hop=False,
                    is_counted=False,
                    left_at=pl.Series(left),
                ),
            ],
            how="diagonal",
        )
        .with_columns(notification_queue_id=pl.lit(None))
        .sort("arrived_at")
    )


def make_fleet_daily(
    number: int, restarts: pl.DataFrame, held: pl.DataFrame, trace: pl.DataFrame
) -> pl.DataFrame:
    """Return a row for each of the host's days."""
    day_of_restart = local_date(pl.col("down_at"))
    mail = trace.group_by(date=local_date(pl.col("left_at").fill_nan(pl.col("arrived_at")))).agg(
        received_count=(pl.col("hop_number") == 1).sum(),
        message_count=pl.col("is_counted").sum(),
        **{
            f"{name}_count": pl.col("status").is_in(statuses).sum()
            for name, statuses in STATUSES_COUNTED.items()
        },
    )
    first = START + timedelta(seconds=ZONE_SECONDS)
    day = (pl.col("date") - START.date()).dt.total_days() * SECONDS_PER_DAY - ZONE_SECONDS
    return (
        pl.DataFrame({"date": [first.date() + timedelta(days=day) for day in range(DAYS + 1)]})
        .join(restarts.group_by(date=day_of_restart).agg(**RESTART_COUNTS), on="date", how="left")
        .join(
            held.group_by(date=day_of_restart).agg(held_message_count=pl.len(), **DELAYS, **TOTAL),
            on="date",
            how="left",
        )
        .join(mail, on="date", how="left")
        .with_columns(
            pl.col("^.*_count$").fill_null(0),
            product=pl.lit("imsva"),
            build=pl.when(is_new(number, day)).then(NEW_BUILD).otherwise(OLD_BUILD),
            build_verdict=build_verdict(number, day),
            unparsed_share=0.0,
            coverage_share=0.999,
        )
    )


def make_held_recipients(held: pl.DataFrame) -> pl.DataFrame:
    """Return one recipient of each held message."""
    return held.with_columns(
        recipient=pl.format("{}@{}", "queue_id", pl.col("sender").str.split("@").list.last()),
        recipient_domain=pl.col("sender").str.split("@").list.last(),
    )


def make_retry_conditions(restarts: pl.DataFrame) -> pl.DataFrame:
    """Return what decides when the mail of each restart is retried."""
    return restarts.filter(pl.col("held_message_count") > 0).with_columns(
        instance=pl.lit("postfix"),
        no_answer_reason=pl.when(pl.col("flush_verdict") == "unknown").then(pl.lit("log_end")),
        queue_run_delay_seconds=BACKOFF_SECONDS,
        minimal_backoff_seconds=BACKOFF_SECONDS,
        maximal_backoff_seconds=4000,
        maximal_queue_lifetime_seconds=5 * SECONDS_PER_DAY,
        bounce_queue_lifetime_seconds=0,
        phase_error_seconds=1,
        is_phase_of_start=False,
        answered_at="up_at_latest",
        death_at_earliest="down_at",
        death_at_latest=pl.col("down_at") + 1,
        phase_at=pl.col("down_at") - 100,
        qmgr_started_at=pl.lit(None),
    )


def make_retry_what_if(held: pl.DataFrame) -> pl.DataFrame:
    """Return each restart's waits as they were, and a share of them under each scenario."""
    shares = {AS_IT_WAS: 1.0, **{scenario.name: 0.9 for scenario in standard_scenarios(60, 300)}}
    scenarios = pl.DataFrame({"scenario": list(shares), "share": list(shares.values())})
    figures = [*DELAYS, *TOTAL]
    bounds = {
        f"{name.removesuffix('_seconds')}_{bound}_seconds": pl.col(name)
        for name in figures
        for bound in ("at_least", "at_most")
    }
    return (
        held.group_by("restart_id")
        .agg(message_count=pl.len(), **DELAYS, **TOTAL)
        .join(scenarios, how="cross")
        .with_columns(pl.col(figures) * pl.col("share"))
        .with_columns(
            reason=pl.lit(None),
            queue_run_delay_seconds=BACKOFF_SECONDS,
            minimal_backoff_seconds=BACKOFF_SECONDS,
            maximal_backoff_seconds=4000,
            maximal_queue_lifetime_seconds=5 * SECONDS_PER_DAY,
            bounce_queue_lifetime_seconds=0,
            flushed_count=0,
            not_held_count=0,
            expired_count=0,
            expired_at_most_count=0,
            is_flushed=pl.col("scenario") == "flushed",
            is_throttled=pl.col("scenario") != "not_throttled",
            **bounds,
        )
    )


def make_retries(held: pl.DataFrame) -> pl.DataFrame:
    """Return the retries of the mail that left the queue, by second."""
    return (
        held.filter(~pl.col("released_at").is_nan())
        .group_by(
            "instance",
            retried_at=pl.col("reactivated_at").floor(),
            age_class_seconds=pl.lit(BACKOFF_SECONDS // 2),
        )
        .agg(retry_count=pl.len(), waited_seconds=DELAY.sum())
    )


def make_retry_advice(conditions: pl.DataFrame) -> pl.DataFrame:
    """Return the host's one row: its settings are short enough."""
    settings = {
        f"{prefix}{name}_seconds": BACKOFF_SECONDS
        for prefix in ("", "recommended_")
        for name in ("queue_run_delay", "minimal_backoff")
    }
    figures = (
        "longest_wait_seconds",
        "total_wait_seconds",
        "advised_longest_wait_at_most_seconds",
        "advised_total_wait_at_least_seconds",
        "advised_total_wait_at_most_seconds",
        "daily_message_count",
        "daily_retry_count",
        "daily_extra_retry_count",
        "daily_queue_run_count",
        "advised_daily_queue_run_count",
    )
    counts = {
        "simulated_restart_count": len(conditions),
        "simulated_message_count": conditions["held_message_count"].sum(),
        "day_count": DAYS,
    }
    return pl.DataFrame([{"reason": "short_enough"} | settings | counts | dict.fromkeys(figures, 0.0)])


def make_host_advice() -> pl.DataFrame:
    """Return two pieces of advice."""
    advice = [advice for advice in load_advice() if advice.code in ADVISED]
    rows = [asdict(entry) | {"position": position, "commands": []} for position, entry in enumerate(advice)]
    return pl.DataFrame(rows).with_columns(
        pl.col("en").list.join("\n").alias("text_en"), pl.col("ja").list.join("\n").alias("text_ja")
    )


def make_host_diagnosis(number: int, restarts: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Return the host's one row."""
    current_from = PATCHED_DAY * SECONDS_PER_DAY if is_patched(number) else None
    current = restarts.filter(pl.col("down_at") >= (current_from or 0))
    advice = [advice for advice in load_advice() if advice.code in ADVISED]
    return pl.DataFrame(
        side(restarts, held)
        | {
            "product": "imsva",
            "version": "9.1",
            "build": NEW_BUILD if is_patched(number) else OLD_BUILD,
            "wrapper_md5": None,
            "mta": "postfix",
            "build_verdict": "fixed" if is_patched(number) else "known_defective",
            "behaviour": "unexpected_missing" if is_patched(number) else "as_expected",
            "advice": [[entry.code for entry in advice]],
            "advice_text": "\n\n".join("\n".join(entry.en) for entry in advice),
            "advice_text_ja": "\n\n".join("\n".join(entry.ja) for entry in advice),
            "queue_run_delay_seconds": BACKOFF_SECONDS,
            "minimal_backoff_seconds": BACKOFF_SECONDS,
            "maximal_backoff_seconds": 4000,
            "bounce_queue_lifetime_seconds": 0,
            "not_noticed_count": (restarts["missing_reason"] == "not_noticed").sum(),
            "wrapper_defect_count": 0,
            "order_without_effect_count": 0,
            "overlong_count": 0,
            "held_message_count": len(held),
            "lost_message_count": restarts["lost_message_count"].sum(),
            "lost_bounce_count": 0,
            "current_restart_count": len(current),
            "current_flushed_count": (current["flush_verdict"] == "effective").sum(),
            "current_missing_count": (current["flush_verdict"] == "missing").sum(),
            "current_not_noticed_count": (current["missing_reason"] == "not_noticed").sum(),
            "current_overlong_count": 0,
            "missing_wait_max_seconds": current["restart_delay_max_seconds"].max(),
            "retry_wait_max_seconds": 2 * BACKOFF_SECONDS,
            "advised_wait_max_seconds": 2 * BACKOFF_SECONDS,
            "current_from": current_from,
        }
    )


def make_fleet_changes(restarts: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Return the one change of a host that was patched."""
    changed = PATCHED_DAY * SECONDS_PER_DAY
    sides = {
        f"{name}_{when}": value
        for when, is_there in (("before", pl.lit(True)), ("after", pl.lit(False)))
        for name, value in side(
            restarts.filter((pl.col("down_at") < changed) == is_there),
            held.filter((pl.col("first_deferred_at") < changed) == is_there),
        ).items()
    }
    return pl.DataFrame(
        sides
        | {
            "judged_before_count": sides["judged_restart_count_before"],
            "judged_after_count": sides["judged_restart_count_after"],
            "missing_share_before": MISSING_SHARE,
            "missing_share_after": MISSING_SHARE,
            "changed_at": changed,
            "changes": [[f"build: {OLD_BUILD} -> {NEW_BUILD}"]],
            "changed_before_at": None,
            "changed_again_at": None,
        }
    )


def side(restarts: pl.DataFrame, held: pl.DataFrame) -> dict[str, Any]:
    """Return the figures of some restarts and of what they held."""
    return restarts.select(**RESTART_COUNTS).row(0, named=True) | held.select(**DELAYS).row(0, named=True)


def host_name(number: int) -> str:
    """Return the name of a host by its number, from 0."""
    return f"mx{number:03}"


def is_patched(number: int) -> bool:
    """Return whether a host was patched in the middle of the year."""
    return number % 2 == 1


def is_new(number: int, since_start: pl.Expr) -> pl.Expr:
    """Return whether a host had the new build at an instant."""
    return pl.lit(is_patched(number)) & (since_start >= PATCHED_DAY * SECONDS_PER_DAY)


def build_verdict(number: int, since_start: pl.Expr) -> pl.Expr:
    """Return what is known of a host's build at an instant."""
    return pl.when(is_new(number, since_start)).then(pl.lit("fixed")).otherwise(pl.lit("known_defective"))


if __name__ == "__main__":
    main()
