"""After every night the marts are those of one build from nothing over the same archive, row for row.

A run makes anew only what the night's files touch. tests/nights.py draws the nights by seeds:
MAILLAG_NIGHTS sets how many, MAILLAG_SEED where they begin, so that a failing one can be run by itself.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from itertools import chain, islice
from pathlib import Path
from textwrap import shorten
from typing import Any

import duckdb
import pytest

from tests.conftest import run_job
from tests.night_bench import FLEET, Day, write_day
from tests.nights import Fleet
from transforms import pipeline, publish, upkeep
from transforms.contracts.contracts import Checker, Contract, Finding, load_contracts
from transforms.lake import files, records
from transforms.lake.catalog import CATALOG_NAME, create_views
from transforms.marts.models import settled_sql
from transforms.run import Job, open_run

FLEET_COUNT = int(os.environ.get("MAILLAG_NIGHTS", "4"))
FIRST_SEED = int(os.environ.get("MAILLAG_SEED", "0"))
ROWS_SHOWN = 6
# What tells a row of any mart.
KEYS = ("host", "restart_id", "trace_id", "hop_number", "instance", "queue_id", "date", "log_kind")
MARTS = [contract for contract in load_contracts().values() if contract.table.startswith("marts.")]
SIDES = {"nightly": "as the nights made it", "whole": "as made from nothing"}

pytestmark = pytest.mark.slow


class NoChecks(Checker):
    """Finds nothing: contracts have tests of their own, and checking them takes seconds."""

    def check(self, database: Path, contracts: Iterable[Contract]) -> list[Finding]:
        """Find nothing."""
        return []


@pytest.fixture(autouse=True)
def _nothing_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read models and contracts once and publish nothing, or these take longer than the nights."""
    for name in ("load_models", "load_contracts"):
        monkeypatch.setattr(pipeline, name, cache(getattr(pipeline, name)))
    monkeypatch.setattr(publish, "publish", lambda lake, **_: lake / CATALOG_NAME)


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + FLEET_COUNT))
def test_after_every_night_the_marts_are_those_of_one_build_from_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of every other fleet, the hosts share files.
    monkeypatch.setattr(files, "FEWEST_SHARING", 2 + 48 * (seed % 2))
    fleet = Fleet(tmp_path, seed)
    so_far = []
    held_count = 0
    for night in fleet.nights():
        so_far.append(str(night))
        job = fleet.job(night)
        if night.compacts_on:
            compact(job, night.compacts_on)
        whole = replace(job, lake=tmp_path / f"whole-{night.number}")
        run_job(job, NoChecks())
        run_job(whole, NoChecks())
        with shown_marts(job, whole) as connection:
            different = [line for contract in MARTS for line in differences(connection, contract)]
            ((held_count,),) = connection.execute("select count(*) from whole.held_messages").fetchall()
        if different:
            again = f"MAILLAG_SEED={seed} MAILLAG_NIGHTS=1 pytest tests/test_nights.py"
            pytest.fail("\n".join([*so_far, *different, f"again: {again}"]))
        shutil.rmtree(whole.lake)
    assert held_count, "no restart held anything"


def test_after_a_quiet_night_no_host_is_made_anew_as_a_whole(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    job = Job(archive, tmp_path / "lake")
    hosts = {"mx1": 4, "mx2": 3}
    for seed, (host, day_count) in enumerate(hosts.items()):
        for number in range(day_count):
            write_quiet_day(archive / host, number, seed)
    (archive / "fleet.toml").write_text(FLEET)
    assert run_job(job, NoChecks()).analyzed.settled_hosts == []
    write_quiet_day(archive / "mx1", 4, seed=2)
    write_quiet_day(archive / "mx2", 3, seed=3)
    assert run_job(job, NoChecks()).analyzed.settled_hosts == sorted(hosts)


def test_another_query_of_settled_days_makes_every_host_anew_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    job = Job(archive, tmp_path / "lake")
    write_quiet_day(archive / "mx1", 0, seed=0)
    (archive / "fleet.toml").write_text(FLEET)
    run_job(job, NoChecks())
    assert not run_job(job, NoChecks()).analyzed.is_rebuilt
    sql = settled_sql()
    assert {"macros.sql", "settled/rows.sql"} <= sql.keys()
    monkeypatch.setattr(publish, "settled_sql", lambda: sql | {"settled/rows.sql": "-- Another one."})
    analyzed = run_job(job, NoChecks()).analyzed
    assert (analyzed.is_rebuilt, analyzed.settled_hosts) == (True, [])


def test_pending_mail_counts_on_another_day_once_a_log_of_that_day_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each host by itself: beside the other, more of it would be made anew.
    monkeypatch.setattr(records, "LEAST_BATCH_BYTES", 0)
    archive = tmp_path / "archive"
    job = Job(archive, tmp_path / "lake")
    for host in ("mx1", "mx2"):
        for number in (0, 2, 3, 4):
            write_quiet_day(archive / host, number, seed=10 + number)
    # It arrived on the day without a log, and waits.
    arrived_on_second_day = (
        "Oct  3 12:00:00 mx1 postfix/smtp[7]: 7AF31C8A2B: to=<a@example.com>, relay=none, delay=90000, "
        "delays=90000/0/0/0, dsn=4.4.1, status=deferred (connect to mx.example.com: timed out)\n"
    )
    (archive / "mx1" / "maillog-20261003").write_text(arrived_on_second_day)
    (archive / "fleet.toml").write_text(FLEET)
    run_job(job, NoChecks())
    assert pending_counts(job) == {date(2026, 10, 3): 1}
    write_quiet_day(archive / "mx2", 1, seed=1)
    assert "mx1" in run_job(job, NoChecks()).analyzed.settled_hosts
    assert pending_counts(job) == {date(2026, 10, 2): 1}


def pending_counts(job: Job) -> dict[date, int]:
    with shown_marts(job, job) as connection:
        counts = connection.execute(
            "select date, pending_count from nightly.fleet_daily where host = 'mx1' and pending_count > 0"
        ).fetchall()
    return dict(counts)


def write_quiet_day(folder: Path, number: int, seed: int) -> None:
    day = date(2026, 10, 1) + timedelta(days=number)
    write_day(Day(folder / f"maillog-{day + timedelta(days=1):%Y%m%d}.gz", day, seed, message_count=300))


def compact(job: Job, today: date) -> None:
    with closing(job.open_ledger()) as ledger, open_run(job, ledger) as run_id:
        upkeep.compact(job, ledger, run_id, today=today)


@contextmanager
def shown_marts(*jobs: Job) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a database with the marts of a lake for each side, in a schema of its name."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'UTC'")
        for side, job in zip(SIDES, jobs, strict=True):
            with closing(job.open_ledger()) as ledger:
                paths = ledger.lake_files()
            for contract in MARTS:
                name = contract.table.replace("marts.", f"{side}.")
                shown = {name: paths.get(contract.table, [])}
                create_views(connection, job.lake, contracts=[replace(contract, table=name)], files=shown)
        yield connection


def differences(connection: duckdb.DuckDBPyConnection, contract: Contract) -> list[str]:
    """Tell how many rows of a mart only one side has, and show some of them beside each other."""
    # Sums of parts of seconds depend on the order in which threads add them.
    columns = ", ".join(
        f'round("{name}", 3) as "{name}"' if column.data_type == "DOUBLE" else f'"{name}"'
        for name, column in contract.columns.items()
    )
    queries = [f"select {columns} from {contract.table.replace('marts', side)}" for side in SIDES]
    only = {
        side: [
            dict(zip(contract.columns, row, strict=True))
            for row in connection.execute(f"{query} except all {other} order by all").fetchall()
        ]
        for side, query, other in zip(SIDES, queries, reversed(queries), strict=True)
    }
    if not any(only.values()):
        return []
    counts = " and ".join(f"{len(rows)} rows only {SIDES[side]}" for side, rows in only.items())
    return [f"{contract.table}: {counts}", *islice(pairs_shown(*only.values()), ROWS_SHOWN)]


def pairs_shown(nightly: list[dict[str, Any]], whole: list[dict[str, Any]]) -> Iterator[str]:
    """Show what differs between two rows of one key, and the whole of a row that has no counterpart."""
    counterparts = defaultdict(list)
    for row in whole:
        counterparts[key_shown(row)].append(row)
    for row in nightly:
        if its := counterparts[key_shown(row)]:
            other = its.pop(0)
            lines = [
                f"\n    {name}: {value_shown(row[name])} {SIDES['nightly']}, "
                f"{value_shown(other[name])} {SIDES['whole']}"
                for name in row
                if row[name] != other[name]
            ]
            yield f"  {key_shown(row)}:{''.join(lines)}"
        else:
            yield f"  only {SIDES['nightly']}: {shown(row)}"
    for row in chain.from_iterable(counterparts.values()):
        yield f"  only {SIDES['whole']}: {shown(row)}"


def key_shown(row: dict[str, Any]) -> str:
    return shown({name: row[name] for name in KEYS if name in row})


def shown(row: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value_shown(value)}" for name, value in row.items() if value is not None)


def value_shown(value: object) -> str:
    return shorten(str(value), 100)
