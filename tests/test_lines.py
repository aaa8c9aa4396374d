"""Log lines to events: whole typed records, no pattern without a line, and no line that gets lost.

lines/<log kind>/<table>.yaml holds lines with the record that they become; a column not named there
is NULL. lines/<log kind>/noise.yaml holds lines that are only counted. Those of sendmail are in one file,
each with its table; one of its lines may make records of several tables (`records`).
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

from transforms.archive.files import SourceFile, discover
from transforms.fleet.fleet import read_fleet
from transforms.ingest.plan import choose_zones, plan_reads
from transforms.ingest.read import read_sources
from transforms.lake.ledger import Ledger
from transforms.log_rules import LogRules
from transforms.parse import events, routing
from transforms.parse.clock import YearWindow
from transforms.parse.events import ParsedBlock, Parser, Reading, split_lines
from transforms.parse.patterns import Pattern, match
from transforms.parse.postfix import POSTFIX_PATTERNS
from transforms.parse.sendmail import SENDMAIL_PATTERNS
from transforms.parse.syslog import SYSLOG_PATTERNS, SYSTEM_LOG_PATTERNS
from transforms.parse.tables import EVENT_TABLES, NOISE, UNPARSED
from transforms.parse.trend import TRACKING_PATTERNS, manager_patterns, system_event_patterns
from transforms.zone import Zone

FOLDER = Path(__file__).parent / "lines"
# Folders of host folders: the sample fleet, and whatever archives the tests keep for themselves.
ARCHIVES = sorted(
    {
        path.parents[1]
        for root in ("data/sample", "tests/archives/*")
        for path in Path(__file__).parents[1].glob(f"{root}/*/maillog*")
    }
)
RULES = LogRules(component_update="AutoUpdate finished")
# The patterns by their name in transforms/parse/routing.py, and the kind of log that they are for.
PATTERNS = {
    "POSTFIX_PATTERNS": ("maillog", POSTFIX_PATTERNS),
    "SENDMAIL_PATTERNS": ("maillog", SENDMAIL_PATTERNS),
    "SYSLOG_PATTERNS": ("maillog", SYSLOG_PATTERNS),
    "SYSTEM_LOG_PATTERNS": ("system_log", SYSTEM_LOG_PATTERNS),
    "manager_patterns": ("manager_log", manager_patterns(RULES)),
    "system_event_patterns": ("system_events", system_event_patterns(RULES)),
    "TRACKING_PATTERNS": ("message_tracking", TRACKING_PATTERNS),
}
DATED_LOGS = ("maillog", "system_log", "manager_log", "system_events", "message_tracking")


@dataclass(frozen=True)
class Case:
    """One line, with the record that it becomes, or the records by table; noise becomes none."""

    log_kind: str
    table: str
    name: str
    line: str | bytes
    record: dict[str, Any] | None = None
    records: dict[str, list[dict[str, Any]]] | None = None

    def __str__(self) -> str:
        return f"{self.log_kind}/{self.table}: {self.name}"

    @property
    def block(self) -> bytes:
        """The line as a file holds it."""
        line = self.line.encode() if isinstance(self.line, str) else self.line
        return line + b"\n"


CASES = [
    Case(**{"log_kind": log_kind, "table": path.stem} | case)
    for log_kind in DATED_LOGS
    for path in sorted((FOLDER / log_kind).glob("*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("case", [case for case in CASES if case.table != NOISE], ids=str)
def test_line_becomes_this_record(case: Case) -> None:
    parsed = parse(case.log_kind, case.block)
    records = case.records or {case.table: [case.record or {}]}
    assert counts(parsed) == {case.table: 1}
    assert parsed.tables.keys() == records.keys()
    for table, expected in records.items():
        frame = parsed.tables[table]
        assert frame.schema == EVENT_TABLES[table]
        assert frame.rows(named=True) == [whole_record(case, frame, record) for record in expected]


@pytest.mark.parametrize("case", [case for case in CASES if case.table == NOISE], ids=str)
def test_noise_is_counted_and_makes_no_event(case: Case) -> None:
    parsed = parse(case.log_kind, case.block)
    assert not parsed.tables
    assert counts(parsed) == {NOISE: 1}


# What is no log of lines with a time each has tests of its own: test_snapshots, test_inventory.
@pytest.mark.house
@pytest.mark.parametrize("table", sorted(EVENT_TABLES.keys() - {"queue_snapshots", "inventory"}))
def test_table_has_a_line(table: str) -> None:
    assert any(case.table == table for case in CASES), f"add one in tests/lines/*/{table}.yaml"


@pytest.mark.house
@pytest.mark.parametrize(
    ("name", "position"),
    [(name, at) for name, (_, patterns) in PATTERNS.items() for at in range(len(patterns))],
)
def test_pattern_takes_a_line_that_no_earlier_one_took(name: str, position: int) -> None:
    log_kind, patterns = PATTERNS[name]
    pattern = patterns[position]
    assert any(pattern is one for one in patterns_of_cases(name)), (
        f"pattern {pattern.name!r} takes none of the lines in tests/lines/{log_kind}, or an earlier pattern "
        f"takes them: add a line to tests/lines/{log_kind}/{pattern.table}.yaml, or change the order"
    )


@pytest.mark.parametrize(
    ("name", "pattern"),
    [(name, pattern) for name, (_, patterns) in PATTERNS.items() for pattern in patterns],
    ids=lambda value: getattr(value, "name", value),
)
def test_pattern_takes_its_own_samples(name: str, pattern: Pattern) -> None:
    assert pattern.samples
    for sample in pattern.samples:
        parsed = parse(PATTERNS[name][0], with_header(name, pattern, sample))
        assert counts(parsed) == {pattern.table: 1}, f"pattern {pattern.name!r} does not take: {sample}"
        for column, value in pattern.constants.items():
            assert set(parsed.tables[pattern.table][column]) == {value}, sample


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
    assert set(line_counts["logging_host"]) == {"gw"}
    assert line_counts.select(columns).rows() == [
        ("queue_removals", at("10:00"), 1, at("10:14:59"), at("10:14:59")),
        ("queue_removals", at("10:15"), 2, at("10:15:00"), at("10:29:00")),
        ("noise", at("10:15"), 1, at("10:20:00"), at("10:20:00")),
    ]


def test_lines_are_counted_by_the_host_that_they_name() -> None:
    block = (
        b"Nov 24 10:14:00 gw1 postfix/qmgr[1]: 892A0205B6: removed\n"
        b"Nov 24 10:14:10 gw2 postfix/qmgr[1]: 892A0205B7: removed\n"
        b"Nov 24 10:14:20 gw1 postfix/qmgr[1]: 892A0205B8: removed\n"
        b"Nov 24 10:14:30 postfix/qmgr[1]: 892A0205B9: removed\n"
        b"no header\n"
    )
    line_counts = parse("maillog", block).line_counts.sort("table_name", "logging_host")
    assert line_counts.select("table_name", "logging_host", "line_count").rows() == [
        ("queue_removals", None, 1),
        ("queue_removals", "gw1", 2),
        ("queue_removals", "gw2", 1),
        ("unparsed_lines", None, 1),
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
    st.sampled_from(DATED_LOGS),
)
def test_every_line_comes_out_exactly_once(lines: list[bytes], log_kind: str) -> None:
    parsed = parse(log_kind, b"".join(line + b"\n" for line in lines))
    counted = counts(parsed)
    assert sum(counted.values()) == len(lines)
    seen = {number for frame in parsed.tables.values() for number in frame["line_number"]}
    assert seen <= set(range(1, len(lines) + 1))
    assert len(seen) >= len(lines) - counted.pop(NOISE, 0)
    for table, line_count in counted.items():
        assert parsed.tables[table]["line_number"].n_unique() >= line_count
    if (left := parsed.tables.get(UNPARSED)) is not None:
        assert len(left) == counted[UNPARSED]


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name)
def test_events_noise_and_unparsed_add_up_to_the_lines_of_every_file(archive: Path, tmp_path: Path) -> None:
    fleet = read_fleet(archive)
    found = discover(archive, fleet)
    ledger = Ledger("sqlite://")
    zones = choose_zones(fleet, found.sources, "Asia/Tokyo")
    plan = plan_reads(found.sources, ledger, fleet=fleet, zones=zones, rules=RULES)
    reads = read_sources(plan, tmp_path, {}, run_id="run", part="1")
    ledger.close()
    assert not reads.problems
    records = {new.record.path: new.record for new in reads.new_sources}
    assert records.keys() == {source.path for source in found.sources} != set()
    for source in found.sources:
        record = records[source.path]
        assert record.line_count == line_count(source)
        assert record.unparsed_line_count == 0
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
        rules=RULES,
    )
    return Parser(reading).parse(split_lines(block, 1))


def whole_record(case: Case, frame: pl.DataFrame, record: dict[str, Any]) -> dict[str, Any]:
    """Spell out a case's record: columns not named are NULL, times UTC; its source is the tests' own."""
    stamp = "file_name" if case.log_kind in {"maillog", "system_log"} else "line"
    zone = "default" if case.log_kind in {"maillog", "system_log", "system_events"} else "line"
    whole = {
        **dict.fromkeys(frame.columns),
        "host": "gw",
        "source_id": "source",
        "line_number": 1,
        "year_source": stamp,
        "zone_source": zone,
        **record,
    }
    return {
        name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
        for name, value in whole.items()
    }


@cache
def patterns_of_cases(name: str) -> list[Pattern]:
    """Return the patterns that take a line of all cases; those before them have left it."""
    log_kind, patterns = PATTERNS[name]
    block = b"".join(case.block for case in CASES if case.log_kind == log_kind)
    taking = []

    def noted(pattern: Pattern, rest: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        matched, refused, others = match(pattern, rest)
        if not matched.is_empty():
            taking.append(pattern)
        return matched, refused, others

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing, name, patterns if name.isupper() else lambda _: patterns)
        patch.setattr(events, "match", noted)
        parse(log_kind, block)
    return taking


def counts(parsed: ParsedBlock) -> dict[str, int]:
    """Return the number of lines by table."""
    by_table = parsed.line_counts.group_by("table_name").agg(pl.sum("line_count"))
    return dict(by_table.iter_rows())


def with_header(name: str, pattern: Pattern, sample: str) -> bytes:
    """Return the line that a sample is the text of."""
    tag = next(iter(pattern.daemons), "smtpd")
    queue_id = {"POSTFIX_PATTERNS": "892A0205B6: ", "SENDMAIL_PATTERNS": "6AOCadxW002345: "}
    line = {
        "POSTFIX_PATTERNS": f"Nov 24 10:00:00 gw postfix/{tag}[1]: ",
        "SENDMAIL_PATTERNS": f"Nov 24 10:00:00 gw {tag if pattern.daemons else 'sm-mta'}[1]: ",
        "SYSLOG_PATTERNS": "Nov 24 10:00:00 gw "
        + ("" if pattern.name == "last message repeated" else f"{tag}: "),
        "SYSTEM_LOG_PATTERNS": f"Nov 24 10:00:00 gw {tag}: ",
        "manager_patterns": "2026/11/24 10:00:00 GMT+00:00 [1:2] [NORMAL]",
        "system_event_patterns": "2026/11/24 10:00:00 ",
        "TRACKING_PATTERNS": "",
    }[name]
    return f"{line}{queue_id[name] if pattern.is_queued else ''}{sample}\n".encode()


def at(time: str) -> datetime:
    """Return the UTC instant of a time on the day of all cases."""
    return datetime.fromisoformat(f"2026-11-24T{time}+00:00")


def line_count(source: SourceFile) -> int:
    """Count a file's lines with other means than those under test."""
    content = source.absolute_path.read_bytes()
    if source.path.endswith(".gz"):
        content = gzip.decompress(content)
    return content.count(b"\n")
