"""Histories with a witness taken away, and what that must not change."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from tests.oracle.history import History
from tests.oracle.oracle import Row

Kind = Literal["without_manager_log", "without_system_events", "head_cut", "tail_cut"]
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
        for kind, rest in rests.items():
            files = {**whole.files, name: rest}
            yield Variant(whole, replace(whole, host=f"{whole.host}-{kind}", files=files), kind)


def changes_without_witness(whole: list[Row], less: list[Row], kind: Kind) -> Iterator[str]:
    """Yield what a log that tells less says otherwise: it may only say less."""
    for row in less:
        met = [other for other in whole if _overlap(row, other)]
        if not met:
            continue
        shown = f"{row['restart_id']} {row['flush_verdict']} of " + ", ".join(
            f"{other['restart_id']} {other['flush_verdict']}" for other in met
        )
        verdict = row["flush_verdict"]
        before = {other["flush_verdict"] for other in met}
        if verdict in FLUSHED and not before & (FLUSHED | {"unknown"}):
            yield f"turned flushed: {shown}"
        if verdict in NOT_FLUSHED and not before & (NOT_FLUSHED | {"unknown"}):
            yield f"turned not flushed: {shown}"
        if verdict == "unknown" and row["verdict_reason"] is None:
            yield f"unknown without a reason: {shown}"
        if verdict == "missing" and before == {"ineffective"} and row["flush_order"] != "unknown":
            yield f"not ordered any more: {shown}"
        if len(met) == 1 and kind != "without_system_events":
            yield from _narrower(row, met[0], kind, shown)


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
