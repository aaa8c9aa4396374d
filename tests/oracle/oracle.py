"""A host's history to its rows of marts.restarts and marts.held_messages."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tests.oracle.coverage import find_coverage
from tests.oracle.history import SECOND, History, Settings
from tests.oracle.losses import find_clock_steps, find_lost_lines
from tests.oracle.mail import Held, Retries, find_held, find_messages, qmgr_instances
from tests.oracle.outages import Restart, find_restarts, is_overlong, is_up_at_estimated, scan_attempts
from tests.oracle.read import Told, read_history
from tests.oracle.scans import find_scans, find_waits
from tests.oracle.verdicts import Evidence, Verdict, is_not_noticed, judge

LONG_DELAY = 300 * SECOND
DEFAULT_RETRIES: dict[bool, Settings] = {
    False: {"minimal_backoff_seconds": 300, "maximal_backoff_seconds": 4000, "queue_run_delay_seconds": 300},
    True: {"minimal_backoff_seconds": 900, "maximal_backoff_seconds": 3600, "queue_run_delay_seconds": 900},
}
"""Postfix's own, and IMSVA's."""
DEFECTIVE_WRAPPER = "5e0eb2ceffbf474480ec2814e85d66ae"

Row = dict[str, object]


def judge_history(history: History) -> tuple[list[Row], list[Row]]:
    """Return the restarts of a history and the messages that they held."""
    told = read_history(history)
    instances = qmgr_instances(told)
    attempts = scan_attempts(told, instances)
    messages = find_messages(told, instances, attempts)
    coverage = find_coverage(told)
    retries = _retries(history.settings)
    find_waits(messages, retries)
    find_scans(messages, told, coverage, retries)
    clock_steps = find_clock_steps(told)
    seen_gaps = [*coverage.gaps, *find_lost_lines(messages, told, coverage), *clock_steps]
    refused_ids = {(a.instance, a.event.queue_id) for a in attempts if not a.is_answered}
    restarts = find_restarts(
        attempts,
        told,
        held_spans=[
            (wait.deferred_at, wait.due_by if wait.until is None else wait.until)
            for message in messages
            if (message.instance, message.queue_id) in refused_ids
            for wait in message.waits
        ],
        told_twice=[(gap.start, gap.end) for gap in clock_steps],
    )
    held = find_held(messages, restarts)
    evidence = Evidence(
        coverage=replace(coverage, gaps=seen_gaps),
        manager_spans=told.manager_spans,
        commands=[(order.at, order.at + SECOND) for order in told.orders],
        markers=[(event.at, event.before) for event in told.maillog if event.kind == "marker"],
        attempts=[attempt.began_at for attempt in attempts],
    )
    ids = name_restarts(history.host, restarts)
    restart_rows = []
    for restart in restarts:
        own = [row for row in held if row.restart is restart]
        verdict = judge(restart, restarts, held, evidence)
        restart_rows.append({"restart_id": ids[restart]} | _restart_row(restart, verdict, own, told, history))
    return restart_rows, [{"restart_id": ids[row.restart]} | _held_row(row, history.host) for row in held]


def _retries(settings: Settings) -> Retries:
    """Return a host's retry settings, the product's own where they are not told."""
    told = DEFAULT_RETRIES[settings.get("product") == "imsva"] | settings
    minimal, maximal, delay = (
        int(told[f"{name}_seconds"]) * SECOND
        for name in ("minimal_backoff", "maximal_backoff", "queue_run_delay")
    )
    return Retries(
        minimal_backoff=minimal,
        maximal_backoff=maximal,
        queue_run_delay=delay,
        is_backoff_told="minimal_backoff_seconds" in settings,
        is_run_delay_told="queue_run_delay_seconds" in settings,
    )


def _restart_row(restart: Restart, verdict: Verdict, held: list[Held], told: Told, history: History) -> Row:
    delays = [
        (row.released_at - row.first_deferred_at) / SECOND for row in held if row.released_at is not None
    ]
    lost = [row for row in held if row.released_at is None]
    evidence = [
        name
        for name, is_there in {
            "maillog": bool(restart.failures),
            "manager_log": verdict.flush_commanded_at is not None,
            "system_event": restart.stop is not None,
        }.items()
        if is_there
    ]
    build_verdict = judge_build(history.settings)
    return {
        "host": history.host,
        "flush_verdict": verdict.flush_verdict,
        "verdict_reason": verdict.verdict_reason,
        "flush_order": verdict.flush_order,
        "missing_reason": _missing_reason(restart, verdict, history.settings, told),
        "build_verdict": build_verdict,
        "confidence": _confidence(restart, evidence),
        "evidence": evidence,
        "outage_seconds": _seconds(restart.down_at, restart.up_at) if _is_length_known(restart) else None,
        "held_message_count": len(held),
        "held_recipient_count": sum(len(row.recipients) for row in held),
        "never_tried_count": sum(row.failures[0].cause == "suspended" for row in held),
        "interrupted_count": sum(_is_interrupted(row) for row in held),
        "pending_count": sum(row.message.outcome == "pending" for row in lost),
        "lost_message_count": sum(row.message.outcome in ("expired", "bounced") for row in lost),
        "queue_run_count": sum(_is_queue_run(row, restart, verdict) for row in held),
        "delayed_over_5_min_count": sum(delay > LONG_DELAY / SECOND for delay in delays),
        "flush_missed_count": verdict.flush_missed_count,
        "flush_failed_count": verdict.flush_failed_count,
        "restart_delay_p50_seconds": _quantile(delays, 0.5),
        "restart_delay_p95_seconds": _quantile(delays, 0.95),
        "restart_delay_max_seconds": max(delays, default=None),
        "restart_delay_total_seconds": sum(delays) if delays else None,
        "is_up_at_estimated": is_up_at_estimated(restart),
        "is_overlong": is_overlong(restart),
        "down_at": _instant(restart.down_at),
        "down_at_earliest": _instant(restart.down_at_earliest),
        "down_at_latest": _instant(restart.down_at_latest),
        "up_at": _instant(restart.up_at),
        "up_at_earliest": _instant(restart.up_at_earliest),
        "up_at_latest": _instant(restart.up_at_latest),
        "first_deferred_at": _instant(min((row.first_deferred_at for row in held), default=None)),
        "last_released_at": _instant(
            max((row.released_at for row in held if row.released_at is not None), default=None)
        ),
        "flush_commanded_at": _instant(verdict.flush_commanded_at),
        "flush_marked_at": _instant(verdict.flush_marked_at),
        "flush_observed_at": _instant(verdict.flush_observed_at),
    }


def _held_row(row: Held, host: str) -> Row:
    message = row.message
    activations = message.of_kind("activation")
    message_ids = message.of_kind("message_id")
    recipients = {event.recipient for event in message.of_kind("attempt")}
    return {
        "host": host,
        "instance": message.instance,
        "queue_id": message.queue_id,
        "message_id": message_ids[0].message_id if message_ids else None,
        "sender": activations[0].sender if activations else None,
        "size_bytes": activations[0].size if activations else None,
        "recipient_count": activations[0].recipient_count if activations else len(recipients),
        "held_recipient_count": len(row.recipients),
        "arrived_at": _instant(message.arrived_at),
        "first_deferred_at": _instant(row.first_deferred_at),
        "last_deferred_at": _instant(row.last_deferred_at),
        "failed_attempt_count": len(row.failures),
        "first_cause": row.failures[0].cause,
        "is_never_tried": row.failures[0].cause == "suspended",
        "is_interrupted": _is_interrupted(row),
        "is_hop_inferred": any(failure.is_hop_inferred for failure in row.failures),
        "reactivated_at": _instant(row.last_wait.reactivated_at if row.last_wait else None),
        "released_at": _instant(row.released_at),
        "released_by": row.released_by,
        "outcome": message.outcome,
        "restart_delay_seconds": _seconds(row.first_deferred_at, row.released_at),
        "total_delay_seconds": _seconds(message.arrived_at, row.released_at),
    }


def name_restarts(host: str, restarts: list[Restart]) -> dict[Restart, str]:
    """Name each restart by its host and the second of its down_at, and later ones of a second by a number."""
    names: dict[Restart, str] = {}
    for restart in restarts:
        name = f"{host}-{datetime.fromtimestamp(restart.down_at // SECOND, UTC):%Y%m%dT%H%M%SZ}"
        number = sum(other == name or other.startswith(f"{name}-") for other in names.values()) + 1
        names[restart] = name if number == 1 else f"{name}-{number}"
    return names


def judge_build(settings: Settings) -> str:
    """Say what Trend Micro's document says of a build."""
    product, build = settings.get("product"), settings.get("build")
    if product is None or build is None:
        return "unknown"
    build = int(build)
    if product == "imsva":
        return "known_defective" if build < 1830 else "fixed"
    if build < 1241:
        return "known_defective"
    if 1335 <= build <= 1342:
        return (
            "known_defective"
            if settings.get("wrapper_md5", DEFECTIVE_WRAPPER) == DEFECTIVE_WRAPPER
            else "fixed"
        )
    return "fixed" if build <= 1248 or build >= 1346 else "unspecified"


def _missing_reason(restart: Restart, verdict: Verdict, settings: Settings, told: Told) -> str | None:
    if verdict.flush_verdict not in ("missing", "ineffective"):
        return None
    if verdict.flush_order == "ordered":
        if verdict.flush_observed_at is not None:
            return "unknown"
        is_wrapper = settings.get("product") != "imsva" and (
            judge_build(settings) == "known_defective" or settings.get("wrapper_md5") == DEFECTIVE_WRAPPER
        )
        return "wrapper_defect" if is_wrapper else "order_without_effect"
    if verdict.flush_order == "unknown":
        return "unknown"
    return "not_noticed" if is_not_noticed(restart, told.orders) else "not_ordered"


def _is_length_known(restart: Restart) -> bool:
    """A restart that only a command or the service's start tells of has no known length."""
    return bool(restart.failures) or (restart.stop is not None and restart.stop.stopped_at is not None)


def _confidence(restart: Restart, evidence: list[str]) -> str:
    if len(evidence) > 1:
        return "certain"
    return "likely" if len(restart.failures) > 1 or restart.stop else "possible"


def _is_queue_run(row: Held, restart: Restart, verdict: Verdict) -> bool:
    """Whether a queue run took a message before the flush, or where there was none."""
    if row.released_by != "queue_run" or row.last_wait is None or restart.up_at is None:
        return False
    at, flush = row.last_wait.reactivated_at or 0, verdict.flush_observed_at
    return at > restart.up_at and (flush is None or at < flush)


def _is_interrupted(row: Held) -> bool:
    return any(failure.cause == "session_lost" for failure in row.failures)


def _quantile(values: Sequence[float], share: float) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def _seconds(start: int, end: int | None) -> float | None:
    return None if end is None else (end - start) / SECOND


def _instant(microseconds: int | None) -> datetime | None:
    if microseconds is None:
        return None
    return datetime.fromtimestamp(microseconds // SECOND, UTC).replace(microsecond=microseconds % SECOND)
