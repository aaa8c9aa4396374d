"""Measures the retry simulator and writes the figures into docs/what-if.md: python -m tests.what_if_bench."""

import os
import resource
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from tests.bench.document import replace_section
from transforms.marts.database import open_database
from transforms.marts.what_if import make_retry_what_if

DOCUMENT = Path(__file__).parents[1] / "docs" / "what-if.md"
MESSAGE_COUNT, RESTART_COUNT = 1_000_000, 20_000
MOST_SECONDS, MOST_MIB = 30, 1024


def main() -> None:
    """Simulate a million held messages under the standard scenarios, on one core."""
    with open_database(Path("data/spill.what_if"), memory_limit="400 MiB", threads=1) as connection:
        make_restarts(connection)
        began = time.process_time()
        make_retry_what_if(connection)
        seconds = time.process_time() - began
        ((row_count,),) = connection.execute("select count(*) from marts.retry_what_if").fetchall()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = f"""\
Measured {datetime.now(UTC):%Y-%m-%d} with `python -m tests.what_if_bench`, load {os.getloadavg()[0]:.0f}:
{MESSAGE_COUNT:,} held messages of {RESTART_COUNT:,} restarts (one in ten took an hour), six scenarios.

| | at most | measured |
|---|---|---|
| CPU time | {MOST_SECONDS} s | {seconds:.1f} s |
| peak memory of the process | {MOST_MIB} MiB | {peak_mib:.0f} MiB |
| rows of marts.retry_what_if | - | {row_count:,} |
"""
    print(text)
    replace_section(DOCUMENT, "speed", text)


def make_restarts(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the inputs of the model: restarts of a minute, and some of an hour, each with its mail."""
    connection.execute("create schema config; create schema marts")
    connection.execute(
        "create table config.thresholds as select 60 as expected_flush_seconds, "
        "300 as advised_retry_seconds, 5 as close_bounds_seconds"
    )
    connection.execute(f"""
        create table marts.retry_conditions as
        select
            'gw-' || i as restart_id, 'gw' || i % 100 as host, 'postfix' as instance,
            null::varchar as no_answer_reason, {MESSAGE_COUNT // RESTART_COUNT}::bigint as held_message_count,
            900::bigint as queue_run_delay_seconds, 900::bigint as minimal_backoff_seconds,
            3600::bigint as maximal_backoff_seconds, 86400::bigint as maximal_queue_lifetime_seconds,
            86400::bigint as bounce_queue_lifetime_seconds, 1::bigint as phase_error_seconds,
            false as is_phase_of_start,
            timestamptz '2026-11-01 00:00+00' + to_seconds(i * 7200) as down_at,
            down_at + to_seconds(if(i % 10 = 0, 3600, 40)) as up_at_earliest,
            up_at_earliest + to_seconds(20) as up_at_latest, up_at_latest as answered_at,
            if(i % 2 = 0, down_at + to_seconds(5), null) as death_at_earliest,
            death_at_earliest as death_at_latest,
            if(i % 3 = 0, null, down_at - to_seconds(i % 900)) as phase_at,
            []::timestamptz[] as qmgr_started_at
        from range({RESTART_COUNT}) as t(i)
    """)
    connection.execute(f"""
        create table marts.held_messages as
        select
            c.restart_id, c.instance, if(m % 7 = 0, '', 'a@example.com') as sender,
            if(m > 10 and c.death_at_latest is not null, 'suspended', 'refused') as first_cause,
            'delivered' as outcome, 'queue_run' as released_by,
            c.down_at + to_seconds(m) as first_deferred_at, first_deferred_at as arrived_at,
            first_deferred_at + to_seconds(1500) as reactivated_at,
            first_deferred_at + to_seconds(1501) as released_at, 1501.0 as restart_delay_seconds
        from marts.retry_conditions as c
        cross join range({MESSAGE_COUNT // RESTART_COUNT}) as t(m)
    """)


if __name__ == "__main__":
    main()
