"""Turns deferrals and the scan service's answers into the messages that each restart held.

None of it is from the log. Postfix's queue says when a message was deferred; the scan service says whether it
had answered just before, which makes the deferral a rejection and no hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .deferrals import Deferral

Answer = tuple[float, int, str]
"""When the service answered, for how many recipients, and what."""


@dataclass(frozen=True)
class Held:
    """A message that a restart held (epoch); one that was not released was lost, or waits on."""

    first_deferred_at: float
    released_at: float | None


def find_held(
    restarts: Sequence[Mapping[str, Any]],
    messages: Iterable[Mapping[str, Any]],
    deferrals: Iterable[Deferral],
) -> list[dict[str, Held]]:
    """Return, per restart in its order, what it held by queue id.

    A deferral is due to the latest restart begun by then; before the first one it is nobody's. The hold ends
    with the answer for the last recipient, or with a deferral that is due to a later restart.
    """
    deferred_at: dict[str, list[float]] = {}
    for deferral in sorted(deferrals):
        deferred_at.setdefault(deferral.queue_id, []).append(deferral.at)
    held: list[dict[str, Held]] = [{} for _ in restarts]
    for message in messages:
        queue_id = message["queue_id"]
        answers = [
            (scan["answered_at"], scan["recipient_count"], scan["reply"])
            for scan in message["scan"]
            if scan["answered_at"]
        ]
        firsts: dict[int, float] = {}
        for at in _without_rejections(deferred_at.get(queue_id, []), answers):
            begun = [number for number, restart in enumerate(restarts) if restart["down_at"] <= at]
            if begun:
                firsts.setdefault(begun[-1], at)
        nexts = [*firsts.values(), None][1:]
        for (number, first), following in zip(firsts.items(), nexts, strict=True):
            ends = (following, _answered_at(message["recipient_count"], sorted(answers), after=first))
            held[number][queue_id] = Held(first, min((end for end in ends if end), default=None))
    return held


def _without_rejections(deferred_at: Iterable[float], answers: Iterable[Answer]) -> list[float]:
    """Leave out each deferral that the service itself has asked for since the one before."""
    refused_at = [answered_at for answered_at, _, reply in answers if not reply.startswith("2")]
    found, before = [], 0.0
    for at in deferred_at:
        if not any(before < refused <= at for refused in refused_at):
            found.append(at)
        before = at
    return found


def _answered_at(recipient_count: int, answers: Iterable[Answer], *, after: float) -> float | None:
    """Return when the service had answered for all recipients that were not served before."""
    missing = recipient_count
    for answered_at, count, reply in answers:
        if answered_at > after:
            missing -= count
            if missing <= 0:
                return answered_at
        elif reply.startswith("2"):
            missing -= count
    return None
