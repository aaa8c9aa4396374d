"""A seed to one day's maillog of a busy InterScan MSS host, and to how many lines belong in which table.

All mail passes Postfix twice, once to the scan service on :10025 and once on to its destination. The service
is restarted a few times; what arrives meanwhile is deferred until a flush, or until the next queue run.
Formats are those of Postfix 3 (log_adhoc.c, smtpd.c, qmgr_active.c, bounce_notify_service.c) with short
queue ids, as in data/sample.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import BinaryIO

# As transforms.parse.tables says; that module imports polars, and what measures must stay small.
NOISE = "noise"
HOST = "imss21"
DAY = datetime(2026, 11, 14)  # noqa: DTZ001 - a host's local day
DAY_SECONDS = 86_400.0
# Mail by hour of the day, of an office.
HOURLY_SHARES = (2, 1, 1, 1, 1, 2, 3, 5, 9, 10, 9, 8, 6, 8, 9, 8, 7, 6, 5, 4, 3, 3, 2, 2)
RESTART_COUNT = 6
FLUSHED_SHARE = 0.8
# Postfix's defaults.
BACKOFF_SECONDS = 300
QUEUE_RUN_SECONDS = 300
# Lines are put in order and written once all mail that arrived this much later is known.
SLICE_SECONDS = 60.0
# A client is logged this long before its mail at most.
LEAD_SECONDS = 1.0

QMGR = "postfix/qmgr[1287]"
POSTLOG = "postfix/postlog[26077]"
SCANNER = "localhost[127.0.0.1]:10025"
REFUSED = "connect to localhost[127.0.0.1]:10025: Connection refused"
SUSPENDED = f"delivery temporarily suspended: {REFUSED}"
GREETING_LOST = "lost connection with localhost[127.0.0.1] while receiving the initial server greeting"
GREYLISTED = "451 4.7.1 Greylisting in action, please come back later (in reply to RCPT TO command)"
UNKNOWN = "Recipient address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command)"
TLS_1_3 = (
    "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) "
    "key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256"
)

Line = tuple[float, str, str, str]
"""Seconds of the day, table, `program[pid]`, text."""


@dataclass(frozen=True)
class Outage:
    """When the scan service was down, and when mail is tried again; None if no flush was ordered."""

    down_at: float
    up_at: float
    flushed_at: float | None

    @property
    def held_until(self) -> float:
        """When new mail is no longer deferred: with the flush, or when the destination is no more dead."""
        return self.flushed_at or max(self.up_at, self.down_at + BACKOFF_SECONDS)

    def retried_at(self, deferred_at: float) -> float:
        """Return when mail deferred by this outage is tried again."""
        if self.flushed_at and deferred_at < self.flushed_at:
            return self.flushed_at
        return queue_run_after(max(deferred_at + BACKOFF_SECONDS, self.held_until))


def queue_run_after(seconds: float) -> float:
    """Return the time of the next queue run."""
    return (seconds // QUEUE_RUN_SECONDS + 1) * QUEUE_RUN_SECONDS


def write_maillog(log: BinaryIO, *, message_count: int, seed: int) -> Counter[str]:
    """Write the day's lines in their order; return how many belong in which event table, or are noise."""
    counts: Counter[str] = Counter()
    for lines in _Day(Random(seed), message_count).slices():
        counts.update(table for _, table, _, _ in lines)
        log.write("".join(_formatted(lines)).encode())
    return counts


def _formatted(lines: list[Line]) -> Iterator[str]:
    second, stamp = -1, ""
    for at, _, process, text in lines:
        if int(at) != second:
            second = int(at)
            stamp = f"{DAY + timedelta(seconds=second):%b %e %H:%M:%S} {HOST}"
        yield f"{stamp} {process}: {text}\n"


@dataclass
class _Day:
    random: Random
    message_count: int
    outages: list[Outage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = _Names(self.random)
        self.noticed: set[Outage] = set()
        for down_at in sorted(self._between(600, DAY_SECONDS - 7200) for _ in range(RESTART_COUNT)):
            up_at = down_at + self._between(5, 50)
            # The manager looks at the services every minute.
            flushed_at = up_at + self._between(0, 60) if self._happens(FLUSHED_SHARE) else None
            self.outages.append(Outage(down_at, up_at, flushed_at))

    def slices(self) -> Iterator[list[Line]]:
        """Yield all lines in order, a slice at a time; what the day leaves unfinished is the next one's."""
        marker = "FLUSH: Checking if IMSS is running."
        flushes = filter(None, (outage.flushed_at for outage in self.outages))
        waiting = [(at, "service_events", POSTLOG, marker) for at in flushes]
        due = SLICE_SECONDS
        for arrived_at in self._arrivals():
            if arrived_at > due:
                waiting.sort()
                end = bisect_left(waiting, (arrived_at - LEAD_SECONDS,))
                yield waiting[:end]
                del waiting[:end]
                due = arrived_at + SLICE_SECONDS
            waiting += self._message(arrived_at)
            if self._happens(0.12):
                waiting += self._refused_client(arrived_at)
        waiting.sort()
        yield waiting[: bisect_left(waiting, (DAY_SECONDS,))]

    def _arrivals(self) -> Iterator[float]:
        for hour, share in enumerate(HOURLY_SHARES):
            count = round(self.message_count * share / sum(HOURLY_SHARES))
            yield from sorted(3600 * (hour + self.random.random()) for _ in range(count))

    def _message(self, at: float) -> Iterator[Line]:
        """Yield the lines of one message: from a client to the scan service, and from there onwards."""
        names = self.names
        client, sender, message_id = names.client(), names.sender(), names.message_id(at)
        recipients = [names.address() for _ in range(2 if self._happens(0.12) else 1)]
        size = int(self.random.lognormvariate(9.5, 1.2)) + 600
        queue_id = names.queue_id(at)
        yield from self._received(at, queue_id, client, message_id, encrypted=self._happens(0.4))
        envelope = f"from=<{sender}>, size={size}, nrcpt={len(recipients)} (queue active)"
        yield at + 0.01, "queue_activations", QMGR, f"{queue_id}: {envelope}"
        tried_at = at + self._between(0.02, 0.1)
        outage = next((one for one in self.outages if one.down_at <= at < one.held_until), None)
        if outage:
            for recipient in recipients:
                yield from self._held(tried_at, outage, queue_id, recipient, tried_at - at)
            tried_at = outage.retried_at(tried_at) + self._between(0, 2)
            yield tried_at, "queue_activations", QMGR, f"{queue_id}: {envelope}"
        scan_seconds = self.random.expovariate(2) + 0.05
        passed_at = tried_at + scan_seconds
        next_queue_id = names.queue_id(passed_at)
        smtp = names.process("smtp")
        reused = f", conn_use={int(self._between(2, 20))}" if self._happens(0.15) else ""
        delay = _delay(passed_at - at, tried_at - at, 0.01, 0.01, scan_seconds)
        outcome = f"{delay}, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {next_queue_id})"
        for recipient in recipients:
            attempt = f"{queue_id}: to=<{recipient}>, relay={SCANNER}{reused}, {outcome}"
            yield passed_at, "delivery_attempts", smtp, attempt
        yield passed_at + 0.001, "queue_removals", QMGR, f"{queue_id}: removed"
        yield from self._received(
            passed_at - 0.03, next_queue_id, "localhost[127.0.0.1]", message_id, encrypted=False
        )
        yield from self._onwards(passed_at - 0.02, next_queue_id, sender, size + 812, recipients)

    def _received(
        self, at: float, queue_id: str, client: str, message_id: str, *, encrypted: bool
    ) -> Iterator[Line]:
        """Yield the session with a client that brings one message."""
        smtpd, cleanup = self.names.process("smtpd"), self.names.process("cleanup")
        commands = "ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5"
        yield at - 0.02, NOISE, smtpd, f"connect from {client}"
        if encrypted:
            commands = "ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7"
            cipher = "TLSv1.2 with cipher ECDHE-RSA-AES256-GCM-SHA384 (256/256 bits)"
            yield at - 0.01, NOISE, smtpd, f"Anonymous TLS connection established from {client}: {cipher}"
        yield at, "clients", smtpd, f"{queue_id}: client={client}"
        yield at + 0.005, "message_ids", cleanup, f"{queue_id}: message-id=<{message_id}>"
        yield at + 0.02, NOISE, smtpd, f"disconnect from {client} {commands}"

    def _held(
        self, at: float, outage: Outage, queue_id: str, recipient: str, waited: float
    ) -> Iterator[Line]:
        """Yield a failed attempt; after the first few, qmgr takes the destination for dead."""
        relay, dsn, process = "none", "4.4.1", self.names.process("smtp")
        if at < outage.down_at + 0.2:
            relay, dsn, reason = SCANNER, "4.4.2", GREETING_LOST
        elif at < outage.down_at + 1 or outage not in self.noticed:
            reason = REFUSED
            yield at, "other_lines", process, REFUSED
        else:
            reason, process = SUSPENDED, self.names.process("error")
        self.noticed.add(outage)
        delay = _delay(waited, waited, 0, 0, 0)
        outcome = f"relay={relay}, {delay}, dsn={dsn}, status=deferred ({reason})"
        yield at, "delivery_attempts", process, f"{queue_id}: to=<{recipient}>, {outcome}"

    def _onwards(
        self, at: float, queue_id: str, sender: str, size: int, recipients: list[str]
    ) -> Iterator[Line]:
        """Yield the delivery to the destination: at once, at a later queue run, or back to the sender."""
        relay = self.names.relay()
        host = relay.removesuffix(":25")
        is_inwards = self._happens(0.6)
        smtp = self.names.process("relay/smtp" if is_inwards else "smtp")
        envelope = f"from=<{sender}>, size={size}, nrcpt={len(recipients)} (queue active)"
        yield at, "queue_activations", QMGR, f"{queue_id}: {envelope}"
        if not is_inwards and self._happens(0.5):
            yield at + 0.1, NOISE, smtp, f"Trusted TLS connection established to {relay}: {TLS_1_3}"
        seconds = self.random.expovariate(1.2) + 0.1
        done_at = at + seconds
        delay = _delay(seconds, 0.03, 0.01, seconds / 3, seconds / 2)
        fate = self.random.random()
        if fate < 0.02:
            said = f"host {host} said: {GREYLISTED}"
            yield done_at - 0.05, "other_lines", smtp, f"{queue_id}: {said}"
            for recipient in recipients:
                outcome = f"relay={relay}, {delay}, dsn=4.7.1, status=deferred ({said})"
                yield done_at, "delivery_attempts", smtp, f"{queue_id}: to=<{recipient}>, {outcome}"
            retried_at = queue_run_after(done_at + BACKOFF_SECONDS) + self._between(0, 2)
            yield retried_at, "queue_activations", QMGR, f"{queue_id}: {envelope}"
            done_at = retried_at + seconds
            delay = _delay(done_at - at, retried_at - at, 0.01, seconds / 3, seconds / 2)
        is_unknown = fate > 0.99
        for recipient in recipients:
            result = f"dsn=2.0.0, status=sent ({self.names.reply(done_at, size)})"
            if is_unknown:
                result = f"dsn=5.1.1, status=bounced (host {host} said: 550 5.1.1 <{recipient}>: {UNKNOWN})"
            attempt = f"{queue_id}: to=<{recipient}>, relay={relay}, {delay}, {result}"
            yield done_at, "delivery_attempts", smtp, attempt
        if is_unknown and sender:
            yield from self._notification(done_at, queue_id, sender)
        yield done_at + 0.003, "queue_removals", QMGR, f"{queue_id}: removed"

    def _notification(self, at: float, queue_id: str, sender: str) -> Iterator[Line]:
        """Yield what tells a sender that mail could not be delivered; it does not pass the scan service."""
        names = self.names
        cleanup, bounce, smtp = (names.process(program) for program in ("cleanup", "bounce", "smtp"))
        notice_id = names.queue_id(at)
        message_id = f"{DAY + timedelta(seconds=int(at)):%Y%m%d%H%M%S}.{notice_id}@{HOST}.example.com"
        delay = _delay(0.5, 0, 0.01, 0.2, 0.29)
        outcome = f"relay={names.relay()}, {delay}, dsn=2.0.0, status=sent ({names.reply(at, 3120)})"
        yield at, "message_ids", cleanup, f"{notice_id}: message-id=<{message_id}>"
        yield at + 0.001, "other_lines", bounce, f"{queue_id}: sender non-delivery notification: {notice_id}"
        yield (
            at + 0.001,
            "queue_activations",
            QMGR,
            f"{notice_id}: from=<>, size=3120, nrcpt=1 (queue active)",
        )
        yield at + 0.5, "delivery_attempts", smtp, f"{notice_id}: to=<{sender}>, {outcome}"
        yield at + 0.501, "queue_removals", QMGR, f"{notice_id}: removed"

    def _refused_client(self, at: float) -> Iterator[Line]:
        """Yield a session that brings nothing: it tests for a relay, guesses a password, or just scans."""
        names = self.names
        address = names.ip_address()
        client = f"unknown[{address}]"
        smtpd = names.process("smtpd")
        if self._happens(0.3):
            name = f"host-{address.replace('.', '-')}.example.net"
            unknown = (
                f"warning: hostname {name} does not resolve to address {address}: Name or service not known"
            )
            yield at - 0.02, "other_lines", smtpd, unknown
        yield at - 0.01, NOISE, smtpd, f"connect from {client}"
        match self.random.choice(("relay", "password", "scan")):
            case "relay":
                commands = "ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4"
                sender, recipient = names.address(), names.address()
                refused = f"RCPT from {client}: 554 5.7.1 <{recipient}>: Relay access denied"
                envelope = f"from=<{sender}> to=<{recipient}> proto=ESMTP helo=<mail.example.net>"
                yield at, "other_lines", smtpd, f"NOQUEUE: reject: {refused}; {envelope}"
            case "password":
                commands = "ehlo=1 auth=0/1 quit=1 commands=2/3"
                failed = f"warning: {client}: SASL LOGIN authentication failed: UGFzc3dvcmQ6"
                yield at, "other_lines", smtpd, failed
            case _:
                commands = "ehlo=1 commands=1"
                yield at, NOISE, smtpd, f"lost connection after EHLO from {client}"
        yield at + 0.1, NOISE, smtpd, f"disconnect from {client} {commands}"
        seen = f"(smtp:{address}) at {DAY + timedelta(seconds=int(at)):%b %e %H:%M:%S}"
        yield at + 60, NOISE, names.process("anvil"), f"statistics: max connection rate 1/60s for {seen}"

    def _happens(self, share: float) -> bool:
        return self.random.random() < share

    def _between(self, low: float, high: float) -> float:
        return low + (high - low) * self.random.random()


class _Names:
    """Names as they come: some again and again, some only once."""

    KINDS = ("mail", "corp", "shop", "news")
    ENDS = ("example.com", "example.net", "example.org", "example.co.jp", "example.ac.jp")
    USERS = ("taro", "hanako", "jane", "john", "info", "sales", "no-reply", "o'brien+tag")

    def __init__(self, random: Random) -> None:
        self.random = random
        self.domains = [f"{self.KINDS[i % 4]}{i}.{self.ENDS[i % 5]}" for i in range(800)]
        self.users = [f"{self.USERS[i % 8]}{'.' if i % 3 else ''}{i}" for i in range(5000)]
        self.users[::500] = ['"odd name"'] * 10
        self.clients = [
            f"unknown[{self.ip_address()}]"
            if i % 10 == 0
            else f"mail-{i % 977}.{self._one(self.domains)}[{self.ip_address()}]"
            for i in range(20_000)
        ]
        self.relays = [f"mx{i % 4}.{self._one(self.domains)}[{self.ip_address()}]:25" for i in range(2000)]
        self.processes = {
            program: [f"postfix/{program}[{2000 + int(30_000 * random.random())}]" for _ in range(count)]
            for program, count in {
                "smtpd": 100,
                "cleanup": 40,
                "smtp": 100,
                "relay/smtp": 40,
                "error": 5,
                "bounce": 3,
                "anvil": 1,
            }.items()
        }

    def _one(self, names: list[str]) -> str:
        # A third of the time random.choice takes.
        return names[int(self.random.random() * len(names))]

    def process(self, program: str) -> str:
        return self._one(self.processes[program])

    def ip_address(self) -> str:
        """Return an address of the three networks that are set aside for documentation."""
        network = ("192.0.2", "198.51.100", "203.0.113")[int(3 * self.random.random())]
        return f"{network}.{1 + int(254 * self.random.random())}"

    def client(self) -> str:
        return self._one(self.clients)

    def relay(self) -> str:
        return self._one(self.relays)

    def address(self) -> str:
        return f"{self._one(self.users)}@{self._one(self.domains)}"

    def sender(self) -> str:
        return "" if self.random.random() < 0.03 else self.address()

    def message_id(self, at: float) -> str:
        return f"{int(at * 1e6)}.{self.random.getrandbits(40):010X}@{self._one(self.domains)}"

    def queue_id(self, at: float) -> str:
        """Return microseconds and inode in hexadecimal; the file system gives an inode again and again."""
        return f"{int(at * 1e6) % 1_000_000:05X}{0xC8000 + int(600 * self.random.random()):X}"

    def reply(self, at: float, size: int) -> str:
        """Return what Postfix, a big provider or Exchange say to mail that they take."""
        kind = self.random.random()
        bits = self.random.getrandbits(60)
        if kind < 0.7:
            return f"250 2.0.0 Ok: queued as {bits & 0xFFFFFFFFFF:010X}"
        if kind < 0.85:
            return f"250 2.0.0 OK  {1_794_600_000 + int(at)} {bits:015x}-20020a17.{bits % 1000} - gsmtp"
        return (
            f"250 2.6.0 <{bits:015x}@{self._one(self.domains)}> [InternalId={bits}, "
            f"Hostname=mb{bits % 20}.example.com] {size} bytes in 0.131, {size // 134} KB/sec "
            "Queued mail for delivery"
        )


def _delay(*seconds: float) -> str:
    """Return `delay=` and its four parts, each of two digits, hundredths at most (format_tv.c)."""
    total, *parts = (f"{round(one, (one < 10) + (one < 1)):g}" for one in seconds)
    return f"delay={total}, delays={'/'.join(parts)}"
