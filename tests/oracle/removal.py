"""Histories with a witness taken away, and what that must not change."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
    for kind, stem in (("without_manager_log", "imssmgr"), ("without_system_events", "sysevt")):
        files = {name: lines for name, lines in whole.files.items() if not name.startswith(stem)}
        if files.keys() != whole.files.keys():
            yield Variant(whole, replace(whole, host=f"{whole.host}-{kind}", files=files), kind)
    maillogs = [name for name in whole.files if name.startswith("maillog")]
    if len(maillogs) == 1 and len(whole.files[maillogs[0]]) > 2:
        (name,) = maillogs
        lines = whole.files[name]
        at = chance.randrange(1, len(lines))
        for kind, rest in (("head_cut", lines[at:]), ("tail_cut", lines[:at])):
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
            yield from _narrower(row, met[0], shown)


def _overlap(one: Row, other: Row) -> bool:
    """Whether two restarts may be the same, by their bounds."""

    def span(row: Row) -> tuple[object, object]:
        return row["down_at"], row["up_at"] or row["up_at_latest"] or row["up_at_earliest"] or row["down_at"]

    (first, last), (other_first, other_last) = span(one), span(other)
    return first <= other_last and other_first <= last  # type: ignore[operator,no-any-return]


def _narrower(row: Row, whole: Row, shown: str) -> Iterator[str]:
    for earliest, latest in BOUNDS:
        if row[earliest] is not None and (whole[earliest] is None or row[earliest] > whole[earliest]):  # type: ignore[operator]
            yield f"{earliest} is later than with all witnesses: {shown}"
        if row[latest] is not None and (whole[latest] is None or row[latest] < whole[latest]):  # type: ignore[operator]
            yield f"{latest} is earlier than with all witnesses: {shown}"
