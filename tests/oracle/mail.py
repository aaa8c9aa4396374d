"""The maillog to messages, and what restarts held of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest

from tests.oracle.outages import Attempt, Restart
from tests.oracle.read import Event, Told

LEAVES = ("removed", "deleted", "requeued")


@dataclass(frozen=True, slots=True)
class Retries:
    """When a host's Postfix tries deferred mail again, and what of it is told, not assumed."""

    minimal_backoff: int
    maximal_backoff: int
    queue_run_delay: int
    is_backoff_told: bool
    is_run_delay_told: bool


@dataclass(frozen=True, slots=True)
class Round:
    """An activation of a message, unless it is not in the log, and what follows until the next one."""

    activation: Event | None
    events: list[Event]

    def of_kind(self, *kinds: str) -> list[Event]:
        """Its events of some kinds."""
        return [event for event in self.events if event.kind in kinds]

    @property
    def is_computed(self) -> bool:
        """Whether the log lacks the activation, and a delivery tells of it."""
        return self.activation is not None and self.activation.kind == "computed"


@dataclass(eq=False, slots=True)
class Scan:
    """A burst of re-activations of one instance."""

    instance: str
    waits: list["Wait"]
    is_at_qmgr_start: bool = False
    left: list["Wait"] = field(default_factory=list)
    left_for_sure: list["Wait"] = field(default_factory=list)
    left_behind_count: int = 0
    maybe_left_count: int = 0
    is_flush: bool | None = None
    doubt: str | None = None
    """Why it is not known to be a flush or none."""
    is_queue_run: bool = False

    @property
    def began_at(self) -> int:
        """When it took the first message."""
        return min(wait.reactivated_at for wait in self.waits if wait.reactivated_at is not None)

    @property
    def ended_at(self) -> int:
        """When it took the last one."""
        return max(wait.reactivated_at for wait in self.waits if wait.reactivated_at is not None)

    @property
    def is_computed(self) -> bool:
        """Whether the log lacks some of its activations."""
        return any(wait.is_computed for wait in self.waits)


@dataclass(eq=False, slots=True)
class Wait:
    """A message's stay in the deferred queue."""

    message: "Message"
    deferred_at: int
    due_by: int
    """A message without a sign of life by then has left the queue unseen."""
    reactivated_at: int | None
    is_computed: bool
    """Whether the log lacks the re-activation, and a delivery tells of it."""
    taken_out_at: int | None
    is_skipped: bool
    is_early: bool = False
    is_unsettled: bool = False
    scan: Scan | None = None

    @property
    def until(self) -> int | None:
        """When the message was taken up again or out of the queue; None if that was not seen."""
        return self.taken_out_at if self.taken_out_at is not None else self.reactivated_at

    @property
    def doubt(self) -> str | None:
        """What keeps it open whether a flush ended it."""
        if self.scan and self.scan.doubt:
            return self.scan.doubt
        return "settings_unknown" if self.is_unsettled else None


@dataclass(eq=False, slots=True)
class Message:
    """One lifetime of a queue id."""

    instance: str
    queue_id: str
    events: list[Event] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
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
    def is_ended(self) -> bool:
        """Whether it was released or left the queue: it did not fail again, though no answer tells so."""
        return self.released_at is not None or self.message.outcome != "pending"

    @property
    def last_wait(self) -> Wait | None:
        """The one whose end led to the release."""
        released_at = self.released_at
        if released_at is None:
            return None
        before = [w for w in self.message.waits if w.reactivated_at and w.reactivated_at <= released_at]
        return before[-1] if before else None

    @property
    def released_by(self) -> str | None:
        """What led to the release: the last re-activation before it."""
        if self.released_at is None:
            return None
        scan = self.last_wait.scan if self.last_wait else None
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
    about_mail = ("arrival", "message_id", "activation", "attempt", "skipped")
    about_its_end = ("expired", "put_on_hold", "let_go", *LEAVES)
    at_scan = {attempt.event.key: attempt for attempt in attempts}
    current: dict[tuple[str, str], Message] = {}
    messages = []
    for event in told.maillog:
        if event.kind not in about_mail + about_its_end:
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


def find_held(messages: Iterable[Message], restarts: list[Restart]) -> list[Held]:
    """Return one hold for each message and restart; of two in one instant the first is first."""
    held = []
    place = {restart: number for number, restart in enumerate(restarts)}
    for message in messages:
        holding = {attempt.restart for attempt in message.attempts if attempt.restart}
        rows = [_hold(message, restart) for restart in holding]
        rows.sort(key=lambda row: (row.first_deferred_at, place[row.restart]))
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
