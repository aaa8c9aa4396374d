"""The bench's maillog is read as its generator says: speed is guarded by counts, never by time."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from tests.bench import reading
from tests.bench.maillog import HOST, write_maillog
from transforms.ingest import NewSource
from transforms.tables import NOISE, UNPARSED


@dataclass(frozen=True)
class Read:
    """What the generator wrote by table, and what reading it gave."""

    written: Counter[str]
    lake: Path
    source: NewSource


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """A small day of the bench, read into a lake."""
    archive, lake = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("lake")
    (archive / HOST).mkdir()
    with (archive / HOST / "maillog-20261124").open("wb") as log:
        written = write_maillog(log, message_count=2000, seed=1)
    (source,) = reading.read(archive, lake).new_sources
    return Read(written, lake, source)


def test_every_table_has_the_rows_that_were_written(read: Read) -> None:
    rows = Counter[str]()
    for file in read.source.files:
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
    tables = [file.table_name for file in read.source.files]
    events = {f"events.{table}" for table in read.written.keys() - {NOISE}}
    assert sorted(tables) == sorted([*events, "ops.line_counts"])
    assert len(list(read.lake.rglob("*.parquet"))) == len(tables)


def test_the_same_seed_writes_the_same_lines(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with (tmp_path / name).open("wb") as log:
            write_maillog(log, message_count=100, seed=5)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
