"""Files that were read before are read again on demand: those that were meant, and no row twice."""

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import Here
from transforms import pipeline
from transforms.contracts.contracts import Checker
from transforms.lake.backfill import forget_files
from transforms.problems import MaillagError
from transforms.run import Job, NoProgress, open_run

pytestmark = pytest.mark.slow
LINE = "{stamp} {host} postfix/qmgr[12]: 4F2{number}A1: removed\n"
# Midnight of Tokyo lies between these two, not that of UTC.
STAMPS = {"maillog-20261124": "Nov 24 23:30:00", "maillog-20261125": "Nov 25 00:30:00"}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    archive = tmp_path / "archive"
    for host in ("gw1", "gw2"):
        (archive / host).mkdir(parents=True)
        for number, (name, stamp) in enumerate(STAMPS.items()):
            (archive / host / name).write_text(LINE.format(stamp=stamp, host=host, number=number))
    return Job(archive, tmp_path / "lake", default_time_zone="Asia/Tokyo")


def test_the_files_of_a_host_and_its_days_are_forgotten(job: Job, checker: Checker) -> None:
    read(job, checker)
    assert forget(job, hosts=["gw1"]) == ["gw1/maillog-20261124", "gw1/maillog-20261125"]
    assert forget(job, since=date(2026, 11, 25)) == ["gw2/maillog-20261125"]
    assert forget(job, until=date(2026, 11, 24)) == ["gw2/maillog-20261124"]
    assert forget(job) == []


def test_what_was_forgotten_is_read_again_by_the_next_run_and_gives_the_same_rows(
    job: Job, checker: Checker
) -> None:
    assert read(job, checker) == {
        "gw1/maillog-20261124",
        "gw1/maillog-20261125",
        "gw2/maillog-20261124",
        "gw2/maillog-20261125",
    }
    before = removals(job)
    forget(job, hosts=["gw2"], since=date(2026, 11, 25), until=date(2026, 11, 25))
    # As if the run that forgot had been killed: the rows are still there.
    assert removals(job).equals(before)
    assert read(job, checker) == {"gw2/maillog-20261125"}
    assert removals(job).equals(before)
    assert read(job, checker) == set()


def test_a_file_is_read_again_although_a_copy_of_it_was_seen(job: Job, checker: Checker) -> None:
    shutil.copy(job.archive / "gw1/maillog-20261124", job.archive / "gw1/maillog-20261124.1")
    shutil.copy(job.archive / "gw1/maillog-20261124", job.archive / "gw1/maillog.9")
    read(job, checker)
    before = removals(job)
    assert "gw1/maillog.9" in forget(job, hosts=["gw1"], until=date(2026, 11, 24))
    assert len(read(job, checker)) == 1
    assert removals(job).equals(before)


def test_a_host_of_which_nothing_was_read_is_refused(job: Job, checker: Checker) -> None:
    read(job, checker)
    with pytest.raises(
        MaillagError, match=r"^gw3: no file of this host was read so far. Known hosts: gw1, gw2\.$"
    ):
        forget(job, hosts=["gw3"])


def read(job: Job, checker: Checker) -> set[str]:
    """Read what is new, and return the paths of it."""
    ledger = job.open_ledger()
    with open_run(job, ledger) as run_id:
        pipeline.ingest(job, ledger, run_id, Here(checker), NoProgress())
    new = {record.path for record in ledger.source_records().values() if record.run_id == run_id}
    ledger.close()
    return new


def forget(
    job: Job, hosts: Sequence[str] = (), since: date | None = None, until: date | None = None
) -> list[str]:
    ledger = job.open_ledger()
    try:
        return forget_files(ledger, hosts=hosts, since=since, until=until)
    finally:
        ledger.close()


def removals(job: Job) -> pl.DataFrame:
    """Return the events that the lake lists."""
    ledger = job.open_ledger()
    files = ledger.lake_files()["events.queue_removals"]
    ledger.close()
    rows = pl.concat(pl.read_parquet(job.lake / file, hive_partitioning=False) for file in files)
    return rows.sort("host", "logged_at")
