"""What became of the mail that waited at the end of a restart, and what the log cannot tell."""

from dataclasses import dataclass

from tests.oracle.coverage import Coverage, known_of
from tests.oracle.history import DAY, MINUTE, SECOND
from tests.oracle.mail import LEFT_BEHIND, Held, Wait
from tests.oracle.outages import Restart
from tests.oracle.read import Order

ORDER_EFFECT = 10 * SECOND
LONGEST_ATTEMPT = 600 * SECOND
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


def own_orders(restart: Restart, restarts: list[Restart], orders: list[tuple[int, int]]) -> list[int]:
    """Return the orders of a restart: of two windows that an order may lie in, it is the first one's."""
    own = []
    for at, before in orders:
        holding = [other for other in restarts if other.has_in_window(at, before)]
        if holding and min(holding, key=lambda other: other.window_from) is restart:
            own.append(at)
    return own


def judge(restart: Restart, restarts: list[Restart], held: list[Held], evidence: Evidence) -> Verdict:
    """Judge a restart's flush by the mail that it held."""
    waits = [(row, wait) for row in held for wait in row.waits]
    commands = own_orders(restart, restarts, evidence.commands)
    markers = own_orders(restart, restarts, evidence.markers)
    last_order = _judging_order(commands + markers, [wait for _, wait in waits])
    flushes: dict[str, list[int]] = {}
    for _, wait in waits:
        if wait.scan and wait.scan.is_flush and restart.has_in_window(wait.scan.began_at):
            flushes.setdefault(wait.scan.instance, []).append(wait.scan.began_at)
    last_flush = max((at for instants in flushes.values() for at in instants), default=None)
    judged_by = last_flush if last_flush is not None else last_order

    judged = []
    for row, wait in waits:
        own = max(flushes.get(wait.message.instance, []), default=None)
        at = own if own is not None else judged_by
        if at is None or (wait.until is not None and wait.until < at):
            continue
        is_taken = own is not None and wait.scan is not None and wait.scan.began_at == own
        margin = LEFT_BEHIND if last_flush is not None else 0
        if is_taken or wait.deferred_at < at - margin:
            judged.append((row, wait, at, is_taken))
    waiting = [(row, w) for row, w in waits if restart.up_at is not None and not _ended(w, restart.up_at)]

    flush_order = _flush_order(restart, bool(commands or markers), evidence)
    # A flush and its repetition within a moment are one scan: the last time that it took a message counts.
    last = {id(row): (row, wait, is_taken) for row, wait, _, is_taken in judged}
    missed = sum(not is_taken for *_, is_taken in last.values())
    failed = sum(is_taken and _is_failed_again(row, wait) for row, wait, is_taken in last.values())
    reason = _doubt(restart, evidence, judged=judged, waiting=waiting, flush=last_flush, order=flush_order)
    if reason:
        verdict = "unknown"
    elif not waiting and not judged:
        verdict = "not_needed"
    elif last_flush is not None:
        verdict = "ineffective" if missed + failed else "effective"
    else:
        verdict = "ineffective" if flush_order == "ordered" else "missing"
    return Verdict(
        flush_verdict=verdict,
        verdict_reason=reason,
        flush_order=flush_order,
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


def _is_failed_again(row: Held, wait: Wait) -> bool:
    return wait is not row.waits[-1]


def _flush_order(restart: Restart, is_ordered: bool, evidence: Evidence) -> str:
    if is_ordered:
        return "ordered"
    start = restart.up_at_earliest if restart.up_at_earliest is not None else restart.down_at
    end = restart.window_until if restart.window_until is not None else restart.down_at
    is_covered = any(since <= start and end <= until for since, until in evidence.manager_spans)
    return "not_ordered" if is_covered else "unknown"


def _doubt(
    restart: Restart,
    evidence: Evidence,
    *,
    judged: list[tuple[Held, Wait, int, bool]],
    waiting: list[tuple[Held, Wait]],
    flush: int | None,
    order: str,
) -> str | None:
    """Return why the verdict stays open: first what the log lacks, then what it cannot tell."""
    known = known_of(restart, evidence.coverage)
    if not known.has_maillog:
        return "no_maillog"
    if restart.up_at is None:
        return "still_down"
    if known.has_hiding_gap:
        return "coverage_gap"
    until = known.until or 0
    end_reason = "log_end" if known.is_log_end else "coverage_gap"
    is_window_cut = restart.window_until is None or until < restart.window_until
    if is_window_cut and any(not _ended(wait, until) for _, wait in waiting):
        return end_reason
    if not known.is_start_covered:
        return "coverage_gap"
    if not waiting and not judged:
        return end_reason if until < restart.up_at else None
    if flush is not None:
        last = {id(row): (row, wait) for row, wait, *_ in judged}
        is_open = any(
            row.released_at is None and not _is_failed_again(row, wait) for row, wait in last.values()
        )
        return end_reason if is_open and until < flush + LONGEST_ATTEMPT else None
    if order == "ordered":
        return _doubt_about_order(judged)
    return _doubt_about_silence(restart, [wait for _, wait in waiting])


def _doubt_about_order(judged: list[tuple[Held, Wait, int, bool]]) -> str | None:
    soon = [
        wait
        for _, wait, at, _ in judged
        if wait.reactivated_at is not None and wait.reactivated_at <= at + ORDER_EFFECT
    ]
    if any(wait.is_unsettled or (wait.scan is None or wait.scan.is_flush is None) for wait in soon):
        return "settings_unknown"
    if any(wait.scan and wait.scan.is_at_qmgr_start for wait in soon):
        return "qmgr_restart"
    ambiguous = [wait for wait in soon if _is_ambiguous(wait)]
    return "too_few_messages" if len(ambiguous) == len(judged) else None


def _doubt_about_silence(restart: Restart, waits: list[Wait]) -> str | None:
    in_window = [
        wait
        for wait in waits
        if wait.scan and (restart.window_until is None or wait.scan.began_at < restart.window_until)
    ]
    if any(wait.is_unsettled or (wait.scan and wait.scan.is_flush is None) for wait in in_window):
        return "settings_unknown"
    # What is known to be a queue run is no doubt.
    unclear = [wait for wait in in_window if wait.scan and not wait.scan.is_queue_run]
    at_start = [wait for wait in unclear if wait.scan and wait.scan.is_at_qmgr_start]
    if all(wait in at_start or (wait in unclear and _is_ambiguous(wait)) for wait in waits):
        return "qmgr_restart" if at_start else "too_few_messages"
    return None


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
