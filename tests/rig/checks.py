"""Turns a scenario's truth and what maillag found of it into failed assertions, where the two differ."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.catalog import EVERYTHING, RESTARTS, Row, fetch, open_catalog

# The time between a start and the first connection that the stand-in service accepts.
UNTIL_IT_LISTENS_SECONDS = 0.5
# A log line bears the whole second in which it was written, on a busy machine a little after what it tells
# of; the truth is rounded and may be a tick late.
STAMP_SECONDS = 1.02
WRITTEN_WITHIN_SECONDS = 0.5

Truth = Mapping[str, Any]
Check = Callable[[Truth, "Found"], None]
HELD = """
select host, restart_id, queue_id, first_deferred_at, released_at
from marts.held_messages
"""


@dataclass(frozen=True)
class Found:
    """What maillag says of one host."""

    restarts: list[Row]
    held: dict[str, dict[str, Row]]
    """By restart_id, then by queue id."""


def read_found(lake: Path) -> dict[str, Found]:
    """Return what a lake says, by host; a host without restarts has an entry as well."""
    found: dict[str, Found] = defaultdict(lambda: Found([], {}))
    with open_catalog(lake) as catalog:
        for row in fetch(catalog, RESTARTS, EVERYTHING):
            found[row["host"]].restarts.append(row)
        for row in fetch(catalog, HELD, {}):
            found[row["host"]].held.setdefault(row["restart_id"], {})[row["queue_id"]] = row
    return found


def shown_restarts(scenario: Truth) -> list[Truth]:
    """Return the restarts that some log shows; the others are not to be found."""
    return [made for made in scenario["restarts"] if made["expected"]["flush_verdict"] is not None]


def check_restarts(scenario: Truth, found: Found) -> None:
    """The restarts found are those made and no other, each with its verdict and order.

    Where the log does not carry the verdict for sure, `unknown` is right as well.
    """
    if _is_all_unknown(scenario, found):
        return
    right = [made["expected"] for made in shown_restarts(scenario)]
    judged = [_verdict(row) for row in found.restarts]
    for number, (expected, (verdict, _, order)) in enumerate(zip(right, judged, strict=False)):
        if verdict == "unknown" and expected.get("may_be_unknown"):
            # Nor is it known whether an order was, where the stamps do not tell what came when.
            known_order = expected["flush_order"] if order == "unknown" else order
            judged[number] = (expected["flush_verdict"], expected["verdict_reason"], known_order)
    assert judged == [_verdict(expected) for expected in right]


def check_reasons_and_confidence(scenario: Truth, found: Found) -> None:
    """What was missing is for the right reason, and a restart is as sure as its witnesses make it."""
    for made, row in _pairs(scenario, found):
        if _verdict(row)[0] == made["expected"]["flush_verdict"]:
            assert row["missing_reason"] == made["expected"]["missing_reason"]
        assert made["expected"]["confidence"] in (None, row["confidence"])


def check_bounds(scenario: Truth, found: Found) -> None:
    """The true stop and start lie within the bounds."""
    for made, row in _pairs(scenario, found):
        _assert_between(row["down_at_earliest"], made["down_at"], row["down_at_latest"])
        if made["up_at"]:
            _assert_between(row["up_at_earliest"], made["up_at"], row["up_at_latest"])


def check_held(scenario: Truth, found: Found) -> None:
    """The messages held are exactly those that each restart held, from when until when it did.

    A log that is not sound shows some of them, some without an end, but no other and no other end.
    """
    is_sound = scenario.get("is_log_sound", True)
    for made, row in _pairs(scenario, found):
        rows = found.held.get(row["restart_id"], {})
        assert rows.keys() == made["held"].keys() if is_sound else rows.keys() <= made["held"].keys()
        for queue_id, message in rows.items():
            first_deferred_at, released_at = made["held"][queue_id]
            if is_sound or message["released_at"]:
                _assert_second(message["released_at"], released_at, queue_id)
            if is_sound or message["first_deferred_at"].timestamp() < first_deferred_at:
                _assert_second(message["first_deferred_at"], first_deferred_at, queue_id)


CHECKS: tuple[Check, ...] = (check_restarts, check_reasons_and_confidence, check_bounds, check_held)


def _pairs(scenario: Truth, found: Found) -> list[tuple[Truth, Row]]:
    if _is_all_unknown(scenario, found):
        return []
    return list(zip(shown_restarts(scenario), found.restarts, strict=True))


def _is_all_unknown(scenario: Truth, found: Found) -> bool:
    """Tell whether nothing is said of a log that is not sound: one outage may look like two, then."""
    return (
        not scenario.get("is_log_sound", True)
        and all(made["expected"].get("may_be_unknown") for made in scenario["restarts"])
        and bool(found.restarts)
        and all(row["flush_verdict"] == "unknown" for row in found.restarts)
    )


def _verdict(judged: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    return judged["flush_verdict"], judged["verdict_reason"], judged["flush_order"]


def _assert_between(earliest: datetime | None, instant: float, latest: datetime | None) -> None:
    assert earliest is None or earliest.timestamp() <= instant + UNTIL_IT_LISTENS_SECONDS
    assert latest is None or datetime.fromtimestamp(instant, UTC) <= latest


def _assert_second(found: datetime | None, instant: float | None, queue_id: str) -> None:
    if found is None or instant is None:
        assert (found is None) == (instant is None), f"{queue_id}: {found} {instant}"
    else:
        after = instant - found.timestamp()
        assert -WRITTEN_WITHIN_SECONDS <= after <= STAMP_SECONDS, f"{queue_id}: {after}"
