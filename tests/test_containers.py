"""Archives as fleets really have them: bundles, tar files, collectors, and years that only others tell.

However the same lines are packed, split or shuffled, the lake holds the same events and the marts the
same rows.
"""

import bz2
import gzip
import io
import itertools
import lzma
import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from backports import zstd

from tests.conftest import SAMPLE, run_job
from tests.test_headers import long_queue_id
from transforms.archive.bundles import list_members, open_members
from transforms.archive.files import discover
from transforms.archive.lines import DamagedFileError
from transforms.contracts.contracts import Checker
from transforms.fleet.fleet import read_fleet
from transforms.ingest.plan import choose_zones, plan_reads
from transforms.ingest.read import read_sources
from transforms.lake.catalog import CATALOG_NAME
from transforms.lake.ledger import Ledger
from transforms.log_rules import LogRules
from transforms.run import Job

pytestmark = pytest.mark.slow
LINE = "Nov 24 10:00:{:02} gw postfix/qmgr[1]: 892A0205B6: removed\n"
MAILLOG = "".join(LINE.format(second) for second in range(60)).encode()
BUNDLE = {
    "CDT-20261124/IMSVA/LogFile/Event3/imssmgr.20261124.0001": (
        b"2026/11/24 10:00:00 GMT+09:00 [1:2] [NORMAL]SysMonitor: x\n"
    ),
    "CDT-20261124/IMSVA/LogFile/Event3/log.imss.20261124.0001": b"2026/11/24 10:00:00 GMT+09:00 x\n",
    "CDT-20261124/IMSVA/LogFile/Event5/maillog": MAILLOG,
    "CDT-20261124/IMSVA/LogFile/Event5/maillog-20261123.gz": gzip.compress(MAILLOG.replace(b" 24 ", b" 22 ")),
    "CDT-20261124/IMSVA/LogFile/Event5/main.cf": b"queue_run_delay = 300s\n",
}


def as_folder(path: Path) -> None:
    """Unpack the bundle beside where its file would be."""
    for name, content in BUNDLE.items():
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).write_bytes(content)


def as_zip(path: Path) -> None:
    """Write the bundle as a zip file."""
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in BUNDLE.items():
            bundle.writestr(zipfile.ZipInfo(name, (2026, 11, 24, 12, 0, 0)), content)


def as_tar(suffix: str, pack: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return what writes the bundle as a tar file."""

    def write(path: Path) -> None:
        path.with_suffix(suffix).write_bytes(pack(tar(BUNDLE)))

    return write


def tar(files: dict[str, bytes]) -> bytes:
    """Return a tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


FORMS: dict[str, Callable[[Path], None]] = {
    "folder": as_folder,
    "zip": as_zip,
    "tar": as_tar(".tar", bytes),
    "tar.gz": as_tar(".tar.gz", gzip.compress),
    "tgz": as_tar(".tgz", gzip.compress),
    "tar.bz2": as_tar(".tar.bz2", bz2.compress),
    "tar.xz": as_tar(".tar.xz", lzma.compress),
    "tar.zst": as_tar(".tar.zst", zstd.compress),
}


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS.keys())
def test_support_bundle_is_read_in_every_form(
    write: Callable[[Path], None], tmp_path: Path, checker: Checker
) -> None:
    job = Job(tmp_path / "archive", tmp_path / "lake")
    (job.archive / "gw").mkdir(parents=True)
    write(job.archive / "gw" / "CDT-20261124")
    ran = run_job(job, checker)
    assert {
        (record.path.rpartition("/")[2], record.log_kind, record.line_count, record.unparsed_line_count)
        for record in ran.new_sources
    } == {
        ("imssmgr.20261124.0001", "manager_log", 1, 0),
        ("maillog", "maillog", 60, 0),
        ("maillog-20261123.gz", "maillog", 60, 0),
        ("main.cf", "inventory", 1, 0),
    }
    assert [path.rpartition("/")[2] for path in ran.ingested.ignored] == ["log.imss.20261124.0001"]
    assert {record.time_zone for record in ran.new_sources} == {"GMT+09:00"}
    delay = "select queue_run_delay_seconds, queue_run_delay_seconds_source from fleet.hosts"
    assert rows(job.lake, delay) == [(300, "inventory")]
    assert rows(job.lake, "select count(*), count(distinct logged_at) from events.queue_removals") == [
        (120, 120)
    ]
    assert ran.findings == []
    assert run_job(job, checker).new_sources == []


def test_path_of_the_fleet_file_may_mean_a_bundle(tmp_path: Path) -> None:
    as_zip(tmp_path / "CDT-20261124")
    (tmp_path / "fleet.toml").write_text("[hosts.gw]\npath = 'CDT-*.zip'\n")
    found = discover(tmp_path, read_fleet(tmp_path))
    assert {source.host for source in found.sources} == {"gw"}
    assert len(found.sources) == 4
    assert found.ignored == ["CDT-20261124.zip!CDT-20261124/IMSVA/LogFile/Event3/log.imss.20261124.0001"]


def test_members_are_names_and_never_paths(tmp_path: Path) -> None:
    hostile = {"../../../evil/maillog": MAILLOG, "/etc/maillog": MAILLOG, "a\x1b[31m/maillog.1": MAILLOG}
    (tmp_path / "gw").mkdir()
    (tmp_path / "gw" / "b.tar").write_bytes(tar(hostile))
    sources = discover(tmp_path, read_fleet(tmp_path)).sources
    shown = {name.replace("\x1b", "%1B"): content for name, content in hostile.items()}
    assert {source.member for source in sources} == {*shown}
    read = {name: stream.read() for name, stream in open_members(tmp_path / "gw" / "b.tar", {*shown})}
    assert read == shown
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["b.tar", "gw"]


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst"])
def test_a_bundle_that_ends_early_is_a_problem(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    path = tmp_path / "gw" / f"b{suffix}"
    content = random.Random(1).randbytes(400_000)
    whole = (gzip.compress if suffix == ".tar.gz" else zstd.compress)(tar({"maillog": content, "x": content}))
    path.write_bytes(whole[: len(whole) // 3])
    members, damage = list_members(path)
    assert [member.name for member in members] == ["maillog"]
    assert isinstance(damage, DamagedFileError)
    found = discover(tmp_path, read_fleet(tmp_path))
    assert [source.path for source in found.sources] == [f"gw/b{suffix}!maillog"]
    (problem,) = found.problems
    assert problem.where == f"gw/b{suffix}"
    assert "ends early; the files before the damage were read (1)" in problem.what


def test_an_encrypted_member_is_a_problem_and_the_others_are_read(tmp_path: Path, checker: Checker) -> None:
    job = Job(tmp_path / "archive", tmp_path / "lake")
    (job.archive / "gw").mkdir(parents=True)
    path = job.archive / "gw" / "b.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("maillog", MAILLOG)
        bundle.writestr("maillog.1", MAILLOG.replace(b" 24 ", b" 23 "))
    content = bytearray(path.read_bytes())
    # The flag of encryption, in the directory and before the content.
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[content.index(b"PK\x03\x04") + 6] |= 1
    path.write_bytes(content)
    ran = run_job(job, checker)
    assert [record.path for record in ran.new_sources] == ["gw/b.zip!maillog.1"]
    (finding,) = (finding for finding in ran.findings if finding.severity == "critical")
    assert finding.place == "gw/b.zip!maillog"
    assert finding.what == "is encrypted, so it was not read"
    assert finding.remedy == "Pack the bundle again without a password."


COLLECTED = """\
Nov 24 10:00:00 gw1 postfix/qmgr[1]: 892A0205B6: removed
Nov 24 10:00:00 GW2.example.com postfix/qmgr[1]: 892A0205B7: removed
Nov 24 10:00:01 192.0.2.7 sm-mta[1]: 6AOCadxW002345: from=<a@x>, size=5, class=0, nrcpts=1, relay=[192.0.2.1]
Nov 24 10:00:02 router kernel: link is down
Nov 24 10:00:03 gw1 CRON[1]: (root) CMD (true)
Nov 24 10:00:04 found.example.com postfix/qmgr[1]: 892A0205B8: removed
no header at all
"""


def test_collector_s_file_holds_the_logs_of_many_hosts(tmp_path: Path, checker: Checker) -> None:
    job = Job(tmp_path / "archive", tmp_path / "lake")
    (job.archive / "central" / "2026").mkdir(parents=True)
    (job.archive / "gw1").mkdir()
    (job.archive / "gw1" / "maillog-20261123").write_text(LINE.format(1).replace(" 24 ", " 22 "))
    (job.archive / "central" / "2026" / "mail-2026-11-24.log").write_text(COLLECTED)
    (job.archive / "fleet.toml").write_text(
        """
[hosts.gw1]
time_zone = "Asia/Tokyo"
[hosts.gw2]
aliases = ["gw2.example.com"]
time_zone = "UTC"
[hosts.gw3]
aliases = ["192.0.2.7"]
[hosts.central]
host_from = "line"
path = "central/**/*.log"
time_zone = "Europe/Berlin"
"""
    )
    run_job(job, checker)
    seen = """
        select host, log_kind, line_count, event_line_count, noise_line_count, unparsed_line_count, time_zone
        from ops.source_files where path like 'central/%' order by host
    """
    assert rows(job.lake, seen) == [
        ("central", "maillog", 2, 0, 1, 1, "Europe/Berlin"),
        ("found.example.com", "maillog", 1, 1, 0, 0, "Europe/Berlin"),
        ("gw1", "maillog", 2, 1, 1, 0, "Asia/Tokyo"),
        ("gw2", "maillog", 1, 1, 0, 0, "UTC"),
        ("gw3", "maillog", 1, 1, 0, 0, "Europe/Berlin"),
    ]
    assert rows(job.lake, "select host from fleet.hosts order by host") == [
        ("found.example.com",),
        ("gw1",),
        ("gw2",),
        ("gw3",),
    ]
    removed = "select host, line_number, logged_at::varchar from events.queue_removals order by logged_at"
    assert rows(job.lake, f"set timezone = 'UTC'; {removed}") == [
        ("gw1", 1, "2026-11-22 01:00:01+00"),
        ("gw1", 1, "2026-11-24 01:00:00+00"),
        ("found.example.com", 6, "2026-11-24 09:00:04+00"),
        ("gw2", 2, "2026-11-24 10:00:00+00"),
    ]
    assert run_job(job, checker).new_sources == []
    with (job.archive / "central" / "2026" / "mail-2026-11-24.log").open("a") as log:
        log.write(LINE.format(59))
    again = run_job(job, checker).new_sources
    assert {record.host: record.line_count for record in again} == {
        "central": 2,
        "found.example.com": 1,
        "gw": 1,
        "gw1": 2,
        "gw2": 1,
        "gw3": 1,
    }


def test_names_in_a_collector_s_lines_are_text_that_can_be_pasted(tmp_path: Path, checker: Checker) -> None:
    job = Job(tmp_path / "archive", tmp_path / "lake")
    (job.archive / "central").mkdir(parents=True)
    (job.archive / "gw\u3000a").mkdir()
    names = ("$(reboot)", "../../x", "a\x1b[31m", "gw%41", "é" * 120, "x" * 300, "-rf", "gw\u3000A")
    lines = [LINE.format(at).replace(" gw ", f" {name} ") for at, name in enumerate(names)]
    (job.archive / "central" / "mail.log").write_text("".join(lines))
    (job.archive / "fleet.toml").write_text('[hosts.central]\nhost_from = "line"\n[hosts."gw\u3000a"]\n')
    run_job(job, checker)
    found = "select host, event_line_count from ops.source_files order by host"
    assert rows(job.lake, found) == [
        ("%24%28reboot%29", 1),
        ("%2Drf", 1),
        ("..%2F..%2Fx", 1),
        ("a%1B%5B31m", 1),
        ("central", 1),
        ("gw%2541", 1),
        ("gw%E3%80%80a", 1),
        ("é" * 120, 1),
    ]


def test_hosts_of_a_collector_are_found_however_deep_its_files_lie(tmp_path: Path, checker: Checker) -> None:
    job = Job(tmp_path / "archive", tmp_path / "lake")
    folder = job.archive / "central" / "2026" / "11"
    folder.mkdir(parents=True)
    (folder / "mail.log").write_text(LINE.format(1))
    (job.archive / "fleet.toml").write_text('[hosts.central]\nhost_from = "line"\n')
    run_job(job, checker)
    assert rows(job.lake, "select host from fleet.hosts") == [("gw",)]


def test_a_file_without_a_year_takes_it_from_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    texts = {
        "maillog.3": LINE.format(1).replace("Nov 24", "Dec 30"),
        "maillog.2": LINE.format(1).replace("Nov 24", "Jan  5"),
        "maillog.1": "2021-01-12T10:00:00Z gw postfix/qmgr[1]: 892A0205B6: removed\n",
        "maillog": LINE.format(1).replace("Nov 24", "Jan 20"),
    }
    for name, text in texts.items():
        (tmp_path / "gw" / name).write_text(text)
    assert years(tmp_path) == {
        "maillog.3": (date(2020, 12, 30), "neighbour"),
        "maillog.2": (date(2021, 1, 5), "neighbour"),
        "maillog.1": (date(2021, 1, 12), "line"),
        "maillog": (date(2021, 1, 20), "neighbour"),
    }


def test_a_live_maillog_comes_after_the_ones_named_for_their_rotation(tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    (tmp_path / "gw" / "maillog-20201227").write_text(LINE.format(1).replace("Nov 24", "Dec 24"))
    (tmp_path / "gw" / "maillog").write_text(LINE.format(1).replace("Nov 24", "Jan  2"))
    assert years(tmp_path) == {
        "maillog-20201227": (date(2020, 12, 24), "file_name"),
        "maillog": (date(2021, 1, 2), "neighbour"),
    }


def test_a_long_queue_id_tells_the_year_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    # 4Gv8DH... was made on 2021-06-01.
    made_at = int(datetime(2021, 6, 1, tzinfo=UTC).timestamp())
    queue_id = long_queue_id(made_at, 5, 77)
    (tmp_path / "gw" / "maillog").write_text(f"Jun  2 10:00:00 gw postfix/qmgr[1]: {queue_id}: removed\n")
    assert years(tmp_path) == {"maillog": (date(2021, 6, 2), "queue_id")}


def test_without_any_hint_the_file_s_own_time_tells_the_year(tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    (tmp_path / "gw" / "maillog").write_text(LINE.format(1))
    modified_at = datetime(2019, 3, 1, tzinfo=UTC).timestamp()
    os.utime(tmp_path / "gw" / "maillog", (modified_at, modified_at))
    assert years(tmp_path) == {"maillog": (date(2018, 11, 24), "file_time")}


@pytest.fixture(scope="module")
def sample_marts(sample_lake: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the sample's marts."""
    found = marts(sample_lake)
    assert {"restarts", "held_messages"} <= {table for table, of_table in found.items() if of_table}
    return found


def recompressed(archive: Path) -> None:
    """Compress every maillog, each in another way."""
    packers: dict[str, Callable[[bytes], bytes]] = {}
    packers |= {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd.compress}
    for number, path in enumerate(sorted(archive.glob("*/maillog*"))):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        suffix = list(packers)[number % len(packers)]
        path.unlink()
        (path.parent / f"{path.name.removesuffix('.gz')}{suffix}").write_bytes(packers[suffix](content))


def split(archive: Path) -> None:
    """Split every host's maillog into rotated parts, at any line."""
    chance = random.Random(3)
    for folder in (path for path in sorted(archive.iterdir()) if path.is_dir()):
        content = b""
        for path in sorted(folder.glob("maillog*"), reverse=True):
            content += gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            path.unlink()
        lines = content.splitlines(keepends=True)
        cuts = [0, *sorted(chance.sample(range(1, len(lines)), min(4, len(lines) - 1))), len(lines)]
        for number, (start, end) in enumerate(itertools.pairwise(cuts)):
            (folder / f"maillog.{len(cuts) - number}").write_bytes(b"".join(lines[start:end]))


def bundled(archive: Path) -> None:
    """Put all files of every host into one tar file, in any order."""
    for folder in (path for path in sorted(archive.iterdir()) if path.is_dir()):
        paths = sorted(folder.iterdir())
        random.Random(5).shuffle(paths)
        (folder / "logs.tar.gz").write_bytes(gzip.compress(tar({p.name: p.read_bytes() for p in paths})))
        for path in paths:
            path.unlink()


@pytest.mark.parametrize("change", [recompressed, split, bundled], ids=lambda change: change.__name__)
def test_the_way_of_packing_changes_no_row_of_any_mart(
    change: Callable[[Path], None],
    sample_marts: dict[str, list[tuple[Any, ...]]],
    tmp_path: Path,
    checker: Checker,
) -> None:
    shutil.copytree(SAMPLE, tmp_path / "archive")
    change(tmp_path / "archive")
    ran = run_job(Job(tmp_path / "archive", tmp_path / "lake"), checker)
    assert not [finding for finding in ran.findings if finding.severity == "critical"]
    found = marts(tmp_path / "lake")
    assert found.keys() == sample_marts.keys()
    for table, expected in sample_marts.items():
        assert found[table] == expected, table


def test_the_order_in_which_files_come_changes_no_row_of_any_mart(
    sample_marts: dict[str, list[tuple[Any, ...]]], tmp_path: Path, checker: Checker
) -> None:
    shutil.copytree(SAMPLE, tmp_path / "whole")
    split(tmp_path / "whole")
    job = Job(tmp_path / "archive", tmp_path / "lake")
    job.archive.mkdir()
    paths = [path for path in sorted((tmp_path / "whole").rglob("*")) if path.is_file()]
    shutil.copy(tmp_path / "whole" / "fleet.toml", job.archive)
    random.Random(7).shuffle(paths)
    for part in (paths[::2], paths[1::2]):
        for path in part:
            target = job.archive / path.relative_to(tmp_path / "whole")
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(path, target)
        run_job(job, checker)
    for table, expected in sample_marts.items():
        assert marts(job.lake)[table] == expected, table


def years(archive: Path) -> dict[str, tuple[date, str]]:
    """Return the day of each file's first line and how its year was found."""
    fleet = read_fleet(archive)
    sources = discover(archive, fleet).sources
    ledger = Ledger("sqlite://")
    plan = plan_reads(
        sources, ledger, fleet=fleet, zones=choose_zones(fleet, sources, "UTC"), rules=LogRules()
    )
    reads = read_sources(plan, archive / "lake", {}, run_id="run", part="1")
    ledger.close()
    found = {}
    for new in reads.new_sources:
        at = new.record.first_logged_at
        assert at is not None
        found[new.record.path.rpartition("/")[2]] = (at.date(), new.record.year_source)
    return found


def rows(lake: Path, query: str) -> list[tuple[Any, ...]]:
    """Return what a query on the catalog gives."""
    with duckdb.connect(str(lake / CATALOG_NAME), read_only=True) as connection:
        return connection.execute(query).fetchall()


def marts(lake: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all marts, sorted."""
    names = rows(lake, "select table_name from information_schema.tables where table_schema = 'marts'")
    return {name: sorted(rows(lake, f"from marts.{name}"), key=repr) for (name,) in names}
