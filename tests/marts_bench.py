"""Made-up events of a fleet to figures of speed: what it takes to build the marts of a month of mail.

A lake's files are written as a run leaves them, without the log lines that they stand for: every message
arrives, is delivered to the scan service, comes back from it with another queue id and is delivered outward.
The service restarts several times a day; what comes meanwhile is refused or suspended, and retried by a flush
or, after every seventh restart, by a queue run. The marts are built in a process of their own, which is
measured. `python -m tests.marts_bench [FOLDER]`; lakes that are in FOLDER already are used again.
"""

import json
import math
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from tests.bench.document import DOCUMENT, replace_section
from tests.bench.measure import measure as process_cost
from transforms.contracts.contracts import load_contracts
from transforms.fleet.fleet import Fleet, Host
from transforms.fleet.history import host_history, latest_hosts
from transforms.fleet.host_settings import HostSettings
from transforms.lake.catalog import host_folder
from transforms.lake.files import write_parquet
from transforms.lake.ledger import Ledger
from transforms.lake.records import Content, LakeFile
from transforms.parse.line_counts import COUNT_SPAN, LINE_COUNTS
from transforms.parse.tables import EVENT_TABLES
from transforms.zone import Zone

Numbers = npt.NDArray[Any]

START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 30
ATTEMPTS_PER_HOST = 500_000
HOST_COUNTS = (2, 20)
RESTARTS_PER_DAY = 14
SECONDS_PER_DAY = 86_400
# Of two legs, some to two recipients, some retried, and a bounce now and then.
ATTEMPTS_PER_MESSAGE = 2.26
QUEUE_RUN_SECONDS = 300
BACKOFF_SECONDS = 300
# Postfix takes a destination for dead after a few failures in a row.
FAILURES_BEFORE_DEAD = 3
LONGEST_OUTAGE_SECONDS = 50
# Inodes are few, and used again: so are short queue ids now and then.
INODES = 600
SCAN_PEER = {"relay_address": "127.0.0.1", "relay_port": 10025}
REFUSED = "connect to localhost[127.0.0.1]:10025: Connection refused"
GREETING_LOST = "lost connection with localhost[127.0.0.1] while receiving the initial server greeting"
SUSPENDED = "delivery temporarily suspended: " + REFUSED
GREYLISTED = "host mx.example.com[192.0.2.25] said: 451 4.7.1 Greylisted (in reply to RCPT TO command)"
UNKNOWN_USER = "host mx.example.com[192.0.2.25] said: 550 5.1.1 User unknown (in reply to RCPT TO command)"


@dataclass(frozen=True)
class Measure:
    """What building the marts of one lake took."""

    attempt_count: int
    restart_count: int
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    model_seconds: dict[str, float]


def main() -> None:
    """Write the lakes that are not there yet, measure both sizes, and put a table into the document."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(next(iter(sys.argv[1:]), temporary))
        if folder.name.startswith("-"):
            raise SystemExit(f"{folder}: is no folder. Give one to keep the data in, or nothing.")
        measures = []
        for host_count in HOST_COUNTS:
            lake = folder / f"{host_count}-hosts"
            if not (lake / "source_files.parquet").exists():
                # The peak memory of a process counts for those that it starts, too.
                with ProcessPoolExecutor(1) as pool:
                    pool.submit(write_lake, lake, host_count=host_count, days=DAYS).result()
            measures.append(measure(lake))
    text = render(*measures, measured_on=datetime.now(UTC).date())
    print(text)
    replace_section(DOCUMENT, "marts", text)


def render(small: Measure, large: Measure, *, measured_on: date) -> str:
    """Return the document's table, with what was aimed at and the models that took longest."""
    growth = math.log(large.attempt_count / small.attempt_count)
    exponent = math.log(large.wall_seconds / small.wall_seconds) / growth
    slowest = sorted(large.model_seconds, key=lambda name: -large.model_seconds[name])[:10]
    targets = (
        (f"the marts of {large.attempt_count / 1e6:.0f} M attempts", "s", large.wall_seconds, 45),
        ("peak memory", "MiB", large.peak_mib, 1024),
        ("exponent of the growth in wall time", "", exponent, 1.05),
    )
    return "\n".join(
        [
            f"Measured by `python -m tests.marts_bench` on {measured_on}, once for each size, "
            f"on {os.cpu_count()} cores.",
            "",
            "| delivery attempts | restarts | wall s | CPU s | peak MiB |",
            "|---|---|---|---|---|",
            *(
                f"| {taken.attempt_count:,} | {taken.restart_count:,} | {taken.wall_seconds:.1f} "
                f"| {taken.cpu_seconds:.1f} | {taken.peak_mib:.0f} |"
                for taken in (small, large)
            ),
            "",
            "| aim | measured | at most | reached |",
            "|---|---|---|---|",
            *(
                f"| {aim} | {value:.4g} {unit} | {most} {unit} | {'yes' if value <= most else 'no'} |"
                for aim, unit, value, most in targets
            ),
            "",
            "The slowest models, of which several run at once: "
            + ", ".join(f"{name} {large.model_seconds[name]:.1f} s" for name in slowest)
            + ".",
        ]
    )


def measure(lake: Path) -> Measure:
    """Build a lake's marts in a process of its own."""
    with tempfile.TemporaryFile("w+") as built:
        cost = process_cost([sys.executable, "-m", "tests.marts_bench", "--build", str(lake)], built)
        built.seek(0)
        return Measure(**json.load(built), **asdict(cost))


def build(lake: Path) -> None:
    """Build the marts of a lake as a run does; print what it has, and the seconds of each model.

    Several models run at once.
    """
    from transforms.marts import batch
    from transforms.marts.build import build_marts
    from transforms.marts.models import load_models
    from transforms.thresholds import Thresholds

    seconds: dict[str, float] = {}
    run_model = vars(batch)["run_model"]

    def timed(connection: Any, model: Any, source: str | None = None) -> None:
        began = time.perf_counter()
        run_model(connection, model, source)
        seconds[model.name] = seconds.get(model.name, 0) + time.perf_counter() - began

    vars(batch)["run_model"] = timed
    files = lake_files(lake)
    built = build_marts(
        lake,
        models=load_models(),
        contracts=load_contracts(),
        files=files,
        frames={"ops.source_files": pl.read_parquet(lake / "source_files.parquet")},
        thresholds=Thresholds(),
        run_id="bench",
    )
    attempts = [lake / file.path for file in files if file.table_name == "events.delivery_attempts"]
    counts = {
        "attempt_count": pl.scan_parquet(attempts).select(pl.len()).collect().item(),
        "restart_count": sum(mart.row_count for mart in built.files if mart.table_name == "marts.restarts"),
    }
    print(json.dumps({**counts, "model_seconds": seconds}))


def lake_files(lake: Path) -> list[LakeFile]:
    """Return the lake's files, as the ledger would."""
    folders = sorted(folder for schema in ("events", "ops", "fleet") for folder in lake.glob(f"{schema}/*"))
    return [
        LakeFile(
            path.relative_to(lake).as_posix(),
            f"{folder.parent.name}.{folder.name}",
            (),
            pq.read_metadata(path).num_rows,
            "bench",
            Content(path.stat().st_size, 0, ""),
        )
        for folder in folders
        for path in sorted(folder.rglob("*.parquet"))
    ]


def write_lake(lake: Path, *, host_count: int, days: int) -> None:
    """Write the events of a fleet, its settings, and the ledger's source files beside them."""
    names = [f"mx{number:02}" for number in range(1, host_count + 1)]
    settings = HostSettings(
        product="imsva",
        version="9.1",
        build=1631,
        queue_run_delay_seconds=QUEUE_RUN_SECONDS,
        minimal_backoff_seconds=BACKOFF_SECONDS,
        maximal_backoff_seconds=4000,
    )
    fleet = Fleet(tuple(Host(name, settings) for name in names))
    history = host_history(fleet, {name: Zone("UTC", "fleet_file") for name in names})
    write_parquet(history, lake / "fleet/host_history/bench.parquet")
    write_parquet(latest_hosts(history), lake / "fleet/hosts/bench.parquet")
    source_files = [
        write_host(lake, host, days=days, random=np.random.default_rng(seed))
        for seed, host in enumerate(names)
    ]
    write_parquet(pl.concat(source_files), lake / "source_files.parquet")


def write_host(lake: Path, host: str, *, days: int, random: np.random.Generator) -> pl.DataFrame:
    """Write a host's events and line counts; return its source files."""
    tables = host_events(days=days, random=random)
    lines = pl.concat(
        [
            frame.select("seconds", log_kind=log_kind(name), table_name=pl.lit(name))
            for name, frame in tables.items()
        ]
    ).with_columns(logged_at=logged_at(), day=day())
    order = np.argsort(lines["seconds"].to_numpy(), kind="stable")
    ranks = np.empty(len(lines), np.int64)
    ranks[order] = np.arange(len(lines))
    lines = lines.with_columns(rank=pl.Series(ranks)).with_columns(
        line_number=pl.col("rank") - pl.col("rank").min().over("log_kind", "day") + 1,
        source_id=source_id(host),
    )
    offset = 0
    for name, frame in tables.items():
        own = lines.slice(offset, len(frame)).select("line_number", "source_id", "day", "logged_at")
        offset += len(frame)
        schema = EVENT_TABLES[name]
        rows = (
            pl.concat([frame, own], how="horizontal")
            .sort("line_number")
            .with_columns(
                host=pl.lit(host), year_source=pl.lit("file_name"), zone_source=pl.lit("fleet_file")
            )
        )
        rows = rows.with_columns(
            pl.lit(None).alias(column) for column in schema if column not in rows.columns
        )
        for (number,), part in rows.partition_by("day", as_dict=True).items():
            events = part.select(pl.col(column).cast(dtype) for column, dtype in schema.items())
            folder = lake / "events" / name / host_folder(host) / f"date={date_of(number):%Y-%m-%d}"
            write_parquet(events, folder / f"{part['source_id'][0]}.bench.parquet")
    counts = lines.group_by(
        "log_kind", "table_name", "source_id", span=pl.col("logged_at").dt.truncate(COUNT_SPAN)
    ).agg(
        line_count=pl.len().cast(pl.Int64),
        first_logged_at=pl.min("logged_at"),
        last_logged_at=pl.max("logged_at"),
    )
    counts = counts.with_columns(host=pl.lit(host), logging_host=pl.lit(host)).select(LINE_COUNTS.names())
    for (source,), part in counts.partition_by("source_id", as_dict=True).items():
        write_parquet(part, lake / "ops/line_counts" / host_folder(host) / f"{source}.bench.parquet")
    return source_files(lines, host)


def source_files(lines: pl.DataFrame, host: str) -> pl.DataFrame:
    """Return the rows of ops.source_files: a file a day of each log."""
    schema = Ledger.schema("source_files")
    first_day = pl.lit(START) + pl.duration(days=pl.col("day"))
    files = (
        lines.group_by("log_kind", "day", "source_id")
        .agg(
            line_count=pl.len(),
            first_logged_at=pl.min("logged_at"),
            last_logged_at=pl.max("logged_at"),
        )
        .with_columns(
            host=pl.lit(host),
            path=pl.format("{}/{}-{}", pl.lit(host), "log_kind", first_day.dt.strftime("%Y%m%d")),
            status=pl.lit("loaded"),
            name_date=first_day.dt.date(),
            covered_from=pl.when(pl.col("log_kind") == "maillog")
            .then("first_logged_at")
            .otherwise(first_day),
            covered_until=pl.when(pl.col("log_kind") == "maillog")
            .then("last_logged_at")
            .otherwise(first_day + pl.duration(days=1)),
            event_line_count=pl.col("line_count"),
            noise_line_count=0,
            unparsed_line_count=0,
            content_bytes=0,
            content_hash=pl.col("source_id"),
            time_zone=pl.lit("UTC"),
            zone_source=pl.lit("fleet_file"),
            year_source=pl.lit("file_name"),
            run_id=pl.lit("bench"),
        )
    )
    return files.select(pl.col(column).cast(dtype) for column, dtype in schema.items())


def host_events(*, days: int, random: np.random.Generator) -> dict[str, pl.DataFrame]:
    """Return a host's events by table, without their provenance; `seconds` since the start are theirs."""
    span = days * SECONDS_PER_DAY
    count = int(ATTEMPTS_PER_HOST / DAYS * days / ATTEMPTS_PER_MESSAGE)
    slot = SECONDS_PER_DAY / RESTARTS_PER_DAY
    # Less mail at night; nothing comes in the last hour, so that all of it leaves the queue.
    arrived = random.random(count) * span
    arrived += 8000 * np.sin(arrived * 2 * math.pi / SECONDS_PER_DAY)
    arrived = 1 + np.sort(arrived % (span - 3600))
    numbers = np.arange(RESTARTS_PER_DAY * days)
    down = numbers * slot + random.uniform(600, slot - 3000, len(numbers))
    up = down + random.uniform(5, LONGEST_OUTAGE_SECONDS, len(numbers))
    # The manager polls once a minute, in the same second; it overlooks some restarts.
    polled = np.ceil((up - 28) / 60) * 60 + 28
    flushed = np.sort(polled[random.random(len(numbers)) > 1 / 7])
    messages = pl.DataFrame(
        {
            "sender": addresses(count, "sender", random),
            "recipient": addresses(count, "recipient", random),
            "other_recipient": addresses(count, "second", random).set(
                pl.Series(random.random(count) > 0.12), None
            ),
            "message_id": "<" + pl.Series(np.arange(count)).cast(pl.String) + hexadecimal(
                random.integers(0, 1 << 40, count), 10
            ) + "@mail.example.com>",
            "size_bytes": np.exp(random.normal(9.5, 1.2, count)).astype(np.int64) + 600,
            "client_host": clients(count, random),
            "client_address": pl.Series([f"192.0.2.{n % 250 + 1}" for n in range(1000)]).gather(
                random.integers(0, 1000, count)
            ),
        }
    )  # fmt: skip
    failing, reason = scan_failures(arrived, down, up, polled, random)
    inward_sent, inward_activated = delivered(arrived, failing, flushed, random)
    outward_arrived = inward_sent - 0.05
    greylisted = random.random(count) < 0.015
    outward_sent, outward_activated = delivered(outward_arrived, greylisted, flushed, random)
    bounced = random.random(count) < 0.01
    ids, outward_ids = queue_ids(arrived, random), queue_ids(outward_arrived, random)
    outward_client = {"client_host": pl.lit("localhost"), "client_address": pl.lit("127.0.0.1")}
    legs = [
        leg(
            messages,
            ids,
            arrived,
            inward_sent,
            retried=pl.Series(failing),
            activated_again=inward_activated,
            deferral={"reason": pl.Series(reason), "relay_host": pl.lit("none")},
            peer={"relay_host": pl.lit("localhost"), **SCAN_PEER},
            replies="250 2.0.0 Ok: queued as " + outward_ids,
            bounced=pl.Series(np.zeros(count, bool)),
        ),
        leg(
            messages.with_columns(**outward_client),
            outward_ids,
            outward_arrived,
            outward_sent,
            retried=pl.Series(greylisted),
            activated_again=outward_activated,
            deferral={"reason": pl.lit(GREYLISTED), "relay_host": pl.lit("mx.example.com")},
            peer={"relay_host": pl.lit("mx.example.com"), "relay_address": "192.0.2.25", "relay_port": 25},
            replies="250 2.0.0 Ok: queued as " + hexadecimal(random.integers(0, 1 << 40, count), 10),
            bounced=pl.Series(bounced),
        ),
    ]
    tables = {name: pl.concat([one[name] for one in legs], how="diagonal_relaxed") for name in legs[0]}
    return {
        **{name: with_program(name, frame, random) for name, frame in tables.items()},
        "service_events": with_program(
            "service_events",
            pl.DataFrame(
                {
                    "seconds": np.concatenate(([0.5], flushed)),
                    "event_kind": ["start"] + ["flush_marker"] * len(flushed),
                    "message": ["starting the Postfix mail system"]
                    + ["FLUSH: Checking if IMSS is running."] * len(flushed),
                }
            ),
            random,
        ),
        "manager_log": pl.DataFrame({"seconds": flushed}).with_columns(
            pid=8954,
            thread_id=4061145968,
            level=pl.lit("NORMAL"),
            component=pl.lit("SysMonitor"),
            event_kind=pl.lit("flush_commanded"),
            message=pl.lit("Control postfix by cmd /opt/trend/imss/script/postfix flush"),
        ),
        "system_events": pl.DataFrame(
            {
                "seconds": np.concatenate((down, up)),
                "event_code": np.repeat([20001, 20002], len(down)),
                "event_kind": np.repeat(["scan_stopped", "scan_started"], len(down)),
            }
        ),
    }


def scan_failures(
    arrived: Numbers, down: Numbers, up: Numbers, polled: Numbers, random: np.random.Generator
) -> tuple[Numbers, Numbers]:
    """Return which messages the scan service does not take at first, and the reason that is logged."""
    restart = np.searchsorted(down, arrived, side="right") - 1
    first_failed = np.searchsorted(arrived, down)[np.maximum(restart, 0)]
    place = np.arange(len(arrived)) - first_failed
    is_down = (restart >= 0) & (arrived < up[restart])
    dead_until = np.minimum(
        polled[restart], arrived[np.minimum(first_failed, len(arrived) - 1)] + BACKOFF_SECONDS
    )
    is_dead = (
        (restart >= 0)
        & (arrived[np.minimum(first_failed + FAILURES_BEFORE_DEAD - 1, len(arrived) - 1)] < up[restart])
        & (place >= FAILURES_BEFORE_DEAD)
        & (arrived < dead_until)
    )
    tried = np.where(random.random(len(arrived)) < 0.3, GREETING_LOST, REFUSED)
    return is_down | is_dead, np.where(is_dead, SUSPENDED, tried)


def delivered(
    arrived: Numbers, failing: Numbers, flushed: Numbers, random: np.random.Generator
) -> tuple[Numbers, Numbers]:
    """Return when each message is sent, and when it becomes active again if its first attempt fails."""
    count = len(arrived)
    tried = arrived + 0.05 + random.exponential(0.4, count)
    next_flush = np.append(flushed, math.inf)[np.searchsorted(flushed, tried + 0.5)]
    due = tried + BACKOFF_SECONDS
    next_run = np.ceil(due / QUEUE_RUN_SECONDS) * QUEUE_RUN_SECONDS + 0.5
    activated_again = np.minimum(next_flush, next_run) + random.random(count) * 0.4
    return np.where(failing, activated_again + 0.1 + random.exponential(0.3, count), tried), activated_again


def leg(
    messages: pl.DataFrame,
    ids: pl.Series,
    arrived: Numbers,
    sent: Numbers,
    *,
    retried: pl.Series,
    activated_again: Numbers,
    deferral: dict[str, Any],
    peer: dict[str, Any],
    replies: pl.Series,
    bounced: pl.Series,
) -> dict[str, pl.DataFrame]:
    """Return the events of the way of all messages through one queue."""
    mail = messages.with_columns(
        queue_id=ids,
        seconds=pl.Series(arrived),
        sent=pl.Series(sent),
        retried=retried,
        activated_again=pl.Series(activated_again),
        bounced=bounced,
        reply=replies,
    )
    activation = ("queue_id", "sender", "size_bytes")
    recipient_count = 1 + pl.col("other_recipient").is_not_null().cast(pl.Int64)
    activated = pl.concat(
        [
            mail.select(*activation, pl.col("seconds") + 0.02, recipient_count=recipient_count),
            mail.filter(retried).select(
                *activation, seconds=pl.col("activated_again"), recipient_count=recipient_count
            ),
        ]
    )
    to_each = pl.concat(
        [mail, mail.filter(pl.col("other_recipient").is_not_null()).with_columns(recipient="other_recipient")]
    )
    final = to_each.with_columns(
        seconds="sent",
        delay_seconds=(pl.col("sent") - pl.col("seconds")).round(2),
        before_qmgr_seconds=(pl.col("sent") - pl.col("seconds") - 0.05).round(2).clip(0),
        status=pl.when("bounced").then(pl.lit("bounced")).otherwise(pl.lit("sent")),
        dsn=pl.when("bounced").then(pl.lit("5.1.1")).otherwise(pl.lit("2.0.0")),
        reason=pl.when("bounced").then(pl.lit(UNKNOWN_USER)).otherwise("reply"),
        transmission_seconds=0.03,
        **{name: value if isinstance(value, pl.Expr) else pl.lit(value) for name, value in peer.items()},
    )
    deferrals = mail.with_columns(**deferral, status=pl.lit("deferred"), dsn=pl.lit("4.4.1")).filter(
        "retried"
    )
    to_each = pl.concat(
        [
            deferrals,
            deferrals.filter(pl.col("other_recipient").is_not_null()).with_columns(
                recipient="other_recipient"
            ),
        ]
    )
    failed = to_each.with_columns(
        seconds=pl.col("seconds") + 0.06,
        delay_seconds=0.06,
        before_qmgr_seconds=0.05,
        transmission_seconds=0.0,
    )
    attempt = [
        "seconds", "queue_id", "recipient", "relay_host", "delay_seconds", "before_qmgr_seconds",
        "transmission_seconds", "dsn", "status", "reason",
    ]  # fmt: skip
    attempts = pl.concat(
        [final.select(*attempt, "relay_address", "relay_port"), failed.select(attempt)],
        how="diagonal_relaxed",
    ).with_columns(in_qmgr_seconds=0.01, connection_setup_seconds=0.01)
    return {
        "clients": mail.select("queue_id", "client_host", "client_address", "seconds"),
        "message_ids": mail.select("queue_id", "message_id", pl.col("seconds") + 0.01),
        "queue_activations": activated,
        "delivery_attempts": attempts,
        "queue_removals": mail.select(
            "queue_id", seconds=pl.col("sent") + 0.001, removal_kind=pl.lit("removed")
        ),
        "other_lines": mail.filter(bounced).select(
            "queue_id",
            seconds=pl.col("sent") + 0.0005,
            line_kind=pl.lit("notification"),
            message="sender non-delivery notification: " + pl.col("queue_id").str.reverse(),
        ),
    }


def with_program(name: str, frame: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    """Add what every Postfix line has."""
    programs = {
        "clients": "smtpd",
        "message_ids": "cleanup",
        "delivery_attempts": "smtp",
        "other_lines": "bounce",
        "service_events": "postfix-script",
    }
    program = programs.get(name, "qmgr")
    # master starts one qmgr, and of the others one after another.
    pids = np.full(len(frame), 1903) if program == "qmgr" else random.integers(2000, 2200, len(frame))
    return frame.with_columns(
        instance=pl.lit("postfix"), program=pl.lit(program), pid=pl.Series(pids.astype(np.int32))
    )


def queue_ids(arrived: Numbers, random: np.random.Generator) -> pl.Series:
    """Return short queue ids: microseconds and inode."""
    microseconds = (arrived % 1 * 1e6).astype(np.int64)
    return hexadecimal(microseconds, 5) + hexadecimal(random.integers(0, INODES, len(arrived)) + 0xC8000, 5)


def hexadecimal(numbers: Numbers, width: int) -> pl.Series:
    """Return numbers as hexadecimal text of one width."""
    digits = np.frombuffer(b"0123456789ABCDEF", dtype=np.uint8)
    places = 4 * np.arange(width - 1, -1, -1)
    text = digits[(numbers[:, None] >> places) & 15]
    return pl.Series(np.ascontiguousarray(text).view(f"S{width}").ravel()).cast(pl.String)


def addresses(count: int, name: str, random: np.random.Generator) -> pl.Series:
    """Return mail addresses of five thousand people."""
    people = pl.Series([f"{name}.{number}@example{number % 80}.example.com" for number in range(5000)])
    return people.gather(random.integers(0, len(people), count))


def clients(count: int, random: np.random.Generator) -> pl.Series:
    """Return the names of a thousand client hosts."""
    hosts = pl.Series([f"mail-{number}.example.com" for number in range(1000)])
    return hosts.gather(random.integers(0, len(hosts), count))


def log_kind(table: str) -> pl.Expr:
    """Return in which log a table's lines stand."""
    return pl.lit({"manager_log": "manager_log", "system_events": "system_events"}.get(table, "maillog"))


def logged_at() -> pl.Expr:
    """Return the stamp that syslog writes: whole seconds."""
    return pl.lit(START).dt.cast_time_unit("us") + pl.duration(seconds=pl.col("seconds").floor())


def day() -> pl.Expr:
    """Return the number of the day, from 0: a log is rotated at midnight."""
    return (pl.col("seconds") // SECONDS_PER_DAY).cast(pl.Int32)


def date_of(number: int) -> datetime:
    """Return the date of a day by its number."""
    return START + timedelta(days=number)


def source_id(host: str) -> pl.Expr:
    """Return the id of the file that a line stands in, 16 hexadecimal digits as those of the ledger."""
    key = pl.concat_str(pl.lit(host), "log_kind", pl.col("day").cast(pl.String), separator="/")
    return key.hash(seed=1).cast(pl.String).str.pad_start(20, "0").str.slice(4)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        build(Path(sys.argv[2]))
    else:
        main()
