"""Headers and stamps: every form of header, in any mixture, to an instant that says how it was found."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from transforms.log_rules import LogRules
from transforms.parse.clock import LocalClock, YearWindow, created_on, date_in
from transforms.parse.events import Parser, Reading, split_lines
from transforms.parse.headers import MANAGER_HEADERS, SYSLOG_HEADERS, Header, read_headers
from transforms.parse.trend import TRACKING_HEADERS, system_event_headers
from transforms.zone import Zone

CASES = yaml.safe_load((Path(__file__).parent / "headers.yaml").read_text(encoding="utf-8"))
HEADERS = (
    *((SYSLOG_HEADERS, header) for header in SYSLOG_HEADERS),
    *((MANAGER_HEADERS, header) for header in MANAGER_HEADERS),
    *((TRACKING_HEADERS, header) for header in TRACKING_HEADERS),
    *((headers, header) for headers in [system_event_headers(LogRules())] for header in headers),
)
BERLIN = Zone("Europe/Berlin", "default")


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_header_becomes_this_stamp_and_sender(case: dict[str, Any]) -> None:
    assert stamps([case["line"]]) == [expected(case)]


@given(st.permutations(CASES))
def test_one_file_may_mix_all_forms(cases: list[dict[str, Any]]) -> None:
    assert stamps([case["line"] for case in cases]) == [expected(case) for case in cases]


@pytest.mark.parametrize(("headers", "header"), HEADERS, ids=lambda value: getattr(value, "name", ""))
def test_header_takes_its_own_samples(headers: tuple[Header, ...], header: Header) -> None:
    assert header.samples
    for sample in header.samples:
        own = read_headers((header,), split_lines(sample.encode(), 1))
        assert own["day"].null_count() == 0, sample
        assert read_headers(headers, split_lines(sample.encode(), 1)).equals(own), sample


def test_the_hour_that_comes_twice_is_told_by_the_order_of_its_lines() -> None:
    local = ["01:59:00", "02:10:00", "02:50:00", "02:49:58", "02:05:00", "02:59:00", "03:00:00"]
    utc = ["23:59:00", "00:10:00", "00:50:00", "00:49:58", "01:05:00", "01:59:00", "02:00:00"]
    assert in_berlin(local) == utc


@pytest.mark.parametrize(
    ("last", "utc"),
    [("02:09:59", "00:09:59"), ("02:09:00", "00:09:00"), ("02:08:59", "01:08:59")],
)
def test_lines_out_of_order_by_a_minute_are_no_second_pass(last: str, utc: str) -> None:
    # The latest line counts, and not the one before.
    assert in_berlin(["02:10:00", "02:09:30", last]) == ["00:10:00", "00:09:30", utc]


def test_a_second_pass_in_one_file_is_none_in_another() -> None:
    local = [datetime.fromisoformat(f"2026-10-25T02:{minute}") for minute in ("50", "10", "20", "50")]
    clock, files = LocalClock(BERLIN), pl.Series(["a", "a", "b", "b"])
    utc = clock.to_utc(pl.Series(local, dtype=pl.Datetime("us")), files)
    assert [f"{at:%H:%M}" for at in utc] == ["00:50", "01:10", "00:20", "00:50"]


@given(st.integers(0, 6))
def test_the_second_pass_goes_on_in_the_next_block(cut: int) -> None:
    clock = LocalClock(BERLIN)
    local = [datetime.fromisoformat(f"2026-10-25T02:{minute:02}") for minute in (10, 50, 5, 20, 40, 59)]
    blocks = [local[:cut], local[cut:]]
    utc = [at for block in blocks for at in clock.to_utc(pl.Series(block, dtype=pl.Datetime("us")))]
    assert [at.hour for at in utc] == [0, 0, 1, 1, 1, 1]


def test_a_clock_set_back_is_no_new_year() -> None:
    lines = [
        f"{stamp} gw postfix/qmgr[1]: x"
        for stamp in ("Mar 10 10:00:00", "Jan  5 10:00:00", "Mar 11 10:00:00")
    ]
    assert [stamp and stamp["logged_at"].date() for stamp in stamps(lines)] == [
        date(2026, 3, 10),
        date(2026, 1, 5),
        date(2026, 3, 11),
    ]


@given(st.datetimes(*map(datetime.fromisoformat, ("2012-01-02", "2099-12-30"))), st.integers(0, 2**40))
def test_a_long_queue_id_tells_the_day_on_which_it_was_made(at: datetime, inode: int) -> None:
    at = at.replace(tzinfo=UTC)
    queue_id = long_queue_id(int(at.timestamp()), at.microsecond, inode)
    assert created_on(queue_id) == at.date()
    line = f"Nov 24 10:00:00 gw postfix/qmgr[1]: {queue_id}: removed\n".encode()
    assert date_in(b"junk\n" + line) == (at.date(), "queue_id")


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"Nov 24 10:00:00 gw postfix/qmgr[1]: 892A0205B6: removed\n", None),
        (b"x\n2024-08-26T01:33:38Z gw postfix/qmgr[1]: x\n", (date(2024, 8, 26), "line")),
        (b"<22>1 2024-08-26T01:33:38Z gw postfix/qmgr 1 - - x\n", (date(2024, 8, 26), "line")),
        (b"2013 Jun 16 16:05:06 gw postfix/qmgr[1]: x\n", (date(2013, 6, 16), "line")),
        (b"2024-02-31T01:33:38Z gw postfix/qmgr[1]: x\n", None),
        (
            b"2024-02-31T01:33:38Z gw postfix/qmgr[1]: x\n2024-03-01T01:33:38Z gw postfix/qmgr[1]: x\n",
            (date(2024, 3, 1), "line"),
        ),
        (
            b"Nov 24 10:00:00 gw sm-mta[1]: 6AOA00aa000001: from=<s@example.com>, size=10\n",
            (date(2026, 11, 24), "queue_id"),
        ),
        (b"x\n" * 199 + b"2024-08-26T01:33:38Z gw x: x\n", (date(2024, 8, 26), "line")),
        (b"x\n" * 200 + b"2024-08-26T01:33:38Z gw x: x\n", None),
    ],
)
def test_first_lines_may_tell_a_day(head: bytes, told: tuple[date, str] | None) -> None:
    assert date_in(head) == told


@pytest.mark.parametrize(
    ("made_at", "made_on"),
    [
        ("2011-12-31T23:59:59", None),
        ("2012-01-01T00:00:00", date(2012, 1, 1)),
        ("2099-12-31T23:59:59", date(2099, 12, 31)),
        ("2100-01-01T00:00:00", None),
    ],
)
def test_a_word_of_another_time_is_no_long_queue_id(made_at: str, made_on: date | None) -> None:
    seconds = int(datetime.fromisoformat(f"{made_at}+00:00").timestamp())
    assert created_on(long_queue_id(seconds, 0, 7)) == made_on


def test_a_day_in_the_first_lines_stands_amid_its_year_and_a_queue_id_near_its_begin() -> None:
    made_at = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
    queue_id = f"Nov 24 10:00:00 gw postfix/qmgr[1]: {long_queue_id(made_at, 0, 7)}: removed\n".encode()
    assert YearWindow.by_head(queue_id) == YearWindow.by_queue_id(date(2026, 6, 1))
    line = b"2026-06-01T10:00:00Z gw postfix/qmgr[1]: x\n"
    assert YearWindow.by_head(line) == YearWindow.by_line(date(2026, 6, 1))
    assert YearWindow.by_head(b"Nov 24 10:00:00 gw postfix/qmgr[1]: x\n") is None


@given(st.dates(date(2013, 1, 1), date(2090, 1, 1)), st.integers(0, 300))
def test_the_year_after_a_queue_id_holds_its_file(made_on: date, days_later: int) -> None:
    logged_on = made_on + timedelta(days=days_later)
    assert YearWindow.by_queue_id(made_on).resolve(logged_on.month, logged_on.day) == logged_on


NEAR = date(2021, 1, 12)


@pytest.mark.parametrize(
    ("window", "first", "last"),
    [
        (YearWindow.by_file_name(NEAR), date(2020, 1, 14), date(2021, 1, 13)),
        (YearWindow.by_file_time(NEAR), date(2020, 1, 14), date(2021, 1, 13)),
        # Lines may come a few days late: after the first line of the next file.
        (YearWindow.before_neighbour(NEAR), date(2020, 1, 15), date(2021, 1, 14)),
        (YearWindow.after_neighbour(NEAR), date(2021, 1, 9), date(2022, 1, 8)),
        (YearWindow.by_line(NEAR), date(2020, 7, 14), date(2021, 7, 13)),
        (YearWindow.by_manager_log(NEAR), date(2020, 7, 14), date(2021, 7, 13)),
        (YearWindow.by_queue_id(NEAR), date(2020, 12, 13), date(2021, 12, 12)),
    ],
    ids=lambda value: value.source if isinstance(value, YearWindow) else "",
)
def test_a_year_begins_and_ends_on_these_days(window: YearWindow, first: date, last: date) -> None:
    assert window.resolve(first.month, first.day) == first
    assert window.resolve(last.month, last.day) == last
    assert window.ends_on == last + timedelta(days=1)


def stamps(lines: list[str]) -> list[dict[str, Any] | None]:
    """Return what each line's header tells, None where there is none."""
    headed = read_headers(SYSLOG_HEADERS, split_lines("".join(f"{line}\n" for line in lines).encode(), 1))
    reading = Reading("gw", "maillog", BERLIN, YearWindow.by_file_name(date(2026, 11, 24)))
    # The stamp of lines that may be noise.
    stamped = Parser(reading)._stamped(headed.with_columns(source_id=pl.lit(reading.source_id)))
    return [
        {
            "logged_at": row["logged_at"],
            "year": row["year_source"],
            "zone": row["zone_source"],
            "host": row["logging_host"],
            **{name: row[name] for name in ("tag", "pid", "text")},
        }
        if row["logged_at"]
        else None
        for row in stamped.iter_rows(named=True)
    ]


def expected(case: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a case's line becomes."""
    if case["becomes"] is None:
        return None
    return {**case["becomes"], "logged_at": datetime.fromisoformat(case["becomes"]["logged_at"])}


def in_berlin(times: list[str]) -> list[str]:
    """Return the UTC times of local times on the day on which summer time ends."""
    local = pl.Series([datetime.fromisoformat(f"2026-10-25T{at}") for at in times], dtype=pl.Datetime("us"))
    return [f"{at:%H:%M:%S}" for at in LocalClock(BERLIN).to_utc(local)]


def long_queue_id(seconds: int, microseconds: int, inode: int) -> str:
    """Make a long queue id as Postfix does (mail_queue.h)."""
    digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

    def in_base(number: int, base: int, width: int) -> str:
        text = ""
        while number or len(text) < width:
            number, digit = divmod(number, base)
            text = digits[digit] + text
        return text

    return f"{in_base(seconds, 52, 6)}{in_base(microseconds, 52, 4)}z{in_base(inode, 51, 1)}"
