"""The lake's events to the marts: runs the SQL models, batch of hosts by batch, into new immutable files."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from transforms.advice import load_advice
from transforms.catalog import create_tables, create_views, host_of_file, show_files
from transforms.contracts import Contract
from transforms.frozen import TIMES, frozen_hosts, with_frozen_rows
from transforms.models import Model, last_uses, needed_models, run_model, run_models

# All that the models of one host need of the others.
FLEET_TABLES = frozenset({"staging.log_dates"})
# Hosts are taken together until their events reach this size: a batch has costs of its own.
BATCH_BYTES = 32 * 2**20
# For a batch, of which one is worked on at a time; the frames of queue_entries.py come on top. What does not
# fit goes into the lake's own folder.
MEMORY_LIMIT = "400 MiB"

if TYPE_CHECKING:
    from transforms.ledger import FrozenDays, LakeFile


@dataclass(frozen=True)
class Thresholds:
    """What an operator may change about the rules; the one row of config.thresholds. All in seconds."""

    flush_window_seconds: int = 120
    """A flush or order this long after up_at still belongs to the restart."""
    expected_flush_seconds: int = 60
    """The manager polls every minute: a flush is due this long after up_at."""
    poll_seconds: int = 60
    """The manager looks at the services this often (KA-0010256)."""
    poll_margin_seconds: int = 2
    """A poll may come this much earlier or later than the ones known."""
    poll_phase_seconds: int = 86400
    """A known poll tells of others at most this far away."""
    trigger_window_seconds: int = 120
    """A line that tells why the service restarts comes at most this long before it stops."""
    longest_restart_seconds: int = 60
    """A restart takes a minute at most (KA-0010256); what is longer for sure is a service failure."""
    close_bounds_seconds: int = 5
    """Bounds of up_at farther apart than this make it an estimate."""
    witness_margin_seconds: int = 5
    """A system event and a failed attempt this close tell of the same outage."""
    slow_scanner_seconds: int = 5
    """Time-outs, or a lone lost session, with answers this close on both sides are a slow scanner's."""
    backoff_margin_seconds: int = 2
    """Mail younger than minimal_backoff_time less this cannot be taken by a queue run."""
    assumed_backoff_seconds: int = 60
    """The same limit where minimal_backoff_time is only assumed."""
    estimate_scan_count: int = 3
    """minimal_backoff_time is estimated from no fewer queue runs that left mail behind."""
    left_behind_seconds: int = 2
    """Mail deferred longer than this before a scan, and not taken by it, was left behind."""
    scan_gap_seconds: int = 2
    """Re-activations at most this far apart are one scan of the deferred queue."""
    qmgr_start_seconds: int = 5
    """A re-activation this soon after a qmgr start proves nothing."""
    queue_run_margin_seconds: int = 2
    """A scan of the queue this close to when a queue run is due is that run."""
    order_effect_seconds: int = 10
    """An order or flush must show its effect within this."""
    longest_attempt_seconds: int = 600
    """What became of mail that was tried again shows within this (smtp_data_done_timeout)."""
    gap_after_seconds: int = 21600
    """A maillog that is silent for longer has a gap."""
    loss_window_seconds: int = 600
    """A notice of lost lines speaks of at most this long before it (imjournal's interval)."""
    reinjection_seconds: int = 60
    """What the scan service took comes back at most this long after its reply, else not at all."""
    arrival_margin_seconds: int = 2
    """The arrival that a queue snapshot tells is this close to the one that the log tells."""
    long_delay_seconds: int = 300
    """What delayed_over_5_min_count counts as long."""
    advised_retry_seconds: int = 300
    """The queue_run_delay and minimal_backoff_time that advice proposes (KA-0010256)."""


def config_tables(thresholds: Thresholds) -> dict[str, pl.DataFrame]:
    """Return the tables of what is set and not logged: thresholds in one row, advice with its position."""
    advice = pl.DataFrame([asdict(one) for one in load_advice()]).with_row_index("position")
    return {"config.thresholds": pl.DataFrame([asdict(thresholds)]), "config.advice": advice}


@dataclass(frozen=True)
class Batch:
    """Some hosts, and their files of the lake by table name."""

    hosts: tuple[str, ...]
    files: Mapping[str, list[str]]


def build_marts(
    lake: Path,
    *,
    models: list[Model],
    contracts: Iterable[Contract],
    files: Mapping[str, list[str]],
    frames: Mapping[str, pl.DataFrame],
    thresholds: Thresholds,
    run_id: str,
    frozen: "Iterable[FrozenDays]" = (),
    progress: Callable[[Model, float], None] = lambda model, share: None,
) -> "list[LakeFile]":
    """Run the models over the lake's files and the ledger's tables; return the new mart files.

    The thresholds that the marts were made with are written beside them. All stay unseen until the ledger
    lists them. Rows of frozen days are taken over from the marts among `files`. Batches of hosts are worked
    on one after another, each in a database of its own; `progress` is told every model that was made, with
    the share of the batches for which it was.
    """
    of_fleet = needed_models(models, FLEET_TABLES)
    of_hosts = [model for model in models if model not in of_fleet]
    given = {**frames, **config_tables(thresholds)}
    read = frozenset().union(*(model.inputs for model in models)) - given.keys()
    inputs = [c for c in contracts if c.table in read and not c.table.startswith("marts.")]
    with _database(lake / f"spill.{run_id}") as connection:
        create_views(connection, lake, contracts=inputs, files=files)
        create_tables(connection, given)
        run_models(connection, of_fleet)
        of_all = [*FLEET_TABLES, *(table for table in read if table.startswith("fleet."))]
        given |= {table: connection.table(table).pl() for table in of_all}
        thresholds_file = write_query(
            connection, lake, "config.thresholds", "from config.thresholds", run_id=run_id
        )
    in_lake = [contract for contract in inputs if contract.table not in given]
    batches = host_batches(lake, files, given["fleet.host_history"]["host"].unique())
    if frozen := list(frozen):
        given["frozen.hosts"] = frozen_hosts(frozen)
    marts = [thresholds_file]
    for number, batch in enumerate(batches):
        with _database(lake / f"spill.{run_id}.{number}", memory_limit=MEMORY_LIMIT) as connection:
            create_views(connection, lake, contracts=in_lake, files=batch.files)
            create_tables(connection, {table: _of_hosts(rows, batch) for table, rows in given.items()})
            for model, unused in last_uses(of_hosts):
                if model.name.startswith("marts."):
                    sql = model.source
                    if model.name in TIMES and frozen and model.name in files:
                        show_files(
                            connection, lake, model.name.replace("marts.", "frozen."), files[model.name]
                        )
                        sql = with_frozen_rows(model.name, sql)
                    marts.append(write_query(connection, lake, model.name, sql, run_id=run_id, part=number))
                    show_files(connection, lake, model.name, [marts[-1].path])
                else:
                    run_model(connection, model)
                for table in unused:
                    connection.execute(f"drop table {table}")
                progress(model, 1 / len(batches))
    return marts


def host_batches(lake: Path, files: Mapping[str, list[str]], hosts: Iterable[str]) -> list[Batch]:
    """Return all hosts that have files or are among `hosts`, in name order, in batches of a fair size."""
    of_host: dict[str, dict[str, list[str]]] = {host: {} for host in hosts}
    for table, paths in files.items():
        for path in paths:
            if host := host_of_file(path):
                of_host.setdefault(host, {}).setdefault(table, []).append(path)
    chosen: list[list[str]] = []
    size = BATCH_BYTES
    for host, tables in sorted(of_host.items()):
        if size >= BATCH_BYTES:
            chosen.append([])
            size = 0
        chosen[-1].append(host)
        size += sum((lake / path).stat().st_size for paths in tables.values() for path in paths)
    return [
        Batch(
            tuple(names),
            {table: [path for name in names for path in of_host[name].get(table, ())] for table in files},
        )
        for names in chosen or [[]]
    ]


@contextmanager
def _database(spill: Path, **settings: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory; what does not fit goes into a folder that is there no longer than it."""
    config = {
        "preserve_insertion_order": False,
        "temp_directory": str(spill),
        # Frames take strings over as they are.
        "arrow_output_version": "1.5",
        "produce_arrow_string_view": True,
        **settings,
    }
    with duckdb.connect(":memory:", config=config) as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection
    shutil.rmtree(spill, ignore_errors=True)


def _of_hosts(rows: pl.DataFrame, batch: Batch) -> pl.DataFrame:
    return rows.filter(pl.col("host").is_in(batch.hosts)) if "host" in rows.columns else rows


def write_query(
    connection: duckdb.DuckDBPyConnection, lake: Path, table: str, sql: str, *, run_id: str, part: int = 0
) -> "LakeFile":
    """Write the rows of a query to a new file of a table."""
    # SQLAlchemy takes 0.2 s, and settings import this module for its thresholds.
    from transforms.ledger import LakeFile

    path = Path(*table.split("."), f"{run_id}.{part}.parquet")
    (lake / path).parent.mkdir(parents=True, exist_ok=True)
    target = str(lake / path).replace("'", "''")
    ((row_count,),) = connection.execute(
        f"copy ({sql}) to '{target}' (format parquet, compression zstd, compression_level 1)"
    ).fetchall()
    return LakeFile(path.as_posix(), table, (), row_count, run_id)
