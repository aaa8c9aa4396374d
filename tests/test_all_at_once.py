"""A sound host beside every kind of bad neighbour at once: its rows are those of a fleet of its own."""

import gzip
import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import published_rows, run_job
from tests.test_cli import MAILLAG
from tests.test_isolation import DAY
from transforms.contracts.contracts import Checker
from transforms.run import Job

# ruff: noqa: E501
pytestmark = pytest.mark.slow

SOUND = "mx1"
ONE_DAY = DAY.format(day="Oct  1", host="mx9", id="A00001")
JOURNAL = (
    '{"__REALTIME_TIMESTAMP":"1790848800000000","SYSLOG_IDENTIFIER":"postfix/smtp","MESSAGE":"a\\ud800b"}\n'
)
HUGE = "9" * 400
NUMBERS = f"""\
Oct  1 10:00:00 mx9 postfix/qmgr[13]: A00001: from=<a@example.com>, size={HUGE}, nrcpt={HUGE} (queue active)
Oct  1 10:00:01 mx9 postfix/smtp[21]: A00001: to=<b@example.com>, relay=127.0.0.1[127.0.0.1]:10025, delay={HUGE}, \
delays=0/0/0/{HUGE}, dsn=2.0.0, status=sent (250 2.0.0 Ok)
Oct  1 10:00:01 mx9 postfix/smtp[21]: A00002: to=<b@example.com>, relay=127.0.0.1[127.0.0.1]:10025, \
delay=300000000000, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok)
Oct  1 10:00:02 mx9 sendmail[22]: x91A00: to=<b@example.com>, delay=9999999999999999999+00:00:01, mailer=esmtp, \
pri=1, relay=[127.0.0.1], dsn=2.0.0, stat=Sent (ok)
Oct  1 10:00:02 mx9 postfix/smtp[{HUGE}]: connect to 127.0.0.1[127.0.0.1]:{HUGE}: Connection refused
"""


def write_bad_neighbours(archive: Path) -> None:
    def folder(name: str | bytes) -> Path:
        made = archive / os.fsdecode(name)
        made.mkdir()
        return made

    for name in (
        "ゲートウェイ".encode("shift_jis"),
        "ゲートウェイ".encode("euc_jp"),
        b"caf\xe9",
        "メールゲートウェイ三号機東京都千代田区丸の内一丁目九番地",
        "mx\u30002",
        "mx\n3\x1b[31m",
        "-rf",
        "'; drop table restarts; --",
        "mx[1]?*",
        "date=2026-10-01",
    ):
        (folder(name) / "maillog-20261002").write_text(ONE_DAY)
    odd = folder("odd-files")
    os.mkfifo(odd / "maillog")
    (odd / "maillog.1").symlink_to("/dev/zero")
    (odd / "maillog.2").symlink_to(odd, target_is_directory=True)
    (odd / "maillog.3").mkdir()
    (odd / "maillog-20261002").write_text(ONE_DAY)
    numbers = folder("numbers")
    (numbers / "maillog-20261002").write_text(NUMBERS)
    (numbers / "postqueue-20261001.json").write_text(f'{{"queue_name":"deferred","arrival_time":{HUGE}}}\n')
    long_lines = folder("long-lines")
    (long_lines / "maillog-20261002").write_bytes(ONE_DAY.encode() + b"x" * 20_000_000 + b"\0" * 20_000_000)
    packed = folder("packed")
    sound = gzip.compress(ONE_DAY.encode())
    (packed / "maillog.1.gz").write_bytes(sound + gzip.compress(b"\0" * 100_000_000))
    (packed / "maillog.2.gz").write_bytes(sound[:-20])
    (packed / "maillog.3.gz").write_bytes(sound + b"\0" * 512)
    (packed / "maillog.4.gz").write_bytes(b"no gzip")
    (packed / "maillog.5.xz").write_bytes(b"")
    with zipfile.ZipFile(packed / "bundle.zip", "w") as bundle:
        bundle.writestr("a/maillog", ONE_DAY)
        bundle.writestr("../../maillog.1", ONE_DAY)
    with tarfile.open(packed / "logs.tar", "w") as tar:
        for text in (ONE_DAY, ONE_DAY.replace("A00001", "A00009")):
            member = tarfile.TarInfo("maillog-20261002")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        tar.addfile(tarfile.TarInfo(os.fsdecode(b"\xe9/maillog")))
        device = tarfile.TarInfo("maillog.7")
        device.type = tarfile.CHRTYPE
        tar.addfile(device)
    journal = folder("journal")
    (journal / "maillog-20261002").write_text(JOURNAL * 20 + "[" * 100_000 + "\n")


def write_sound_host(archive: Path) -> None:
    (archive / SOUND).mkdir(parents=True)
    for number in (1, 2, 3):
        text = DAY.format(day=f"Oct  {number}", host=SOUND, id=f"A0000{number}")
        (archive / SOUND / f"maillog-2026100{number + 1}").write_text(text)
    (archive / "fleet.toml").write_text('[defaults]\ntime_zone = "UTC"\n', encoding="utf-8-sig")


def rows_of_sound_host(lake: Path) -> dict[str, list[str]]:
    rows = published_rows(lake, "marts")
    return {table: [row for row in its if f"'{SOUND}'" in row] for table, its in rows.items()}


def test_a_sound_host_has_the_same_rows_beside_every_bad_neighbour(tmp_path: Path, checker: Checker) -> None:
    alone, beside = Job(tmp_path / "alone", tmp_path / "a"), Job(tmp_path / "beside", tmp_path / "b")
    for job in (alone, beside):
        write_sound_host(job.archive)
    write_bad_neighbours(beside.archive)
    assert run_job(alone, checker).findings == []
    done = run_job(beside, checker)
    assert rows_of_sound_host(beside.lake) == rows_of_sound_host(alone.lake)
    assert done.sources
    for source in done.sources.values():
        counts = (source.event_line_count, source.noise_line_count, source.unparsed_line_count)
        assert sum(counts) == source.line_count, source.path
    assert not [finding for finding in done.findings if finding.place == SOUND]
    for command in (["status"], ["restarts"], ["fleet"], ["status", "--json"], ["restarts", "--json"]):
        told = subprocess.run(
            [MAILLAG, *command, "--lake", beside.lake], capture_output=True, check=False, timeout=120
        )
        assert told.returncode in {0, 1}, (command, told.stderr)
        assert b"Traceback" not in told.stderr
        assert b"\x1b" not in told.stdout
