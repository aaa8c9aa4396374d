"""Nights of a small fleet: how its archive looks when each run begins, and what else changed until then.

Hosts are simulated (tests/oracle) and have mail that stays for days. Their logs grow, are rotated, come late
or damaged, or do not come; runs begin in the middle of outages and holds. All is drawn by one seed.
"""

import gzip
import json
import math
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from tests.oracle.generate import BUILDS, instant, maillog_line, manager_line, system_line
from tests.oracle.history import DAY, EPOCH, HOUR, MINUTE, SECOND
from tests.oracle.simulate import PEER, Episode, Host, Line, Plan
from tests.soak import Log, set_time
from transforms.run import Job
from transforms.thresholds import Thresholds

LATE_SHARE = 0.08
DAMAGED_SHARE = 0.08
SILENT_SHARE = 0.08
RELAY = "mx.example.com[192.0.2.9]:25"
REFUSED_BY_RELAY = f"connect to {RELAY}: Connection refused"
REFUSED_BY_SCANNER = f"connect to {PEER}:10025: Connection refused"
THRESHOLDS: tuple[dict[str, int], ...] = (
    {"flush_window_seconds": 300, "expected_flush_seconds": 120},
    {"scan_gap_seconds": 10, "left_behind_seconds": 5},
    {"gap_after_seconds": 3600, "witness_margin_seconds": 20},
    {"poll_phase_seconds": 3600, "longest_restart_seconds": 20, "reinjection_seconds": 5},
)


@dataclass(frozen=True)
class Waiting:
    """When a message of a queue was in it, as a queue snapshot needs to know."""

    queue_id: str
    arrived_at: int
    left_at: int | None


class LongLivedMail:
    """Writes the lines of mail that is in a queue for days."""

    def __init__(
        self, chance: random.Random, instance: str, outages: list[tuple[int, int]], until: int
    ) -> None:
        self.chance = chance
        self.instance = instance
        self.outages = outages
        self.until = until
        self.lines: list[Line] = []
        self.waiting: list[Waiting] = []
        self._id_count = 0

    def write(self) -> None:
        """Draw some mail of each sort."""
        for write, most in (
            (self._deferred_by_relay, 2),
            (self._deferred_behind_scanner, 2),
            (self._held_for_a_day, 3),
            (self._split_over_days, 1),
            (self._put_on_hold, 1),
            (self._with_used_id, 2),
        ):
            for _ in range(self.chance.randint(0 if most == 1 else 1, most)):
                write()

    def _deferred_by_relay(self) -> None:
        queue_id, at = self._new_id(), self._some_time()
        self._arrive(at, queue_id)
        self._retry(queue_id, at, at + SECOND)

    def _deferred_behind_scanner(self) -> None:
        at = self._up_after(self._some_time())
        queue_id, message_id = self._new_id(), f"<{at}.long@example.com>"
        self._arrive(at, queue_id, message_id)
        self._pass_scanner(queue_id, message_id, arrived_at=at, now=at + SECOND)

    def _held_for_a_day(self) -> None:
        if not self.outages:
            return
        down_at, up_at = self.chance.choice(self.outages)
        at = self.chance.randint(down_at, up_at - SECOND)
        queue_id, message_id = self._new_id(), f"<{at}.held@example.com>"
        self._arrive(at, queue_id, message_id)
        self._attempt(at + SECOND // 2, queue_id, at, "scanner", "deferred")
        now = at
        for _ in range(self.chance.choice((0, 0, 1, 3))):
            # A later restart finds it there as well.
            later = [outage for outage in self.outages if outage[0] > now + HOUR]
            if later:
                now = later[self.chance.randint(0, min(2, len(later) - 1))][0] + SECOND
                self._activate(now, queue_id)
                self._attempt(now + SECOND // 2, queue_id, at, "scanner", "deferred")
        released_at = self._up_after(now + round(self.chance.uniform(0.3, 2) * DAY))
        if self.chance.random() < 0.2:
            self.waiting.append(Waiting(queue_id, at, None))
            return
        self._activate(released_at, queue_id)
        self._pass_scanner(queue_id, message_id, arrived_at=at, now=released_at + SECOND)

    def _put_on_hold(self) -> None:
        queue_id, at = self._new_id(), self._some_time()
        self._arrive(at, queue_id)
        self._attempt(at + SECOND, queue_id, at, "relay", "deferred")
        self._log(at + MINUTE, "postsuper[14]", f"{queue_id}: placed on hold")
        now = at + self.chance.randint(1, 3) * DAY
        self._log(now, "postsuper[14]", f"{queue_id}: released from hold")
        self._activate(now + MINUTE, queue_id)
        self._end(now + MINUTE + SECOND, queue_id, at, "relay", "sent")

    def _with_used_id(self) -> None:
        """Use a queue id again, hours or days after the message before left, or without its end."""
        queue_id, first_at = self._new_id(), self._some_time() // 2
        self._arrive(first_at, queue_id)
        if self.chance.random() < 0.3:
            self._attempt(first_at + SECOND, queue_id, first_at, "relay", "deferred")
            left_at = first_at + MINUTE
        else:
            hop = self.chance.choice(("relay", "scanner"))
            left_at = self._up_after(first_at + self.chance.choice((SECOND, 3 * HOUR, DAY)))
            self._activate(left_at - SECOND // 2, queue_id)
            self._end(left_at, queue_id, first_at, hop, "sent")
        at = left_at + round(self.chance.choice((0.1, 1, 2, 3)) * DAY)
        self._arrive(at, queue_id)
        self._retry(queue_id, at, at + SECOND)

    def _pass_scanner(self, queue_id: str, message_id: str, *, arrived_at: int, now: int) -> None:
        """Let the scan service take a message, which then comes back under another queue id."""
        again = self._come_back(message_id, now)
        # Where the reply does not name it, the message id tells which one came back.
        reply = f"250 2.0.0 Ok: queued as {again}" if self.chance.random() < 0.7 else None
        self._end(now, queue_id, arrived_at, "scanner", "sent", reply=reply)

    def _come_back(self, message_id: str, now: int) -> str:
        """Let the scan service bring a message back before its reply or soon after; return its queue id."""
        again = self._new_id()
        came_back_at = now + self.chance.choice((-SECOND // 5, -SECOND // 5, 40 * SECOND))
        self._arrive(came_back_at, again, message_id, client="localhost[127.0.0.1]")
        self._retry(again, came_back_at, max(now, came_back_at) + SECOND)
        return again

    def _split_over_days(self) -> None:
        """Let one recipient's copy pass the scan service at once, and the other's days later."""
        if not self.outages:
            return
        down_at, _ = self.chance.choice(self.outages)
        at = max(down_at - 2 * SECOND, 0)
        queue_id, message_id = self._new_id(), f"<{at}.split@example.com>"
        self._arrive(at, queue_id, message_id, recipient_count=2)
        again = self._come_back(message_id, at + SECOND)
        reply = f"250 2.0.0 Ok: queued as {again}"
        self._attempt(at + SECOND, queue_id, at, "scanner", "sent", reply=reply)
        self._attempt(at + 3 * SECOND, queue_id, at, "scanner", "deferred", recipient="other@example.com")
        now = self._up_after(at + round(self.chance.uniform(0.2, 3) * DAY))
        self._activate(now, queue_id, recipient_count=2)
        again = self._come_back(message_id, now + SECOND)
        reply = f"250 2.0.0 Ok: queued as {again}"
        self._attempt(
            now + SECOND, queue_id, at, "scanner", "sent", reply=reply, recipient="other@example.com"
        )
        self._log(now + SECOND, "qmgr[13]", f"{queue_id}: removed")

    def _retry(self, queue_id: str, arrived_at: int, now: int) -> None:
        """Let the relay defer a message again and again, until it leaves the queue or the log ends."""
        chance = self.chance
        end = chance.choice(("sent", "sent", "bounced", "expired", "removed", "never"))
        last = self.until + DAY if end == "never" else now + round(chance.uniform(0.2, 5) * DAY)
        longest = chance.choice((4000 * SECOND, 2 * HOUR, 9 * HOUR))
        # Most are taken up by queue runs, which are every five minutes.
        step = chance.choice((300 * SECOND, 300 * SECOND, 7 * SECOND))
        self._attempt(now, queue_id, arrived_at, "relay", "deferred")
        while now < min(last, self.until):
            wait = max(min(now - arrived_at, longest), 300 * SECOND)
            now = math.ceil((now + wait) / step) * step + chance.randint(1, SECOND // 5)
            self._activate(now, queue_id)
            now += SECOND
            if now < last:
                self._attempt(now, queue_id, arrived_at, "relay", "deferred")
        self.waiting.append(Waiting(queue_id, arrived_at, None if end == "never" else now))
        if end == "removed":
            self._attempt(now, queue_id, arrived_at, "relay", "deferred")
            self._log(now + SECOND, "postsuper[14]", f"{queue_id}: removed")
        elif end != "never":
            self._end(now, queue_id, arrived_at, "relay", end)

    def _end(
        self, at: int, queue_id: str, arrived_at: int, hop: str, status: str, *, reply: str | None = None
    ) -> None:
        """Log the last attempt of a message, with the notification that may follow, and that it leaves."""
        self._attempt(
            at, queue_id, arrived_at, hop, "deferred" if status == "expired" else status, reply=reply
        )
        if status == "expired":
            text = f"{queue_id}: from=<sender@example.com>, status=expired, returned to sender"
            self._log(at, "qmgr[13]", text)
        if status in ("expired", "bounced"):
            notification = self._new_id()
            self._log(at, "cleanup[12]", f"{notification}: message-id=<{at}.{notification}@gw.example.com>")
            text = f"{queue_id}: sender non-delivery notification: {notification}"
            self._log(at, "bounce[51]", text)
            self._activate(at, notification, sender="")
            if self.chance.random() < 0.5:
                self._attempt(at + SECOND, notification, at, "relay", "sent")
                self._log(at + SECOND, "qmgr[13]", f"{notification}: removed")
            else:
                self._retry(notification, at, at + SECOND)
        self._log(at, "qmgr[13]", f"{queue_id}: removed")

    def _arrive(
        self,
        at: int,
        queue_id: str,
        message_id: str | None = None,
        client: str = "mx.example.com[192.0.2.7]",
        recipient_count: int = 1,
    ) -> None:
        self._log(at, "smtpd[11]", f"{queue_id}: client={client}")
        self._log(at, "cleanup[12]", f"{queue_id}: message-id={message_id or f'<{at}.long@example.com>'}")
        self._activate(at + SECOND // 10, queue_id, recipient_count=recipient_count)

    def _activate(
        self, at: int, queue_id: str, sender: str = "sender@example.com", recipient_count: int = 1
    ) -> None:
        text = f"{queue_id}: from=<{sender}>, size=4321, nrcpt={recipient_count} (queue active)"
        self._log(at, "qmgr[13]", text)

    def _attempt(
        self,
        at: int,
        queue_id: str,
        arrived_at: int,
        hop: str,
        status: str,
        *,
        reply: str | None = None,
        recipient: str = "reader@example.com",
    ) -> None:
        dsn, said = {
            "sent": ("2.0.0", reply or "250 2.0.0 Ok"),
            "bounced": ("5.0.0", f"host {RELAY.removesuffix(':25')} said: 550 Not wanted"),
            "deferred": ("4.4.1", REFUSED_BY_SCANNER if hop == "scanner" else REFUSED_BY_RELAY),
        }[status]
        relay = "none" if status == "deferred" else RELAY if hop == "relay" else f"{PEER}:10025"
        delay = f"{max(at - arrived_at, 0) / SECOND:.0f}"
        self._log(
            at,
            "smtp[31]" if hop == "relay" else "smtp[22]",
            f"{queue_id}: to=<{recipient}>, relay={relay}, delay={delay}, delays={delay}/0/0/0, "
            f"dsn={dsn}, status={status} ({said})",
        )

    def _log(self, at: int, program: str, text: str) -> None:
        if at <= self.until:
            self.lines.append((at, len(self.lines), f"{self.instance}/{program}", text))

    def _new_id(self) -> str:
        # Above all that the simulated host uses.
        self._id_count += 1
        return f"{0xF00001 + 313 * self._id_count:X}"

    def _some_time(self) -> int:
        return self.chance.randint(MINUTE, self.until - HOUR)

    def _up_after(self, at: int) -> int:
        """Return the first instant from then on that is well away from any outage."""
        for down_at, up_at in sorted(self.outages):
            if down_at - MINUTE < at < up_at + MINUTE:
                at = up_at + MINUTE
        return at


@dataclass(frozen=True)
class Due:
    """From which night on a file is there, and from which on it is right."""

    there: int
    right: int


@dataclass
class Gateway:
    """A host, all that it logs, and when that comes."""

    name: str
    settings: dict[str, Any]
    logs: list[Log]
    outages: list[tuple[int, int]]
    waiting: list[Waiting]
    is_rotated_by_number: bool
    has_empty_manager_logs: bool
    first_night: int
    silent_nights: frozenset[int]
    snapshot_nights: frozenset[int]
    due: dict[tuple[str, date], Due]
    changes: list[dict[str, Any]] = field(default_factory=list)
    snapshots: dict[str, str] = field(default_factory=dict)


@dataclass
class Night:
    """One run: when it begins, with which settings, and what is special about it."""

    number: int
    now: datetime
    thresholds: Thresholds
    compacts_on: date | None
    """The day that `maillag compact` takes for today, before the run."""
    happened: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"night {self.number}, {self.now:%Y-%m-%d %H:%M:%S}: {'; '.join(self.happened) or 'as usual'}"


class Fleet:
    """Draws a fleet and its nights by a seed, and writes its archive as each night finds it."""

    def __init__(self, folder: Path, seed: int, *, night_count: int | None = None) -> None:
        self.chance = chance = random.Random(seed)
        self.archive, self.lake = folder / "archive", folder / "lake"
        self.archive.mkdir(parents=True)
        self.last_night = night_count or chance.randint(5, 7)
        self.defaults: dict[str, Any] = {"minimal_backoff_seconds": 300} if chance.random() < 0.3 else {}
        self.gateways = [self._draw_gateway(f"gw{number}") for number in range(chance.randint(3, 5))]

    def nights(self) -> Iterator[Night]:
        """Yield each night when the archive is as its run finds it."""
        chance = self.chance
        later = list(range(2, self.last_night + 1))
        missed = chance.choice(later[:-1])
        run = [number for number in later if number != missed]
        empty = chance.choice(run)
        compacted = chance.choice(run)
        changed_fleet = set(chance.sample(run, chance.randint(1, 2)))
        changed_thresholds = chance.choice(run)
        thresholds = Thresholds()
        for number in [1, *run]:
            night = Night(number, self._run_at(number), thresholds, compacts_on=None)
            if number == changed_thresholds:
                different = chance.choice(THRESHOLDS)
                night.thresholds = replace(thresholds, **different)
                # They may stay so, or be what they were from the next run on.
                thresholds = chance.choice((thresholds, night.thresholds))
                night.happened.append(f"thresholds {different}")
            if number in changed_fleet:
                night.happened.append(self._change_fleet(night))
            if number == compacted:
                # Days are put together, or a whole month.
                night.compacts_on = night.now.date() + timedelta(days=chance.choice((0, 31)))
                night.happened.append(f"compacted before as on {night.compacts_on}")
            if number - 1 == missed:
                night.happened.append("the night before was missed")
            (self.archive / "fleet.toml").write_text(self._fleet_file())
            if number == empty:
                night.happened.append("nothing came")
            else:
                for gateway in self.gateways:
                    self._deliver(gateway, night)
            yield night

    def job(self, night: Night) -> Job:
        """Return what is run in a night."""
        return Job(self.archive, self.lake, thresholds=night.thresholds)

    def _draw_gateway(self, name: str) -> Gateway:
        chance = self.chance
        until = self.last_night * DAY
        episodes = list(self._draw_episodes(until))
        plan = Plan(
            seed=chance.randint(0, 1 << 30),
            until=until,
            episodes=tuple(episodes),
            minimal_backoff=chance.choice((60, 300, 300)) * SECOND,
            instances=("postfix", "postfix-in") if chance.random() < 0.2 else ("postfix",),
            poll_phase=chance.choice((None, *(chance.randint(0, 59) * SECOND for _ in range(3)))),
            event_jitter=chance.choice((None, 0, SECOND)),
        )
        host = Host(plan).run()
        long_lived = LongLivedMail(chance, chance.choice(plan.instances), host.outages, until)
        long_lived.write()
        lines = sorted([*host.lines, *long_lived.lines], key=lambda line: line[0])
        # A line may be written later than its stamp says, behind younger ones.
        delays = chance.choice(((0,), (0, SECOND, 20 * SECOND), (0, SECOND, HOUR)))
        told = [
            (
                "maillog",
                at + (chance.choice(delays) if chance.random() < 0.005 else 0),
                maillog_line(at, name, tag, text, has_fractions=False),
            )
            for at, _, tag, text in lines
        ]
        told.sort(key=lambda written: written[1])
        told += [("imssmgr", at, manager_line(at)) for at in host.commands]
        told += [("sysevt.imss", at, system_line(at, kind)) for at, kind in sorted(host.system_events)]
        of_file: dict[tuple[str, date], list[tuple[datetime, str]]] = {}
        for kind, at, line in told:
            of_file.setdefault((kind, instant(at).date()), []).append((instant(at), line))
        logs = [Log(day, kind, tuple(of_day)) for (kind, day), of_day in sorted(of_file.items())]
        settings: dict[str, Any] = dict(chance.choice(BUILDS))
        if chance.random() < 0.75:
            settings["minimal_backoff_seconds"] = plan.minimal_backoff // SECOND
            settings["queue_run_delay_seconds"] = plan.queue_run_delay // SECOND
        nights = range(2, self.last_night + 1)
        silent = frozenset(night for night in nights if chance.random() < SILENT_SHARE)
        if chance.random() < 0.15:
            first = chance.choice(nights)
            silent |= set(range(first, first + chance.randint(2, 3)))
        snapshot_nights = frozenset(chance.sample(nights, 2) if chance.random() < 0.4 else ())
        if snapshot_nights:
            # The name of a snapshot is of the host's time.
            settings["time_zone"] = "UTC"
        return Gateway(
            name,
            settings,
            logs,
            host.outages,
            long_lived.waiting,
            is_rotated_by_number=chance.random() < 0.4,
            has_empty_manager_logs=plan.poll_phase is not None and chance.random() < 0.3,
            first_night=chance.choice((1, 1, 1, 1, chance.choice(nights))),
            silent_nights=silent,
            snapshot_nights=snapshot_nights,
            due={(log.kind, log.day): self._draw_due(_night_of(log.day)) for log in logs},
        )

    def _draw_episodes(self, until: int) -> Iterator[Episode]:
        chance = self.chance
        for day in range(until // DAY):
            starts = sorted(chance.sample(range(0, 22, 2), chance.randint(1, 2)))
            for hour in starts:
                start = day * DAY + hour * HOUR + chance.randint(1, 3000) * SECOND
                down_at = start + chance.randint(60, 600) * SECOND
                outages = [(down_at, down_at + chance.randint(4, 70) * SECOND)]
                if chance.random() < 0.25:
                    again_at = outages[0][1] + chance.randint(2, 20) * MINUTE
                    outages.append((again_at, again_at + 20 * SECOND))
                yield Episode(
                    start=start,
                    end=outages[-1][1] + 5 * MINUTE,
                    outages=tuple(outages) if chance.random() < 0.9 else (),
                    mail_gap=chance.choice((10, 30)) * SECOND,
                    stop=chance.choice(("at_once", "sessions_finish", "greeting_lost", "hangs")),
                    does_wrapper_flush=chance.random() < 0.6,
                    does_wrapper_mark=chance.random() < 0.7,
                    qmgr_starts=((outages[-1][1] + 30 * SECOND, "reload"),) if chance.random() < 0.1 else (),
                )

    def _draw_due(self, live_night: int) -> Due:
        """Draw when a day's file comes: mostly while it is written, else one to three nights late."""
        chance = self.chance
        there = live_night
        if chance.random() < LATE_SHARE:
            there = live_night + 1 + chance.randint(1, 3)
        right = there
        if chance.random() < DAMAGED_SHARE:
            right = max(there, live_night + 1) + chance.randint(1, 2)
        return Due(there, right)

    def _run_at(self, number: int) -> datetime:
        """Return when the run of a night begins: at an odd moment of an outage or of what it held."""
        day = EPOCH.date() + timedelta(days=number)
        chance = self.chance
        outages = [
            outage
            for gateway in self.gateways
            for outage in gateway.outages
            if instant(outage[0]).date() == day == instant(outage[1] + 10 * MINUTE).date()
        ]
        if not outages or chance.random() < 0.15:
            return datetime.combine(day, time(4, 30), UTC)
        down_at, up_at = chance.choice(outages)
        moments = (
            down_at - chance.randint(1, 60) * SECOND,
            chance.randint(down_at, up_at),
            up_at + chance.randint(0, 3) * SECOND,
            up_at + chance.randint(4, 120) * SECOND,
            up_at + chance.randint(2, 10) * MINUTE,
        )
        return instant(chance.choice(moments))

    def _change_fleet(self, night: Night) -> str:
        """Change the fleet file as an operator does, and tell how."""
        chance = self.chance
        gateway = chance.choice(self.gateways)
        what = chance.choice(("build", "change", "retry", "unknown", "zone"))
        if what == "build":
            gateway.settings |= chance.choice(BUILDS[1:])
        elif what == "change":
            from_day = night.now.date() - timedelta(days=chance.randint(0, 4))
            gateway.changes.append({"from": from_day, **chance.choice(BUILDS[1:])})
        elif what == "retry":
            gateway.settings["minimal_backoff_seconds"] = chance.choice((60, 300, 900))
            gateway.settings["queue_run_delay_seconds"] = chance.choice((100, 300))
        elif what == "unknown":
            gateway.settings.pop("minimal_backoff_seconds", None)
            gateway.settings.pop("queue_run_delay_seconds", None)
        else:
            self.defaults["time_zone"] = chance.choice(("Europe/Berlin", "Asia/Tokyo"))
            return f"time zone default {self.defaults['time_zone']}"
        return f"{what} of {gateway.name} in the fleet file"

    def _fleet_file(self) -> str:
        lines = ["[defaults]", *_toml(self.defaults)]
        for gateway in self.gateways:
            lines += [f'[hosts."{gateway.name}"]', *_toml(gateway.settings)]
            for change in gateway.changes:
                lines += [f'[[hosts."{gateway.name}".changes]]', *_toml(change)]
        return "\n".join(lines) + "\n"

    def _deliver(self, gateway: Gateway, night: Night) -> None:
        folder = self.archive / gateway.name
        if night.number < gateway.first_night:
            return
        if night.number in gateway.silent_nights:
            night.happened.append(f"nothing of {gateway.name}")
            return
        if night.number == gateway.first_night > 1:
            night.happened.append(f"{gateway.name} is new")
        files = self._files_of(gateway, night)
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            if path.name not in files:
                path.unlink()
        for name, content in files.items():
            path = folder / name
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
                # The year of a log whose name bears no date is that of its last change.
                set_time(path, night.now)

    def _files_of(self, gateway: Gateway, night: Night) -> dict[str, bytes]:
        """Return the files of a host as they are then, by name."""
        files = {}
        today = night.now.date()
        for log in gateway.logs:
            due = gateway.due[log.kind, log.day]
            live_night = _night_of(log.day)
            what = f"{log.kind} of {gateway.name} of {log.day:%m-%d}"
            text = log.text(night.now)
            if log.day > today or not (text or (gateway.has_empty_manager_logs and log.kind == "imssmgr")):
                continue
            if night.number < due.there:
                night.happened.append(f"no {what} yet")
                continue
            if night.number == due.there > live_night:
                night.happened.append(f"{what} comes late")
            age = (today - log.day).days
            is_packed = log.kind == "maillog" and age > 1
            content = gzip.compress(text.encode(), mtime=0) if is_packed else text.encode()
            if age and night.number < due.right:
                content = _damaged(content, text)
                night.happened.append(f"{what} is damaged")
            elif not age and log.kind == "maillog":
                # The last line of a live file may not be whole yet.
                content += self.chance.choice((b"", b"Nov 2", b"Nov 24 10:00:00 gw"))
            files[_file_name(gateway, log, age)] = content
        if gateway.has_empty_manager_logs:
            for age in range(night.number + 1):
                day = today - timedelta(days=age)
                if ("imssmgr", day) not in gateway.due:
                    files[f"imssmgr.{day:%Y%m%d}.0001"] = b""
        if night.number in gateway.snapshot_nights:
            gateway.snapshots[f"postqueue-{night.now:%Y%m%dT%H%M%S}.json"] = _snapshot(gateway, night.now)
            night.happened.append(f"queue snapshot of {gateway.name}")
        return files | {name: text.encode() for name, text in gateway.snapshots.items()}


def _night_of(day: date) -> int:
    return (day - EPOCH.date()).days


def _file_name(gateway: Gateway, log: Log, age: int) -> str:
    """Return the name of a file so many days after its own."""
    if log.kind != "maillog":
        return f"{log.kind}.{log.day:%Y%m%d}.0001"
    packed = ".gz" if age > 1 else ""
    if not age:
        return "maillog"
    if gateway.is_rotated_by_number:
        return f"maillog.{age}{packed}"
    return f"maillog-{log.day + timedelta(days=1):%Y%m%d}{packed}"


def _damaged(content: bytes, text: str) -> bytes:
    """Return a copy that was cut off behind its first line, or also has a line that the true one has not."""
    cut = content[: len(content) * 2 // 3]
    if content[:2] == b"\x1f\x8b":
        if b"\n" in zlib.decompressobj(wbits=31).decompress(cut):
            return cut
        return gzip.compress(text.splitlines(keepends=True)[0].encode(), mtime=0)
    lines = text.splitlines(keepends=True)
    return "".join([*lines[: max(len(lines) * 2 // 3, 1)], "garbage of a damaged copy\n"]).encode()


def _snapshot(gateway: Gateway, now: datetime) -> str:
    """Write what `postqueue -j` prints of the mail that stays for days."""
    return "".join(
        json.dumps(
            {
                "queue_name": "deferred",
                "queue_id": mail.queue_id,
                "arrival_time": int(instant(mail.arrived_at).timestamp()),
                "message_size": 4321,
                "forced_expire": False,
                "sender": "sender@example.com",
                "recipients": [{"address": "reader@example.com", "delay_reason": REFUSED_BY_RELAY}],
            }
        )
        + "\n"
        for mail in gateway.waiting
        if instant(mail.arrived_at) <= now and (mail.left_at is None or now < instant(mail.left_at))
    )


def _toml(table: dict[str, Any]) -> list[str]:
    return [
        f"{name} = {value.isoformat() if isinstance(value, date) else json.dumps(value)}"
        for name, value in table.items()
    ]
