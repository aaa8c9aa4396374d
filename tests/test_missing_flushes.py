"""Which missing flushes are new: each restart once, also where late data moves its bounds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.catalog import Row
from flows.missing_flushes import emit, find_new

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
        "missing_reason": None,
        "advice": "apply_patch_1",
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


def test_what_a_log_puts_into_an_event_is_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr("flows.missing_flushes.emit_event", lambda **event: sent.append(event))
    emit(missing("gw\x1b[2J1"))
    assert sent == [
        {
            "event": "maillag.flush.missing",
            "resource": {
                "prefect.resource.id": r"maillag.restart.gw\x1b[2J1-20261124T031953Z",
                "prefect.resource.name": r"gw\x1b[2J1-20261124T031953Z",
            },
            "related": [
                {
                    "prefect.resource.id": r"maillag.host.gw\x1b[2J1",
                    "prefect.resource.role": "host",
                    "prefect.resource.name": r"gw\x1b[2J1",
                }
            ],
            "payload": {
                "host": r"gw\x1b[2J1",
                "down_at": "2026-11-24T03:19:53Z",
                "held_message_count": 85,
                "flush_verdict": "missing",
                "missing_reason": None,
                "advice": "apply_patch_1",
                "advice_title": "Apply Patch 1 (b1335), then check the wrapper script",
            },
        }
    ]
