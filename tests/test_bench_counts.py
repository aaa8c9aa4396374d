"""The bench's maillog is read as its generator says: speed is guarded by counts, never by time."""

import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from tests.bench import reading
from tests.bench.archives import DAY_COUNT, SMALL_FILE_COUNT, write_archives
from tests.bench.maillog import HOST, write_maillog
from tests.bench.peers import duckdb_only, python_re
from transforms.archive.lines import read_blocks
from transforms.ingest.batch import NewSource
from transforms.lake.records import LakeFile
from transforms.parse.tables import NOISE, UNPARSED


@dataclass(frozen=True)
class Read:
    """A generated maillog, its lines by table, and what reading it gave."""

    maillog: Path
    written: Counter[str]
    lake: Path
    source: NewSource
    files: list[LakeFile]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """A small day of the bench, read into a lake."""
    archive, lake = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("lake")
    maillog = archive / HOST / "maillog-20261124"
    maillog.parent.mkdir()
    with maillog.open("wb") as log:
        written = write_maillog(log, message_count=2000, seed=1)
    reads = reading.read(archive, lake)
    (source,) = reads.new_sources
    return Read(maillog, written, lake, source, reads.files)


def test_every_table_has_the_rows_that_were_written(read: Read) -> None:
    rows = Counter[str]()
    for file in read.files:
        rows[file.table_name.removeprefix("events.")] += len(pl.read_parquet(read.lake / file.path))
    del rows["ops.line_counts"]
    assert rows == read.written - Counter({NOISE: read.written[NOISE]})
    assert UNPARSED not in rows


def test_lines_are_events_noise_or_unparsed(read: Read) -> None:
    record = read.source.record
    assert record.line_count == read.written.total()
    assert record.noise_line_count == read.written[NOISE]
    assert record.unparsed_line_count == 0
    assert record.event_line_count == read.written.total() - read.written[NOISE]


def test_a_day_is_one_file_for_each_table(read: Read) -> None:
    tables = [file.table_name for file in read.files]
    events = {f"events.{table}" for table in read.written.keys() - {NOISE}}
    assert sorted(tables) == sorted([*events, "ops.line_counts"])
    assert len(list(read.lake.rglob("*.parquet"))) == len(tables)


def test_the_same_seed_writes_the_same_lines(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with (tmp_path / name).open("wb") as log:
            write_maillog(log, message_count=100, seed=5)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_all_forms_hold_the_same_lines(tmp_path: Path) -> None:
    write_archives(tmp_path, scale=0.002)
    (plain,) = (tmp_path / "plain" / HOST).iterdir()
    for form in ("gz", "zst", "small"):
        files = sorted((tmp_path / form / HOST).iterdir())
        assert b"".join(_content(file) for file in files) == plain.read_bytes(), form
        assert len(files) == (SMALL_FILE_COUNT if form == "small" else 1)


def test_ten_days_are_the_same_day_on_other_dates(tmp_path: Path) -> None:
    write_archives(tmp_path, scale=0.002)
    (plain,), (ten_days,) = ((tmp_path / form / HOST).iterdir() for form in ("plain", "ten_days"))
    day = plain.read_bytes().splitlines()
    lines = _content(ten_days).splitlines()
    assert [line[7:] for line in lines] == [line[7:] for line in day] * DAY_COUNT
    dates = [b"Nov %d " % number for number in range(14, 14 + DAY_COUNT)]
    assert [line[:7] for line in lines] == [date for date in dates for _ in day]


@pytest.mark.parametrize("peer", [duckdb_only, python_re], ids=["DuckDB", "re"])
def test_peers_find_the_same_events(peer: ModuleType, read: Read, tmp_path: Path) -> None:
    gz, parquet = tmp_path / "maillog.gz", tmp_path / "peer.parquet"
    gz.write_bytes(gzip.compress(read.maillog.read_bytes()))
    peer.main(str(gz), str(parquet))
    found = pl.read_parquet(parquet)
    assert len(found) == read.written.total()
    for column, table in {
        "recipient": "delivery_attempts",
        "sender": "queue_activations",
        "client_host": "clients",
        "message_id": "message_ids",
    }.items():
        assert found[column].count() == read.written[table]


def _content(file: Path) -> bytes:
    with file.open("rb") as stream:
        return b"".join(read_blocks(stream))
