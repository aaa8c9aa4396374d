"""Arrivals, outages and settings to the attempts and the end of each message: Postfix's qmgr, event by event.

A second reading of the retry rule, one message after another in time. It reads qmgr(8) of Postfix 3.7;
the files named are in Postfix's src/qmgr and src/util.

- Time is whole seconds (events.c: `event_present = time()`). A timer goes off when qmgr is first awake
  in its second or later. qmgr sleeps whole seconds from when it last woke: a timer keeps its second, not
  its fraction.
- The deferred queue is scanned at qmgr's start, and queue_run_delay after each such scan (qmgr.c,
  qmgr_deferred_run_event). A flush scans besides, and moves no timer. A scan takes a file whose time
  stamp is at most one second ahead (qmgr_active.c, qmgr_active_feed); a flush takes all. A scan that is
  asked for while another goes on follows it (qmgr_scan.c).
- A round of deliveries ends when the last delivery of the message has. Where one is to be retried, a
  message as old as maximal_queue_lifetime (bounce_queue_lifetime for the null sender) expires; any other
  gets a time stamp: now + its age, at most maximal_backoff_time, then at least minimal_backoff_time
  (qmgr_active.c, qmgr_active_done_2_generic and qmgr_active_done_3_generic). Nothing expires before an
  attempt has failed.
- A destination has a window: how many deliveries may go on at a time, initial_destination_concurrency at
  first. A failed delivery adds 1/window to the failed cohorts and shrinks the window; any other sets the
  cohorts to 0 and widens it (qmgr_queue.c, qmgr_queue_throttle and qmgr_queue_unthrottle). When the
  cohorts reach destination_concurrency_failed_cohort_limit, the destination is dead.
- Mail for a dead destination, waiting or newly active, is deferred untried (qmgr_deliver.c,
  qmgr_defer_todo; qmgr_message.c, qmgr_message_resolve). The destination lives again
  minimal_backoff_time after its death, at a flush, or when a delivery that was under way ends well, as
  if new: no failed cohort, and the first window, or one of what is under way (qmgr_queue_unthrottle).
- A live destination with nothing to deliver is forgotten, with its window and failed cohorts
  (qmgr_entry.c, qmgr_entry_done): only failures among mail that keeps it busy add up.
- A new qmgr knows no destination. What was active is active again at once (qmgr.c, qmgr_post_init). Left
  out: a delivery that the old qmgr had under way holds its message back for 60 s (qmgr_active.c).
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import floor, inf
from random import Random
from typing import Literal

Kind = Literal["answered", "failed", "suspended"]


@dataclass(frozen=True)
class Settings:
    """Postfix's parameters, times in seconds; the defaults are Postfix's own (postconf(5))."""

    queue_run_delay: int = 300
    minimal_backoff_time: int = 300
    maximal_backoff_time: int = 4000
    maximal_queue_lifetime: int = 5 * 86400
    bounce_queue_lifetime: int = 5 * 86400
    initial_concurrency: int = 5
    concurrency_limit: int = 20
    """0: none."""
    failed_cohort_limit: int = 1
    """0: no destination is ever dead."""

    @property
    def first_window(self) -> int:
        """How many deliveries may go on at first (qmgr_transport.c)."""
        return min(self.initial_concurrency, self.concurrency_limit or self.initial_concurrency)


@dataclass(frozen=True)
class Pace:
    """How long things take (seconds): not a matter of the rule, but of the machine and the service."""

    start_seconds: float = 0.02
    """From the start of qmgr's process to its first scan."""
    oversleep_seconds: float = 0.005
    """How much longer than a whole number of seconds qmgr sleeps."""
    feed_seconds: float = 0.001
    """To make a message active."""
    failure_seconds: float = 0.005
    """To fail where nobody listens."""
    answer_seconds: float = 0.1
    """For the service to answer."""
    passing_seconds: float = 0.03
    """From the answer until the mail that the service passed on has left too, which wakes qmgr."""
    order: int = 0
    """In which order a scan meets the files: 0 as they were deferred, else a seed of any order."""


@dataclass(frozen=True)
class Arrival:
    """A message; times are epoch seconds."""

    queue_id: str
    created_at: float
    """When its queue file was made, which is when its age begins."""
    active_at: float
    is_bounce: bool = False
    """Its sender is the null sender."""
    delivery_count: int = 1
    """Recipients, divided by destination_recipient_limit."""


@dataclass(frozen=True)
class World:
    """What happens to the queue besides mail; times are epoch seconds, each list in its order."""

    queue_managers: Sequence[float]
    """Starts of qmgr, the first before all mail; a reload is one."""
    outages: Sequence[tuple[float, float]]
    """From when and until when no connection is served."""
    flushes: Sequence[float] = ()
    queue_runs: Sequence[float] | None = None
    """When qmgr scanned the deferred queue; None leaves that to the rule."""


@dataclass(frozen=True)
class Attempt:
    """A round of deliveries of a message, at its end; `suspended` is one in which nothing was tried."""

    at: float
    kind: Kind


@dataclass
class Story:
    """What became of a message; without an end it still waits."""

    arrival: Arrival
    attempts: list[Attempt] = field(default_factory=list)
    released_at: float | None = None
    expired_at: float | None = None


@dataclass
class _Message:
    story: Story
    due_at: int = 0
    """The time stamp of its file, while it is deferred."""
    deliveries_left: int = 0
    """Of this round."""
    answered_count: int = 0
    """Deliveries that need no further round."""
    has_failed: bool = False
    was_tried: bool = False


@dataclass
class Destination:
    """The scan port as qmgr knows it (qmgr_queue.c); dead with a window of 0."""

    settings: Settings
    window: int
    failed_cohorts: float = 0.0
    success: float = 0.0
    failure: float = 0.0
    waiting: deque[_Message] = field(default_factory=deque)
    busy: int = 0

    @property
    def is_dead(self) -> bool:
        """Whether its mail is not tried."""
        return self.window == 0

    def note_failure(self) -> None:
        """Shrink, or die; the feedback of 1 is Postfix's default."""
        self.failed_cohorts += 1.0 / self.window
        limit = self.settings.failed_cohort_limit
        if limit and self.failed_cohorts >= limit:
            self.window = 0
            return
        self.failure -= 1
        while self.failure - 1 / 2 < 0:
            self.window -= 1
            self.success = 0
            self.failure += 1
        self.window = max(self.window, 1)

    def note_success(self) -> None:
        """Widen, or live again."""
        self.failed_cohorts = 0.0
        if self.is_dead:
            self.window = self.busy or self.settings.first_window
            self.success = self.failure = 0.0
            return
        limit = self.settings.concurrency_limit
        is_wide = self.window >= self.busy + self.settings.first_window
        if is_wide or (limit and self.window >= limit):
            return
        self.success += 1
        while self.success + 1 / 2 >= 1:
            self.window += 1
            self.success -= 1
            self.failure = 0
        if limit:
            self.window = min(self.window, limit)


def simulate(
    arrivals: Iterable[Arrival], world: World, settings: Settings, pace: Pace | None = None
) -> dict[str, Story]:
    """Return the story of each message by queue id."""
    return _Simulation(arrivals, world, settings, pace or Pace()).run()


class _Simulation:
    """qmgr's event loop: timers in whole seconds, everything else at its instant."""

    def __init__(self, arrivals: Iterable[Arrival], world: World, settings: Settings, pace: Pace) -> None:
        self.world, self.settings, self.pace = world, settings, pace
        self.now = world.queue_managers[0]
        self.stories: dict[str, Story] = {}
        self.deferred: dict[str, _Message] = {}
        self.active: dict[str, _Message] = {}
        self.destination: Destination | None = None
        self.is_scanning = False
        self.scanned: deque[str] = deque()
        """What is left of the scan that goes on."""
        self.takes_all = False
        self.asked_for: bool | None = None
        """The scan that follows this one, if any: whether it takes all."""
        self.order = Random(pace.order)
        self.queue_run_due = self.alive_due = inf
        """The two timers."""
        self.generation = 0
        """Of qmgr: what one began to feed is not the next one's."""
        self._numbers = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        for at in world.queue_managers:
            self._at(at + pace.start_seconds, self._start)
        for at in world.queue_runs or ():
            self._at(at, partial(self._scan, takes_all=False))
        for at in world.flushes:
            self._at(at, self._flush)
        for arrival in arrivals:
            message = _Message(Story(arrival))
            self.stories[arrival.queue_id] = message.story
            self._at(arrival.active_at, partial(self._activate, message))

    def run(self) -> dict[str, Story]:
        """Live on until no mail is left, or nothing will wake qmgr."""
        while self._events or self.deferred:
            event_at = self._events[0][0] if self._events else inf
            awake_at = self._awake_at(min(self.queue_run_due, self.alive_due))
            if min(event_at, awake_at) == inf:
                break
            self.now = max(self.now, min(event_at, awake_at))
            self._run_timers()
            if event_at <= self.now:
                heapq.heappop(self._events)[2]()
        return self.stories

    def _awake_at(self, due: float) -> float:
        """When qmgr, if nothing wakes it before, is awake for a timer."""
        sleep_seconds = due - floor(self.now)
        return self.now + sleep_seconds + self.pace.oversleep_seconds if sleep_seconds > 0 else self.now

    def _at(self, at: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), do))

    def _run_timers(self) -> None:
        second = floor(self.now)
        if self.alive_due <= second:
            self._revive()
        if self.queue_run_due <= second:
            self._run_queue()

    # The queue manager

    def _start(self) -> None:
        self.generation += 1
        self.destination, self.alive_due = None, inf
        self.is_scanning, self.asked_for = False, None
        left, self.active = self.active, {}
        for message in left.values():
            self._activate(message)
        if self.world.queue_runs is None:
            self._run_queue()

    def _run_queue(self) -> None:
        self.queue_run_due = floor(self.now) + self.settings.queue_run_delay
        self._scan(takes_all=False)

    def _flush(self) -> None:
        if self.destination and self.destination.is_dead:
            self._revive()
        self._scan(takes_all=True)

    def _scan(self, *, takes_all: bool) -> None:
        if self.is_scanning:
            self.takes_all = self.takes_all or takes_all
            self.asked_for = self.asked_for or takes_all
            return
        self.is_scanning, self.takes_all = True, takes_all
        files = list(self.deferred)
        if self.pace.order:
            self.order.shuffle(files)
        self.scanned = deque(files)
        self._at(self.now, partial(self._feed, self.generation))

    def _feed(self, generation: int) -> None:
        """Make the next message of the scan active that is due."""
        if generation != self.generation:
            return
        while self.scanned:
            message = self.deferred.get(self.scanned.popleft())
            if message and (self.takes_all or message.due_at <= floor(self.now) + 1):
                del self.deferred[message.story.arrival.queue_id]
                self._activate(message)
                self._at(self.now + self.pace.feed_seconds, partial(self._feed, generation))
                return
        self.is_scanning = False
        if self.asked_for is not None:
            takes_all, self.asked_for = self.asked_for, None
            self._scan(takes_all=takes_all)

    # A message's round of deliveries

    def _activate(self, message: _Message) -> None:
        arrival = message.story.arrival
        self.active[arrival.queue_id] = message
        message.deliveries_left = arrival.delivery_count - message.answered_count
        message.has_failed = message.was_tried = False
        if self.destination is None:
            self.destination = Destination(self.settings, self.settings.first_window)
        if self.destination.is_dead:
            for _ in range(message.deliveries_left):
                self._suspend(message)
            return
        self.destination.waiting.extend([message] * message.deliveries_left)
        self._deliver()

    def _deliver(self) -> None:
        destination = self.destination
        while destination and destination.waiting and destination.busy < destination.window:
            message = destination.waiting.popleft()
            destination.busy += 1
            message.was_tried = True
            ends_at, is_answered = self._outcome()
            self._at(ends_at, partial(self._end_delivery, message, is_answered, self.generation))

    def _outcome(self) -> tuple[float, bool]:
        """When the delivery that begins now ends, and whether the service answers it."""
        answered_at = self.now + self.pace.answer_seconds
        for down_at, up_at in self.world.outages:
            if down_at <= self.now < up_at:
                return self.now + self.pace.failure_seconds, False
            if self.now < down_at < answered_at:
                return down_at, False
        return answered_at, True

    def _end_delivery(self, message: _Message, is_answered: bool, generation: int) -> None:
        destination = self.destination
        if generation != self.generation or destination is None:
            return
        if is_answered:
            message.answered_count += 1
            self._at(self.now + self.pace.passing_seconds, _wake)
            if destination.is_dead:
                self.alive_due = inf
            destination.note_success()
        elif not destination.is_dead:
            destination.note_failure()
            if destination.is_dead:
                self.alive_due = floor(self.now) + self.settings.minimal_backoff_time
                while destination.waiting:
                    self._suspend(destination.waiting.popleft())
        # Up to here it counts as under way (qmgr_deliver.c, qmgr_deliver_update).
        destination.busy -= 1
        self._forget_idle()
        message.has_failed |= not is_answered
        self._end_part(message)
        self._deliver()

    def _suspend(self, message: _Message) -> None:
        """Have one delivery fail untried, as error(8) does it."""
        message.has_failed = True
        self._at(self.now + self.pace.failure_seconds, partial(self._end_suspended, message, self.generation))

    def _end_suspended(self, message: _Message, generation: int) -> None:
        if generation == self.generation:
            self._end_part(message)

    def _end_part(self, message: _Message) -> None:
        message.deliveries_left -= 1
        if message.deliveries_left:
            return
        story = message.story
        del self.active[story.arrival.queue_id]
        if not message.has_failed:
            story.attempts.append(Attempt(self.now, "answered"))
            story.released_at = self.now
            return
        story.attempts.append(Attempt(self.now, "failed" if message.was_tried else "suspended"))
        settings, second = self.settings, floor(self.now)
        age = second - floor(story.arrival.created_at)
        is_bounce = story.arrival.is_bounce
        if age >= (settings.bounce_queue_lifetime if is_bounce else settings.maximal_queue_lifetime):
            story.expired_at = self.now
            return
        wait = max(min(age, settings.maximal_backoff_time), settings.minimal_backoff_time)
        message.due_at = second + wait
        self.deferred[story.arrival.queue_id] = message

    # The destination

    def _revive(self) -> None:
        self.alive_due = inf
        if self.destination:
            self.destination.note_success()
            self._forget_idle()

    def _forget_idle(self) -> None:
        destination = self.destination
        if destination and not (destination.is_dead or destination.waiting or destination.busy):
            self.destination = None


def _wake() -> None:
    """An event that concerns other mail; qmgr only sleeps on from here."""
