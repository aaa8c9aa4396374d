"""What Prefect shows of a night: new missing flushes once, in words; nothing that a log wrote is markup."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import night
from flows.catalog import Row
from flows.night import announce, fetch_missing_flushes, find_new, summary

DOWN_AT = datetime(2026, 11, 24, 3, 19, 53, tzinfo=UTC)


def missing(host: str = "gw1", after_seconds: int = 0, seconds: int | None = 30) -> Row:
    """Return a row of marts.missing_flushes, of a restart so long after the first one."""
    down_at = DOWN_AT + timedelta(seconds=after_seconds)
    return {
        "restart_id": f"{host}-{down_at:%Y%m%dT%H%M%SZ}",
        "host": host,
        "down_at": down_at,
        "up_at": None if seconds is None else down_at + timedelta(seconds=seconds),
        "held_message_count": 85,
        "flush_verdict": "missing",
        "missing_reason": "not_ordered",
        "advice": "apply_patch_1",
        "time_zone": "Asia/Tokyo",
        "restart_delay_max_seconds": 119.0,
        "avoidable_delay_total_seconds": 60.0 + after_seconds,
    }


FIRST, SAME, ELSEWHERE = missing(), missing(), missing("gw2")
BEFORE, AT_ITS_END, LATER = missing(after_seconds=-5), missing(after_seconds=30), missing(after_seconds=31)
WITHOUT_END = missing(seconds=None)


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        pytest.param([], [FIRST], [FIRST], id="the first of a lake"),
        pytest.param([FIRST], [SAME], [], id="one that was known"),
        pytest.param([FIRST], [], [], id="one that was known and is gone"),
        pytest.param([FIRST], [SAME, ELSEWHERE], [ELSEWHERE], id="that of another host"),
        pytest.param([FIRST], [SAME, LATER], [LATER], id="a later one"),
        pytest.param([FIRST], [BEFORE], [], id="the known one, with an earlier bound"),
        pytest.param([FIRST], [AT_ITS_END], [], id="the known one, that began as it was thought to end"),
        pytest.param([WITHOUT_END], [BEFORE], [], id="the known one, that now has an end"),
    ],
)
def test_new_is(before: list[Row], after: list[Row], new: list[Row]) -> None:
    assert find_new(before, after) == new


FINDING = {
    "severity": "critical",
    "place": "gw<b>1/maillog",
    "what": "is *damaged* near user@example.com",
    "remedy": "Copy it again",
}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The events that would be sent to the server."""
    events: list[Any] = []
    monkeypatch.setattr("flows.night.emit_event", lambda **event: events.append(event))
    return events


def test_a_night_is_one_event_in_plain_text(sent: list[Any]) -> None:
    announce(date(2026, 11, 24), [missing("gw\x1b[2J1")], language="en")
    assert sent == [
        {
            "event": "maillag.flush.missing",
            "resource": {
                "prefect.resource.id": "maillag.night.2026-11-24",
                "prefect.resource.name": "2026-11-24",
            },
            "related": [
                {
                    "prefect.resource.id": r"maillag.host.gw\x1b[2J1",
                    "prefect.resource.role": "host",
                    "prefect.resource.name": r"gw\x1b[2J1",
                }
            ],
            "payload": {
                "missing_flush_count": 1,
                "host_count": 1,
                "held_message_count": 85,
                "restart_ids": [r"gw\x1b[2J1-20261124T031953Z"],
                "subject": "1 missing flush on 1 host",
                "text": r"gw\x1b[2J1, 2026-11-24 12:19:53 (Asia/Tokyo): 85 messages waited up to 1 min 59 s. "
                "Apply Patch 1 (b1335), then check the wrapper script.",
                "report": "",
            },
        }
    ]


def test_a_night_of_many_missing_flushes_is_still_one_short_notification(sent: list[Any]) -> None:
    rows = [missing(f"gw{number % 60}", after_seconds=100 * number) for number in range(300)]
    announce(date(2026, 11, 24), rows, language="en", report_url="https://example.com/report.html")
    (event,) = sent
    lines = event["payload"]["text"].splitlines()
    assert (len(lines), lines[-1]) == (11, "... and 290 more.")
    # The costliest first.
    assert lines[0].startswith("gw59, ")
    assert event["payload"]["subject"] == "300 missing flushes on 60 hosts"
    assert event["payload"]["report"] == "https://example.com/report.html"
    assert (len(event["payload"]["restart_ids"]), len(event["related"])) == (200, 50)


def test_a_night_without_a_new_one_sends_nothing(sent: list[Any]) -> None:
    announce(date(2026, 11, 24), [], language="en")
    assert sent == []


def test_the_summary_begins_with_what_matters_and_marks_what_is_new(sample_lake: Path) -> None:
    rows = fetch_missing_flushes(sample_lake)
    text = summary(sample_lake, rows, rows[:1], [FINDING], language="en")
    lines = text.splitlines()
    assert lines[0].startswith("# After 3 of 7 restarts the queue was not flushed: 813 messages")
    assert "1 missing flush is new in this run." in lines
    assert [line for line in lines if "burst14" in line] == [
        "| Apply Patch 2 (b1830) | burst14 (new) | 2026-11-24 12:26:23 (Asia/Tokyo) "
        "| Not flushed (the manager ordered no flush) | 672 | 2 min 2 s |"
    ]
    assert r"- **critical** gw&lt;b&gt;1/maillog: is \*damaged\* near (address). Copy it again" in lines
    assert f"{sample_lake / 'report.html'}" in text


def test_the_summary_is_there_in_japanese_with_a_link(sample_lake: Path) -> None:
    rows = fetch_missing_flushes(sample_lake)
    address = "https://example.com/report.html"
    text = summary(sample_lake, rows, [], [], language="ja", report_url=address)
    assert text.startswith("# 再起動 7 回のうち 3 回で")
    assert f"[レポートを開く]({address})" in text


def test_more_than_a_page_shows_is_counted(sample_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night, "ROWS_SHOWN", 2)
    monkeypatch.setattr(night, "FINDINGS_SHOWN", 1)
    rows = fetch_missing_flushes(sample_lake)
    text = summary(sample_lake, rows, [], [FINDING] * 3, language="en")
    assert "1 older one is in marts" in text
    assert "2 more: maillag status" in text
    assert "imss12" not in text


def test_before_the_first_catalog_nothing_is_missing(tmp_path: Path) -> None:
    assert fetch_missing_flushes(tmp_path) == []
