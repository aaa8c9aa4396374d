"""Delivery attempts, system events and commands to the restarts of one host."""

import re
from dataclasses import dataclass, field
from itertools import zip_longest

from tests.oracle.history import MINUTE, SECOND
from tests.oracle.read import Event, Order, Told

REAL_FAILURES = ("refused", "greeting_lost", "session_lost", "timed_out", "turned_away")
SLOW = 5 * SECOND
NEAR_EVENT = 5 * SECOND
CLOSE_BOUNDS = 5 * SECOND
LONGEST = 60 * SECOND
FLUSH_WINDOW = 120 * SECOND
SUSPENDED = "delivery temporarily suspended: "
PEER = re.compile(
    r"(?P<verb>connect to|lost connection with|conversation with|host) [^\[ ]*\[(?P<address>[^\]]*)\](?::(?P<port>\d+))?"
)


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
        return self.cause in (None, "rejected")

    @property
    def is_failure(self) -> bool:
        return self.cause in REAL_FAILURES

    @property
    def began_at(self) -> int:
        return self.event.at - self.event.took

    @property
    def blur(self) -> int:
        """How long after what its stamp says the line may have been written."""
        return self.event.before - self.event.at

    @property
    def placed_at(self) -> int:
        """Where a failure counts: what timed out was down when the attempt began."""
        return self.began_at if self.cause == "timed_out" else self.event.at

    @property
    def placed_before(self) -> int:
        return self.placed_at + self.blur


@dataclass(frozen=True, slots=True)
class Pair:
    """A stop and a start of the scan service that follow each other in the system events."""

    stopped_at: int | None
    started_at: int | None

    @property
    def first(self) -> int:
        return self.stopped_at if self.stopped_at is not None else self.started_at or 0

    @property
    def last(self) -> int:
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
    pair: Pair | None = None
    is_command: bool = False
    window_from: int = 0
    window_until: int | None = None

    @property
    def evidence_from(self) -> int | None:
        if self.is_command:
            return self.down_at - 180 * SECOND
        if self.pair and self.pair.stopped_at is not None:
            return self.pair.stopped_at
        return self.down_at_earliest

    def has_in_window(self, instant: int) -> bool:
        return self.window_from <= instant and (self.window_until is None or instant < self.window_until)


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


def find_pairs(system: list[tuple[int, str]]) -> list[Pair]:
    """Pair each stop with the start that follows it; what has no partner stands alone."""
    pairs = []
    stopped_at = None
    for at, kind in system:
        if kind == "stop":
            if stopped_at is not None:
                pairs.append(Pair(stopped_at, None))
            stopped_at = at
        else:
            pairs.append(Pair(stopped_at, at))
            stopped_at = None
    if stopped_at is not None:
        pairs.append(Pair(stopped_at, None))
    return pairs


def find_restarts(attempts: list[Attempt], system: list[tuple[int, str]], orders: list[Order]) -> list[Restart]:
    """Return the restarts of a host in the order of down_at, each failure marked with its own."""
    failures = sorted(
        (attempt for attempt in attempts if attempt.is_failure),
        key=lambda failure: (failure.placed_at, failure.event.source, failure.event.line),
    )
    replies = [attempt for attempt in attempts if attempt.is_answered and attempt.event.is_fresh]
    groups: list[list[Attempt]] = []
    for failure in failures:
        if groups and not _are_apart(groups[-1], failure, replies):
            groups[-1].append(failure)
        else:
            groups.append([failure])
    pairs = find_pairs(system)
    restarts = []
    for group in groups:
        near = [pair for pair in pairs if _is_near(pair, group)]
        if not near and _is_slow_scanner(group, attempts):
            continue
        pairs = [pair for pair in pairs if pair not in near]
        for pair, part in _cut(group, near):
            if part:
                restarts.append(_of_failures(part, pair, replies))
            elif pair:
                restarts.append(_of_events(pair, replies))
    restarts += [_of_events(pair, replies) for pair in pairs]
    restarts.sort(key=lambda restart: restart.down_at)
    commands = sorted({order.at for order in orders})
    _bound(restarts, commands)
    _open_windows(restarts)
    restarts += _lone_commands(restarts, commands)
    for restart in restarts:
        for failure in restart.failures:
            failure.restart = restart
    _blame_suspensions(attempts, restarts)
    return sorted(restarts, key=lambda restart: restart.down_at)


def _are_apart(group: list[Attempt], failure: Attempt, replies: list[Attempt]) -> bool:
    """Whether an attempt surely began after all of the group, and before the failure, and got a reply."""
    after = max(member.placed_before for member in group)
    return any(
        after <= reply.began_at and reply.began_at + reply.blur <= failure.placed_at for reply in replies
    )


def _is_near(pair: Pair, group: list[Attempt]) -> bool:
    first = min(failure.placed_at for failure in group)
    last = max(failure.placed_at for failure in group)
    return pair.first - NEAR_EVENT <= last and first <= pair.last + NEAR_EVENT


def _is_slow_scanner(group: list[Attempt], attempts: list[Attempt]) -> bool:
    causes = {failure.cause for failure in group}
    if not (causes == {"timed_out"} or (len(group) == 1 and causes == {"session_lost"})):
        return False
    if all(_is_alive_around(f.placed_at, f.placed_before, attempts) for f in group):
        return True
    return len(group) == 1 and _is_alive_around(group[0].event.at, group[0].event.before, attempts)


def _is_alive_around(at: int, before: int, attempts: list[Attempt]) -> bool:
    answered = [attempt for attempt in attempts if attempt.is_answered]
    return any(at - SLOW <= attempt.began_at <= at for attempt in answered) and any(
        before <= attempt.began_at and attempt.event.before <= before + SLOW for attempt in answered
    )


def _cut(group: list[Attempt], near: list[Pair]) -> list[tuple[Pair | None, list[Attempt]]]:
    """Cut an outage where a further pair begins: two pairs are two restarts."""
    if not near:
        return [(None, group)]
    parts: list[tuple[Pair | None, list[Attempt]]] = []
    for number, pair in enumerate(near):
        begin = pair.first - NEAR_EVENT if number else None
        end = near[number + 1].first - NEAR_EVENT if number + 1 < len(near) else None
        part = [
            failure
            for failure in group
            if (begin is None or failure.placed_at >= begin) and (end is None or failure.placed_at < end)
        ]
        parts.append((pair, part))
    return parts


def _of_failures(group: list[Attempt], pair: Pair | None, replies: list[Attempt]) -> Restart:
    first = min(failure.placed_at for failure in group)
    before = [reply.began_at for reply in replies if reply.began_at + reply.blur <= first]
    after = max(failure.placed_before for failure in group)
    later = [(reply.began_at, reply.event.before) for reply in replies if reply.began_at >= after]
    restart = Restart(
        down_at=min(failure.event.at for failure in group),
        down_at_earliest=max(before, default=None),
        down_at_latest=min(failure.event.before for failure in group),
        up_at=None,
        up_at_earliest=max(failure.placed_at for failure in group),
        up_at_latest=min(later)[1] if later else None,
        failures=group,
        pair=pair,
    )
    if pair and pair.stopped_at is not None:
        restart.down_at_latest = min(restart.down_at_latest, pair.stopped_at + SECOND)
        restart.down_at = _clip(pair.stopped_at, restart.down_at_earliest, restart.down_at_latest)
    return restart


def _of_events(pair: Pair, replies: list[Attempt]) -> Restart:
    down_at = pair.first
    before = [reply.began_at for reply in replies if reply.began_at + reply.blur <= down_at]
    later = [
        (reply.began_at, reply.event.before) for reply in replies if reply.began_at >= pair.last + SECOND
    ]
    up_at_latest = min(later)[1] if later else None
    if up_at_latest is None and pair.started_at is not None:
        up_at_latest = pair.started_at + SECOND
    return Restart(
        down_at=down_at,
        down_at_earliest=max(before, default=None),
        down_at_latest=down_at + SECOND,
        up_at=None,
        up_at_earliest=None,
        up_at_latest=up_at_latest,
        pair=pair,
    )


def _clip(instant: int, earliest: int | None, latest: int | None) -> int:
    if earliest is not None and instant < earliest:
        return earliest
    if latest is not None and instant > latest:
        return latest
    return instant


def _bound(restarts: list[Restart], commands: list[int]) -> None:
    """Bound when the service was up again, by the next restart and by the manager, and estimate it."""
    for restart, following in zip_longest(restarts, restarts[1:]):
        next_down_at = following.down_at if following else None
        if restart.up_at_latest is not None and next_down_at is not None:
            restart.up_at_latest = min(restart.up_at_latest, next_down_at)
        if restart.up_at_latest is None and restart.up_at_earliest is not None:
            ordered = [at for at in commands if at >= restart.up_at_earliest]
            if ordered and (next_down_at is None or ordered[0] < next_down_at):
                restart.up_at_latest = ordered[0]
        if restart.pair and restart.pair.started_at is not None:
            restart.up_at = _clip(restart.pair.started_at, restart.up_at_earliest, restart.up_at_latest)
        elif restart.up_at_latest is not None:
            usual = restart.down_at + LONGEST
            restart.up_at = min(restart.up_at_latest, max(restart.up_at_earliest or usual, usual))


def _open_windows(restarts: list[Restart]) -> None:
    previous_until = None
    for restart, following in zip_longest(restarts, restarts[1:]):
        start = restart.down_at if restart.down_at_earliest is None else restart.down_at_earliest
        restart.window_from = max(start, previous_until) if previous_until is not None else start
        ends = [restart.up_at + FLUSH_WINDOW] if restart.up_at is not None else []
        ends += [following.down_at] if following else []
        restart.window_until = min(ends, default=None)
        previous_until = restart.window_until


def _lone_commands(restarts: list[Restart], commands: list[int]) -> list[Restart]:
    """Return the commands near no outage: each tells of a restart that nothing else saw."""
    lone = [at for at in commands if not any(restart.has_in_window(at) for restart in restarts)]
    found = []
    for number, at in enumerate(lone):
        ends = [at + FLUSH_WINDOW]
        ends += lone[number + 1 : number + 2]
        ends += [restart.down_at for restart in restarts if restart.down_at > at]
        found.append(
            Restart(at, None, at, at, None, at, is_command=True, window_from=at, window_until=min(ends))
        )
    return found


def _blame_suspensions(attempts: list[Attempt], restarts: list[Restart]) -> None:
    for attempt in attempts:
        if attempt.cause == "suspended":
            earlier = [r for r in restarts if r.failures and r.down_at <= attempt.event.at]
            attempt.restart = max(earlier, key=lambda restart: restart.down_at, default=None)


def is_up_at_estimated(restart: Restart) -> bool:
    """Whether up_at is known to no better than a few seconds."""
    if restart.up_at is None or (restart.pair and restart.pair.started_at is not None):
        return False
    if restart.up_at_earliest is None or restart.up_at_latest is None:
        return True
    return restart.up_at_latest - restart.up_at_earliest > CLOSE_BOUNDS


def is_overlong(restart: Restart) -> bool:
    """Whether the service was surely down for more than a minute."""
    return restart.up_at_earliest is not None and restart.up_at_earliest - restart.down_at_latest > MINUTE
