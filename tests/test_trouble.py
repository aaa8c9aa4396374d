"""Trouble in mid-run, against the real thing: the message, then a run with the rows of a clean one."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Here, Run, install_debian_package, run_job
from tests.orchestrator import PostgreSQL, postgresql
from tests.rig.clock import HostClock
from tests.soak import read_all
from tests.test_crash import DAYS
from transforms import pipeline
from transforms.contracts.contracts import Checker
from transforms.lake.ledger_tables import VERSION
from transforms.lake.lock import LOCK_NAME
from transforms.lake.verify import verify_lake
from transforms.problems import MaillagError
from transforms.run import Job, NoProgress, open_run

pytestmark = pytest.mark.slow

MAILLAG = Path(sys.executable).with_name("maillag")
HOSTS = ("gw1", "gw2", "gw3")
Rows = dict[str, list[tuple[Any, ...]]]


class Meanwhile(NoProgress):
    """Lets something happen once the first file is read."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens: list[Callable[[], object]] = [happens]

    def advance(self, amount: float) -> None:
        """Let it happen, once."""
        while self._happens:
            self._happens.pop()()


def run_while(job: Job, checker: Checker, happens: Callable[[], object]) -> list[str]:
    """Do a run in which something happens; return its critical findings."""
    with closing(job.open_ledger()) as ledger:
        with open_run(job, ledger) as run_id:
            pipeline.ingest(job, ledger, run_id, Here(checker), Meanwhile(happens))
            pipeline.analyze(job, ledger, run_id, Here(checker), NoProgress())
        return [str(finding) for finding in ledger.findings() if finding.severity == "critical"]


def critical(run: Run) -> list[str]:
    return [str(finding) for finding in run.findings if finding.severity == "critical"]


def fill(archive: Path) -> None:
    for host in HOSTS:
        (archive / host).mkdir(parents=True)
        for name, text in DAYS.items():
            (archive / host / name).write_text(text.replace("gw1", host))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    fill(tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Rows:
    """The rows of a clean run."""
    folder = tmp_path_factory.mktemp("clean")
    fill(folder / "archive")
    return read_all(run_job(Job(folder / "archive", folder / "lake"), checker).job.lake)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount a file system in memory; skips the test where that is not possible."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a file system")
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a file system ({done.stderr.strip()})")
    try:
        yield
    finally:
        # Who failed may still have files open.
        subprocess.run(["umount", "--lazy", folder], check=False, capture_output=True)


def test_the_mount_of_the_archive_goes_away(tmp_path: Path, checker: Checker, clean: Rows) -> None:
    mount = tmp_path / "archive"
    mount.mkdir()
    job = Job(mount, tmp_path / "lake")
    with mounted(mount):
        fill(mount / "logs")
        shutil.copytree(mount / "logs", tmp_path / "kept")
        for host in HOSTS:
            (mount / "logs" / host).rename(mount / host)
        (mount / "logs").rmdir()
        told = run_while(job, checker, lambda: subprocess.run(["umount", "--lazy", mount], check=True))
    assert len(told) == len(HOSTS) * len(DAYS) - 1
    assert all("cannot be read (No such file or directory)" in finding for finding in told)
    with pytest.raises(MaillagError, match="Check that it is mounted"):
        run_job(job, checker)
    shutil.copytree(tmp_path / "kept", mount, dirs_exist_ok=True)
    assert critical(run_job(job, checker)) == []
    assert read_all(job.lake) == clean
    assert verify_lake(job.lake, is_deep=True) == []


def test_the_disk_of_the_lake_gets_full(archive: Path, tmp_path: Path, checker: Checker, clean: Rows) -> None:
    small = tmp_path / "small"
    small.mkdir()
    with mounted(small, "-o", "size=4m"):
        job = Job(archive, small / "lake")
        ballast = small / "ballast"

        def fill_up() -> None:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"\0" * 4096)
                except OSError:
                    return

        with pytest.raises(MaillagError, match=r"cannot be written to .*(Make room|has room)"):
            run_while(job, checker, fill_up)
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
        assert critical(run_job(job, checker)) == []
        assert read_all(job.lake) == clean
        assert verify_lake(job.lake, is_deep=True) == []


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


def test_two_runs_meet_in_postgresql(archive: Path, tmp_path: Path, database: PostgreSQL) -> None:
    # Another machine sees the lake's files, but not their locks.
    job = Job(archive, tmp_path / "lake", ledger_url=f"postgresql://{database.place}")
    with closing(job.open_ledger()) as ledger, closing(job.open_ledger()) as of_other:
        with open_run(job, ledger):
            (job.lake / LOCK_NAME).unlink()
            (job.lake / LOCK_NAME).write_text("process 1 on another machine")
            with (
                pytest.raises(MaillagError, match=r"is held by another run \(process 1 on another machine\)"),
                open_run(job, of_other),
            ):
                pytest.fail("two runs hold the lake")
        with open_run(job, of_other):
            pass
    with psycopg.connect(job.ledger_url or "", autocommit=True) as server:
        server.execute("drop schema public cascade")
        server.execute("create schema public")


def test_postgresql_goes_away(
    archive: Path, tmp_path: Path, checker: Checker, clean: Rows, database: PostgreSQL
) -> None:
    url = f"postgresql://{database.place}"
    job = Job(archive, tmp_path / "lake", ledger_url=url)
    with pytest.raises(
        MaillagError, match=r"its ledger cannot be written to .*Check that the database is running"
    ):
        run_while(job, checker, database.stop)
    with pytest.raises(
        MaillagError, match=r"its ledger cannot be opened .*Check that the database is running"
    ):
        job.open_ledger()
    database.start()
    assert critical(run_job(job, checker)) == []
    assert read_all(job.lake) == clean
    assert verify_lake(job.lake, url, is_deep=True) == []
    with psycopg.connect(url, autocommit=True) as server:
        for table in ("ledger_version", "lost_rows", "stale_hosts", "acknowledged"):
            server.execute(f"drop table {table}")
        for column in ("size_bytes", "modified_at_ns", "content_hash"):
            server.execute(f"alter table parquet_files drop column {column}")
        assert critical(run_job(job, checker)) == []
        assert verify_lake(job.lake, url, is_deep=True) == []
        server.execute(f"update ledger_version set version = {VERSION + 1}")
        with pytest.raises(MaillagError, match="Use the maillag that created it, or a newer one"):
            job.open_ledger()
        server.execute("drop table ledger_version, source_files")
        with pytest.raises(
            MaillagError, match=r"the database of ledger_url is empty.*Restore lake and ledger"
        ):
            verify_lake(job.lake, url)


def test_the_clock_is_set_back(archive: Path, tmp_path: Path, checker: Checker, clean: Rows) -> None:
    if not list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")):
        install_debian_package("faketime")
    lake = tmp_path / "lake"
    late = archive / "gw2" / "maillog-20261124"
    late.rename(tmp_path / "late")
    clock = HostClock(tmp_path, offset_seconds=3 * 86400)

    def start(*options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [MAILLAG, "run", archive, "--lake", lake, *options],
            env=os.environ | clock.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    run = start()
    while not (lake / "events").exists() and run.poll() is None:
        time.sleep(0.01)
    clock.set_by(-5 * 86400)
    assert run.wait(120) == 0
    (tmp_path / "late").rename(late)
    assert start().wait(120) == 0
    assert read_all(lake) == clean
    assert verify_lake(lake, is_deep=True) == []
    clock.set_by(2 * 86400)
    assert not run_job(Job(archive, lake), checker).analyzed.is_rebuilt


def test_a_log_grows_while_it_is_read(archive: Path, tmp_path: Path, checker: Checker, clean: Rows) -> None:
    job = Job(archive, tmp_path / "lake")
    log = archive / "gw3" / "maillog"
    line = "Nov 24 23:{:02}:{:02} gw3 postfix/smtpd[11]: A{:05}: client=mx.example.com[192.0.2.7]\n"
    log.write_text("".join(line.format(0, 0, number) for number in range(60_000)))
    is_done = threading.Event()

    def grow() -> None:
        # Half a line at a time, and never as fast as it is read.
        for number in range(20_000):
            with log.open("a") as file:
                text = line.format(number // 400, number % 60, number)
                file.write(text[:40])
                file.flush()
                file.write(text[40:])
            if is_done.is_set():
                return

    writer = threading.Thread(target=grow)
    writer.start()
    first = run_job(job, checker)
    is_done.set()
    writer.join()
    assert critical(first) == []
    record = first.sources["gw3/maillog"]
    assert record.line_count == (
        record.event_line_count + record.noise_line_count + record.unparsed_line_count
    )
    assert record.unparsed_line_count == 0, "no half line was taken for one"
    assert critical(run_job(job, checker)) == []
    whole = Job(archive, tmp_path / "clean")
    run_job(whole, checker)
    assert read_all(job.lake) == read_all(whole.lake)
    assert read_all(job.lake) != clean


def test_a_log_vanishes_while_others_are_read(
    archive: Path, tmp_path: Path, checker: Checker, clean: Rows
) -> None:
    job = Job(archive, tmp_path / "lake")
    log = archive / "gw3" / "maillog-20261123"
    (told,) = run_while(job, checker, lambda: log.rename(tmp_path / "kept"))
    assert told.startswith("gw3/maillog-20261123: cannot be read (No such file or directory)")
    # Rotation removed it for good: nothing more is to be said.
    assert critical(run_job(job, checker)) == []
    (tmp_path / "kept").rename(log)
    assert critical(run_job(job, checker)) == []
    assert read_all(job.lake) == clean
