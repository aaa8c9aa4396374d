"""Histories with a witness or lines taken away, or lines told twice, and what that must not change."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from tests.oracle.compare import is_equal
from tests.oracle.history import History
from tests.oracle.oracle import Row

Kind = Literal[
    "without_manager_log",
    "without_system_events",
    "head_cut",
    "tail_cut",
    "any_lost",
    "activations_lost",
    "answers_lost",
    "removals_lost",
    "mail_lost",
    "stretch_lost",
    "doubled",
    "replayed",
]
# With fewer answers other failures may be an outage's, or nobody's.
BOUNDING = ("without_manager_log", "head_cut", "tail_cut")
LOST_TEXTS: dict[Kind, str] = {
    "any_lost": "",
    "activations_lost": "(queue active)",
    "answers_lost": " status=",
    "removals_lost": ": removed",
}
REPEATING = ("doubled", "replayed")
FLUSHED = {"effective"}
NOT_FLUSHED = {"missing", "ineffective"}
BOUNDS = (("down_at_earliest", "down_at_latest"), ("up_at_earliest", "up_at_latest"))


@dataclass(frozen=True)
class Variant:
    """A history that tells less than the whole one."""

    whole: History
    history: History
    kind: Kind


def cuts_of(whole: History, chance: random.Random) -> Iterator[Variant]:
    """Yield the history without each of its witnesses, and with its maillog cut at a random line."""
    witnesses: dict[Kind, str] = {"without_manager_log": "imssmgr", "without_system_events": "sysevt"}
    for kind, stem in witnesses.items():
        files = {name: lines for name, lines in whole.files.items() if not name.startswith(stem)}
        if files.keys() != whole.files.keys():
            yield Variant(whole, replace(whole, host=f"{whole.host}-{kind}", files=files), kind)
    maillogs = [name for name in whole.files if name.startswith("maillog")]
    if len(maillogs) == 1 and len(whole.files[maillogs[0]]) > 2:
        (name,) = maillogs
        lines = whole.files[name]
        at = chance.randrange(1, len(lines))
        rests: dict[Kind, list[str]] = {"head_cut": lines[at:], "tail_cut": lines[:at]}
        rests |= _with_losses(lines, chance) | _with_repeats(lines, chance)
        for kind, rest in rests.items():
            files = {**whole.files, name: rest}
            yield Variant(whole, replace(whole, host=f"{whole.host}-{kind}", files=files), kind)


def _with_losses(lines: list[str], chance: random.Random) -> dict[Kind, list[str]]:
    """Return the lines without some of them, of which no line tells.

    Of a message of which every line is lost nobody can know: what became active stays, or its answer does.
    """
    share = chance.choice((0.01, 0.03, 0.1, 0.3))
    stays = _first_activations(lines)
    rests = {
        kind: [
            line
            for number, line in enumerate(lines)
            if text not in line or number in stays[kind == "activations_lost"] or chance.random() >= share
        ]
        for kind, text in LOST_TEXTS.items()
    }
    # All lines about a message from one of them on.
    found = re.search(r": ([0-9A-Za-z]{6,}): ", chance.choice(lines))
    if found:
        of_mail = [number for number, line in enumerate(lines) if f" {found[1]}: " in line]
        lost = set(of_mail[chance.randrange(len(of_mail)) :]) - stays[False]
        rests["mail_lost"] = [line for number, line in enumerate(lines) if number not in lost]
    start = chance.randrange(len(lines))
    end = start + chance.choice((1, 3, 10, 50))
    rests["stretch_lost"] = [
        line for number, line in enumerate(lines) if not start <= number < end or number in stays[False]
    ]
    return rests


def _first_activations(lines: list[str]) -> dict[bool, set[int]]:
    """Return which lines stay: of each message the first activation; where activations are lost, none."""
    seen: set[str] = set()
    first = set()
    for number, line in enumerate(lines):
        found = re.search(r": ([0-9A-Za-z]{6,}): from=.*\(queue active\)", line)
        if found and found[1] not in seen:
            seen.add(found[1])
            first.add(number)
    return {False: first, True: set()}


def _with_repeats(lines: list[str], chance: random.Random) -> dict[Kind, list[str]]:
    """Return the lines with some of them written twice."""
    share = chance.choice((0.1, 1))
    end = chance.randrange(1, len(lines) + 1)
    return {
        "doubled": [again for line in lines for again in [line] * (1 + (chance.random() < share))],
        "replayed": lines[:end] + lines[max(end - chance.choice((5, 50, 500)), 0) :],
    }


def changes_without_witness(whole: list[Row], less: list[Row], kind: Kind) -> Iterator[str]:
    """Yield what a log that tells less says otherwise: it may only say less.

    A log that tells lines twice says the same.
    """
    if kind in REPEATING:
        yield from _differences(whole, less)
        return
    for row in less:
        met = [other for other in whole if _overlap(row, other)]
        if not met:
            continue
        # A log that begins within an outage may show its rest as another one.
        is_rest = kind == "head_cut" and len([other for other in less if _overlap(other, met[0])]) > 1
        shown = f"{row['restart_id']} {row['flush_verdict']} of " + ", ".join(
            f"{other['restart_id']} {other['flush_verdict']}" for other in met
        )
        verdict = row["flush_verdict"]
        before = {other["flush_verdict"] for other in met}
        # Without their events two restarts may be one, and the flush after both is its own.
        is_merged = kind == "without_system_events" and len(met) > 1
        if verdict in FLUSHED and not before & (FLUSHED | {"unknown"}) and not is_merged:
            yield f"turned flushed: {shown}"
        if verdict in NOT_FLUSHED and not before & (NOT_FLUSHED | {"unknown"}):
            yield f"turned not flushed: {shown}"
        # Of an outage that another log tells, a lost stretch may hide all mail: nothing is left that tells.
        is_traceless = kind == "stretch_lost" and row["held_message_count"] == 0
        if verdict == "not_needed" and "not_needed" not in before and not is_traceless:
            yield f"turned not needed: {shown}"
        if verdict == "unknown" and row["verdict_reason"] is None:
            yield f"unknown without a reason: {shown}"
        if (
            verdict == "missing"
            and before == {"ineffective"}
            and row["flush_order"] != "unknown"
            and not is_rest
        ):
            yield f"not ordered any more: {shown}"
        if len(met) == 1 and kind in BOUNDING and not is_rest:
            yield from _narrower(row, met[0], kind, shown)


def _differences(whole: list[Row], less: list[Row]) -> Iterator[str]:
    """Yield the restarts that are not the same, but for the host's name in their own."""

    def told(row: Row) -> dict[str, object]:
        return {name: value for name, value in row.items() if name not in ("host", "restart_id")}

    if len(whole) != len(less):
        yield f"{len(whole)} restarts became {len(less)}"
    by_instant = sorted(whole, key=_down_at), sorted(less, key=_down_at)
    for row, other in zip(*by_instant, strict=False):
        names = [name for name in told(row) if not is_equal(row[name], other[name])]
        if names:
            yield f"{row['restart_id']}: not the same {', '.join(names)}"


def _down_at(row: Row) -> tuple[str, str]:
    return str(row["down_at"]), str(row["flush_verdict"])


def _overlap(one: Row, other: Row) -> bool:
    """Whether two restarts may be the same, by their bounds."""

    def ends_before(row: Row, following: Row) -> bool:
        last = row["up_at_latest"] or row["up_at"] or row["up_at_earliest"] or row["down_at"]
        return _is_after(following["down_at"], last)

    return not ends_before(one, other) and not ends_before(other, one)


def _narrower(row: Row, whole: Row, kind: Kind, shown: str) -> Iterator[str]:
    """Yield the bounds that lie closer than those of the whole log.

    Only failed attempts bound a restart by themselves. Where the log's end hides the service's reply, a
    command or an event stands in for it. Where the log begins within the outage, no answer before it tells a
    slow scanner's time-outs from the failures.
    """
    if "maillog" not in row["evidence"]:  # type: ignore[operator]
        return
    if kind == "head_cut" and row["down_at_earliest"] is None:
        return
    for earliest, latest in BOUNDS:
        if _is_after(row[earliest], whole[earliest]):
            yield f"{earliest} is later than with all witnesses: {shown}"
        if _is_after(whole[latest], row[latest]) and (kind, latest) != ("tail_cut", "up_at_latest"):
            yield f"{latest} is earlier than with all witnesses: {shown}"


def _is_after(one: object, other: object) -> bool:
    """Whether an instant is later than another; one that nobody saw is not."""
    return isinstance(one, datetime) and isinstance(other, datetime) and one > other
