"""A host's messages to the time in which lines about them are visibly missing, or told twice."""

from collections.abc import Iterable
from itertools import pairwise, zip_longest

from tests.oracle.coverage import Coverage, Gap
from tests.oracle.history import SECOND
from tests.oracle.mail import LEAVES, Message, Round
from tests.oracle.read import Told
from tests.oracle.scans import qmgr_starts

LOST_ARRIVAL = 5 * SECOND
LONGEST_ATTEMPT = 600 * SECOND
CLOCK_STEP = SECOND


def find_lost_lines(messages: Iterable[Message], told: Told, coverage: Coverage) -> list[Gap]:
    """Return where lines about a message are visibly missing.

    Each activation ends with an answer for the message, and a message is told of from its arrival on. A qmgr
    that starts logs its active mail again.
    """
    starts = [(instance, s.at) for instance, own in qmgr_starts(told).items() for s in own]
    gaps = []
    messages = list(messages)
    twice_active = {
        (message.instance, message.queue_id)
        for message in messages
        if message.waits or len(message.of_kind("activation")) > 1
    }
    for message in messages:
        spans = [_beheaded(message, coverage), _unanswered(message), _unended(message, coverage)]
        if (message.instance, message.queue_id) in twice_active:
            for its_round, following in zip_longest(message.rounds, message.rounds[1:]):
                spans.append(_unanswered_round(message, its_round, following, starts))
        # Stamps of whole seconds are cut.
        gaps += [Gap(span[0], span[1] + SECOND, "missing_lines") for span in spans if span]
    return gaps


def _beheaded(message: Message, coverage: Coverage) -> tuple[int, int] | None:
    """Return the time between an arrival that only delays tell of and the first line."""
    tried = message.of_kind("attempt")
    first = min((e.at for e in message.events if e.kind != "skipped"), default=None)
    if message.of_kind("arrival") or not tried or first is None or coverage.start is None:
        return None
    arrived_at = message.arrived_at
    is_within_log = arrived_at > coverage.start
    return (arrived_at, first) if is_within_log and first > arrived_at + LOST_ARRIVAL else None


def _unanswered(message: Message) -> tuple[int, int] | None:
    """Return the time of a message that was active and then removed, and that nobody tried to deliver."""
    removed = message.of_kind("removed")
    is_otherwise_ended = message.of_kind("attempt", "expired", "deleted", "requeued")
    if not removed or is_otherwise_ended or len(message.of_kind("activation")) != 1:
        return None
    return message.arrived_at, removed[-1].at


def _unended(message: Message, coverage: Coverage) -> tuple[int, int] | None:
    """Return the time after an activation without another line, unless the message may be tried still."""
    last = message.rounds[-1]
    if last.activation is None or last.is_computed:
        return None
    if last.of_kind("attempt", "skipped", "expired", "put_on_hold", *LEAVES):
        return None
    until = last.activation.at + LONGEST_ATTEMPT
    return (last.activation.at, until) if until < (coverage.end or 0) else None


def _unanswered_round(
    message: Message, its_round: Round, following: Round | None, starts: list[tuple[str, int]]
) -> tuple[int, int] | None:
    """Return the time from an activation to the next, or to the removal, if nothing tells of a delivery."""
    activation = its_round.activation
    if activation is None or its_round.is_computed or its_round.of_kind("attempt", "skipped", "expired"):
        return None
    removals = its_round.of_kind("removed")
    taken_out = its_round.of_kind("put_on_hold", *LEAVES)
    if removals:
        until = removals[-1].at
    elif following and following.activation:
        until = following.activation.at
    else:
        return None
    if taken_out and min(event.at for event in taken_out) != until:
        return None
    is_new_qmgr = any(
        instance == message.instance and activation.at <= at <= until for instance, at in starts
    )
    return None if is_new_qmgr else (activation.at, until)


def find_clock_steps(told: Told) -> list[Gap]:
    """Return the time that a file tells twice, because the clock was set back in between."""
    gaps = []
    for source in range(len(told.members)):
        tried = [event for event in told.maillog if event.kind == "attempt" and event.source == source]
        stretches: list[list[int]] = []
        for event in sorted(tried, key=lambda event: event.line):
            if not stretches or event.at < stretches[-1][-1] - CLOCK_STEP:
                stretches.append([])
            stretches[-1].append(event.at)
        for before, after in pairwise(stretches):
            start = max(min(before), min(after))
            end = min(max(before), max(after)) + SECOND
            if start < end:
                gaps.append(Gap(start, end, "clock_set_back"))
    return gaps
