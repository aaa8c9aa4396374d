"""A small Postfix with a scan service behind it, a manager and an operator, told by the lines they log.

Its queue manager follows qmgr_active.c and qmgr.c as far as the lines of deferred mail show: back-off by
age, queue runs counted from its start, dead destinations, flushes, expiry.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from tests.oracle.history import HOUR, MINUTE, SECOND

PEER = "localhost[127.0.0.1]"
DEAD_AFTER_FAILURES = 3
SKIPPED_RETRY = 60 * SECOND
POLL = MINUTE

Line = tuple[int, int, str, str]
"""When, in which order, which program (with its instance), and what."""


@dataclass(frozen=True)
class Episode:
    """A busy time of a host, and how its parts behave until the next one; instants are microseconds."""

    start: int
    end: int
    """When no more mail comes."""
    outages: tuple[tuple[int, int], ...] = ()
    mail_gap: int = 5 * SECOND
    quiet: tuple[int, int] = (0, 0)
    stop: Literal["at_once", "sessions_finish", "greeting_lost", "turned_away", "hangs"] = "at_once"
    slow_share: float = 0.0
    reject_share: float = 0.02
    reuse_share: float = 0.2
    null_sender_share: float = 0.1
    does_wrapper_flush: bool = True
    does_wrapper_mark: bool = True
    does_manager_flush_while_down: bool = False
    operator_flushes: tuple[int, ...] = ()
    single_flushes: tuple[int, ...] = ()
    qmgr_starts: tuple[tuple[int, str], ...] = ()
    deletions: tuple[int, ...] = ()
    requeues: tuple[int, ...] = ()
    order_delay: int = 0
    """How much later than its poll the manager gives its order."""


@dataclass(frozen=True)
class Plan:
    """What is to happen on one host."""

    seed: int
    until: int
    episodes: tuple[Episode, ...]
    queue_run_delay: int = 300 * SECOND
    minimal_backoff: int = 300 * SECOND
    maximal_backoff: int = 4000 * SECOND
    lifetime: int = 5 * 24 * HOUR
    instances: tuple[str, ...] = ("postfix",)
    has_long_ids: bool = False
    are_ids_used_again: bool = True
    poll_phase: int | None = 0
    event_jitter: int | None = None
    """How late the system events may be; None is a host without them."""


@dataclass(eq=False)
class Mail:
    """A message in the queue."""

    queue_id: str
    sender: str
    arrived_at: int
    waiting: list[str]
    recipient_count: int
    size: int
    is_active: bool = True
    retry_at: int = 0
    is_on_hold: bool = False
    generation: int = 0
    """Counts the rounds, so that what a restarted qmgr forgot is told apart."""


@dataclass(eq=False)
class Queue:
    """The state of one instance's queue manager."""

    name: str
    started_at: int = 0
    mails: list[Mail] = field(default_factory=list)
    failures_in_a_row: int = 0
    dead_until: int = 0
    dead_reason: tuple[str, str] = ("", "")
    run_number: int = 0
    qmgr: str = "qmgr[13]"


class Host:
    """Runs a plan; its lines are in maillog, manager_log and system_events."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.lines: list[Line] = []
        self.commands: list[int] = []
        self.system_events: list[tuple[int, str]] = []
        self.agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self.count = 0
        self.free_ids: list[tuple[str, int]] = []
        self.used_ids: set[str] = set()
        self.queues = [Queue(name) for name in plan.instances]
        self.saw_it_down = False
        self.episode = plan.episodes[0]
        self.outages = [outage for episode in plan.episodes for outage in episode.outages]

    def run(self) -> "Host":
        """Let it all happen; the log ends with the plan, whatever is still under way."""
        plan = self.plan
        for queue in self.queues:
            self._log(0, queue, "postfix-script[41]", "starting the Postfix mail system")
            self._log(0, queue, "master[42]", "daemon started -- version 3.7.11, configuration /etc/postfix")
            self._at(plan.queue_run_delay, partial(self._queue_run, queue, 0))
        for episode in plan.episodes:
            self._at(episode.start, partial(self._begin, episode))
        if plan.poll_phase is not None:
            self._at(plan.poll_phase, self._poll)
        if plan.event_jitter is not None:
            for down_at, up_at in self.outages:
                jitter = self.random.randint(0, plan.event_jitter)
                self.system_events.append((down_at - self.random.randint(0, SECOND), "stop"))
                self.system_events.append((max(down_at, up_at - jitter), "start"))
        while self.agenda and self.agenda[0][0] <= plan.until:
            at, _, act = heapq.heappop(self.agenda)
            act(at)
        self._log(plan.until, self.queues[0], "smtpd[11]", "connect from mx.example.com[192.0.2.7]")
        self.lines = sorted(line for line in self.lines if line[0] <= plan.until)
        return self

    def _begin(self, episode: Episode, now: int) -> None:
        self.episode = episode
        self._at(now, self._mail_comes)
        for at in episode.operator_flushes:
            self._at(at, self._flush_all)
        for at in episode.single_flushes:
            self._at(at, self._flush_one)
        for at in episode.deletions:
            self._at(at, self._take_out)
        for at in episode.requeues:
            self._at(at, self._requeue_all)
        for at, how in episode.qmgr_starts:
            self._at(at, partial(self._restart_qmgr, how))

    def _at(self, at: int, act: Callable[[int], None]) -> None:
        self.count += 1
        heapq.heappush(self.agenda, (at, self.count, act))

    def _log(self, at: int, queue: Queue, program: str, text: str) -> None:
        self.count += 1
        self.lines.append((at, self.count, f"{queue.name}/{program}", text))

    def _soon(self, most: int = SECOND // 20) -> int:
        return self.random.randint(1, most)

    def _is_down(self, at: int) -> bool:
        return any(down_at <= at < up_at for down_at, up_at in self.outages)

    def _next_stop(self, at: int) -> int | None:
        return min((down_at for down_at, _ in self.outages if down_at > at), default=None)

    # Mail comes in.

    def _mail_comes(self, now: int) -> None:
        episode, chance = self.episode, self.random
        if now > episode.end:
            return
        start, end = episode.quiet
        queue = chance.choice(self.queues)
        sender = "" if chance.random() < episode.null_sender_share else "sender@example.com"
        count = chance.choice((1, 1, 1, 1, 2, 3))
        mail = Mail(
            self._new_id(now),
            sender,
            now,
            [f"reader{n}@example.com" for n in range(count)],
            count,
            chance.randint(300, 90000),
        )
        queue.mails.append(mail)
        if chance.random() < 0.95:
            came_by = ("smtpd[11]", "client=mx.example.com[192.0.2.7]")
            if chance.random() < 0.1:
                came_by = ("pickup[9]", "uid=0 from=<root>")
            self._log(now, queue, came_by[0], f"{mail.queue_id}: {came_by[1]}")
            self._log(now, queue, "cleanup[12]", f"{mail.queue_id}: message-id=<{now}@example.com>")
        self._at(now + self._soon(), partial(self._activate, queue, mail))
        gap = round(chance.expovariate(1 / episode.mail_gap)) + 1
        # Bursts.
        following = now + (self._soon() if chance.random() < 0.15 else gap)
        self._at(end if start <= following < end else following, self._mail_comes)

    def _new_id(self, now: int) -> str:
        if self.plan.has_long_ids:
            consonants = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
            self.count += 1
            number, digits = now * 100 + self.count % 100, ""
            while number:
                number, digit = divmod(number, 52)
                digits = consonants[digit] + digits
            return f"4j{digits:0>9}zJ{consonants[self.count % 50]}Q"
        # Short ids come again as soon as they are free, but not within seconds: they bear the microsecond.
        free = [(queue_id, since) for queue_id, since in self.free_ids if now >= since + 4 * SECOND]
        if free and self.random.random() < 0.5:
            queue_id, since = free[-1]
            self.free_ids.remove((queue_id, since))
        else:
            queue_id = f"{len(self.used_ids) * 977 + 0xA00001:X}"
        self.used_ids.add(queue_id)
        return queue_id

    # One round of deliveries.

    def _activate(self, queue: Queue, mail: Mail, now: int) -> None:
        if mail not in queue.mails or mail.is_on_hold:
            return
        mail.is_active = True
        mail.generation += 1
        self._log(
            now,
            queue,
            queue.qmgr,
            f"{mail.queue_id}: from=<{mail.sender}>, size={mail.size}, "
            f"nrcpt={mail.recipient_count} (queue active)",
        )
        # A round may be split over several sessions.
        recipients = list(mail.waiting)
        if len(recipients) > 1 and self.random.random() < 0.4:
            parts = [recipients[:1], recipients[1:]]
        else:
            parts = [recipients]
        ends = [self._try(queue, mail, part, now + self._soon()) for part in parts]
        generation = mail.generation
        self._at(max(ends) + 1, partial(self._end_round, queue, mail, generation))

    def _try(self, queue: Queue, mail: Mail, recipients: list[str], now: int) -> int:
        """Start one attempt; its lines come when it ends. Returns when that is."""
        episode, chance = self.episode, self.random
        if now < queue.dead_until:
            relay_and_reason = ("none", f"delivery temporarily suspended: {queue.dead_reason[1]}")
            end = now + self._soon()
            self._ends(
                end, queue, mail, recipients, ("error[23]", *relay_and_reason, queue.dead_reason[0]), 0
            )
            return end
        is_reused = chance.random() < episode.reuse_share
        if self._is_down(now) and not (
            episode.stop == "sessions_finish" and is_reused and chance.random() < 0.5
        ):
            return self._fails(queue, mail, recipients, now)
        took = round(chance.lognormvariate(-1.2, 1.0) * SECOND)
        if chance.random() < episode.slow_share:
            took = chance.randint(5, 200) * SECOND
            self._ends(now + took, queue, mail, recipients, self._timed_out(), took)
            return now + took
        stop = self._next_stop(now)
        if stop is not None and stop < now + took and episode.stop != "sessions_finish":
            end = stop + self._soon()
            lost = (
                f"lost connection with {PEER} while sending end of data -- message may be sent more than once"
            )
            self._ends(end, queue, mail, recipients, ("smtp[22]", f"{PEER}:10025", lost, "4.4.2"), end - now)
            return end
        end = now + took
        if chance.random() < episode.reject_share:
            hard = chance.random() < 0.3
            said = "550 Not wanted" if hard else "451 Transaction failed"
            reason = f"host {PEER} said: {said} (in reply to end of DATA command)"
            told = ("smtp[21]", f"{PEER}:10025", reason, "5.0.0" if hard else "4.0.0")
        else:
            told = ("smtp[21]", f"{PEER}:10025", f"250 2.0.0 Ok: queued as {mail.queue_id}F", "2.0.0")
        self._ends(end, queue, mail, recipients, told, took, is_reused=is_reused)
        return end

    def _fails(self, queue: Queue, mail: Mail, recipients: list[str], now: int) -> int:
        episode, chance = self.episode, self.random
        took = self._soon(SECOND // 50)
        relay = f"{PEER}:10025"
        if episode.stop == "hangs":
            took = chance.choice((10, 20, 30)) * SECOND
            told = self._timed_out()
        elif episode.stop == "greeting_lost" and chance.random() < 0.5:
            reason = f"lost connection with {PEER} while receiving the initial server greeting"
            told = ("smtp[22]", relay, reason, "4.4.2")
        elif episode.stop == "turned_away" and chance.random() < 0.5:
            told = ("smtp[22]", relay, f"host {PEER} refused to talk to me: 421 Service unavailable", "4.3.2")
        else:
            told = ("smtp[22]", "none", f"connect to {PEER}:10025: Connection refused", "4.4.1")
        self._ends(now + took, queue, mail, recipients, told, took)
        return now + took

    def _timed_out(self) -> tuple[str, str, str, str]:
        reason = f"conversation with {PEER} timed out while receiving the initial server greeting"
        return ("smtp[22]", f"{PEER}:10025", reason, "4.4.2")

    def _ends(
        self,
        end: int,
        queue: Queue,
        mail: Mail,
        recipients: list[str],
        told: tuple[str, str, str, str],
        took: int,
        *,
        is_reused: bool = False,
    ) -> None:
        generation = mail.generation
        self._at(
            end,
            lambda at: self._log_attempt(
                at, queue, mail, recipients, told, took, is_reused=is_reused, generation=generation
            ),
        )

    def _log_attempt(
        self,
        now: int,
        queue: Queue,
        mail: Mail,
        recipients: list[str],
        told: tuple[str, str, str, str],
        took: int,
        *,
        is_reused: bool,
        generation: int,
    ) -> None:
        program, relay, reason, dsn = told
        status = {"2": "sent", "4": "deferred", "5": "bounced"}[dsn[0]]
        use = ", conn_use=2" if is_reused and relay != "none" else ""
        before = max(now - mail.arrived_at - took, 0)
        for recipient in recipients:
            if recipient not in mail.waiting:
                continue
            self._log(
                now,
                queue,
                program,
                f"{mail.queue_id}: to=<{recipient}>, relay={relay}{use}, "
                f"delay={_seconds(now - mail.arrived_at)}, "
                f"delays={_seconds(before)}/0/0/{_seconds(took)}, dsn={dsn}, status={status} ({reason})",
            )
            if status != "deferred":
                mail.waiting.remove(recipient)
        if program.startswith("error"):
            return
        if status == "deferred" and " said: " not in reason:
            queue.failures_in_a_row += 1
            if queue.failures_in_a_row >= DEAD_AFTER_FAILURES:
                queue.dead_until = now + self.plan.minimal_backoff
                queue.dead_reason = (dsn, reason)
        else:
            queue.failures_in_a_row = 0

    def _end_round(self, queue: Queue, mail: Mail, generation: int, now: int) -> None:
        if mail not in queue.mails or mail.generation != generation or not mail.is_active:
            return
        mail.is_active = False
        # Postfix forgets a dead destination once none of its mail is active.
        if not any(other.is_active for other in queue.mails) and self.random.random() < 0.5:
            queue.dead_until = queue.failures_in_a_row = 0
        plan = self.plan
        lifetime = 0 if not mail.sender and plan.lifetime < HOUR else plan.lifetime
        if mail.waiting and now >= mail.arrived_at + lifetime:
            text = f"{mail.queue_id}: from=<{mail.sender}>, status=expired, returned to sender"
            self._log(now, queue, queue.qmgr, text)
            mail.waiting = []
        if not mail.waiting:
            self._log(now, queue, queue.qmgr, f"{mail.queue_id}: removed")
            self._leave(queue, mail, now)
            return
        age = now - mail.arrived_at
        mail.retry_at = now + max(min(age, plan.maximal_backoff), plan.minimal_backoff)

    def _leave(self, queue: Queue, mail: Mail, now: int) -> None:
        queue.mails.remove(mail)
        if self.plan.are_ids_used_again and not self.plan.has_long_ids:
            self.free_ids.append((mail.queue_id, now))

    # Scans of the deferred queue.

    def _deferred(self, queue: Queue) -> list[Mail]:
        return [mail for mail in queue.mails if not mail.is_active and not mail.is_on_hold]

    def _queue_run(self, queue: Queue, run_number: int, now: int) -> None:
        if queue.run_number != run_number:
            return
        self._take(queue, now, [mail for mail in self._deferred(queue) if mail.retry_at <= now + SECOND])
        self._at(now + self.plan.queue_run_delay, partial(self._queue_run, queue, run_number))

    def _take(self, queue: Queue, now: int, mails: list[Mail]) -> None:
        at = now
        for mail in mails:
            at += self._soon(SECOND // 20)
            mail.is_active = True
            self._at(at, partial(self._activate, queue, mail))

    def _flush(self, queue: Queue, now: int) -> None:
        queue.dead_until = queue.failures_in_a_row = 0
        self._take(queue, now, self._deferred(queue))

    def _flush_all(self, now: int) -> None:
        for queue in self.queues:
            self._flush(queue, now)

    def _flush_one(self, now: int) -> None:
        queue = self.random.choice(self.queues)
        if deferred := self._deferred(queue):
            self._take(queue, now, [self.random.choice(deferred)])

    def _take_out(self, now: int) -> None:
        """An operator deletes, requeues or holds a message."""
        queue = self.random.choice(self.queues)
        if not (deferred := self._deferred(queue)):
            return
        mail = self.random.choice(deferred)
        what = self.random.choice(("removed", "requeued", "placed on hold"))
        self._log(now, queue, "postsuper[14]", f"{mail.queue_id}: {what}")
        if what == "placed on hold":
            mail.is_on_hold = True
            return
        self._leave(queue, mail, now)
        if what == "requeued":
            self._come_again(queue, mail, now)

    def _requeue_all(self, now: int) -> None:
        """An operator requeues all there is (postsuper -r ALL); postsuper tells at the end how many."""
        for queue in self.queues:
            waiting = self._deferred(queue)
            for mail in waiting:
                self._log(now, queue, "postsuper[15]", f"{mail.queue_id}: requeued")
                self._leave(queue, mail, now)
                self._come_again(queue, mail, now)
            if waiting:
                self._log(now, queue, "postsuper[15]", f"Requeued: {len(waiting)} messages")

    def _come_again(self, queue: Queue, mail: Mail, now: int) -> None:
        again = Mail(
            self._new_id(now + 1), mail.sender, now, list(mail.waiting), len(mail.waiting), mail.size
        )
        queue.mails.append(again)
        text = f"{again.queue_id}: uid=0 from=<{mail.sender}> orig_id={mail.queue_id}"
        self._log(now + 1, queue, "pickup[9]", text)
        self._at(now + 2, partial(self._activate, queue, again))

    def _restart_qmgr(self, how: str, now: int) -> None:
        queue = self.random.choice(self.queues)
        if how == "killed":
            # master starts it again and says nothing.
            queue.qmgr = f"qmgr[{int(queue.qmgr[5:-1]) + 1}]"
        elif how == "table":
            text = "table hash:/etc/postfix/transport(0,lock|fold_fix) has changed -- restarting"
            self._log(now, queue, queue.qmgr, text)
        else:
            text = {"reload": "reload", "start": "daemon started"}[how]
            self._log(now, queue, "master[42]", f"{text} -- version 3.7.11, configuration /etc/postfix")
        queue.run_number += 1
        queue.dead_until = queue.failures_in_a_row = 0
        at = now + self._soon()
        # Mail that was active is found again: some of it is still being delivered.
        for mail in [mail for mail in queue.mails if mail.is_active]:
            at += self._soon()
            if self.random.random() < 0.3:
                self._log(at, queue, queue.qmgr, f"{mail.queue_id}: skipped, still being delivered")
                mail.retry_at = at + SKIPPED_RETRY
                mail.generation += 1
                self._at(at + SKIPPED_RETRY, partial(self._activate, queue, mail))
            else:
                self._at(at, partial(self._activate, queue, mail))
        self._at(at + self._soon(), partial(self._queue_run, queue, queue.run_number))

    # The manager.

    def _poll(self, now: int) -> None:
        is_down = self._is_down(now)
        if is_down:
            self.saw_it_down = True
        if self.saw_it_down and (not is_down or self.episode.does_manager_flush_while_down):
            self._at(now + self.episode.order_delay, self._order)
            if not is_down:
                self.saw_it_down = False
        self._at(now + POLL, self._poll)

    def _order(self, now: int) -> None:
        self.commands.append(now)
        if self.episode.does_wrapper_mark:
            text = "FLUSH: Checking if IMSS is running."
            self._log(now + self._soon(SECOND), self.queues[0], "postlog[43]", text)
        if self.episode.does_wrapper_flush:
            for queue in self.queues:
                self._at(now + self._soon(SECOND), partial(self._flush, queue))


def _seconds(span: int) -> str:
    """Write a span as Postfix does (format_tv.c): two digits, of hundredths at most."""
    seconds = span / SECOND
    if seconds >= 10:
        return str(int(seconds))
    if seconds >= 1:
        return f"{int(seconds * 10) / 10:g}"
    return f"{int(seconds * 100) / 100:g}"
