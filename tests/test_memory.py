"""What is meant to take all memory takes a little, and hides nothing of the files and hosts beside it.

The archives are those of tests/peaks.py, smaller, and read with smaller limits.
"""

import bz2
import gc
import gzip
import lzma
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from backports import zstd

from tests import peaks
from tests.conftest import run_job
from tests.test_numbers import asked
from transforms.archive import bundles, lines
from transforms.archive.bundles import list_members
from transforms.archive.files import discover
from transforms.archive.lines import DamagedFileError, OverLimitError, read_blocks
from transforms.bounds import CUT_TEXT_BYTES, LINE_BYTES, Limits
from transforms.contracts.contracts import Checker
from transforms.fast_lane import lane
from transforms.fast_lane.kernels import load_kernels
from transforms.fast_lane.lane import FastLane
from transforms.fleet.fleet import read_fleet
from transforms.ingest import batch, read, reader
from transforms.ingest.plan import choose_zones, plan_reads
from transforms.ingest.read import Reads, read_sources
from transforms.lake import files as lake_files
from transforms.lake.ledger import Ledger
from transforms.lake.records import SourceRecord
from transforms.log_rules import LogRules
from transforms.run import Job

LIMITS = Limits(unpacked_ratio=10, unpacked_bytes=32 * peaks.MIB, member_count=50)
ZEROS_MIB = 64
SOUND_LINES = peaks.MAILLOG.count("\n")
BOMBS: dict[str, Callable[[Path], None]] = {
    ".gz": lambda path: peaks.write_packed(path, ZEROS_MIB, gzip.open, ".gz"),
    ".bz2": lambda path: peaks.write_packed(path, ZEROS_MIB, bz2.open, ".bz2"),
    ".xz": lambda path: peaks.write_packed(path, ZEROS_MIB, lzma.open, ".xz"),
    ".zst": lambda path: peaks.write_packed(path, ZEROS_MIB, zstd.open, ".zst"),
}
BUNDLES: dict[str, Callable[[Path], None]] = {
    "zip": lambda path: peaks.write_zip(path, ZEROS_MIB),
    "zip by bzip2": lambda path: peaks.write_zip(path, ZEROS_MIB, zipfile.ZIP_BZIP2),
    "zip by LZMA": lambda path: peaks.write_zip(path, ZEROS_MIB, zipfile.ZIP_LZMA),
    "tar.gz": lambda path: peaks.write_tar_gz(path, ZEROS_MIB),
}


@pytest.mark.parametrize("suffix", BOMBS)
def test_zeros_without_end_are_one_line_and_are_not_unpacked_beyond_the_limits(
    suffix: str, tmp_path: Path
) -> None:
    reads = read_archive(tmp_path, BOMBS[suffix])
    (bad,) = (new for new in reads.new_sources if new.record.host == "bad")
    assert bad.record.status == "damaged"
    assert_sum(bad.record, lines=SOUND_LINES + 1, unparsed=1)
    problem = next(problem for problem in bad.problems if not problem.is_note)
    assert problem.where == f"bad/{peaks.NAME}{suffix}:{SOUND_LINES + 1}"
    assert (
        problem.what
        == f"unpacks to more than 10 times its size; the {SOUND_LINES + 1} lines before that were read"
    )
    assert "raise limits.unpacked_ratio in maillag.toml" in problem.remedy


@pytest.mark.parametrize("kind", BUNDLES)
def test_the_members_beside_one_that_unpacks_too_far_are_read(kind: str, tmp_path: Path) -> None:
    if kind == "tar.gz":
        limits = Limits(unpacked_ratio=10)
        reads = read_archive(tmp_path, BUNDLES[kind], limits=limits)
    else:
        reads = read_archive(tmp_path, BUNDLES[kind])
    found = {new.record.path.rpartition("!")[2]: new for new in reads.new_sources if new.record.host == "bad"}
    assert {name: new.record.status for name, new in found.items()} == {
        "maillog-20261124": "loaded",
        peaks.NAME: "damaged",
        "maillog-20261126": "loaded",
    }
    assert_sum(found["maillog-20261126"].record, lines=SOUND_LINES, unparsed=0)
    assert_sum(found[peaks.NAME].record, lines=SOUND_LINES + 1, unparsed=1)
    assert not reads.problems


def test_the_size_of_what_is_unpacked_has_a_limit_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "maillog.gz"
    path.write_bytes(gzip.compress(peaks.maillog("gw") * 4_000))
    with path.open("rb") as raw, pytest.raises(OverLimitError, match="more than 1,000,000 bytes") as caught:
        list(read_blocks(raw, limits=Limits(unpacked_bytes=1_000_000)))
    assert "limits.unpacked_bytes" in caught.value.remedy


def test_a_tar_file_beyond_the_size_is_not_read_through(tmp_path: Path) -> None:
    BUNDLES["tar.gz"](tmp_path / "logs")
    members, damage = list_members(tmp_path / "logs.tar.gz", LIMITS)
    assert [member.name for member in members] == ["maillog-20261124", "logs"]
    assert isinstance(damage, OverLimitError)
    assert str(damage) == "unpacks to more than 33,554,432 bytes"


@pytest.mark.parametrize("write", [peaks.write_tar_members, peaks.write_zip_members])
def test_a_bundle_of_more_members_than_the_limit_is_named_and_the_others_are_read(
    write: Callable[[Path, int], None], tmp_path: Path
) -> None:
    archive = write_archive(tmp_path, lambda path: write(path, 51))
    discovery = discover(archive, read_fleet(archive), limits=LIMITS)
    (problem,) = (problem for problem in discovery.problems if problem.where.startswith("bad/maillog"))
    assert problem.what == "holds more than 50 files; nothing in it was read"
    assert "raise limits.member_count" in problem.remedy
    assert [source.host for source in discovery.sources] == ["good"]


def compressed_by_zstd(window_log: int) -> bytes:
    """Return a frame that asks for such a window, as one does whose length is not known from the start."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
    return compressor.compress(b"x" * 1000) + compressor.flush()


def compressed_by_xz(window_bytes: int) -> bytes:
    """Return a file that asks for such a window."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": window_bytes}]
    return lzma.compress(b"x" * 1000, filters=filters)


@pytest.mark.parametrize(
    "content", [compressed_by_xz(192 * peaks.MIB), compressed_by_zstd(28)], ids=["xz", "zstd"]
)
def test_a_window_that_takes_much_memory_is_refused_with_what_to_do(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "maillog").write_bytes(content)
    with (tmp_path / "maillog").open("rb") as raw, pytest.raises(DamagedFileError, match="128 MiB") as caught:
        list(read_blocks(raw))
    assert "Compress it again with `xz -9` or `zstd -19`" in caught.value.remedy


@pytest.mark.parametrize(
    "content", [compressed_by_xz(128 * peaks.MIB), compressed_by_zstd(27)], ids=["xz", "zstd"]
)
def test_the_window_of_zstd_long_is_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "maillog").write_bytes(content)
    with (tmp_path / "maillog").open("rb") as raw:
        assert b"".join(read_blocks(raw)) == b"x" * 1000


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE], ids=["long name", "attributes"])
def test_a_header_of_a_tar_file_that_takes_much_memory_is_refused(kind: bytes, tmp_path: Path) -> None:
    member = tarfile.TarInfo("maillog")
    member.type, member.size = kind, 2**30
    (tmp_path / "logs.tar").write_bytes(member.tobuf() + bytes(20 * 512))
    members, damage = list_members(tmp_path / "logs.tar")
    assert members == []
    assert "a header in it has 1,073,741,824 bytes" in str(damage)


def test_a_tar_file_keeps_no_header_that_was_read(tmp_path: Path) -> None:
    peaks.write_tar_members(tmp_path / "logs", 5)
    with bundles._open_bundle(tmp_path / "logs.tar", LIMITS) as found:
        kept = [sum(isinstance(one, tarfile.TarInfo) for one in gc.get_objects()) for _ in found]
    assert len(kept) == 5
    assert kept[-1] - kept[0] <= 1


@pytest.mark.parametrize(
    "log_kind", ["maillog-20261125", "imssmgr.20261125.0001", "postqueue-p.txt", "main.cf"]
)
def test_a_line_that_is_too_long_is_one_unparsed_line_of_every_kind_of_log(
    log_kind: str, tmp_path: Path
) -> None:
    text = {
        "maillog-20261125": peaks.maillog("gw").decode(),
        "imssmgr.20261125.0001": "2026/11/25 10:00:00 GMT+09:00 [1:2] [NORMAL]text\n",
        "postqueue-p.txt": "Mail queue is empty\n",
        "main.cf": "queue_run_delay = 300s\n",
    }[log_kind]
    (tmp_path / "archive" / "gw").mkdir(parents=True)
    first, _, rest = text.partition("\n")
    long = f"{first}{'x' * LINE_BYTES}"
    (tmp_path / "archive" / "gw" / log_kind).write_text("\n".join([first, long, rest]))
    reads = read_all(tmp_path / "archive", tmp_path / "lake")
    (new,) = reads.new_sources
    assert new.record.unparsed_line_count == 1
    assert new.record.line_count == text.count("\n") + 1
    assert_sum(new.record, lines=new.record.line_count, unparsed=1)
    (file,) = (file for file in reads.files if file.table_name == "events.unparsed_lines")
    kept = pl.read_parquet(tmp_path / "lake" / file.path).select("line_number", "line", "reason").rows()
    assert kept == [(2, long[:CUT_TEXT_BYTES], "too_long")]


def test_a_block_of_very_many_lines_is_taken_in_parts_that_are_whole_lines() -> None:
    usual = peaks.maillog("gw") * 1_000
    assert list(lines.parts_of(usual)) == [usual]
    many = b"\n" * (2 * lines.MOST_BLOCK_LINES) + b"x" * 200_000 + b"\nend"
    parts = list(lines.parts_of(many))
    assert b"".join(parts) == many
    assert all(part.endswith(b"\n") for part in parts[:-1])
    assert max(part.count(b"\n") for part in parts) <= lines.PART_BYTES


def test_very_many_short_lines_are_counted_alike_by_both_lanes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less room than a block takes, the scan goes on where it stopped."""
    monkeypatch.setattr(lane, "MOST_LEFT_OVER", 100)
    monkeypatch.setattr(lane, "ROW_ROOM", 64)
    monkeypatch.setattr(lines, "MOST_BLOCK_LINES", 1_000)
    monkeypatch.setattr(lines, "PART_BYTES", 700)
    (tmp_path / "archive" / "gw").mkdir(parents=True)
    content = (peaks.maillog("gw") + b"\n" * 150 + b"x\n") * 50
    (tmp_path / "archive" / "gw" / peaks.NAME).write_bytes(content)
    found = []
    for name, made in (("fast", FastLane), ("general", lambda: None)):
        monkeypatch.setattr(read, "_load_fast_lane", lambda _, made=made: made())
        reads = read_all(tmp_path / "archive", tmp_path / name)
        (new,) = reads.new_sources
        assert_sum(new.record, lines=content.count(b"\n"), unparsed=50)
        rows = [
            pl.read_parquet(tmp_path / name / file.path).select("line_number", "logged_at").rows()
            for file in sorted(reads.files, key=lambda file: file.table_name)
            if file.table_name.startswith("events.")
        ]
        found.append((new.record, [sorted(each) for each in rows]))
    assert found[0] == found[1]


def test_rows_of_long_lines_and_of_many_days_are_written_before_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_files, "MOST_HELD_BYTES", 10_000)
    monkeypatch.setattr(lake_files, "MOST_OPEN_FILES", 7)
    monkeypatch.setattr(lake_files, "MOST_HELD_TABLES", 3)
    monkeypatch.setattr(lake_files, "MOST_LINE_COUNTS", 10)
    monkeypatch.setattr(batch, "GATHERED_BYTES", 5_000)
    (tmp_path / "archive" / "gw").mkdir(parents=True)
    line = "2026-{:02}-{:02}T10:00:00Z gw postfix/qmgr[1]: {:010X}: removed\n"
    removals = [line.format(1 + day // 28 % 12, 1 + day % 28, day) for day in range(600)]
    (tmp_path / "archive" / "gw" / "maillog").write_text("".join(removals))
    reads = read_all(tmp_path / "archive", tmp_path / "lake")
    (new,) = reads.new_sources
    assert_sum(new.record, lines=600, unparsed=0)
    files = [file for file in reads.files if file.table_name == "events.queue_removals"]
    numbers = [pl.read_parquet(tmp_path / "lake" / file.path)["line_number"].to_list() for file in files]
    assert sorted(number for each in numbers for number in each) == list(range(1, 601))
    assert len({file.path for file in files}) == len(files)
    (counts,) = (file for file in reads.files if file.table_name == "ops.line_counts")
    assert pl.read_parquet(tmp_path / "lake" / counts.path)["line_count"].sum() == 600


def test_of_sources_that_are_read_only_their_records_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of one host are finished some at a time, and those that lie twice are found all the same."""
    monkeypatch.setattr(reader, "MOST_SOURCES", 3)
    monkeypatch.setattr(reader, "MOST_ALONE", 2)
    archive = tmp_path / "archive" / "gw"
    archive.mkdir(parents=True)
    for number in range(10):
        (archive / f"maillog-202611{number + 10}").write_bytes(peaks.maillog(f"gw{number}"))
        (archive / f"main.cf-202611{number + 10}").write_text("queue_run_delay = 300s\n")
    (archive / "maillog-20261111.gz").write_bytes(gzip.compress(peaks.maillog("gw1")))
    reads = read_all(tmp_path / "archive", tmp_path / "lake")
    assert len(reads.new_sources) == 20
    (problem,) = reads.problems
    assert "holds the same log as" in problem.what
    files = [file for file in reads.files if file.table_name == "events.queue_removals"]
    assert sum(file.row_count for file in files) == 10


HURTS: dict[str, Callable[[Path], object]] = {
    "zeros": lambda path: peaks.write_packed(path, 400, zstd.open, ".zst"),
    "a long line": lambda path: peaks.write_long_line(path, 64),
    "many long lines": lambda path: path.write_bytes(
        (b"x" * (LINE_BYTES - 1) + b"\n") * 100 + peaks.maillog("bad")
    ),
    "many empty lines": lambda path: path.write_bytes(peaks.maillog("bad") + b"\n" * 1_000_000),
    "many members": lambda path: peaks.write_tar_members(path, 1_000),
}


# By what Linux tells of the process itself: its rusage has the peak of the one that started it.
READ_AND_TELL_PEAK = """
import sys, pathlib, re
from tests.bench.reading import read
read(*map(pathlib.Path, sys.argv[1:]))
print(int(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", HURTS)
def test_reading_takes_little_memory(name: str, tmp_path: Path) -> None:
    # Compiling takes more than anything here.
    load_kernels()
    archive = write_archive(tmp_path, HURTS[name])
    command = [sys.executable, "-c", READ_AND_TELL_PEAK, str(archive), str(tmp_path / "lake")]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert int(told.stdout) < 400


@pytest.mark.slow
def test_a_file_beyond_a_limit_is_a_finding_until_the_limit_is_raised(
    tmp_path: Path, checker: Checker
) -> None:
    archive = write_archive(tmp_path, BOMBS[".gz"])
    job = Job(archive, tmp_path / "lake", limits=LIMITS)
    for _ in range(2):
        ran = run_job(job, checker)
        (finding,) = (one for one in ran.findings if one.severity == "critical")
        assert finding.what.startswith("unpacks to more than 10 times its size")
        assert ran.sources[f"good/{peaks.NAME}"].status == "loaded"
    assert ran.new_sources == []
    raised = run_job(replace(job, limits=Limits(unpacked_ratio=5_000)), checker)
    assert [one.path for one in raised.new_sources] == [f"bad/{peaks.NAME}.gz"]
    assert [one for one in raised.findings if one.severity == "critical"] == []
    assert asked(job.lake, "select host, held_message_count from marts.restarts order by host") == [
        ("bad", 1),
        ("good", 1),
    ]


def write_archive(folder: Path, write: Callable[[Path], object]) -> Path:
    """Write an archive of a sound host and a bad one."""
    archive = folder / "archive"
    for host in ("bad", "good"):
        (archive / host).mkdir(parents=True)
    (archive / "good" / peaks.NAME).write_bytes(peaks.maillog("good"))
    write(archive / "bad" / peaks.NAME)
    return archive


def read_archive(folder: Path, write: Callable[[Path], object], limits: Limits = LIMITS) -> Reads:
    """Write such an archive and read it; the sound host's log is read whole."""
    reads = read_all(write_archive(folder, write), folder / "lake", limits)
    (good,) = (new for new in reads.new_sources if new.record.host == "good")
    assert_sum(good.record, lines=SOUND_LINES, unparsed=0)
    return reads


def read_all(archive: Path, lake: Path, limits: Limits = LIMITS) -> Reads:
    """Read an archive within limits."""
    fleet = read_fleet(archive)
    sources = discover(archive, fleet, limits=limits).sources
    ledger = Ledger("sqlite://")
    plan = plan_reads(
        sources, ledger, fleet=fleet, zones=choose_zones(fleet, sources, "UTC"), rules=LogRules()
    )
    reads = read_sources(plan, lake, {}, run_id="run", part="1")
    ledger.close()
    return reads


def assert_sum(record: SourceRecord, *, lines: int, unparsed: int) -> None:
    """Fail unless every line is an event, noise or unparsed."""
    assert record.unparsed_line_count == unparsed
    assert record.line_count == lines
    assert lines == record.event_line_count + record.noise_line_count + unparsed
