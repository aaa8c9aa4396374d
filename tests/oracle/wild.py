"""Lines that do not follow from each other, at distances where the rules change their mind."""

import random
from typing import TypeVar

from tests.oracle.history import HOUR, MINUTE, SECOND
from tests.oracle.simulate import PEER, Line

Drawn = TypeVar("Drawn", bound=tuple[str, ...])

QUEUE_ID_LENGTH = 6
STEPS = (0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 5, 6, 10, 11, 20, 30, 55, 58, 60, 61, 118, 120, 121)
SPANS = ("0", "0", "0", "0.02", "0.5", "1", "3", "5", "30")

SUSPENDED = "delivery temporarily suspended: "
REFUSED = f"connect to {PEER}:10025: Connection refused"
GREETING_LOST = f"lost connection with {PEER} while receiving the initial server greeting"
SESSION_LOST = f"lost connection with {PEER} while sending end of data -- message may be sent more than once"
TIMED_OUT = f"conversation with {PEER} timed out while sending MAIL FROM"
REJECTED = f"host {PEER} said: 451 Transaction failed (in reply to end of DATA command)"
# Program, relay, dsn, status, reason; how often.
ATTEMPTS = {
    ("smtp[21]", f"{PEER}:10025", "2.0.0", "sent", "250 2.0.0 Ok: queued as 4F7F"): 12,
    ("smtp[21]", f"{PEER}:10025, conn_use=2", "2.0.0", "sent", "250 2.0.0 Ok: queued as 4F7F"): 3,
    ("smtp[22]", "none", "4.4.1", "deferred", REFUSED): 10,
    ("smtp[22]", "none", "4.4.1", "deferred", f"connect to {PEER}:10025: Connection timed out"): 1,
    ("smtp[22]", f"{PEER}:10025", "4.4.2", "deferred", GREETING_LOST): 2,
    ("smtp[22]", f"{PEER}:10025", "4.4.2", "deferred", SESSION_LOST): 3,
    ("smtp[22]", f"{PEER}:10025", "4.4.2", "deferred", TIMED_OUT): 3,
    ("smtp[22]", f"{PEER}:10025", "4.3.2", "deferred", f"host {PEER} refused to talk to me: 421 Busy"): 2,
    ("smtp[21]", f"{PEER}:10025", "4.0.0", "deferred", REJECTED): 2,
    ("smtp[21]", f"{PEER}:10025", "5.0.0", "bounced", REJECTED.replace("451", "550")): 1,
    ("error[23]", "none", "4.4.1", "deferred", SUSPENDED + REFUSED): 5,
    ("error[23]", "none", "4.4.2", "deferred", SUSPENDED + GREETING_LOST): 2,
    # Other hops.
    ("smtp[22]", f"{PEER}:10026", "4.4.2", "deferred", GREETING_LOST): 1,
    (
        "smtp[31]",
        "none",
        "4.4.1",
        "deferred",
        "connect to mx.example.com[192.0.2.9]:25: Connection refused",
    ): 1,
    ("smtp[31]", "mx.example.com[192.0.2.9]:25", "2.0.0", "sent", "250 2.0.0 Ok"): 1,
}
QUEUE_LINES = {
    ("smtpd[11]", "client=mx.example.com[192.0.2.7]"): 3,
    ("cleanup[12]", "message-id=<{now}@example.com>"): 2,
    ("qmgr[13]", "removed"): 3,
    ("qmgr[13]", "from=<sender@example.com>, status=expired, returned to sender"): 1,
    ("qmgr[13]", "skipped, still being delivered"): 1,
    ("postsuper[14]", "removed"): 1,
    ("postsuper[14]", "requeued"): 1,
    ("postsuper[14]", "placed on hold"): 1,
    ("postsuper[14]", "released from hold"): 1,
}
OTHER_LINES = {
    ("postlog[43]", "FLUSH: Checking if IMSS is running."): 4,
    ("master[42]", "reload -- version 3.7.11, configuration /etc/postfix"): 1,
    ("qmgr[13]", "table hash:/etc/postfix/transport(0,lock|fold_fix) has changed -- restarting"): 1,
    ("smtpd[11]", "connect from mx.example.com[192.0.2.7]"): 4,
}


class Wild:
    """Draws lines; `now` is where it has come to."""

    def __init__(
        self, chance: random.Random, backoff: int, instances: tuple[str, ...], *, is_fine: bool
    ) -> None:
        self.random = chance
        self.backoff = backoff
        self.instances = instances
        self.is_fine = is_fine
        self.now = SECOND + SECOND // 1000 if is_fine else SECOND
        self.qmgr = 13
        self.arrivals: dict[tuple[str, str], int] = {}
        self.ended: set[tuple[str, str]] = set()
        self.episode_number = 0
        self.lines: list[Line] = []
        self.commands: list[int] = []
        self.system_events: list[tuple[int, str]] = []

    def episode(self) -> None:
        """Draw a busy time, and what comes after it."""
        chance = self.random
        self.episode_number += 1
        ids = [f"A{self.episode_number:02X}{number:03X}" for number in range(chance.randint(1, 4))]
        if chance.random() < 0.8:
            self._attempt(ids[0], chance.choice(self.instances), is_answered=True)
            self._step()
        for _ in range(chance.randint(3, 30)):
            self._happens(ids)
            self._step()
        if chance.random() < 0.03:
            # The clock is set back.
            self.now = max(self.now - chance.choice((2, 30, 600)) * SECOND, SECOND)
        if chance.random() < 0.8:
            # An operator empties the queue, so that nothing of it is left for the next episode.
            self.now += chance.choice((2 * MINUTE, 20 * MINUTE))
            for queue_id in ids:
                for instance in self.instances:
                    self._log(instance, "postsuper[14]", f"{queue_id}: removed")
        self.now += chance.choice((MINUTE, 3 * MINUTE, 20 * MINUTE, HOUR, 7 * HOUR))

    def _step(self) -> None:
        steps = (*STEPS, self.backoff - 3, self.backoff - 2, self.backoff - 1, self.backoff, self.backoff + 1)
        self.now += self.random.choice(steps) * SECOND
        if self.is_fine:
            fraction = self.random.choice((1, 500, 999)) * (SECOND // 1000)
            self.now = max(self.now, self.now // SECOND * SECOND + fraction)

    def _log(self, instance: str, program: str, text: str) -> None:
        queue_id, about, _ = text.partition(": ")
        if about and len(queue_id) == QUEUE_ID_LENGTH:
            key = (instance, queue_id)
            self.arrivals.setdefault(key, self.now)
            # What is logged after the end is of the old message until a new one shows life.
            if "removed" in text or "requeued" in text:
                self.ended.add(key)
            elif key in self.ended and text.endswith(("(queue active)", "example.com>")):
                self.ended.remove(key)
                self.arrivals[key] = self.now
        self.lines.append((self.now, len(self.lines), f"{instance}/{program}", text))

    def _happens(self, ids: list[str]) -> None:
        chance = self.random
        instance = chance.choice(self.instances)
        queue_id = chance.choice(ids)
        what = chance.random()
        if what < 0.45:
            if chance.random() < 0.7:
                self._activation(queue_id, instance)
                self.now += chance.choice((0, 0, 0, 1, 2)) * SECOND
            self._attempt(queue_id, instance)
        elif what < 0.6:
            # A scan takes several.
            for taken in chance.sample(ids, chance.randint(1, len(ids))):
                self._activation(taken, instance)
                self.now += chance.choice((0, 0, 0, 1)) * SECOND
                self._attempt(taken, instance)
        elif what < 0.7:
            program, text = self._draw(QUEUE_LINES)
            if text.startswith("client="):
                # No id comes again within the second.
                self.now += SECOND
            self._log(instance, program, f"{queue_id}: {text.format(now=self.now)}")
        elif what < 0.72:
            self._activation(queue_id, instance)
        elif what < 0.73:
            # The qmgr was killed.
            self.qmgr += 1
        elif what < 0.86:
            self._log(instance, *self._draw(OTHER_LINES))
        elif what < 0.93:
            self.commands.append(self.now)
        else:
            kind = chance.choice(("stop", "start"))
            self.system_events.append((self.now, kind))
            if kind == "stop" and chance.random() < 0.7:
                self.system_events.append((self.now + chance.choice(STEPS) * SECOND, "start"))

    def _activation(self, queue_id: str, instance: str) -> None:
        text = f"{queue_id}: from=<sender@example.com>, size=1000, nrcpt=2 (queue active)"
        self._log(instance, f"qmgr[{self.qmgr}]", text)

    def _attempt(self, queue_id: str, instance: str, *, is_answered: bool = False) -> None:
        told = next(iter(ATTEMPTS)) if is_answered else self._draw(ATTEMPTS)
        program, relay, dsn, status, reason = told
        recipient = self.random.choice(("reader@example.com",) * 4 + ("other@example.com",))
        setup, sending = self.random.choice(SPANS), self.random.choice(SPANS)
        if is_answered or program.startswith("error"):
            setup = sending = "0"
        in_qmgr = self.random.choice(("0",) * 5 + ("2", "40"))
        active = float(in_qmgr) + float(setup) + float(sending)
        # The first line about a message tells of its arrival, or an attempt's delay does: few lack lines.
        arrived_at = self.arrivals.setdefault((instance, queue_id), self.now)
        if active * SECOND > self.now - arrived_at and self.random.random() < 0.95:
            in_qmgr = setup = sending = "0"
            active = 0.0
        before = max(round((self.now - arrived_at) / SECOND - active), 0)
        if self.random.random() < 0.02:
            before = self.random.choice((0, 5, 100))
        self._log(
            instance,
            program,
            f"{queue_id}: to=<{recipient}>, relay={relay}, delay={active + before:g}, "
            f"delays={before}/{in_qmgr}/{setup}/{sending}, dsn={dsn}, status={status} ({reason})",
        )

    def _draw(self, weights: dict[Drawn, int]) -> Drawn:
        return self.random.choices(list(weights), list(weights.values()))[0]
