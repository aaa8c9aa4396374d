"""Queue snapshots to the messages that were in the queue: whole rows, and no line that gets lost.

lines/queue_snapshot/*.yaml holds what `postqueue` printed, with the rows that it becomes.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from transforms.parse.events import split_lines
from transforms.parse.snapshots import SnapshotParser
from transforms.parse.tables import NOISE, UNPARSED
from transforms.zone import Zone

FOLDER = Path(__file__).parent / "lines" / "queue_snapshot"
SNAPSHOTS = "queue_snapshots"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """A snapshot, with its rows and the numbers of the lines that nothing knows."""

    name: str
    text: str
    rows: list[dict[str, Any]]
    unparsed: list[int] = field(default_factory=list)
    unparsed_reason: str = "no_pattern"
    zone: str = "UTC"
    taken_at: datetime = NOON

    def __str__(self) -> str:
        return self.name


CASES = [
    Case(**case)
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]
ANY_LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=80)
LINES = st.lists(
    st.one_of(
        st.sampled_from([line for case in CASES for line in case.text.splitlines()]),
        st.builds(
            lambda line, cut, junk: line[:cut] + junk,
            st.sampled_from([line for case in CASES for line in case.text.splitlines()]),
            st.integers(0, 120),
            ANY_LINE,
        ),
        ANY_LINE,
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_snapshot_becomes_these_rows(case: Case) -> None:
    parser = SnapshotParser(case.taken_at.replace(tzinfo=UTC), Zone(case.zone, "default"))
    frames = parse_blocks(parser, [split_lines(case.text.encode(), 1)])
    expected = [
        {**dict.fromkeys(frames[SNAPSHOTS].columns), "is_forced_expire": False, **row} for row in case.rows
    ]
    for row in expected:
        row["arrived_at"] = row["arrived_at"] and row["arrived_at"].replace(tzinfo=UTC)
    assert frames[SNAPSHOTS].rows(named=True) == expected
    assert frames[UNPARSED]["line_number"].to_list() == case.unparsed
    assert frames[UNPARSED]["reason"].unique().to_list() == ([case.unparsed_reason] if case.unparsed else [])


@given(LINES)
def test_every_line_comes_out_exactly_once(lines: list[str]) -> None:
    frames = parse_blocks(SnapshotParser(NOON, Zone("UTC", "default")), [block_of(lines, 1)])
    numbers = [number for frame in frames.values() for number in frame["line_number"].unique()]
    assert sorted(numbers) == list(range(1, len(lines) + 1))
    for table in (NOISE, UNPARSED):
        for number, line in frames[table].select("line_number", "line").iter_rows():
            assert line == lines[number - 1]


@given(LINES, st.data())
def test_blocks_may_end_anywhere(lines: list[str], data: st.DataObject) -> None:
    whole = parse_blocks(SnapshotParser(NOON, Zone("Europe/Paris", "default")), [block_of(lines, 1)])
    cuts = sorted(data.draw(st.sets(st.integers(1, len(lines)))) | {0, len(lines)})
    blocks = [block_of(lines[begin:end], begin + 1) for begin, end in pairwise(cuts)]
    in_parts = parse_blocks(SnapshotParser(NOON, Zone("Europe/Paris", "default")), blocks)
    for table, frame in whole.items():
        assert in_parts[table].equals(frame)


def test_the_last_entry_is_kept_back_until_the_end() -> None:
    parser = SnapshotParser(NOON, Zone("UTC", "default"))
    entry = "17012C803E      468 Tue Nov 24 10:00:00  a@example.com"
    assert all(frame.is_empty() for frame in parser.parse(block_of([entry], 1)).values())
    assert parser.finish()[SNAPSHOTS]["line_number"].to_list() == [1]
    assert all(frame.is_empty() for frame in parser.finish().values())


@pytest.mark.parametrize(
    "line",
    [
        "17012C803E      99999999999999999999 Tue Nov 24 10:00:00  a@example.com",
        '{"queue_name": "deferred", "queue_id": "17012C803E", "arrival_time": 1, '
        '"message_size": 9999999999999, "sender": "", "recipients": []}',
    ],
)
def test_a_size_beyond_all_disks_is_out_of_range(line: str) -> None:
    frames = parse_blocks(SnapshotParser(NOON, Zone("UTC", "default")), [block_of([line], 1)])
    assert frames[SNAPSHOTS].is_empty()
    assert frames[UNPARSED].rows() == [(1, line, "out_of_range")]


def block_of(lines: list[str], first_line_number: int) -> pl.DataFrame:
    """Return lines with their numbers."""
    numbers = pl.int_range(first_line_number, first_line_number + len(lines), eager=True)
    return pl.DataFrame({"line_number": numbers, "line": pl.Series(lines, dtype=pl.String)})


def parse_blocks(parser: SnapshotParser, blocks: list[pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Return the frames of all blocks of a snapshot, each in the order of lines."""
    parts = [*(parser.parse(block) for block in blocks), parser.finish()]
    return {
        table: pl.concat(part[table] for part in parts).sort("line_number", maintain_order=True)
        for table in (SNAPSHOTS, NOISE, UNPARSED)
    }
