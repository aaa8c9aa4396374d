"""The maillog to messages, their waits in the deferred queue, the scans of it, and what restarts held."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest

from tests.oracle.coverage import Coverage
from tests.oracle.history import SECOND
from tests.oracle.outages import Attempt, Restart
from tests.oracle.read import Event, Told

BACKOFF_MARGIN = 2 * SECOND
ASSUMED_BACKOFF = 60 * SECOND
LEFT_BEHIND = 2 * SECOND
SCAN_GAP = 2 * SECOND
QMGR_START = 5 * SECOND
QUEUE_RUN_MARGIN = 2 * SECOND
LEAVES = ("removed", "deleted", "requeued")


@dataclass(eq=False, slots=True)
class Scan:
    """A burst of re-activations of one instance."""

    instance: str
    waits: list["Wait"]
    is_at_qmgr_start: bool = False
    left_behind_count: int = 0
    is_flush: bool | None = None
    is_queue_run: bool = False

    @property
    def began_at(self) -> int:
        """When it took the first message."""
        return min(wait.reactivated_at for wait in self.waits if wait.reactivated_at is not None)

    @property
    def ended_at(self) -> int:
        """When it took the last one."""
        return max(wait.reactivated_at for wait in self.waits if wait.reactivated_at is not None)


@dataclass(eq=False, slots=True)
class Wait:
    """A message's stay in the deferred queue."""

    message: "Message"
    deferred_at: int
    reactivated_at: int | None
    taken_out_at: int | None
    is_skipped: bool
    is_early: bool = False
    is_unsettled: bool = False
    scan: Scan | None = None

    @property
    def until(self) -> int | None:
        """When the message was taken up again or out of the queue; None if that was not seen."""
        return self.taken_out_at if self.taken_out_at is not None else self.reactivated_at


@dataclass(eq=False, slots=True)
class Message:
    """One lifetime of a queue id."""

    instance: str
    queue_id: str
    events: list[Event] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def of_kind(self, *kinds: str) -> list[Event]:
        """Return its events of some kinds."""
        return [event for event in self.events if event.kind in kinds]

    @property
    def arrived_at(self) -> int:
        """When it came: by its client, else by the delay that an attempt names."""
        if arrivals := self.of_kind("arrival"):
            return arrivals[0].at
        tried = self.of_kind("attempt")
        return min((event.at - event.delay for event in tried), default=self.events[0].at)

    @property
    def outcome(self) -> str:
        """What became of it."""
        if self.of_kind("expired"):
            return "expired"
        if self.of_kind("deleted"):
            return "deleted"
        if self.of_kind("requeued"):
            return "requeued"
        tried = self.of_kind("attempt")
        is_bounced = any(event.status == "bounced" for event in tried)
        served = {event.recipient for event in tried if event.status in ("sent", "bounced")}
        activations = self.of_kind("activation")
        is_served = bool(activations) and len(served) >= activations[0].recipient_count
        if self.of_kind("removed") or is_served:
            return "bounced" if is_bounced else "delivered"
        return "pending"


@dataclass(eq=False, slots=True)
class Held:
    """A message that a restart held up, with what its hold consisted of."""

    restart: Restart
    message: Message
    recipients: list[str | None]
    failures: list[Attempt]
    released_at: int | None
    waits: list[Wait] = field(default_factory=list)

    @property
    def first_deferred_at(self) -> int:
        """The first failure of the hold."""
        return min(failure.event.at for failure in self.failures)

    @property
    def last_deferred_at(self) -> int:
        """The last failure of the hold."""
        return max(failure.event.at for failure in self.failures)

    @property
    def released_by(self) -> str | None:
        """What led to the release: the last re-activation before it."""
        if self.released_at is None:
            return None
        before = [
            wait
            for wait in self.message.waits
            if wait.reactivated_at is not None and wait.reactivated_at <= self.released_at
        ]
        if not before:
            return "unknown"
        scan = before[-1].scan
        if scan is None:
            return "unknown"
        if scan.is_flush:
            return "flush"
        is_of_due_mail = not any(wait.is_early for wait in scan.waits)
        leaves_younger = scan.left_behind_count > 0 and not scan.is_at_qmgr_start
        is_run = scan.is_queue_run or (scan.is_flush is False and is_of_due_mail and leaves_younger)
        return "queue_run" if is_run else "unknown"


def qmgr_instances(told: Told) -> dict[str, str]:
    """Return the instance of the qmgr for each syslog_name that writes of messages."""
    qmgrs = {event.instance for event in told.maillog if event.kind == "activation"}
    loggers = {event.instance for event in told.maillog if event.queue_id}
    return {logger: logger if logger in qmgrs or len(qmgrs) != 1 else next(iter(qmgrs)) for logger in loggers}


def find_messages(told: Told, instances: dict[str, str], attempts: list[Attempt]) -> list[Message]:
    """Return all messages; a queue id is used again once its message has left the queue."""
    kinds = ("arrival", "message_id", "activation", "attempt", "skipped", "expired", "put_on_hold", *LEAVES)
    at_scan = {attempt.event.key: attempt for attempt in attempts}
    current: dict[tuple[str, str], Message] = {}
    messages = []
    for event in told.maillog:
        if event.kind not in kinds:
            continue
        key = (instances[event.instance], event.queue_id)
        message = current.get(key)
        begins = event.kind == "arrival" or (
            event.kind in ("message_id", "activation") and message is not None and message.of_kind(*LEAVES)
        )
        if message is None or begins:
            message = current[key] = Message(*key)
            messages.append(message)
        message.events.append(event)
        if event.key in at_scan:
            message.attempts.append(at_scan[event.key])
    return messages


def find_waits(messages: Iterable[Message], *, backoff: int, is_backoff_known: bool) -> None:
    """Give each message its waits: after each round of deliveries that left something deferred."""
    earliest_run = backoff - BACKOFF_MARGIN
    limit = earliest_run if is_backoff_known else min(earliest_run, ASSUMED_BACKOFF)
    for message in messages:
        rounds: list[list[Event]] = [[]]
        for event in message.events:
            if event.kind == "activation":
                rounds.append([])
            rounds[-1].append(event)
        for number, events in enumerate(rounds):
            tried = [event for event in events if event.kind == "attempt"]
            if not any(event.status == "deferred" for event in tried):
                continue
            following = rounds[number + 1][0].at if number + 1 < len(rounds) else None
            taken_out = [event.at for event in events if event.kind in ("put_on_hold", *LEAVES)]
            wait = Wait(
                message,
                deferred_at=max(event.at for event in tried),
                reactivated_at=following,
                taken_out_at=min(taken_out, default=None),
                is_skipped=any(event.kind == "skipped" for event in events),
            )
            if following is not None:
                waited = following - wait.deferred_at
                wait.is_early = waited < limit
                wait.is_unsettled = not is_backoff_known and ASSUMED_BACKOFF <= waited < earliest_run
            message.waits.append(wait)


def find_scans(
    messages: Iterable[Message],
    told: Told,
    coverage: Coverage,
    *,
    is_backoff_known: bool,
    queue_run_delay: int | None,
) -> list[Scan]:
    """Return the scans of all deferred queues, and whether each was a flush."""
    waits = [wait for message in messages for wait in message.waits]
    scans: list[Scan] = []
    for instance in {wait.message.instance for wait in waits}:
        own = [wait for wait in waits if wait.message.instance == instance]
        taken = sorted(
            (wait for wait in own if wait.reactivated_at is not None and not wait.is_skipped),
            key=lambda wait: wait.reactivated_at or 0,
        )
        of_instance: list[Scan] = []
        for wait in taken:
            at = wait.reactivated_at or 0
            if of_instance and at <= of_instance[-1].ended_at + SCAN_GAP:
                of_instance[-1].waits.append(wait)
            else:
                of_instance.append(Scan(instance, [wait]))
            wait.scan = of_instance[-1]
        starts = [e.at for e in told.maillog if e.kind == "qmgr_start" and e.instance == instance]
        for scan in of_instance:
            began, ended = scan.began_at, scan.ended_at
            scan.is_at_qmgr_start = any(began - QMGR_START <= at <= ended for at in starts)
            scan.left_behind_count = sum(
                wait.deferred_at < began - LEFT_BEHIND
                and (wait.until is None or wait.until > ended)
                and coverage.tells_in_one_span(wait.deferred_at, ended)
                for wait in own
            )
        _judge_scans(of_instance, is_backoff_known)
        if queue_run_delay is not None:
            _find_queue_runs(of_instance, starts, queue_run_delay)
        scans += of_instance
    return scans


def _find_queue_runs(scans: list[Scan], starts: list[int], queue_run_delay: int) -> None:
    """Find the scans in the rhythm of the last qmgr start, or of the last scan that left younger mail."""

    def takes_due_mail_only(scan: Scan) -> bool:
        return not any(wait.is_early for wait in scan.waits)

    for scan in scans:
        marks = [at for at in starts if at <= scan.ended_at]
        marks += [
            other.began_at
            for other in scans
            if other.began_at < scan.began_at
            and takes_due_mail_only(other)
            and other.left_behind_count
            and not other.is_at_qmgr_start
        ]
        if marks and takes_due_mail_only(scan):
            off = (scan.began_at - max(marks)) % queue_run_delay
            scan.is_queue_run = min(off, queue_run_delay - off) <= QUEUE_RUN_MARGIN


def _judge_scans(scans: list[Scan], is_backoff_known: bool) -> None:
    """A flush takes mail too young for a queue run, and leaves none behind."""

    def has_early(scan: Scan) -> bool:
        return any(wait.is_early for wait in scan.waits)

    is_refuted = not is_backoff_known and any(
        has_early(scan) and scan.left_behind_count and not scan.is_at_qmgr_start for scan in scans
    )
    for scan in scans:
        if scan.is_at_qmgr_start or not has_early(scan) or scan.left_behind_count:
            scan.is_flush = False
        else:
            scan.is_flush = None if is_refuted else True


def find_held(messages: Iterable[Message]) -> list[Held]:
    """Return one hold for each message and restart."""
    held = []
    for message in messages:
        rows = []
        restarts = {id(a.restart): a.restart for a in message.attempts if a.restart}
        for restart in sorted(restarts.values(), key=lambda restart: restart.down_at):
            rows.append(_hold(message, restart))
        rows.sort(key=lambda row: (row.first_deferred_at, row.restart.down_at))
        for row, following in zip_longest(rows, rows[1:]):
            if following and row.released_at is not None:
                row.released_at = min(row.released_at, following.first_deferred_at)
            elif following:
                row.released_at = following.first_deferred_at
        for row in rows:
            row.waits = [
                wait
                for wait in message.waits
                if row.first_deferred_at <= wait.deferred_at
                and (row.released_at is None or wait.deferred_at < row.released_at)
            ]
        held += rows
    return held


def _hold(message: Message, restart: Restart) -> Held:
    recipients: list[str | None] = []
    failures: list[Attempt] = []
    ends: list[int | None] = []
    for recipient in {attempt.event.recipient for attempt in message.attempts}:
        own = [attempt for attempt in message.attempts if attempt.event.recipient == recipient]
        of_restart = [attempt for attempt in own if attempt.restart is restart]
        if not of_restart:
            continue
        recipients.append(recipient)
        end = None
        for attempt in own[own.index(of_restart[0]) :]:
            is_later = attempt.restart is not None and attempt.restart.down_at > restart.down_at
            if attempt.is_answered or is_later:
                end = attempt.event.at
                break
            if attempt.restart is restart:
                failures.append(attempt)
        ends.append(end)
    failures.sort(key=lambda failure: failure.event.key)
    known = [end for end in ends if end is not None]
    return Held(restart, message, recipients, failures, max(known) if len(known) == len(ends) else None)
