"""Runs that are killed, get no room, or meet another: the next one completes, and nobody sees half."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import run_job
from tests.soak import read_all
from transforms import run as runs
from transforms.contracts.contracts import Checker
from transforms.lake.verify import verify_lake
from transforms.problems import MaillagError
from transforms.run import Job, open_run

pytestmark = pytest.mark.slow

MAILLAG = Path(sys.executable).with_name("maillag")
# fmt: off
# ruff: noqa: E501
DAYS = {
    "maillog-20261123": """\
Nov 23 10:00:00 gw1 postfix/smtpd[11]: A00001: client=mx.example.com[192.0.2.7]
Nov 23 10:00:00 gw1 postfix/cleanup[12]: A00001: message-id=<1@example.com>
Nov 23 10:00:00 gw1 postfix/qmgr[13]: A00001: from=<a@example.com>, size=1000, nrcpt=1 (queue active)
Nov 23 10:00:01 gw1 postfix/smtp[21]: A00001: to=<b@example.com>, relay=none, delay=1, delays=0/0/1/0, dsn=4.4.1, status=deferred (connect to localhost[127.0.0.1]:10025: Connection refused)
Nov 23 10:00:30 gw1 postfix/smtpd[11]: A00002: client=mx.example.com[192.0.2.7]
Nov 23 10:00:30 gw1 postfix/qmgr[13]: A00002: from=<a@example.com>, size=1000, nrcpt=1 (queue active)
Nov 23 10:00:31 gw1 postfix/smtp[21]: A00002: to=<b@example.com>, relay=localhost[127.0.0.1]:10025, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as B00002)
Nov 23 10:00:31 gw1 postfix/qmgr[13]: A00002: removed
""",
    "maillog-20261124": """\
Nov 24 10:16:00 gw1 postfix/qmgr[13]: A00001: from=<a@example.com>, size=1000, nrcpt=1 (queue active)
Nov 24 10:16:01 gw1 postfix/smtp[21]: A00001: to=<b@example.com>, relay=localhost[127.0.0.1]:10025, delay=961, delays=960/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as B00001)
Nov 24 10:16:01 gw1 postfix/qmgr[13]: A00001: removed
""",
}
# fmt: on


class KilledError(BaseException):
    """Nothing of the run is done after this."""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive" / "gw1"
    folder.mkdir(parents=True)
    (folder / "maillog-20261123").write_text(DAYS["maillog-20261123"])
    return folder.parent


def add_second_day(archive: Path) -> None:
    """Add a day that changes what the marts say of the day before; the first file grows, too."""
    (archive / "gw1" / "maillog-20261124").write_text(DAYS["maillog-20261124"])
    with (archive / "gw1" / "maillog-20261123").open("a") as log:
        log.write("Nov 23 23:59:59 gw1 postfix/smtpd[11]: connect from mx.example.com[192.0.2.7]\n")


@contextmanager
def killed_at_commit(number: int) -> Iterator[None]:
    """Kill the run as it is about to commit its n-th transaction."""
    count = 0

    def strike(connection: sa.Connection) -> None:
        nonlocal count
        count += 1
        if count >= number:
            raise KilledError

    sa.event.listen(sa.Engine, "commit", strike)
    with pytest.MonkeyPatch.context() as patch:
        # The dead do not tidy up.
        patch.setattr(runs, "close_run", lambda *_, **__: None)
        patch.setattr(runs, "sweep", lambda *_: None)
        try:
            yield
        finally:
            sa.event.remove(sa.Engine, "commit", strike)


@pytest.mark.timeout(240)
def test_a_run_killed_at_any_commit_is_completed_by_the_next(
    archive: Path, tmp_path: Path, checker: Checker
) -> None:
    base = Job(archive, tmp_path / "base")
    before = read_all(run_job(base, checker).job.lake)
    add_second_day(archive)
    after = read_all(run_job(Job(archive, tmp_path / "clean"), checker).job.lake)
    assert before != after
    for number in range(1, 100):
        job = Job(archive, tmp_path / f"lake-{number}")
        shutil.copytree(base.lake, job.lake)
        was_killed = True
        with killed_at_commit(number), suppress(KilledError):
            run_job(job, checker)
            was_killed = False
        assert read_all(job.lake) in (before, after)
        if was_killed:
            run_job(job, checker)
        assert read_all(job.lake) == after
        assert verify_lake(job.lake) == []
        if not was_killed:
            assert number > 5, "few transactions were seen"
            return
    pytest.fail("the run has no end")


@pytest.mark.timeout(120)
def test_a_run_killed_at_any_instant_leaves_no_garbage_for_long(
    archive: Path, tmp_path: Path, checker: Checker
) -> None:
    clean = tmp_path / "clean"
    lake = tmp_path / "lake"
    run_job(Job(archive, clean), checker)
    run_job(Job(archive, lake), checker)
    add_second_day(archive)
    after = read_all(run_job(Job(archive, clean), checker).job.lake)
    sessions: list[int] = []
    for seconds in (0.4, 0.8, 1.2, 1.6, 2.0, 3.0):
        process = subprocess.Popen(
            [MAILLAG, "run", archive, "--lake", lake],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        sessions.append(process.pid)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        assert read_all(lake)
    assert_ended(sessions)
    run_job(Job(archive, lake), checker)
    assert read_all(lake) == after
    assert verify_lake(lake) == []


def assert_ended(sessions: list[int]) -> None:
    """Wait for all processes of some sessions: what a killed run started ends by itself."""
    for _ in range(100):
        left = [path.name for path in Path("/proc").glob("[0-9]*") if session_of(path) in sessions]
        if not left:
            return
        time.sleep(0.2)
    pytest.fail(f"processes {left} were left behind")


def session_of(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return None


def test_what_was_replaced_stays_for_readers_for_a_while(
    archive: Path, tmp_path: Path, checker: Checker
) -> None:
    job = Job(archive, tmp_path / "lake")
    run_job(job, checker)
    old = {path for path in job.lake.rglob("*.parquet") if "marts" in path.parts}
    assert old
    add_second_day(archive)
    run_job(job, checker)
    assert all(path.exists() for path in old)
    run_job(Job(archive, job.lake, reader_grace=timedelta(0)), checker)
    assert not any(path.exists() for path in old)
    assert verify_lake(job.lake) == []


def test_of_a_file_that_is_kept_out_nothing_is_left_in_the_lake(
    archive: Path, tmp_path: Path, checker: Checker
) -> None:
    (archive / "gw1" / "maillog-20261124").write_text(
        "Nov 24 12:00:00 gw1 postfix/qmgr[1]: A00001: removed\n" + "this is no line of a log\n" * 2
    )
    run = run_job(Job(archive, tmp_path / "lake"), checker)
    assert run.sources["gw1/maillog-20261124"].status == "quarantined"
    assert verify_lake(run.job.lake) == []


def test_two_runs_do_not_meet(archive: Path, tmp_path: Path, checker: Checker) -> None:
    job = Job(archive, tmp_path / "lake")
    run_job(job, checker)
    ledger = job.open_ledger()
    with open_run(job, ledger), pytest.raises(MaillagError, match=rf"held by .*process {os.getpid()} on"):
        run_job(job, checker)
    ledger.close()
    # A process that was killed holds nothing.
    with (job.lake / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_archive_that_is_not_mounted_is_told(archive: Path, tmp_path: Path, checker: Checker) -> None:
    job = Job(archive, tmp_path / "lake")
    published = read_all(run_job(job, checker).job.lake)
    archive.rename(tmp_path / "elsewhere")
    archive.mkdir()
    with pytest.raises(MaillagError, match="Check that it is mounted"):
        run_job(job, checker)
    assert read_all(job.lake) == published
    archive.rmdir()
    (tmp_path / "elsewhere").rename(archive)
    run_job(job, checker)
    assert read_all(job.lake) == published


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")
def test_a_full_disk_is_told_and_loses_nothing(archive: Path, tmp_path: Path, checker: Checker) -> None:
    clean = Job(archive, tmp_path / "clean")
    lines = DAYS["maillog-20261123"] * 5_000
    (archive / "gw1" / "maillog-20261122").write_text(lines.replace("Nov 23", "Nov 22"))
    run_job(clean, checker)
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", small],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system ({mounted.stderr.strip()})")
    try:
        job = Job(archive, small / "lake")
        with pytest.raises(MaillagError, match=r"cannot be written to .*Make room"):
            run_job(job, checker)
        subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
        run_job(job, checker)
        assert read_all(job.lake) == read_all(clean.lake)
        assert verify_lake(job.lake) == []
    finally:
        # Who failed may still have files open.
        subprocess.run(["umount", "--lazy", small], check=True)
