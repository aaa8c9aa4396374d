"""The lake's events to the marts: runs the SQL models over all hosts, into new immutable files."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from transforms.advice import load_advice
from transforms.catalog import create_tables, create_views
from transforms.contracts import Contract
from transforms.models import Model, run_models

if TYPE_CHECKING:
    from transforms.ledger import LakeFile


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


def build_marts(
    lake: Path,
    *,
    models: list[Model],
    contracts: Iterable[Contract],
    files: Mapping[str, list[str]],
    frames: Mapping[str, pl.DataFrame],
    thresholds: Thresholds,
    run_id: str,
    progress: Callable[[Model], None] = lambda model: None,
) -> "list[LakeFile]":
    """Run the models over the lake's files and the ledger's tables; return the new mart files.

    The thresholds that the marts were made with are written beside them. All stay unseen until the ledger
    lists them.
    """
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("set preserve_insertion_order = false")
        # What does not fit into memory spills into the lake's own folder.
        connection.execute("set temp_directory = $folder", {"folder": str(lake / "spill")})
        given = {**frames, **config_tables(thresholds)}
        read = frozenset().union(*(model.inputs for model in models)) - given.keys()
        inputs = [c for c in contracts if c.table in read and not c.table.startswith("marts.")]
        create_views(connection, lake, contracts=inputs, files=files)
        create_tables(connection, given)
        run_models(connection, models, progress)
        marts = [model.name for model in models if model.name.startswith("marts.")]
        return [_write_table(connection, lake, table, run_id) for table in ("config.thresholds", *marts)]


def _write_table(connection: duckdb.DuckDBPyConnection, lake: Path, table: str, run_id: str) -> "LakeFile":
    # SQLAlchemy takes 0.2 s, and settings import this module for its thresholds.
    from transforms.ledger import LakeFile

    path = Path(*table.split("."), f"{run_id}.parquet")
    (lake / path).parent.mkdir(parents=True, exist_ok=True)
    target = str(lake / path).replace("'", "''")
    connection.execute(
        f"copy (select * from {table} order by all) to '{target}' (format parquet, compression zstd)"
    )
    ((row_count,),) = connection.execute(f"select count(*) from {table}").fetchall()
    return LakeFile(path.as_posix(), table, (), row_count, run_id)
