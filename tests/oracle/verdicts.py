"""What became of the mail that waited at the end of a restart, and what the log cannot tell."""

from dataclasses import dataclass

from tests.oracle.coverage import Coverage, Known, known_of
from tests.oracle.history import DAY, MINUTE, SECOND
from tests.oracle.mail import Held, Wait
from tests.oracle.outages import Restart
from tests.oracle.read import Order
from tests.oracle.scans import LEFT_BEHIND, ORDER_EFFECT

LONGEST_ATTEMPT = 600 * SECOND
SHORTEST_OUTAGE = 10 * SECOND
ATTEMPT_RATE = 900 * SECOND
EXPECTED_ATTEMPTS = 60
POLL = MINUTE
POLL_MARGIN = 2 * SECOND


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a restart's flush is judged."""

    flush_verdict: str
    verdict_reason: str | None
    flush_order: str
    flush_missed_count: int | None
    flush_failed_count: int | None
    flush_commanded_at: int | None
    flush_marked_at: int | None
    flush_observed_at: int | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the logs of a host hold for its verdicts."""

    coverage: Coverage
    manager_spans: list[tuple[int, int]]
    commands: list[tuple[int, int]]
    markers: list[tuple[int, int]]
    """Orders, with where their stamps end."""
    attempts: list[int]
    """When attempts at the scan service began."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A held message's wait at the flush or order that judges it."""

    row: Held
    wait: Wait
    at: int
    is_taken: bool

    @property
    def is_failed_again(self) -> bool:
        """Whether the message was deferred again during its hold."""
        return self.wait is not self.row.waits[-1]


@dataclass(frozen=True, slots=True)
class Case:
    """What there is to judge about a restart."""

    restart: Restart
    judged: list[Judged]
    waiting: list[Wait]
    """What waited when the service was up again, or may have been."""
    others: list[Wait]
    """The waits of all held mail of the host."""
    flush: int | None
    later_doubts: list[str]
    """Why scans after the last flush of their instance, if it saw any, may have been flushes as well."""
    order: str
    attempts: list[int]
    """When attempts at the scan service began."""
    is_released_late: bool
    """Whether mail that it held was released after the service was up again."""


def own_orders(restart: Restart, restarts: list[Restart], orders: list[tuple[int, int]]) -> list[int]:
    """Return the orders of a restart: of two windows that an order may lie in, it is the first one's."""
    own = []
    for at, before in orders:
        holding = [other for other in restarts if other.has_in_window(at, before)]
        if holding and min(holding, key=lambda other: other.window_from) is restart:
            own.append(at)
    return own


def judge(restart: Restart, restarts: list[Restart], held: list[Held], evidence: Evidence) -> Verdict:
    """Judge a restart's flush by the mail that it held; `held` is that of all restarts."""
    waits = [(row, wait) for row in held if row.restart is restart for wait in row.waits]
    commands = own_orders(restart, restarts, evidence.commands)
    markers = own_orders(restart, restarts, evidence.markers)
    last_order = _judging_order(commands + markers, [wait for _, wait in waits])
    flushes: dict[str, list[int]] = {}
    for _, wait in waits:
        if wait.scan and wait.scan.is_flush and restart.has_in_window(wait.scan.began_at):
            flushes.setdefault(wait.scan.instance, []).append(wait.scan.began_at)
    last_flush = max((at for instants in flushes.values() for at in instants), default=None)
    judged_by = last_flush if last_flush is not None else last_order

    # A flush and its repetition within a moment are one scan: the last time that it took a message counts.
    judged: dict[int, Judged] = {}
    for row, wait in waits:
        own = max(flushes.get(wait.message.instance, []), default=None)
        at = own if own is not None else judged_by
        if at is None or _ended(wait, at - 1):
            continue
        is_taken = own is not None and wait.scan is not None and wait.scan.began_at == own
        margin = LEFT_BEHIND if last_flush is not None else 0
        if is_taken or wait.deferred_at < at - margin:
            judged[id(row)] = Judged(row, wait, at, is_taken)
    case = Case(
        restart=restart,
        judged=list(judged.values()),
        waiting=[wait for _, wait in waits if _may_wait_at_end(restart, wait)],
        others=[wait for row in held for wait in row.waits],
        flush=last_flush,
        later_doubts=[
            wait.scan.doubt
            for _, wait in waits
            if wait.scan
            and wait.scan.doubt
            and wait.scan.began_at > max(flushes.get(wait.scan.instance, [0]))
            and restart.has_in_window(wait.scan.began_at)
        ],
        order=_flush_order(restart, bool(commands or markers), evidence),
        attempts=evidence.attempts,
        is_released_late=restart.up_at is not None
        and any(
            row.restart is restart and row.released_at is not None and row.released_at > restart.up_at
            for row in held
        ),
    )
    # What has no end in the log was neither passed over nor taken, as far as anybody knows.
    missed = sum(not one.is_taken and one.wait.until is not None for one in case.judged)
    failed = sum(one.is_taken and one.is_failed_again for one in case.judged)
    reason = _doubt(case, known_of(restart, evidence.coverage))
    if reason:
        verdict = "unknown"
    elif not case.waiting and not judged:
        verdict = "not_needed"
    elif last_flush is not None:
        verdict = "ineffective" if missed + failed else "effective"
    else:
        verdict = "ineffective" if case.order == "ordered" else "missing"
    return Verdict(
        flush_verdict=verdict,
        verdict_reason=reason,
        flush_order=case.order,
        flush_missed_count=None if reason else missed,
        flush_failed_count=None if reason else failed,
        flush_commanded_at=min(commands, default=None),
        flush_marked_at=min(markers, default=None),
        flush_observed_at=min((at for instants in flushes.values() for at in instants), default=None),
    )


def _judging_order(orders: list[int], waits: list[Wait]) -> int | None:
    """Return the last order that found mail waiting, else the last."""
    finding = [
        at for at in orders if any(w.deferred_at < at and (w.until is None or at <= w.until) for w in waits)
    ]
    return max(finding or orders, default=None)


def _ended(wait: Wait, instant: int) -> bool:
    return wait.until is not None and wait.until <= instant


def _may_wait_at_end(restart: Restart, wait: Wait) -> bool:
    """Whether a wait was under way at an instant at which the service may have been up again."""
    maybe_up_at = restart.up_at if restart.up_at_earliest is None else restart.up_at_earliest
    return maybe_up_at is None or not _ended(wait, maybe_up_at)


def _flush_order(restart: Restart, is_ordered: bool, evidence: Evidence) -> str:
    if is_ordered:
        return "ordered"
    start = restart.up_at_earliest if restart.up_at_earliest is not None else restart.down_at
    end = restart.window_until if restart.window_until is not None else restart.down_at
    is_covered = any(since <= start and end <= until for since, until in evidence.manager_spans)
    return "not_ordered" if is_covered else "unknown"


def _is_unmet(restart: Restart, attempts: list[int]) -> bool:
    """Whether no attempt met an outage that several were to be expected in, by those about it."""
    start, end = restart.down_at_earliest, restart.up_at_latest
    if restart.failures or start is None or end is None or end <= start + SHORTEST_OUTAGE:
        return False
    near = [at for at in attempts if -ATTEMPT_RATE <= at - restart.down_at < ATTEMPT_RATE]
    return bool(near) and len(near) * (end - start) >= EXPECTED_ATTEMPTS * (max(near) - min(near))


def _doubt(case: Case, known: Known) -> str | None:
    """Return why the verdict stays open: first what the log lacks, then what it cannot tell."""
    restart = case.restart
    if not known.has_maillog:
        return "no_maillog"
    if known.is_clock_set_back:
        return "clock_set_back"
    if restart.up_at is None:
        return "still_down"
    if known.has_hiding_gap:
        return "coverage_gap"
    until = known.until or 0
    end_reason = "log_end" if known.is_log_end else "coverage_gap"
    is_window_cut = restart.window_until is None or until < restart.window_until
    if is_window_cut and any(not _ended(wait, until) for wait in case.waiting):
        return end_reason
    if not known.is_start_covered:
        return "coverage_gap"
    if not case.waiting and not case.judged:
        if until < restart.up_at:
            return end_reason
        if case.is_released_late or _is_unmet(restart, case.attempts):
            return "coverage_gap"
        return "too_few_messages" if _is_for_others(case) else None
    if case.flush is not None:
        if all(one.row.is_ended or one.is_failed_again for one in case.judged):
            return min(case.later_doubts, default=None)
        return end_reason if until < case.flush + LONGEST_ATTEMPT else "coverage_gap"
    # Before the log's end a wait was due that nothing tells of: lines of it are lost.
    is_lost = any(wait.until is None and wait.due_by < until for wait in case.waiting)
    open_reason = "log_end" if known.is_log_end and not is_lost else "coverage_gap"
    if case.order == "ordered":
        return _doubt_about_order(restart, case.judged, open_reason)
    return _doubt_about_silence(restart, case.waiting, open_reason)


def _is_for_others(case: Case) -> bool:
    """Whether the command that alone tells of a restart may be for mail that another one held."""
    at = case.restart.down_at
    return case.restart.is_command and any(
        wait.deferred_at < at <= (wait.due_by if wait.until is None else wait.until) for wait in case.others
    )


def _doubt_about_order(restart: Restart, judged: list[Judged], open_reason: str) -> str | None:
    soon = [
        one.wait
        for one in judged
        if one.wait.reactivated_at is not None and one.wait.reactivated_at <= one.at + ORDER_EFFECT
    ]
    # What may have been a flush is a doubt in the whole window.
    maybe_flushed = [
        one.wait
        for one in judged
        if _is_taken_in_window(restart, one.wait) and one.wait.scan and one.wait.scan.is_flush is None
    ]
    if doubts := [wait.doubt for wait in soon + maybe_flushed if wait.doubt]:
        return min(doubts)
    if any(wait.scan and wait.scan.is_at_qmgr_start for wait in soon):
        return "qmgr_restart"
    still_open = [one for one in judged if one.wait.until is None]
    if judged and len(still_open) == len(judged):
        return open_reason
    ambiguous = [wait for wait in soon if _is_ambiguous(wait)]
    return "too_few_messages" if len(ambiguous) + len(still_open) == len(judged) else None


def _doubt_about_silence(restart: Restart, waits: list[Wait], open_reason: str) -> str | None:
    in_window = [wait for wait in waits if _is_taken_in_window(restart, wait)]
    if doubts := [wait.doubt for wait in in_window if wait.doubt]:
        return min(doubts)
    up_at = restart.up_at or 0
    waiting = [wait for wait in waits if not _ended(wait, up_at)]
    sure = [wait for wait in waiting if wait.until is not None]
    if not waiting:
        # It was taken before the service is known to have been up.
        return "too_few_messages"
    if not sure:
        return open_reason
    # What is known to be a queue run is no doubt.
    unclear = [wait for wait in in_window if wait.scan and not wait.scan.is_queue_run]
    at_start = [wait for wait in unclear if wait.scan and wait.scan.is_at_qmgr_start]
    if all(wait in at_start or (wait in unclear and _is_ambiguous(wait)) for wait in sure):
        return "qmgr_restart" if at_start else "too_few_messages"
    return None


def _is_taken_in_window(restart: Restart, wait: Wait) -> bool:
    if wait.scan is None or restart.window_until is None:
        return False
    return wait.scan.began_at < restart.window_until


def _is_ambiguous(wait: Wait) -> bool:
    """Whether a flush or a queue run may have taken it: it was old enough, and none was left behind."""
    return wait.scan is not None and wait.scan.left_behind_count == 0 and not wait.is_early


def is_not_noticed(restart: Restart, orders: list[Order]) -> bool:
    """Whether surely no poll of the manager fell into the outage, by the second of its flush commands."""
    stop = restart.stop
    start = restart.down_at_earliest
    if stop and stop.stopped_at is not None and stop.stopped_at <= restart.down_at:
        start = stop.stopped_at
    end = stop.started_at if stop and stop.started_at is not None else restart.up_at_latest
    if start is None or end is None:
        return False
    before = [order for order in orders if restart.down_at - DAY <= order.at <= restart.down_at]
    after = [order for order in orders if restart.down_at < order.at <= restart.down_at + DAY]
    near = [*before[-1:], *after[:1]]
    if not near:
        return False
    phase = near[0].at % POLL
    if len(near) == 2:
        apart = (near[1].at - near[0].at) % POLL
        if near[0].pid != near[1].pid or min(apart, POLL - apart) > POLL_MARGIN:
            return False
    first = start - POLL_MARGIN
    next_poll = first + (phase - first) % POLL
    return next_poll > end + POLL_MARGIN
