"""Every number that a line, a name or a header can hold has a bound, and nothing that follows overflows.

Each number of each line of tests/lines is put out of bounds, one at a time, in every way that a client, a
remote server or a daemon gone wrong could write it.
"""

import json
import re
import shutil
import tarfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tests.conftest import SAMPLE, run_job
from tests.lanes import assert_lanes_agree
from tests.test_lines import CASES, DATED_LOGS, counts, parse
from transforms.archive.files import discover
from transforms.bounds import BOUNDS, YEARS
from transforms.contracts.contracts import Checker
from transforms.fleet.fleet import read_fleet
from transforms.ingest.plan import find_zones
from transforms.lake.catalog import CATALOG_NAME
from transforms.parse.clock import YearWindow
from transforms.parse.events import Parser, Reading, split_lines
from transforms.parse.tables import EVENT_TABLES, UNPARSED
from transforms.run import Job
from transforms.zone import Zone

NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
VALUES = {
    "nines": b"9999999999999999999999999",
    "nines without end": b"9" * 400,
    "days of sendmail": b"9999999999999999999+00:00:01",
    "years": b"300000000000",
    "64 bits": b"9223372036854775808",
    "32 bits": b"2147483648",
    "four digits": b"9999",
    "nothing of four digits": b"0000",
    "negative": b"-1",
    "empty": b"",
    "exponent": b"1e400",
    "not a number": b"nan",
    "fullwidth": "９９".encode(),
    "Arabic": "٣".encode(),
}


def with_numbers(line: bytes, value: bytes) -> Iterator[bytes]:
    """Yield a line once for each of its numbers, with that value in its place."""
    for number in NUMBER.finditer(line):
        yield line[: number.start()] + value + line[number.end() :]


def lines_of(log_kind: str, value: bytes) -> list[bytes]:
    """Return all lines of a kind of log with each of their numbers out of bounds."""
    own = [case.block.rstrip(b"\n") for case in CASES if case.log_kind == log_kind]
    return [changed for line in own if b"\n" not in line for changed in with_numbers(line, value)]


def assert_in_bounds(frame: pl.DataFrame) -> None:
    """Fail if a column of events holds a number beyond its bounds, or a time that no log is of."""
    for name, dtype in frame.schema.items():
        values = frame[name].drop_nulls()
        if name in BOUNDS:
            assert values.is_between(*BOUNDS[name]).all(), name
        elif dtype == pl.Datetime("us", "UTC"):
            assert values.dt.year().is_in([*YEARS]).all(), name


def test_every_number_of_an_event_has_a_bound() -> None:
    counted_by_maillag = {"line_number", "event_code"}
    numbers = {name for table in EVENT_TABLES.values() for name, dtype in table.items() if dtype.is_numeric()}
    assert numbers - counted_by_maillag <= BOUNDS.keys()


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("log_kind", DATED_LOGS)
def test_a_number_out_of_bounds_makes_no_event_of_its_own(log_kind: str, value: bytes) -> None:
    lines = lines_of(log_kind, value)
    parsed = parse(log_kind, b"".join(line + b"\n" for line in lines))
    assert sum(counts(parsed).values()) == len(lines)
    for frame in parsed.tables.values():
        assert_in_bounds(frame)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_both_lanes_judge_a_number_alike(value: bytes) -> None:
    assert_lanes_agree(b"\n".join([*lines_of("maillog", value), b""]))


POSTFIX = "Nov 24 10:00:00 gw postfix/{}[1]: "
ATTEMPT = (
    POSTFIX.format("smtp") + "892A0205B6: to=<b@example.com>, relay=127.0.0.1[127.0.0.1]:{}, {}delay={}, "
)
ATTEMPT += "delays={}/0/0/0, dsn=2.0.0, status=sent (250 ok)"
SENDMAIL_TO = "Nov 24 10:00:00 gw sendmail[1]: 6AOA00aB002345: to=<b@example.com>, delay={}, xdelay={}, "
SENDMAIL_TO += "mailer=esmtp, pri={}, relay=mx.example.com [192.0.2.1], dsn=2.0.0, stat=Sent (ok)"
HUGE = "9" * 400


OUT_OF_RANGE = [
    ("maillog", ATTEMPT.format(10025, "", "9999999999999999999999999", 0)),
    ("maillog", ATTEMPT.format(10025, "", HUGE, 0)),
    ("maillog", ATTEMPT.format(10025, "", "300000000000", 0)),
    ("maillog", ATTEMPT.format(10025, "", 1, HUGE)),
    ("maillog", ATTEMPT.format(65536, "", 1, 0)),
    ("maillog", ATTEMPT.format(0, "", 1, 0)),
    ("maillog", ATTEMPT.format(10025, f"conn_use={HUGE}, ", 1, 0)),
    ("maillog", POSTFIX.format("qmgr") + f"892A0205B6: from=<>, size={HUGE}, nrcpt=1 (queue active)"),
    ("maillog", POSTFIX.format("qmgr") + f"892A0205B6: from=<>, size=1, nrcpt={HUGE} (queue active)"),
    ("maillog", POSTFIX.format("postsuper") + "Deleted: 9999999999999 messages"),
    ("maillog", f"Nov 24 10:00:00 gw postfix/qmgr[{HUGE}]: 892A0205B6: removed"),
    ("maillog", f"<22>1 2026-11-24T10:00:00Z gw postfix/qmgr {HUGE} - - 892A0205B6: removed"),
    ("maillog", "9999-12-31T23:59:59-09:00 gw postfix/qmgr[1]: 892A0205B6: removed"),
    ("maillog", "0000-01-01T00:00:00+09:00 gw postfix/qmgr[1]: 892A0205B6: removed"),
    ("maillog", SENDMAIL_TO.format("9999999999999999999+00:00:01", "00:00:01", 1)),
    ("maillog", SENDMAIL_TO.format("00:00:01", "00:00:01", HUGE)),
    ("maillog", f"Nov 24 10:00:00 gw rsyslogd: imjournal: {HUGE} messages lost due to rate-limiting"),
    ("maillog", f"Nov 24 10:00:00 gw last message repeated {HUGE} times"),
    (
        "system_log",
        f"Nov 24 10:00:00 gw systemd-journald[1]: Suppressed {HUGE} messages from postfix.service",
    ),
    ("manager_log", f"2026/11/24 10:00:00 GMT+09:00 [{HUGE}:1] [NORMAL]text"),
    ("manager_log", f"2026/11/24 10:00:00 GMT+09:00 [1:{HUGE}] [NORMAL]text"),
    ("manager_log", "0000/11/24 10:00:00 GMT+09:00 [1:1] [NORMAL]text"),
    ("system_events", "9999/11/24 10:00:00 text"),
    *(
        (
            "maillog",
            json.dumps({"MESSAGE": "892A0205B6: removed", "SYSLOG_IDENTIFIER": "postfix/qmgr"} | told),
        )
        for told in (
            {"__REALTIME_TIMESTAMP": HUGE, "_PID": "1"},
            {"__REALTIME_TIMESTAMP": "253402300799000000", "_PID": "1"},
            {"__REALTIME_TIMESTAMP": "1790000000000000", "_PID": HUGE},
        )
    ),
]


@pytest.mark.parametrize(("log_kind", "line"), OUT_OF_RANGE, ids=lambda value: value[:40])
def test_a_line_with_a_number_out_of_bounds_is_unparsed_with_that_reason(log_kind: str, line: str) -> None:
    parsed = parse(log_kind, f"{line}\n".encode())
    assert counts(parsed) == {UNPARSED: 1}
    assert parsed.tables[UNPARSED]["reason"].to_list() == ["out_of_range"]


OBJECT = {
    "queue_name": "deferred",
    "queue_id": "892A0205B6",
    "arrival_time": 1790000000,
    "message_size": 500,
    "sender": "a@example.com",
    "recipients": [{"address": "b@example.com"}],
}


@pytest.mark.parametrize(
    "line",
    [
        *(
            json.dumps(OBJECT | {key: value})
            for key in ("arrival_time", "message_size")
            for value in (10**30, -1 if key == "message_size" else -(10**15), int("9" * 300))
        ),
        json.dumps(OBJECT | {"arrival_time": 253402300799}),
        "892A0205B6 99999999999999999999999 Tue Nov 24 10:00:00  a@example.com",
    ],
    ids=lambda line: line[:120],
)
def test_a_message_of_a_queue_with_a_number_out_of_bounds_is_unparsed(line: str) -> None:
    reading = Reading(
        host="gw",
        log_kind="queue_snapshot",
        zone=Zone("UTC", "default"),
        year=YearWindow.by_file_name(date(2026, 11, 24)),
        taken_at=datetime(2026, 11, 24, tzinfo=UTC),
    )
    parsed = Parser(reading).parse(split_lines(f"{line}\n".encode(), 1))
    assert parsed.tables[UNPARSED]["reason"].to_list() == ["out_of_range"]
    assert "queue_snapshots" not in parsed.tables


@pytest.mark.parametrize(
    "name",
    ["maillog-99991231", "maillog-00010101", "maillog.9999", "imssmgr.99991231.9999", "main.cf-99991231"],
)
def test_a_date_in_a_name_that_no_log_is_of_dates_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    (tmp_path / "gw" / name).write_text("2026-11-24T10:00:00Z gw postfix/qmgr[1]: 892A0205B6: removed\n")
    (source,) = discover(tmp_path, read_fleet(tmp_path)).sources
    assert source.name.name_date is None


@pytest.mark.parametrize("seconds", [-(10**10), 10**11])
def test_a_files_time_is_one_that_a_log_can_have(seconds: int, tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    with tarfile.open(tmp_path / "gw" / "logs.tar", "w", format=tarfile.PAX_FORMAT) as bundle:
        member = tarfile.TarInfo("maillog")
        member.pax_headers = {"mtime": f"{seconds}"}
        bundle.addfile(member)
        member = tarfile.TarInfo("maillog.1")
        member.pax_headers = {"mtime": "nan"}
        bundle.addfile(member)
    fleet = read_fleet(tmp_path)
    sources = discover(tmp_path, fleet).sources
    assert len(sources) == 2
    assert all(datetime.fromtimestamp(one.modified_at_ns / 1e9, UTC).year in YEARS for one in sources)
    assert find_zones(fleet, sources, "UTC").zones.keys() == {"gw"}


@pytest.mark.slow
def test_lines_with_numbers_out_of_bounds_change_no_restart_of_any_host(
    tmp_path: Path, checker: Checker, sample_lake: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(SAMPLE, archive)
    log = archive / "imsva15" / "maillog"
    bad = [line.encode() for log_kind, line in OUT_OF_RANGE if log_kind == "maillog"]
    sound = log.read_bytes()
    log.write_bytes(b"\n".join([*bad, sound]))
    ran = run_job(Job(archive, tmp_path / "lake"), checker)
    source = ran.sources["imsva15/maillog"]
    assert source.unparsed_line_count == len(bad)
    assert source.line_count == len(bad) + sound.count(b"\n")
    query = "select * from marts.restarts order by restart_id"
    assert asked(tmp_path / "lake", query) == asked(sample_lake, query)


def asked(lake: Path, query: str) -> list[tuple[object, ...]]:
    """Return what a query on a catalog gives."""
    with duckdb.connect(str(lake / CATALOG_NAME), read_only=True) as connection:
        return connection.execute(query).fetchall()
