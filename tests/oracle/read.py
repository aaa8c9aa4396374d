"""Log lines to events, by regular expressions of the tests' own."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeVar
from zoneinfo import ZoneInfo

from tests.oracle.history import SECOND, History

Line = TypeVar("Line")
Stamped = tuple[int, str, int | None, str]
"""When, which program with its instance, its process, and what."""

STAMPED = re.compile(
    r"(?:(?P<month>[A-Z][a-z]{2}) +(?P<day>\d+) (?P<time>\d\d:\d\d:\d\d)|(?P<iso>\d{4}-\S+)) \S+ (?P<rest>.*)"
)
TAGGED = re.compile(r"(?P<tag>[^\s\[:]+)(?:\[(?P<pid>\d+)\])?: (?P<text>.*)")
# Equal lines of one process at most this far apart are one line that was written twice.
REPEATED_WITHIN = 2 * SECOND
QUEUED = re.compile(r"(?P<id>[0-9A-F]{6,}|[0-9A-Za-z]{12,}): (?P<text>.*)")
TRIED = re.compile(
    r"to=(?:<(?P<to>.*?)>|), (?:orig_to=<.*?>, )?relay=(?P<relay>[^,]*), (?:conn_use=(?P<use>\d+), )?"
    r"delay=(?P<delay>[\d.]+), delays=[\d.]+/(?P<b>[\d.]+)/(?P<c>[\d.]+)/(?P<d>[\d.]+), "
    r"dsn=[\d.]+, status=(?P<status>\w+) \((?P<reason>.*)\)"
)
ACTIVE = re.compile(r"from=<(?P<sender>.*?)>, size=(?P<size>\d+), nrcpt=(?P<count>\d+) \(queue active\)")
MANAGER = re.compile(
    r"(?P<date>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) GMT(?P<zone>[+-]\d\d:\d\d) "
    r"\[(?P<pid>\d+):\d+\] \[\w+\](?P<text>.*)"
)
SYSTEM = re.compile(
    r"(?P<date>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)(?: GMT(?P<zone>[+-]\d\d:\d\d))?\s+(?P<text>.*)"
)
QMGR_STARTS = {
    "master": "^(daemon started|reload)",
    "postfix-script": "^(starting|refreshing)",
    "qmgr": " has changed -- restarting",
}
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the maillog; instants are microseconds since 1970, `before` is where the stamp ends."""

    kind: str
    at: int
    before: int
    source: int
    line: int
    program: str = ""
    pid: int | None = None
    text: str = ""
    instance: str = ""
    queue_id: str = ""
    recipient: str | None = None
    status: str = ""
    relay: str = ""
    reason: str = ""
    is_fresh: bool = True
    took: int = 0
    in_qmgr: int = 0
    """How long the message had been active before this attempt began."""
    delay: int = 0
    sender: str = ""
    size: int = 0
    recipient_count: int = 0
    message_id: str = ""

    @property
    def key(self) -> tuple[int, int, int]:
        """Lines with equal stamps are taken in rotation order, then by line number."""
        return (self.at, self.source, self.line)

    @property
    def active_from(self) -> int:
        """When the message had become active, by what an attempt tells of its delay."""
        return self.at - self.took - self.in_qmgr


@dataclass(frozen=True, slots=True)
class Order:
    """A flush command of the manager, with its process."""

    at: int
    pid: int
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """All that a host's logs tell."""

    maillog: list[Event]
    members: list[list[int]]
    """The stamps of each maillog file, the files in rotation order."""
    lost_member_after: set[int]
    """Between this file and the next one a member of the rotation is missing."""
    orders: list[Order]
    manager_spans: list[tuple[int, int]]
    system: list[tuple[int, str]]

    @property
    def orders_and_markers(self) -> list[tuple[int, int]]:
        """All orders to flush, with where their stamps end, in time."""
        orders = [(order.at, order.at + SECOND) for order in self.orders]
        return sorted(orders + [(event.at, event.before) for event in self.maillog if event.kind == "marker"])


def read_history(history: History) -> Told:
    """Read all lines of a history."""
    zone = ZoneInfo(str(history.settings.get("time_zone", "UTC")))
    files = []
    orders = []
    manager_days = []
    system: list[tuple[int, str, str]] = []
    for name, lines in history.files.items():
        kind = re.split(r"[-.]", name)[0]
        if kind == "maillog":
            stamped = [line for line in (_stamp(text, zone) for text in lines) if line]
            if stamped:
                instants = [instant for instant, *_ in stamped]
                files.append((min(instants), max(instants), -_rotation(name), name, stamped))
        elif kind == "imssmgr":
            day = datetime.strptime(name.split(".")[1], "%Y%m%d").replace(tzinfo=zone)
            start = _microseconds(day)
            manager_days.append((start, _microseconds(day + timedelta(days=1))))
            orders += [order for order in (_order(line) for line in lines) if order]
        elif kind == "sysevt":
            for line in lines:
                if found := SYSTEM.match(line):
                    stamp = datetime.strptime(found["date"], "%Y/%m/%d %H:%M:%S").replace(tzinfo=zone)
                    if offset := found["zone"]:
                        stamp = datetime.strptime(f"{found['date']} {offset}", "%Y/%m/%d %H:%M:%S %z")
                    code = found["text"].split()[0]
                    if code in ("20001", "20002"):
                        kind_of_code = {"20001": "start", "20002": "stop"}[code]
                        system.append((_microseconds(stamp), kind_of_code, found["text"]))
    files.sort(key=lambda file: file[:4])
    events = [
        event
        for source, (*_, stamped) in enumerate(files)
        for number, line in enumerate(stamped, 1)
        for event in [_event(line, source, number)]
    ]
    events.sort(key=lambda event: event.key)
    orders.sort(key=lambda order: order.at)
    system.sort(key=lambda told: told[0])
    names = [name for *_, name, _ in files]
    return Told(
        maillog=_once(events, lambda event: event.at, _what_is_told),
        members=[[at for at, *_ in stamped] for *_, stamped in files],
        lost_member_after={number for number, (a, b) in enumerate(pairwise(names)) if _is_hole(a, b)},
        orders=_once(orders, lambda order: order.at, lambda order: (order.pid, order.text)),
        manager_spans=_joined(sorted(manager_days)),
        system=[(at, kind) for at, kind, _ in _once(system, lambda told: told[0], lambda told: told[2])],
    )


def _once(lines: list[Line], when: Callable[[Line], int], what: Callable[[Line], object]) -> list[Line]:
    """Leave out what was written again within moments; what is told as None is always another line."""
    last: dict[object, int] = {}
    once = []
    for line in lines:
        at, told = when(line), what(line)
        is_repeated = told is not None and told in last and at - last[told] <= REPEATED_WITHIN
        last[told] = at
        if not is_repeated:
            once.append(line)
    return once


def _what_is_told(event: Event) -> object:
    """Return what makes two lines the same, None for lines that count each time they are written."""
    if event.kind in ("lost", "begins_to_lose", "skipped", "other"):
        return None
    return event.instance, event.program, event.pid, event.text


def _microseconds(instant: datetime) -> int:
    return int(instant.replace(microsecond=0).timestamp()) * SECOND + instant.microsecond


def _stamp(text: str, zone: ZoneInfo) -> Stamped | None:
    if not (found := STAMPED.match(text)):
        return None
    if found["iso"]:
        instant = datetime.fromisoformat(found["iso"])
    else:
        month = MONTHS.index(found["month"]) + 1
        instant = datetime.fromisoformat(f"2026-{month:02}-{int(found['day']):02}T{found['time']}")
        instant = instant.replace(tzinfo=zone)
    tagged = TAGGED.match(found["rest"])
    if not tagged:
        return _microseconds(instant), "", None, found["rest"]
    return (
        _microseconds(instant),
        tagged["tag"],
        int(tagged["pid"]) if tagged["pid"] else None,
        tagged["text"],
    )


def _rotation(name: str) -> int:
    numbered = re.fullmatch(r"maillog\.(\d+)", name)
    return int(numbered[1]) if numbered else -1


def _is_hole(earlier: str, later: str) -> bool:
    """Whether a member of the rotation is missing between two files."""
    if re.fullmatch(r"maillog\.\d+", earlier):
        return _rotation(earlier) - max(_rotation(later), 0) > 1
    days = [re.fullmatch(r"maillog-(\d{8})", name) for name in (earlier, later)]
    if days[0] and days[1]:
        first, second = (datetime.strptime(day[1], "%Y%m%d").replace(tzinfo=UTC) for day in days if day)
        return second - first > timedelta(days=1)
    return False


def _order(line: str) -> Order | None:
    found = MANAGER.match(line)
    if not found or "script/postfix flush" not in found["text"]:
        return None
    instant = datetime.strptime(f"{found['date']} {found['zone']}", "%Y/%m/%d %H:%M:%S %z")
    return Order(_microseconds(instant.astimezone(UTC)), int(found["pid"]), found["text"])


def _joined(days: list[tuple[int, int]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for start, end in days:
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _event(line: Stamped, source: int, number: int) -> Event:
    at, tag, pid, text = line
    before = at + (SECOND if at % SECOND == 0 else 0)
    instance, _, program = tag.rpartition("/")
    fields: dict[str, object] = {
        "program": program,
        "pid": pid,
        "text": text,
        "instance": instance.split("/")[0],
    }
    kind = "other"
    if found := QUEUED.match(text):
        kind, told = _queue_event(program, found["text"])
        fields |= told
        if kind != "other":
            fields["queue_id"] = found["id"]
    elif program == "postlog" and text.startswith("FLUSH:"):
        kind = "marker"
    elif program in QMGR_STARTS and re.search(QMGR_STARTS[program], text):
        kind = "qmgr_start"
    elif re.search("begins to drop", text):
        kind = "begins_to_lose"
    elif re.search(r"messages lost due|imuxsock lost|^Suppressed \d+ messages", text):
        kind = "lost"
    return Event(kind, at, before, source, number, **fields)  # type: ignore[arg-type]


def _queue_event(program: str, text: str) -> tuple[str, dict[str, object]]:
    if found := TRIED.match(text):
        return "attempt", {
            "recipient": found["to"] or None,
            "relay": found["relay"],
            "is_fresh": found["use"] is None,
            "delay": _duration(found["delay"]),
            "took": _duration(found["c"]) + _duration(found["d"]),
            "in_qmgr": _duration(found["b"]),
            "status": found["status"],
            "reason": found["reason"],
        }
    if found := ACTIVE.match(text):
        return "activation", {
            "sender": found["sender"],
            "size": int(found["size"]),
            "recipient_count": int(found["count"]),
        }
    if program == "smtpd" and text.startswith("client="):
        return "arrival", {}
    if program == "pickup" and text.startswith("uid="):
        return "arrival", {}
    if program == "cleanup" and text.startswith("message-id="):
        return "message_id", {"message_id": text.removeprefix("message-id=")}
    if program == "qmgr":
        if text == "removed":
            return "removed", {}
        if "status=expired" in text:
            return "expired", {}
        if text.startswith("skipped, still"):
            return "skipped", {}
    if program == "postsuper":
        kinds = {
            "removed": "deleted",
            "requeued": "requeued",
            "placed on hold": "put_on_hold",
            "released from hold": "let_go",
        }
        return kinds.get(text, "other"), {}
    return "other", {}


def _duration(seconds: str) -> int:
    return round(float(seconds) * SECOND)
