"""The spans of time that a host's maillog covers without a gap."""

from tests.oracle.history import HOUR, SECOND
from tests.oracle.read import Told

SILENCE = 6 * HOUR
LOST_BEFORE_NOTICE = 600 * SECOND

Spans = list[tuple[int, int]]


def maillog_spans(told: Told) -> Spans:
    """Return where the maillog is whole: lines are there, none were lost, no file is missing."""
    gaps = []
    for number, instants in enumerate(told.members):
        if number in told.lost_member_after:
            gaps.append((max(instants), min(told.members[number + 1])))
    instants = sorted(at for member in told.members for at in member)
    gaps += [(a, b) for a, b in zip(instants, instants[1:], strict=False) if b - a > SILENCE]
    begun: dict[str, int] = {}
    for event in told.maillog:
        if event.kind == "begins_to_lose":
            begun[event.program] = event.at
            gaps.append((event.at - LOST_BEFORE_NOTICE, event.before))
        elif event.kind == "lost":
            since = begun.pop(event.program, event.at - LOST_BEFORE_NOTICE)
            gaps.append((since, event.before))
    if not instants:
        return []
    spans = [(instants[0], instants[-1])]
    for start, end in gaps:
        spans = [
            part
            for since, until in spans
            for part in (
                [(since, until)] if end <= since or until <= start else [(since, start), (end, until)]
            )
            if part[0] <= part[1]
        ]
    return spans
