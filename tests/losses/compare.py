"""What the models say of a variant, beside what they say of the whole log, to outcomes.

A restart of the variant belongs to the restart of the whole log whose certain outage is nearest, among those
whose bounds meet its own, or that it follows within the time in which an order may come.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from tests.losses.kinds import MAILLOG, Kind
from tests.losses.recordings import is_near, true_verdict
from tests.losses.variants import Told, Variant, Whole
from transforms.thresholds import Thresholds

Row = dict[str, Any]
Result = Literal[
    "stayed",
    "unknown",  # judged before, and not any more
    "reworded",  # missing for ineffective, or the other way: not flushed
    "settled",  # judged now, and not before; as far as is known, rightly
    "in_gap",  # not found, where the coverage has a gap
    "outside",  # not found, because the log begins after it or ends before it
    "traceless",  # not found, because no line is left of an attempt that failed in it
    "supposed",  # found though the whole log has none, and not judged
    "turned",
    "vanished",
    "invented",  # found and judged though the whole log has none; where no line is lost, found at all
    "recounted",  # the same verdict, with other messages or delays, though no line is lost
    "failed",  # the models fail
]
FAILURES: frozenset[Result] = frozenset(("turned", "vanished", "invented", "recounted", "failed"))
NOT_FLUSHED = {"missing", "ineffective"}
# Within this after a restart an order or flush is taken for its own.
WINDOW = timedelta(seconds=Thresholds().flush_window_seconds)
FAILED_ATTEMPT = re.compile(r"status=deferred .*(127\.0\.0\.1|localhost)|stat=Deferred")
STAMP = timedelta(seconds=1)
COUNTS = ("held_message_count", "pending_count")
DELAYS = ("restart_delay_p50_seconds", "restart_delay_max_seconds", "restart_delay_total_seconds")


@dataclass(frozen=True)
class Outcome:
    """What became of one restart, or a restart that there was not; `name` tells how to see it again."""

    name: str
    result: Result
    expected: str
    found: str
    reason: str | None = None
    """The verdict_reason, where the verdict became unknown."""

    @property
    def is_failure(self) -> bool:
        """Whether a promise is broken."""
        return self.result in FAILURES


def compare(variant: Variant, told: Told) -> list[Outcome]:
    """Return an outcome for each restart of the whole log, and for each that only the variant has."""
    if told.error:
        return [Outcome(str(variant), "failed", "marts", told.error.splitlines()[0])]
    whole = variant.whole.told.restarts
    pairs, rest = match(whole, told.restarts)
    outcomes = []
    for number, row in enumerate(whole):
        its = pairs.get(number)
        if its is None:
            nearby = [other for other in told.restarts if may_be_same(row, other)]
            its = min(nearby, key=lambda other: distance(row, other), default=None)
        result = _compare_rows(variant, row, its) if its else _why_not_found(variant, row, told)
        if number not in pairs and result == "turned" and _why_not_found(variant, row, told) != "vanished":
            # The other one is a restart of its own, and of this one the log tells nothing.
            its, result = None, _why_not_found(variant, row, told)
        reason = its["verdict_reason"] if its and result == "unknown" else None
        found = shown(its) if its else "no restart"
        outcomes.append(Outcome(str(variant), result, shown(row), found, reason))
    outcomes += [
        Outcome(str(variant), result, "no other restart", shown(row)) for result, row in _added(variant, rest)
    ]
    return outcomes


def compare_with_truth(whole: Whole) -> list[Outcome]:
    """Return an outcome for each restart of a whole log, and for each one made that it lacks."""
    outcomes = []
    for row in whole.told.restarts:
        verdict, truth = row["flush_verdict"], true_verdict(whole.source, row["down_at"])
        result: Result = "turned"
        if verdict == "unknown":
            result = "unknown"
        elif truth in (None, verdict):
            result = "stayed"
        elif {verdict, truth} == NOT_FLUSHED:
            result = "reworded"
        reason = row["verdict_reason"] if result == "unknown" else None
        name = f"{whole.source.name} whole"
        outcomes.append(Outcome(name, result, truth or "anything", shown(row), reason))
    outcomes += [
        Outcome(f"{whole.source.name} whole", "vanished", f"{made.down_at:%X} {made.flush_verdict}", "none")
        for made in whole.source.truth
        if made.flush_verdict and not any(is_near(made, row["down_at"]) for row in whole.told.restarts)
    ]
    return outcomes


def match(whole: list[Row], found: list[Row]) -> tuple[dict[int, Row], list[Row]]:
    """Return the restart found for each one of the whole log, by its number, and those that are left."""
    candidates = sorted(
        (distance(row, other), abs(row["down_at"] - other["down_at"]), number, other_number)
        for number, row in enumerate(whole)
        for other_number, other in enumerate(found)
        if may_be_same(row, other)
    )
    pairs: dict[int, Row] = {}
    taken: set[int] = set()
    for _, _, number, other_number in candidates:
        if number not in pairs and other_number not in taken:
            pairs[number] = found[other_number]
            taken.add(other_number)
    return pairs, [row for number, row in enumerate(found) if number not in taken]


def may_be_same(whole: Row, found: Row) -> bool:
    """Whether a restart may be one of the whole log, by its bounds."""
    begin, end = widest(whole)
    found_begin, found_end = widest(found)
    return found_begin <= end + WINDOW and found_end >= begin


def distance(one: Row, other: Row) -> timedelta:
    """Return how far apart two outages are, as far as they are certain."""
    (begin, end), (other_begin, other_end) = certain(one), certain(other)
    return max(begin - other_end, other_begin - end, timedelta(0))


def certain(row: Row) -> tuple[datetime, datetime]:
    """Return the span in which the service was down for sure."""
    begin = row["down_at_latest"] or row["down_at"]
    return begin, max(begin, row["up_at_earliest"] or begin)


def widest(row: Row) -> tuple[datetime, datetime]:
    """Return the span in which the service may have been down."""
    begin, end = certain(row)
    begin = min(begin, row["down_at_earliest"] or row["down_at"])
    if row["up_at"] is None and row["up_at_latest"] is None:
        return begin, datetime.max.replace(tzinfo=begin.tzinfo) - WINDOW
    return begin, max(end, row["up_at_latest"] or end, row["up_at"] or end)


def _compare_rows(variant: Variant, whole: Row, found: Row) -> Result:
    kind, before, after = variant.kind, whole["flush_verdict"], found["flush_verdict"]
    if not kind.loses:
        return _compare_doubled(kind, whole, found)
    if after == before:
        return "stayed"
    if after == "unknown":
        return "unknown"
    if {before, after} == NOT_FLUSHED:
        return "reworded"
    truth = true_verdict(variant.whole.source, whole["down_at"])
    if before == "unknown" and is_right(after, truth):
        return "settled"
    return "turned"


def _compare_doubled(kind: Kind, whole: Row, found: Row) -> Result:
    before, after = whole["flush_verdict"], found["flush_verdict"]
    if after == "unknown" != before:
        return "unknown" if kind.may_doubt else "turned"
    if after != before:
        return "turned"
    is_same = all(whole[name] == found[name] for name in COUNTS) and all(
        _is_close(whole[name], found[name]) for name in DELAYS
    )
    return "stayed" if is_same else "recounted"


def _is_close(one: float | None, other: float | None) -> bool:
    # A copy with microseconds tells the same instants by a fraction of a second otherwise.
    return one == other or (one is not None and other is not None and abs(one - other) < 1)


def is_right(verdict: str, truth: str | None) -> bool:
    """Whether a verdict of a restart that was not judged before agrees with what is known of it."""
    if truth is None:
        return verdict != "not_needed"
    return verdict == truth or {verdict, truth} == NOT_FLUSHED


def _why_not_found(variant: Variant, row: Row, told: Told) -> Result:
    """Say whether the log owns up to not having what it would take to find a restart."""
    begin, end = certain(row)
    if any(gap["gap_from"] <= end and gap["gap_until"] >= begin for gap in told.gaps):
        return "in_gap"
    left = variant.maillogs()[MAILLOG]
    logged_at = {line.text: line.logged_at for line in variant.whole.source.maillog}
    if not left or end <= logged_at[left[0]] or begin >= logged_at[left[-1]]:
        return "outside"
    first, last = widest(row)
    is_met = any(FAILED_ATTEMPT.search(text) and first <= logged_at[text] <= last + STAMP for text in left)
    return "vanished" if is_met else "traceless"


def _added(variant: Variant, rest: list[Row]) -> Iterator[tuple[Result, Row]]:
    """Yield the restarts that the whole log has not, but for parts of one that say nothing else of it."""
    for row in rest:
        verdict = row["flush_verdict"]
        of_whole = {
            other["flush_verdict"] for other in variant.whole.told.restarts if may_be_same(other, row)
        }
        if not variant.kind.loses:
            yield "invented", row
        elif verdict == "unknown":
            if not of_whole:
                yield "supposed", row
        elif verdict not in of_whole:
            yield "invented", row


def shown(row: Row) -> str:
    """Show a restart in a few words."""
    reason = f" ({row['verdict_reason']})" if row["verdict_reason"] else ""
    missed = [
        f"{row[f'flush_{what}_count']} {what}" for what in ("missed", "failed") if row[f"flush_{what}_count"]
    ]
    held = f"{row['held_message_count']} held"
    longest = row["restart_delay_max_seconds"]
    delay = f"longest {longest:g} s" if longest is not None else ""
    told = ", ".join(filter(None, [held, *missed, delay, f"order {row['flush_order']}"]))
    return f"{row['down_at']:%H:%M:%S} {row['flush_verdict']}{reason} [{told}]"
