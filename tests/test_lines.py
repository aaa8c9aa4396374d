"""Log lines to events: whole typed records, no pattern without a line, and no line that gets lost.

lines/<log kind>/<table>.yaml holds lines with the record that they become; a column not named there
is NULL. lines/<log kind>/noise.yaml holds lines that are only counted.
"""

import gzip
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from transforms import events
from transforms.archive import SourceFile, discover
from transforms.clock import YearWindow, Zone
from transforms.events import UNPARSED, ParsedBlock, Reading, parse_lines, split_lines
from transforms.fleet import read_fleet
from transforms.ingest import choose_zones, plan_reads, read_sources
from transforms.ledger import Ledger
from transforms.patterns import EVENT_TABLES, NOISE, POSTFIX_PATTERNS, Pattern, manager_patterns

FOLDER = Path(__file__).parent / "lines"
# Folders of host folders: the sample fleet, and whatever archives the tests keep for themselves.
ARCHIVES = sorted(
    {
        path.parents[1]
        for root in ("data/sample", "tests/archives/*")
        for path in Path(__file__).parents[1].glob(f"{root}/*/maillog*")
    }
)
FLUSH_COMMANDED_PATTERN = "script/postfix flush"
PATTERNS = {
    "maillog": POSTFIX_PATTERNS,
    "manager_log": manager_patterns(FLUSH_COMMANDED_PATTERN),
}


@dataclass(frozen=True)
class Case:
    """One line, with the record that it becomes; noise becomes none."""

    log_kind: str
    table: str
    name: str
    line: str | bytes
    record: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.log_kind}/{self.table}: {self.name}"

    @property
    def block(self) -> bytes:
        """The line as a file holds it."""
        line = self.line.encode() if isinstance(self.line, str) else self.line
        return line + b"\n"


CASES = [
    Case(path.parent.name, path.stem, **case)
    for path in sorted(FOLDER.glob("*/*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("case", [case for case in CASES if case.table != NOISE], ids=str)
def test_line_becomes_this_record(case: Case) -> None:
    parsed = parse(case.log_kind, case.block)
    assert parsed.tables.keys() == {case.table}
    frame = parsed.tables[case.table]
    assert frame.schema == EVENT_TABLES[case.table]
    stamp = "line" if case.log_kind == "manager_log" else None
    record = {
        **dict.fromkeys(frame.columns),
        "host": "gw",
        "source_id": "source",
        "line_number": 1,
        "year_source": stamp or "file_name",
        "zone_source": stamp or "default",
        **(case.record or {}),
    }
    if isinstance(record["logged_at"], datetime):
        record["logged_at"] = record["logged_at"].replace(tzinfo=UTC)
    assert frame.rows(named=True) == [record]


@pytest.mark.parametrize("case", [case for case in CASES if case.table == NOISE], ids=str)
def test_noise_is_counted_and_makes_no_event(case: Case) -> None:
    parsed = parse(case.log_kind, case.block)
    assert not parsed.tables
    assert counts(parsed) == {NOISE: 1}


@pytest.mark.parametrize("table", EVENT_TABLES)
def test_table_has_a_line(table: str) -> None:
    assert any(case.table == table for case in CASES), f"add one in tests/lines/*/{table}.yaml"


@pytest.mark.parametrize(
    ("log_kind", "position"),
    [(log_kind, at) for log_kind, patterns in PATTERNS.items() for at in range(len(patterns))],
)
def test_pattern_takes_a_line_that_no_earlier_one_took(log_kind: str, position: int) -> None:
    pattern = PATTERNS[log_kind][position]
    taken = unparsed_count(log_kind, position) - unparsed_count(log_kind, position + 1)
    assert taken > 0, f"add a line for '{pattern.name}' in lines/{log_kind}/{pattern.table}.yaml"


@pytest.mark.parametrize(
    ("log_kind", "pattern"),
    [(log_kind, pattern) for log_kind, patterns in PATTERNS.items() for pattern in patterns],
    ids=lambda value: getattr(value, "name", value),
)
def test_pattern_takes_its_own_samples(log_kind: str, pattern: Pattern) -> None:
    assert pattern.samples
    for sample in pattern.samples:
        parsed = parse(log_kind, with_header(log_kind, pattern, sample))
        assert counts(parsed) == {pattern.table: 1}, sample
        for name, value in pattern.constants.items():
            assert parsed.tables[pattern.table][name].to_list() == [value], sample


def test_line_without_a_time_takes_the_one_before_it_and_else_the_next() -> None:
    block = b"first\nNov 24 10:00:00 gw postfix/qmgr[1]: 892A0205B6: removed\nlast\n"
    unparsed = parse("maillog", block).tables[UNPARSED]
    at_ten = datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert unparsed.select("line_number", "logged_at").rows() == [(1, at_ten), (3, at_ten)]


def test_lines_are_counted_by_quarter_of_an_hour_and_table() -> None:
    block = (
        b"Nov 24 10:14:59 gw postfix/qmgr[1]: 892A0205B6: removed\n"
        b"Nov 24 10:15:00 gw postfix/qmgr[1]: 892A0205B7: removed\n"
        b"Nov 24 10:29:00 gw postfix/qmgr[1]: 892A0205B8: removed\n"
        b"Nov 24 10:20:00 gw postfix/anvil[1]: statistics: max cache size 1 at Nov 24 10:13:50\n"
    )
    line_counts = parse("maillog", block).line_counts
    columns = ["table_name", "span", "line_count", "first_logged_at", "last_logged_at"]
    assert line_counts.select(columns).rows() == [
        ("queue_removals", at("10:00"), 1, at("10:14:59"), at("10:14:59")),
        ("queue_removals", at("10:15"), 2, at("10:15:00"), at("10:29:00")),
        ("noise", at("10:15"), 1, at("10:20:00"), at("10:20:00")),
    ]


@given(
    st.lists(
        st.one_of(
            st.sampled_from([case.block.rstrip(b"\n") for case in CASES]),
            st.builds(
                lambda line, cut, junk: line[:cut] + junk,
                st.sampled_from([case.block.rstrip(b"\n") for case in CASES]),
                st.integers(0, 250),
                st.binary(max_size=30).map(lambda junk: junk.replace(b"\n", b" ")),
            ),
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["maillog", "manager_log"]),
)
def test_every_line_comes_out_exactly_once(lines: list[bytes], log_kind: str) -> None:
    parsed = parse(log_kind, b"".join(line + b"\n" for line in lines))
    counted = counts(parsed)
    seen = [number for frame in parsed.tables.values() for number in frame["line_number"]]
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(range(1, len(lines) + 1))
    assert counted.pop(NOISE, 0) + len(seen) == len(lines)
    assert counted == {table: len(frame) for table, frame in parsed.tables.items()}


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_events_noise_and_unparsed_add_up_to_the_lines_of_every_file(archive: Path, tmp_path: Path) -> None:
    fleet = read_fleet(archive)
    found = discover(archive, fleet)
    ledger = Ledger("sqlite://")
    zones = choose_zones(fleet, found.sources, "Asia/Tokyo")
    plan = plan_reads(found.sources, ledger, zones=zones, flush_commanded_pattern=FLUSH_COMMANDED_PATTERN)
    reads = read_sources(plan, tmp_path, ledger, run_id="run")
    ledger.close()
    assert not reads.problems
    records = {new.record.path: new.record for new in reads.new_sources}
    assert records.keys() == {source.path for source in found.sources}
    for source in found.sources:
        record = records[source.path]
        assert record.line_count == line_count(source)
        assert record.line_count == (
            record.event_line_count + record.noise_line_count + record.unparsed_line_count
        )


def parse(log_kind: str, block: bytes) -> ParsedBlock:
    """Parse a block of the host `gw`, whose file is named for the day of all cases."""
    reading = Reading(
        host="gw",
        log_kind=log_kind,
        source_id="source",
        zone=Zone("UTC", "default"),
        year=YearWindow.by_file_name(date(2026, 11, 24)),
        flush_commanded_pattern=FLUSH_COMMANDED_PATTERN,
    )
    return parse_lines(split_lines(block, 1), reading)


@cache
def unparsed_count(log_kind: str, pattern_count: int) -> int:
    """Return how many of all cases' lines the first so many patterns leave over."""
    block = b"".join(case.block for case in CASES if case.log_kind == log_kind)
    with pytest.MonkeyPatch.context() as patch:
        some = PATTERNS[log_kind][:pattern_count]
        patch.setattr(events, "POSTFIX_PATTERNS", some)
        patch.setattr(events, "manager_patterns", lambda _: some)
        return counts(parse(log_kind, block)).get(UNPARSED, 0)


def counts(parsed: ParsedBlock) -> dict[str, int]:
    """Return the number of lines by table."""
    by_table = parsed.line_counts.group_by("table_name").agg(pl.sum("line_count"))
    return dict(by_table.iter_rows())


def with_header(log_kind: str, pattern: Pattern, sample: str) -> bytes:
    """Return the line that a sample is the text of."""
    if log_kind == "manager_log":
        return f"2026/11/24 10:00:00 GMT+00:00 [1:2] [NORMAL]{sample}\n".encode()
    daemon = next(iter(pattern.daemons), "smtpd")
    queue_id = "892A0205B6: " if pattern.is_queued else ""
    return f"Nov 24 10:00:00 gw postfix/{daemon}[1]: {queue_id}{sample}\n".encode()


def at(time: str) -> datetime:
    """Return the UTC instant of a time on the day of all cases."""
    return datetime.fromisoformat(f"2026-11-24T{time}+00:00")


def line_count(source: SourceFile) -> int:
    """Count a file's lines with other means than those under test."""
    content = source.absolute_path.read_bytes()
    if source.path.endswith(".gz"):
        content = gzip.decompress(content)
    return content.count(b"\n")
