"""The functions that analysts call (sql/catalog.sql), with given rows and in a published catalog."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.sandbox import open_sandbox
from tests.cookbook import COMMAND_LINE
from transforms.lake.catalog import CATALOG_NAME, create_functions
from transforms.queries import catalog_functions

RESTARTS = """
create table marts.restarts (restart_id varchar, down_at timestamptz);
insert into marts.restarts values
    ('in_time', '2026-11-24 03:00:00Z'),
    ('later', '2026-11-24 04:00:00Z'),
    ('last', '2026-11-25 00:00:00+09');
"""
HELD_MESSAGES = """
create table marts.held_messages (
    host varchar,
    queue_id varchar,
    first_deferred_at timestamptz,
    released_at timestamptz,
    removed_at timestamptz
);
insert into marts.held_messages values
    ('gw1', 'released', '2026-11-24 03:00:10Z', '2026-11-24 03:05:00Z', null),
    ('gw1', 'released_and_removed', '2026-11-24 03:00:10Z', '2026-11-24 03:05:00Z', '2026-11-24 03:06:00Z'),
    ('gw1', 'expired', '2026-11-24 03:00:10Z', null, '2026-11-24 03:30:00Z'),
    ('gw1', 'pending', '2026-11-24 03:00:10Z', null, null);
"""
SOURCE_FILES = """
create table ops.source_files (host varchar, log_kind varchar, last_logged_at timestamptz);
insert into ops.source_files values
    ('gw1', 'maillog', '2026-11-24 02:00:00Z'),
    ('gw1', 'maillog', '2026-11-24 03:40:00Z'),
    ('gw1', 'manager_log', '2026-11-24 23:00:00Z'),
    ('gw2', 'maillog', '2026-11-24 23:00:00Z');
"""


@pytest.fixture
def catalog() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as opened:
        opened.execute("set timezone = 'Asia/Tokyo'")
        opened.execute("create schema marts; create schema ops")
        for table in (RESTARTS, HELD_MESSAGES, SOURCE_FILES):
            opened.execute(table)
        create_functions(opened)
        yield opened


@pytest.mark.parametrize(
    ("time_zone", "local"),
    [
        ("'Asia/Tokyo'", "2026-11-24 12:00:00"),
        ("'GMT+09:00'", "2026-11-24 12:00:00"),
        ("'GMT-03:30'", "2026-11-23 23:30:00"),
        ("'GMT+00:00'", "2026-11-24 03:00:00"),
        ("'America/New_York'", "2026-11-23 22:00:00"),
        ("'UTC'", "2026-11-24 03:00:00"),
        ("null", None),
    ],
)
def test_local_time_is_the_clock_of_the_host(
    time_zone: str, local: str | None, catalog: duckdb.DuckDBPyConnection
) -> None:
    sql = f"select cast(local_time(timestamptz '2026-11-24 03:00:00Z', {time_zone}) as varchar)"
    assert catalog.execute(sql).fetchall() == [(local,)]


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ("timestamptz '2026-11-24 03:00:00Z', timestamptz '2026-11-24 04:00:00Z'", ["in_time"]),
        ("'2026-11-24 03:00:00Z', '2026-11-24 04:00:01Z'", ["in_time", "later"]),
        ("'2026-11-24 03:00:01Z', '2026-11-24 04:00:00Z'", []),
        ("'2026-11-24 12:00:00', '2026-11-24 13:00:00'", ["in_time"]),
        ("date '2026-11-25', null", ["last"]),
        ("null, '2026-11-25'", ["in_time", "later"]),
        ("null, null", ["in_time", "last", "later"]),
        ("'2026-11-24 04:00:00Z', '2026-11-24 03:00:00Z'", []),
    ],
)
def test_restarts_between_takes_those_from_the_first_instant_on_and_before_the_second(
    bounds: str, found: list[str], catalog: duckdb.DuckDBPyConnection
) -> None:
    rows = catalog.execute(f"select restart_id from restarts_between({bounds}) order by restart_id")
    assert [restart_id for (restart_id,) in rows.fetchall()] == found


ALL_WAIT = [("expired", True), ("pending", False), ("released", True), ("released_and_removed", True)]


@pytest.mark.parametrize(
    ("instant", "found"),
    [
        ("2026-11-24 03:00:09Z", []),
        ("2026-11-24 03:00:10Z", ALL_WAIT),
        ("2026-11-24 12:04:59", ALL_WAIT),
        ("2026-11-24 03:05:00Z", [("expired", True), ("pending", False)]),
        ("2026-11-24 03:30:00Z", [("pending", False)]),
        ("2026-11-24 03:40:00Z", [("pending", False)]),
        ("2026-11-24 03:40:01Z", []),
    ],
)
def test_waiting_at_takes_what_was_deferred_and_neither_released_nor_removed(
    instant: str, found: list[tuple[str, bool]], catalog: duckdb.DuckDBPyConnection
) -> None:
    for argument in (f"'{instant}'", f"timestamptz '{instant}'"):
        sql = f"select queue_id, is_end_known from waiting_at({argument}) order by queue_id"
        assert catalog.execute(sql).fetchall() == found


def test_nothing_waits_at_an_unknown_instant(catalog: duckdb.DuckDBPyConnection) -> None:
    assert catalog.execute("from waiting_at(null)").fetchall() == []


def test_waiting_at_says_how_long_until_then(catalog: duckdb.DuckDBPyConnection) -> None:
    sql = "select distinct waited_seconds from waiting_at('2026-11-24 03:01:10.5Z')"
    assert catalog.execute(sql).fetchall() == [(60.5,)]


@pytest.mark.parametrize(
    ("delays", "found"),
    [
        ("values (10), (20), (null), (30)", (3, 20.0, 28.0, 29.0, 29.8, 30)),
        ("values (7)", (1, 7.0, 7.0, 7.0, 7.0, 7)),
        ("select null::double", (0, None, None, None, None, None)),
        ("select 1.0 where false", (0, None, None, None, None, None)),
    ],
)
def test_delay_percentiles_sums_up_delays_that_are_known(
    delays: str, found: tuple[Any, ...], catalog: duckdb.DuckDBPyConnection
) -> None:
    names = ["delay_count", "p50_seconds", "p90_seconds", "p95_seconds", "p99_seconds", "max_seconds"]
    ((percentiles,),) = catalog.execute(
        f"select delay_percentiles(delay_seconds) from ({delays}) as delays(delay_seconds)"
    ).fetchall()
    assert percentiles == pytest.approx(dict(zip(names, found, strict=True)))


def test_every_function_has_its_comment_in_the_catalog(catalog: duckdb.DuckDBPyConnection) -> None:
    commented = catalog.execute(
        "select function_name, array_to_string(parameters, ', '), function_type = 'table_macro', comment "
        "from duckdb_functions() where not internal"
    ).fetchall()
    functions = catalog_functions()
    assert sorted(commented) == sorted(
        (function.name, function.parameters, function.gives_rows, function.comment) for function in functions
    )
    assert {function.name for function in functions} >= {"local_time", "waiting_at"}
    assert functions[0].comment.startswith("The host's clock at an instant")


def test_the_catalog_has_the_file_format_of_duckdb_1_1(sample_lake: Path) -> None:
    header = (sample_lake / CATALOG_NAME).read_bytes()[8:20]
    assert header == b"DUCK" + (64).to_bytes(8, "little")


def test_functions_follow_a_lake_that_was_moved(sample_lake: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(sample_lake, moved)
    # No file outside of the lake is within reach.
    with open_sandbox(moved, timeout_seconds=60, memory_mib=512) as sandbox:
        _, restarts = sandbox.select("select count(*) from restarts_between(null, null)")
        assert list(restarts) == [(7,)]
        _, waiting = sandbox.select("select count(*) from waiting_at('2026-11-24 03:14:00Z')")
        assert list(waiting) == [(56,)]


@pytest.mark.skipif(
    not COMMAND_LINE.is_file(), reason="the duckdb command line (duckdb-cli) is not installed here"
)
def test_functions_follow_a_moved_lake_in_the_duckdb_that_analysts_have(
    sample_lake: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(sample_lake, moved)
    sql = f"set variable lake = '{moved}'; select count(*) from restarts_between(null, null)"
    options = ["-readonly", "-bail", "-csv", "-noheader", str(moved / CATALOG_NAME), "-c", sql]
    done = subprocess.run([COMMAND_LINE, *options], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("7\n", "")
    shutil.rmtree(moved / "marts")
    done = subprocess.run([COMMAND_LINE, *options], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"{moved}/marts" in done.stderr
