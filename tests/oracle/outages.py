"""Delivery attempts, system events and commands to the restarts of one host."""

import re
from dataclasses import dataclass, field
from itertools import zip_longest

from tests.oracle.history import MINUTE, SECOND
from tests.oracle.read import Event, Told

REAL_FAILURES = ("refused", "greeting_lost", "session_lost", "timed_out", "turned_away")
SLOW = 5 * SECOND
NEAR_EVENT = 5 * SECOND
CLOSE_BOUNDS = 5 * SECOND
LONGEST = 60 * SECOND
SHORTEST = 10 * SECOND
FLUSH_WINDOW = 120 * SECOND
SUSPENDED = "delivery temporarily suspended: "
PEER = re.compile(
    r"(?P<verb>connect to|lost connection with|conversation with|host) "
    r"[^\[ ]*\[(?P<address>[^\]]*)\](?::(?P<port>\d+))?"
)


Span = tuple[int, int]


@dataclass(eq=False, slots=True)
class Attempt:
    """One delivery attempt at the scan service."""

    event: Event
    instance: str
    cause: str | None
    is_hop_inferred: bool
    restart: "Restart | None" = None
    """The restart that made it fail."""

    @property
    def is_answered(self) -> bool:
        """Whether the service replied to the mail, whatever it said."""
        return self.cause in (None, "rejected")

    @property
    def is_failure(self) -> bool:
        """Whether the service was down or did not take it."""
        return self.cause in REAL_FAILURES

    @property
    def began_at(self) -> int:
        """When the connection was begun."""
        return self.event.at - self.event.took

    @property
    def blur(self) -> int:
        """How long after what its stamp says the line may have been written."""
        return self.event.before - self.event.at

    @property
    def began_before(self) -> int:
        """The latest instant at which that may have been."""
        return self.began_at + self.blur

    @property
    def placed_at(self) -> int:
        """Where a failure counts: what timed out was down when the attempt began."""
        return self.began_at if self.cause == "timed_out" else self.event.at

    @property
    def placed_before(self) -> int:
        """The latest instant at which that may have been."""
        return self.placed_at + self.blur


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop of the scan service that the system events tell, and its next start; one may be missing."""

    stopped_at: int | None
    started_at: int | None

    @property
    def first(self) -> int:
        """The earlier of its events."""
        return self.stopped_at if self.stopped_at is not None else self.started_at or 0

    @property
    def last(self) -> int:
        """The later of its events."""
        return self.started_at if self.started_at is not None else self.stopped_at or 0


@dataclass(eq=False, slots=True)
class Restart:
    """One restart with its bounds; None is what nobody saw."""

    down_at: int
    down_at_earliest: int | None
    down_at_latest: int
    up_at: int | None
    up_at_earliest: int | None
    up_at_latest: int | None
    failures: list[Attempt] = field(default_factory=list)
    failed_at: int = 0
    """When the first failure counts, if there is one."""
    stop: Stop | None = None
    is_command: bool = False
    window_from: int = 0
    window_until: int | None = None

    @property
    def needed_from(self) -> int | None:
        """From when on the maillog must tell what waited; None where no sign of the service is known."""
        if self.is_command:
            return self.down_at - FLUSH_WINDOW - LONGEST
        if self.stop and self.stop.stopped_at is not None and self.stop.stopped_at <= self.down_at:
            return max(self.stop.stopped_at, self.down_at_earliest or 0)
        return self.down_at_earliest

    def has_in_window(self, instant: int, before: int | None = None) -> bool:
        """Whether an instant, or one that ends at `before`, may lie in the window."""
        is_after_begin = self.window_from <= instant if before is None else self.window_from < before
        return is_after_begin and (self.window_until is None or instant < self.window_until)


def scan_attempts(told: Told, instances: dict[str, str]) -> list[Attempt]:
    """Return the attempts at the scan service in the order of their lines."""
    attempts = []
    hop_of_reason: dict[tuple[str, str], int] = {}
    for event in told.maillog:
        if event.kind != "attempt":
            continue
        instance = instances[event.instance]
        reason = event.reason.removeprefix(SUSPENDED)
        peer = PEER.match(reason) if event.status != "sent" else None
        relay_port = re.search(r"\]:(\d+)$", event.relay)
        port = int(relay_port[1]) if relay_port else int(peer["port"]) if peer and peer["port"] else None
        if event.status != "sent":
            if port is not None:
                hop_of_reason[instance, reason] = port
            else:
                port = hop_of_reason.get((instance, reason))
        is_loopback = peer is not None and (peer["address"].startswith("127.") or peer["address"] == "::1")
        if port == 10025 or (port is None and is_loopback):
            cause = _cause(event, peer["verb"] if peer else None, reason)
            if cause or event.status == "sent":
                attempts.append(Attempt(event, instance, cause, port is None))
    return attempts


def _cause(event: Event, verb: str | None, reason: str) -> str | None:
    if event.status == "sent":
        return None
    if event.reason.startswith(SUSPENDED):
        return "suspended"
    if verb == "connect to":
        return "timed_out" if reason.endswith(" timed out") else "refused"
    if verb == "host":
        return "turned_away" if re.match(r"host \S+ refused to talk to me: ", reason) else "rejected"
    if verb == "lost connection with":
        is_early = re.search(" while (receiving the initial server|performing the) ", reason)
        return "greeting_lost" if is_early else "session_lost"
    return "timed_out" if verb == "conversation with" else None


def find_stops(system: list[tuple[int, str]]) -> list[Stop]:
    """Pair each stop with the start that follows it; what has no partner stands alone."""
    stops = []
    stopped_at = None
    # A restart within one second stops before it starts.
    for at, kind in sorted(set(system), key=lambda told: (told[0], told[1] == "start")):
        if kind == "stop":
            if stopped_at is not None:
                stops.append(Stop(stopped_at, None))
            stopped_at = at
        else:
            stops.append(Stop(stopped_at, at))
            stopped_at = None
    if stopped_at is not None:
        stops.append(Stop(stopped_at, None))
    return sorted(stops, key=lambda stop: stop.first)


def find_restarts(
    attempts: list[Attempt], told: Told, *, held_spans: list[Span], told_twice: list[Span]
) -> list[Restart]:
    """Return the restarts of a host in the order of down_at, each failed attempt marked with its own.

    `held_spans` is when mail waited, or may have, that the service did not take; `told_twice` is the
    time that the log tells twice.
    """
    failures = sorted(
        (attempt for attempt in attempts if attempt.is_failure),
        key=lambda failure: (failure.placed_at, failure.event.source, failure.event.line),
    )
    replies = [attempt for attempt in attempts if attempt.is_answered and attempt.event.is_fresh]
    runs: list[list[Attempt]] = []
    for failure in failures:
        if runs and not _are_apart(runs[-1], failure, replies):
            runs[-1].append(failure)
        else:
            runs.append([failure])
    stops = find_stops(told.system)
    of_stop: dict[Stop, list[Attempt]] = {stop: [] for stop in stops}
    restarts = []
    slow = []
    for run in runs:
        met = [stop for stop in stops if _meets(stop, run, replies)]
        if met:
            for failure in run:
                later = [stop for stop in met[1:] if stop.first <= failure.placed_at]
                of_stop[later[-1] if later else met[0]].append(failure)
        elif _is_slow_scanner(run, attempts):
            slow += run
        else:
            restarts.append(_shown(run, None, replies))
    restarts += [_shown(its_failures, stop, replies) for stop, its_failures in of_stop.items()]
    restarts.sort(key=lambda restart: restart.down_at)
    commands = sorted({order.at for order in told.orders})
    ends = [restart.up_at_latest for restart in restarts if restart.up_at_latest is not None]
    silences = _silences(attempts)
    late = {at for at in commands if _is_late(at, ends, silences, held_spans)}
    late |= {at for at in commands if any(since <= at < until for since, until in told_twice)}
    _bound(restarts, commands)
    _open_windows(restarts)
    restarts += _lone_commands(restarts, [at for at in commands if at not in late])
    for restart in restarts:
        for failure in restart.failures:
            failure.restart = restart
    _blame(attempts, slow, restarts)
    return sorted(restarts, key=lambda restart: restart.down_at)


def _are_apart(group: list[Attempt], failure: Attempt, replies: list[Attempt]) -> bool:
    """Whether an attempt surely began after all of the group, and before the failure, and got a reply."""
    after = max(member.placed_before for member in group)
    return any(after <= reply.began_at and reply.began_before <= failure.placed_at for reply in replies)


def _meets(stop: Stop, run: list[Attempt], replies: list[Attempt]) -> bool:
    """Whether a stop and a run of failures are of one outage.

    They are close in time, or have no answer between them where the other event is missing or the service
    was started less than a minute before it still failed.
    """
    first = min(failure.placed_at for failure in run)
    last = max(failure.placed_at for failure in run)
    is_before_end = stop.first <= last + NEAR_EVENT
    if stop.stopped_at is None and stop.started_at is not None:
        reply = _first_reply(replies, max(failure.placed_before for failure in run))
        is_before_end |= reply is None or stop.started_at < reply
    is_after_begin = stop.last >= first - NEAR_EVENT
    if stop.started_at is None or stop.started_at >= first - LONGEST:
        answer = max((r.began_at for r in replies if r.began_before <= first), default=None)
        is_after_begin |= answer is None or answer < stop.last
    return is_before_end and is_after_begin


def _first_reply(replies: list[Attempt], after: int) -> int | None:
    """Return when the first attempt begun after an instant surely had its reply."""
    later = [(reply.began_at, reply.event.before) for reply in replies if reply.began_at >= after]
    return min(later)[1] if later else None


def _is_slow_scanner(group: list[Attempt], attempts: list[Attempt]) -> bool:
    causes = {failure.cause for failure in group}
    if not (causes == {"timed_out"} or (len(group) == 1 and causes == {"session_lost"})):
        return False
    if all(_is_alive_around(f.began_at, f.began_before, attempts) for f in group):
        return True
    return len(group) == 1 and _is_alive_around(group[0].event.at, group[0].event.before, attempts)


def _is_alive_around(at: int, before: int, attempts: list[Attempt]) -> bool:
    answered = [attempt for attempt in attempts if attempt.is_answered]
    return any(at - SLOW <= attempt.began_at <= at for attempt in answered) and any(
        before <= attempt.began_at and attempt.event.before <= before + SLOW for attempt in answered
    )


def _shown(failures: list[Attempt], stop: Stop | None, replies: list[Attempt]) -> Restart:
    """Return what failures and a stop, or one of them, show of an outage."""

    def last_answer(before: int) -> int | None:
        return max((r.began_at for r in replies if r.began_before <= before), default=None)

    # The first failure counts when it was sure, but for a session that timed out after the service was back.
    failed_at = min((_failing_until(failure, replies) for failure in failures), default=None)
    failed_before = min((_failing_until(f, replies) + f.blur for f in failures), default=None)
    stopped_at = stop.stopped_at if stop else None
    event_at = stop.first if stop else None
    shown_from = min(at for at in (failed_at, event_at) if at is not None)
    answered_from = last_answer(shown_from if failed_at is None else failed_at)
    is_stop_early = (
        answered_from is not None and stopped_at is not None and answered_from > stopped_at + SECOND
    )
    earliest = answered_from if is_stop_early else last_answer(shown_from)
    latest = [at for at in (failed_before,) if at is not None]
    if event_at is not None and not is_stop_early:
        latest.append(event_at + SECOND)
    marks = [at for at in (failed_at, event_at) if at is not None]
    down_at = min(*marks, *latest)
    if earliest is not None:
        down_at = max(down_at, earliest)
    if failures:
        up_at_latest = _first_reply(replies, max(failure.placed_before for failure in failures))
    else:
        up_at_latest = _first_reply(replies, stop.last if stop else 0)
    return Restart(
        down_at=down_at,
        down_at_earliest=earliest,
        down_at_latest=min(latest),
        up_at=None,
        up_at_earliest=max((_failing_until(failure, replies) for failure in failures), default=None),
        up_at_latest=up_at_latest,
        failures=failures,
        failed_at=failed_at or 0,
        stop=stop,
    )


def _failing_until(failure: Attempt, replies: list[Attempt]) -> int:
    """Return up to when a failure shows that the service was down.

    An old session may time out long after the service is back: an attempt begun meanwhile was answered.
    """
    is_back = any(
        failure.placed_before <= reply.began_at and reply.began_before <= failure.event.at
        for reply in replies
    )
    return failure.placed_at if is_back else failure.event.at


def _bound(restarts: list[Restart], commands: list[int]) -> None:
    """Bound when the service was up again, by what else tells of it, and estimate it."""
    for restart, following in zip_longest(restarts, restarts[1:]):
        next_down_at = following.down_at if following else None
        started_at = restart.stop.started_at if restart.stop else None
        since = restart.down_at if started_at is None else started_at
        if restart.up_at_earliest is not None:
            since = restart.up_at_earliest
        # Where no reply came, the command, the start, or that it could stop again tells that it was up.
        told = [restart.up_at_latest] if restart.up_at_latest is not None else []
        if not told:
            told += [at for at in commands if at >= since][:1]
            failing_until = restart.up_at_earliest or 0
            if started_at is not None and started_at + NEAR_EVENT >= failing_until:
                told.append(max(started_at + SECOND, failing_until))
        if next_down_at is not None:
            told.append(next_down_at)
        restart.up_at_latest = min(told, default=None)
        if restart.up_at_latest is not None and restart.up_at_earliest is not None:
            restart.up_at_earliest = min(restart.up_at_earliest, restart.up_at_latest)
        if restart.up_at_latest is not None:
            usual = restart.down_at + LONGEST if started_at is None else started_at
            at_least = max(restart.down_at, usual, restart.up_at_earliest or 0)
            restart.up_at = min(restart.up_at_latest, at_least)


def _open_windows(restarts: list[Restart]) -> None:
    previous_until = None
    for restart, following in zip_longest(restarts, restarts[1:]):
        start = restart.down_at if restart.down_at_earliest is None else restart.down_at_earliest
        restart.window_from = max(start, previous_until) if previous_until is not None else start
        ends = [restart.up_at + FLUSH_WINDOW] if restart.up_at is not None else []
        ends += [following.down_at] if following else []
        restart.window_until = min(ends, default=None)
        previous_until = restart.window_until


def _silences(attempts: list[Attempt]) -> list[tuple[int | None, int | None]]:
    """Return the times between attempts that were answered; None is all that came before, or comes after."""
    answered = sorted((a for a in attempts if a.is_answered), key=lambda attempt: attempt.began_at)
    silences: list[tuple[int | None, int | None]] = []
    until = None
    for attempt in answered:
        if until is None or attempt.began_at > until:
            silences.append((until, attempt.began_at))
        until = max(until or 0, attempt.event.before)
    return [*silences, (until, None)]


def _is_late(
    at: int, ends: list[int], silences: list[tuple[int | None, int | None]], held_spans: list[Span]
) -> bool:
    """Whether a command tells of no restart: the service answered all the time since the last one.

    While mail waits that a restart held, the command may be for that mail: it takes a long silence then.
    """
    since = max([at - FLUSH_WINDOW - LONGEST, *(end for end in ends if end <= at)])
    is_mail_waiting = any(deferred_at < at <= until for deferred_at, until in held_spans)
    longest = LONGEST if is_mail_waiting else SHORTEST
    for start, end in silences:
        if start is None and end is None:
            return False
        is_met = (start is None or start < at) and (end is None or since < end)
        if is_met and (start is None or end is None or end - start > longest):
            return False
    return True


def _lone_commands(restarts: list[Restart], commands: list[int]) -> list[Restart]:
    """Return the commands near no outage: each tells of a restart that nothing else saw."""
    lone = [at for at in commands if not any(restart.has_in_window(at, at + SECOND) for restart in restarts)]
    found = []
    for number, at in enumerate(lone):
        ends = [at + FLUSH_WINDOW]
        ends += lone[number + 1 : number + 2]
        ends += [restart.down_at for restart in restarts if restart.down_at > at]
        found.append(
            Restart(at, None, at, at, None, at, is_command=True, window_from=at, window_until=min(ends))
        )
    return found


def _blame(attempts: list[Attempt], slow: list[Attempt], restarts: list[Restart]) -> None:
    """Find the restart of what was never tried, and of sessions that hung since before an outage."""
    failing = [restart for restart in restarts if restart.failures]
    for attempt in attempts:
        if attempt.cause == "suspended":
            earlier = [restart for restart in failing if restart.down_at <= attempt.event.at]
            # Of two in one instant the later.
            attempt.restart = max(reversed(earlier), key=lambda restart: restart.down_at, default=None)
    for failure in slow:
        meanwhile = [
            (restart.failed_at, restart)
            for restart in failing
            if failure.placed_at <= restart.failed_at <= failure.event.at
        ]
        if meanwhile:
            failure.restart = min(meanwhile, key=lambda found: found[0])[1]


def is_up_at_estimated(restart: Restart) -> bool:
    """Whether up_at is known to no better than a few seconds."""
    if restart.up_at is None or (restart.stop and restart.stop.started_at is not None):
        return False
    if restart.up_at_earliest is None or restart.up_at_latest is None:
        return True
    return restart.up_at_latest - restart.up_at_earliest > CLOSE_BOUNDS


def is_overlong(restart: Restart) -> bool:
    """Whether the service was surely down for more than a minute."""
    down_until = [restart.up_at_earliest] if restart.up_at_earliest is not None else []
    if restart.stop and restart.stop.started_at is not None:
        down_until.append(restart.stop.started_at)
    if not down_until:
        return False
    latest = restart.up_at_latest
    surely = max(down_until) if latest is None else min(max(down_until), latest)
    return surely - restart.down_at_latest > MINUTE
