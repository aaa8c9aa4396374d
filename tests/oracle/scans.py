"""The waits of deferred mail to the scans of the deferred queue: what each took, left behind, and proves."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from tests.oracle.coverage import Coverage
from tests.oracle.history import SECOND
from tests.oracle.mail import LEAVES, Message, Retries, Round, Scan, Wait
from tests.oracle.read import Event, Told

ACTIVATION_BLUR = 2 * SECOND
BACKOFF_MARGIN = 2 * SECOND
ASSUMED_BACKOFF = 60 * SECOND
DUE_MARGIN = 60 * SECOND
LEFT_BEHIND = 2 * SECOND
SCAN_GAP = 2 * SECOND
QMGR_START = 5 * SECOND
QUEUE_RUN_MARGIN = 2 * SECOND
SHORTEST_QUEUE_RUN = 10 * SECOND
ORDER_EFFECT = 10 * SECOND
FLUSH_WINDOW = 120 * SECOND


@dataclass(frozen=True, slots=True)
class Start:
    """A start of a qmgr; of one that only another process tells of nobody knows the instant."""

    at: int
    is_told: bool


def rounds_of(message: Message) -> list[Round]:
    """Return the rounds of deliveries; the first is what comes before any activation."""
    rounds = [Round(None, [])]
    for event in _with_lost_activations(message.events):
        if event.kind in ("activation", "computed"):
            rounds.append(Round(event, []))
        else:
            rounds[-1].events.append(event)
    return rounds


def _with_lost_activations(events: list[Event]) -> list[Event]:
    """Add the activations that the deliveries between two logged ones tell of, before the first of each.

    A delivery tells for how long its message had been active. What is tried for the second time, or the
    third, was activated so often, unless an added activation accounts for it.
    """
    found = []
    tries: dict[str | None, list[int]] = {}
    latest: int | None = None
    added_at: list[int] = []
    for place, event in enumerate(events):
        if event.kind == "activation":
            tries, latest, added_at = {}, None, []
        if event.kind != "attempt":
            continue
        own = tries.setdefault(event.recipient, [])
        if latest is not None:
            is_long_after = event.active_from > latest + ACTIVATION_BLUR
            most = max(map(len, tries.values()))
            is_again = (
                len(own) == most
                and event.active_from > latest
                and not any(own[-1] < other for other in added_at)
            )
            if is_long_after or is_again:
                found.append((event.active_from, event.source, event.line, 0, event))
                added_at.append(place)
        own.append(place)
        latest = event.at
    if not found:
        return events
    added = [
        (at, source, line, order, Event("computed", at, at, source, line, instance=event.instance))
        for at, source, line, order, event in found
    ]
    placed = [(event.at, event.source, event.line, 1, event) for event in events]
    return [event for *_, event in sorted(added + placed, key=lambda placed: placed[:4])]


def qmgr_starts(told: Told) -> dict[str, list[Start]]:
    """Return the starts of each instance's qmgr: those the log tells, and changes of its process."""
    starts: dict[str, list[Start]] = {}
    for event in told.maillog:
        if event.kind == "qmgr_start":
            starts.setdefault(event.instance, []).append(Start(event.at, is_told=True))
    last: dict[str, Event] = {}
    for event in told.maillog:
        if event.kind != "activation" or event.pid is None or not event.program.endswith("qmgr"):
            continue
        before = last.get(event.instance)
        last[event.instance] = event
        if before is None or before.pid == event.pid:
            continue
        own = starts.setdefault(event.instance, [])
        if not any(start.is_told and before.at <= start.at <= event.at for start in own):
            own.append(Start(event.at, is_told=False))
    return {instance: sorted(own, key=lambda start: start.at) for instance, own in starts.items()}


def find_waits(messages: Iterable[Message], retries: Retries) -> None:
    """Give each message its waits: after each round of deliveries that left something deferred."""
    backoff = retries.minimal_backoff
    earliest_run = backoff - BACKOFF_MARGIN
    limit = earliest_run if retries.is_backoff_told else min(earliest_run, ASSUMED_BACKOFF)
    for message in messages:
        message.rounds = rounds_of(message)
        for its_round, following in zip_longest(message.rounds, message.rounds[1:]):
            tried = its_round.of_kind("attempt")
            if not any(event.status == "deferred" for event in tried):
                continue
            deferred_at = max(event.at for event in tried)
            taken_out = [event.at for event in its_round.of_kind("put_on_hold", *LEAVES)]
            pause = max(min(deferred_at - message.arrived_at, retries.maximal_backoff), backoff)
            wait = Wait(
                message,
                deferred_at=deferred_at,
                due_by=deferred_at + pause + retries.queue_run_delay + DUE_MARGIN,
                reactivated_at=following.activation.at if following and following.activation else None,
                is_computed=bool(following) and following.is_computed,
                taken_out_at=min(taken_out, default=None),
                is_skipped=bool(its_round.of_kind("skipped")),
            )
            if wait.reactivated_at is not None:
                blur = ACTIVATION_BLUR if wait.is_computed else 0
                waited = wait.reactivated_at - deferred_at
                wait.is_early = waited < limit - blur
                wait.is_unsettled = limit - blur <= waited < earliest_run + blur
            message.waits.append(wait)


def find_scans(messages: Iterable[Message], told: Told, coverage: Coverage, retries: Retries) -> None:
    """Find the scans of all deferred queues, and whether each was a flush; their waits know them then."""
    waits = [wait for message in messages for wait in message.waits]
    all_starts = qmgr_starts(told)
    for instance in {wait.message.instance for wait in waits}:
        own = [wait for wait in waits if wait.message.instance == instance]
        scans = _bursts(instance, own)
        starts = all_starts.get(instance, [])
        for scan in scans:
            began, ended = scan.began_at, scan.ended_at
            scan.is_at_qmgr_start = any(began - QMGR_START <= start.at <= ended for start in starts)
            scan.left = [wait for wait in own if _may_be_left(wait, scan, coverage)]
            sure = [wait for wait in scan.left if _is_left_for_sure(wait, scan, retries)]
            scan.left_for_sure = sure
            # Where lines of the scan itself are lost, so may be those of what else it took.
            scan.left_behind_count = 0 if scan.is_computed else len(sure)
            scan.maybe_left_count = len(scan.left) - scan.left_behind_count
        _judge_scans(scans, told, retries)
        if retries.is_run_delay_told:
            _find_queue_runs(scans, starts, retries.queue_run_delay)


def _bursts(instance: str, waits: list[Wait]) -> list[Scan]:
    """Put what was taken in one burst into one scan."""
    taken = [(wait.reactivated_at, wait) for wait in waits if wait.reactivated_at is not None]
    scans: list[Scan] = []
    for at, wait in sorted(taken, key=lambda taken: taken[0]):
        if wait.is_skipped:
            continue
        if scans and at <= scans[-1].ended_at + SCAN_GAP:
            scans[-1].waits.append(wait)
        else:
            scans.append(Scan(instance, [wait]))
        wait.scan = scans[-1]
    return scans


def _may_be_left(wait: Wait, scan: Scan, coverage: Coverage) -> bool:
    """Whether a wait may have gone on through a scan; without an end it did so until its time at most."""
    until = wait.due_by if wait.until is None else wait.until
    return (
        wait.deferred_at < scan.began_at - LEFT_BEHIND
        and until > scan.ended_at
        and coverage.tells_in_one_span(wait.deferred_at, scan.ended_at)
    )


def _is_left_for_sure(wait: Wait, scan: Scan, retries: Retries) -> bool:
    if wait.until is None:
        return False
    # What was due may have been tried in between, and the lines of it lost.
    if retries.is_backoff_told and retries.is_run_delay_told and scan.ended_at > wait.due_by:
        return False
    return not wait.is_computed or scan.ended_at <= wait.until - 2 * ACTIVATION_BLUR


def _takes_due_mail_only(scan: Scan) -> bool:
    return not any(wait.is_early for wait in scan.waits)


def _find_queue_runs(scans: list[Scan], starts: list[Start], queue_run_delay: int) -> None:
    """Find the scans in the rhythm of the last qmgr start, or of the last scan that left younger mail."""
    runs = [
        scan.began_at
        for scan in scans
        if _takes_due_mail_only(scan) and scan.left_behind_count and not scan.is_at_qmgr_start
    ]
    for scan in scans:
        start = max((s for s in starts if s.at <= scan.ended_at), key=lambda s: s.at, default=None)
        marks = [at for at in runs if at < scan.began_at and (start is None or at > start.at)]
        if start is not None and start.is_told:
            marks.append(start.at)
        if marks and _takes_due_mail_only(scan):
            off = (scan.began_at - max(marks)) % queue_run_delay
            scan.is_queue_run = min(off, queue_run_delay - off) <= QUEUE_RUN_MARGIN


def _judge_scans(scans: list[Scan], told: Told, retries: Retries) -> None:
    """A flush takes mail too young for a queue run, and leaves none behind."""
    orders = told.orders_and_markers
    is_refuted = (
        _is_told_backoff_refuted(scans, orders)
        if retries.is_backoff_told
        else any(_contradicts(scan) for scan in scans)
    )
    for scan in scans:
        if scan.is_at_qmgr_start or _takes_due_mail_only(scan) or scan.left_behind_count:
            scan.is_flush = False
        elif scan.maybe_left_count:
            scan.is_flush, scan.doubt = None, "coverage_gap"
        elif is_refuted or (
            not retries.is_backoff_told and (scan.is_computed or _is_unordered(scan, told, orders))
        ):
            scan.is_flush, scan.doubt = None, "settings_unknown"
        elif scan.is_computed and not _is_ordered(scan, orders):
            scan.is_flush, scan.doubt = None, "coverage_gap"
        else:
            scan.is_flush = True


def _contradicts(scan: Scan) -> bool:
    """Whether a scan took mail that was too young, and left other mail behind."""
    return not _takes_due_mail_only(scan) and bool(scan.left_behind_count) and not scan.is_at_qmgr_start


def _is_told_backoff_refuted(scans: list[Scan], orders: list[tuple[int, int]]) -> bool:
    """Whether a shorter minimal_backoff_time than the one that is told explains all scans, and that one not.

    An operator who retries one message after another leaves mail behind as well.
    """
    close = {id(one) for pair in pairwise(scans) for one in pair if _are_close(*pair)}
    longest_left = [
        left
        for scan in scans
        if not scan.is_computed and not scan.is_at_qmgr_start
        for left in [_longest_left(scan)]
        if left is not None
    ]
    for scan in scans:
        last = max(((at, before) for at, before in orders if at <= scan.ended_at), default=None)
        is_odd = id(scan) in close or (last is not None and last[1] > scan.began_at - FLUSH_WINDOW)
        taken = min(wait.reactivated_at - wait.deferred_at for wait in scan.waits if wait.reactivated_at)
        if _contradicts(scan) and not is_odd and longest_left and max(longest_left) < taken:
            return True
    return False


def _are_close(earlier: Scan, later: Scan) -> bool:
    return later.began_at < earlier.ended_at + SHORTEST_QUEUE_RUN


def _longest_left(scan: Scan) -> int | None:
    """Return how long mail had waited that a scan left, but for what was to wait longer for its age."""
    left = []
    for wait in scan.left_for_sure:
        whole_seconds = scan.began_at // SECOND - wait.deferred_at // SECOND
        if wait.deferred_at - wait.message.arrived_at <= whole_seconds * SECOND:
            left.append(scan.began_at - wait.deferred_at)
    return max(left, default=None)


def _is_ordered(scan: Scan, orders: list[tuple[int, int]]) -> bool:
    """Whether an order came just before a scan."""
    last = max(((at, before) for at, before in orders if at <= scan.ended_at), default=None)
    return last is not None and last[1] >= scan.began_at - ORDER_EFFECT


def _is_unordered(scan: Scan, told: Told, orders: list[tuple[int, int]]) -> bool:
    """Whether surely nobody ordered a scan, as far as the orders of its time are known."""
    if _is_ordered(scan, orders):
        return False
    last = max(((at, before) for at, before in orders if at <= scan.ended_at), default=None)
    is_covered = any(since <= scan.began_at and scan.ended_at <= until for since, until in told.manager_spans)
    return is_covered or (last is not None and last[0] > scan.began_at - FLUSH_WINDOW)
