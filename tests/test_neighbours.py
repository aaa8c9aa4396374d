"""A sound host's rows are equal with and without all bad neighbours at once; names can be pasted back."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.conftest import SAMPLE, published_rows, run_job
from tests.test_bundles import link, tar, zipped
from transforms.contracts.contracts import Checker
from transforms.names import given_host, host_name
from transforms.run import Job

pytestmark = pytest.mark.slow
MAILLAG = Path(sys.executable).with_name("maillag")
LINE = b"Nov 24 10:00:%02d gw postfix/qmgr[1]: 892A0205B6: removed\n"
SOUND = ("imsva91", "imss13")
RESTARTED = "-20200203T010736Z"
# Each has the log of imsva91, of one restart.
ODD_NAMES = (
    "受信".encode("shift_jis"),
    "受信".encode("euc_jp"),
    "Zürich".encode("latin-1"),
    "受信サーバ第一号機東京本社ビル地下二階マシン室奥側の棚".encode(),
    b"\xff" * 255,
    "gw\u3000a".encode(),
    b"-rf",
    b"gw\x1b[31m\n",
    b"$(reboot) '\"\\",
    b"%41",
    b"__HIVE_DEFAULT_PARTITION__",
)
SURROGATE = (
    '{"__REALTIME_TIMESTAMP":"1795489607000000","MESSAGE":"a\\ud800b","SYSLOG_IDENTIFIER":"postfix/qmgr"}\n'
)
NESTED = '{"__REALTIME_TIMESTAMP":"1795489607000000","MESSAGE":' + "[" * 100_000 + "\n"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Path:
    """The lake of sound hosts and all bad neighbours; beside it, the archive and the lake without them."""
    folder = tmp_path_factory.mktemp("neighbours")
    archive = folder / "archive"
    for host in SOUND:
        shutil.copytree(SAMPLE / host, archive / host)
    run_job(Job(archive, folder / "alone", default_time_zone="Asia/Tokyo"), checker)
    for name in ODD_NAMES:
        shutil.copytree(SAMPLE / "imsva91", archive / os.fsdecode(name))
    put_odd_files(archive)
    run_job(Job(archive, folder / "lake", default_time_zone="Asia/Tokyo"), checker)
    return folder / "lake"


def put_odd_files(archive: Path) -> None:
    odd = archive / "odd"
    odd.mkdir()
    os.mkfifo(odd / "maillog.1")
    (odd / "maillog.2").symlink_to("/etc/passwd")
    (odd / "maillog.3").symlink_to("maillog.3")
    (odd / "etc").symlink_to("/etc")
    (odd / "journal-1.json").write_text(SURROGATE)
    (odd / "journal-2.json").write_text(SURROGATE + NESTED)
    (odd / "padded.gz").write_bytes(b"")
    (odd / "maillog-20261124.gz").write_bytes(gzip.compress(LINE % 1) + bytes(10_240))
    (odd / "a.tar").write_bytes(
        tar([("maillog", LINE % 2), ("maillog", LINE % 3)], link(tarfile.SYMTYPE, "maillog.9", "/etc/passwd"))
    )
    encrypted = bytearray(zipped([("maillog", LINE % 4)]))
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    (odd / "b.zip").write_bytes(encrypted)
    (odd / "c.tar").write_bytes(tar([("maillog", LINE % 5), ("maillog.1", LINE % 6)])[:1024])
    (odd / "maillog.4").write_bytes(b"\xff\xfe\0\0")


def of_sound_hosts(lake: Path) -> dict[str, list[str]]:
    rows = published_rows(lake, "events", "marts", "fleet")
    return {
        table: [row for row in of_table if any(host in row for host in SOUND)]
        for table, of_table in rows.items()
    }


def test_rows_of_sound_hosts_are_equal_with_and_without_them(lake: Path) -> None:
    alone = of_sound_hosts(lake.with_name("alone"))
    assert len(alone["marts.restarts"]) == len(SOUND)
    # The archive of a source file has no part in its rows; those of the fleet's days are of all hosts' days.
    assert {t: rows for t, rows in of_sound_hosts(lake).items() if t != "marts.fleet_daily"} == {
        t: rows for t, rows in alone.items() if t != "marts.fleet_daily"
    }


def test_what_was_not_read_is_named(lake: Path) -> None:
    status = json.loads(maillag("status", "--json", "--lake", lake).stdout)
    found = {row["place"]: row["what"] for row in status["findings"] if row["severity"] == "critical"}
    assert found == {
        "odd/maillog.1": "is a FIFO, not a regular file, so it was not opened",
        "odd/maillog.2": "is a symbolic link that leads out of the archive, and was not followed",
        "odd/maillog.3": "cannot be read (Too many levels of symbolic links)",
        "odd/etc": "is a symbolic link that leads out of the archive, and was not followed",
        "odd/a.tar!maillog.9": "is a symbolic link, so it was not read",
        "odd/b.zip!maillog": "is encrypted, so it was not read",
        "odd/c.tar": "is not a sound tar file (its end marker is missing); the files before the damage were "
        "read (1)",
        "odd/maillog.4": found["odd/maillog.4"],
    }


@pytest.mark.parametrize("name", ODD_NAMES, ids=host_name)
def test_what_is_shown_of_a_host_can_be_pasted_back(name: bytes, lake: Path) -> None:
    shown = host_name(name)
    # `%41` stands for A, wherever it is given.
    for given in {shown, os.fsdecode(name)} - {"%41"}:
        printed = shown_by("restarts", "--lake", lake, "--host", given)
        (restart_id,) = (line.split()[0] for line in printed.splitlines() if RESTARTED in line)
        assert restart_id == shown + RESTARTED
    explained = shown_by("explain", restart_id, "--lake", lake, "--archive", lake.with_name("archive"))
    assert "lost connection with localhost" in explained
    assert "\x1b" not in explained
    assert shown in shown_by("fleet", "--lake", lake, "--host", shown)


def test_machines_get_the_same_names(lake: Path) -> None:
    expected = {host_name(name) + RESTARTED for name in ODD_NAMES}
    restarts = json.loads(maillag("restarts", "--json", "--lake", lake).stdout)
    assert {row["host"] for row in restarts} == {host_name(name) for name in ODD_NAMES} | {*SOUND}
    assert expected <= {row["restart_id"] for row in restarts}
    lines = maillag("restarts", "--csv", "--lake", lake).stdout.splitlines()
    assert expected <= {line.split(",")[0] for line in lines}


@pytest.mark.parametrize("encoding", ["ascii", "euc_jp"])
def test_a_terminal_that_lacks_characters_shows_what_can_be_pasted_back(encoding: str, lake: Path) -> None:
    printed = maillag("restarts", "--lake", lake, PYTHONIOENCODING=encoding).stdout.split()
    ids = [word.removesuffix(RESTARTED) for word in printed if word.endswith(RESTARTED)]
    assert {given_host(host) for host in ids} == {host_name(name) for name in ODD_NAMES} | {"imsva91"}


def shown_by(*arguments: object) -> str:
    """Return what a command prints."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def maillag(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [MAILLAG, *map(str, arguments)],
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        capture_output=True,
        check=False,
        env=os.environ | environment,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if arguments[0] == "status" else 0), done.stderr
    return done
