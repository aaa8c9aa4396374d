"""Sound logs, written and recorded, with one forged mail more: a host for each."""

import gzip
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import RECORDING
from tests.forgery.places import POSTFIX_PLACES, SENDMAIL_PLACES, draw_syntax

SENDMAIL = Path(__file__).parents[1] / "archives" / "sendmail"
# So many hosts are one archive.
CHUNK = 400
STAMPED = re.compile(r"(?P<stamp>[A-Z][a-z]{2} +\d+ [\d:.]+|\d{4}-\S+) (?P<host>\S+) ")


@dataclass(frozen=True)
class Base:
    """A host whose log is sound: its maillog, its other logs, and its settings."""

    host: str
    maillog: tuple[str, ...]
    others: Mapping[str, str]
    settings: Mapping[str, Any]
    is_sendmail: bool = False


@dataclass(frozen=True)
class Forgery:
    """A base with a forged mail in it, as a host of its own; `told` says what was put where."""

    base: Base
    host: str
    lines: tuple[str, ...]
    told: str
    added: tuple[str, ...] = ()


def written_base() -> Base:
    """Return a host with mail every ten seconds, one outage of 40 s, and a flush ten seconds after it."""
    lines = []

    def log(second: int, program: str, text: str) -> None:
        lines.append(
            (second, f"Nov 24 10:{second // 60:02}:{second % 60:02} {{host}} postfix/{program}: {text}")
        )

    scanned = "relay=localhost[127.0.0.1]:10025, delay=0.1, delays=0/0/0/0.1, dsn=2.0.0, status=sent (250 Ok)"
    refused = (
        "relay=none, delay=0.1, delays=0.1/0/0/0, dsn=4.4.1, "
        "status=deferred (connect to localhost[127.0.0.1]:10025: Connection refused)"
    )
    for second in range(300, 900, 10):
        queue_id = f"A0{second:04X}"
        active = f"{queue_id}: from=<a@example.com>, size=1000, nrcpt=1 (queue active)"
        log(second, "smtpd[11]", f"{queue_id}: client=mx.example.com[192.0.2.7]")
        log(second, "cleanup[12]", f"{queue_id}: message-id=<{queue_id}@example.com>")
        log(second, "qmgr[13]", active)
        answered = second
        if 600 <= second < 640:
            log(second, "smtp[21]", f"{queue_id}: to=<b@example.com>, {refused}")
            answered = 650
            log(answered, "qmgr[13]", active)
        log(answered, "smtp[21]", f"{queue_id}: to=<b@example.com>, {scanned}")
        log(answered, "qmgr[13]", f"{queue_id}: removed")
    settings = {
        "time_zone": "UTC",
        "product": "imsva",
        "version": "9.1",
        "build": 1900,
        "queue_run_delay_seconds": 300,
        "minimal_backoff_seconds": 300,
        "maximal_backoff_seconds": 4000,
    }
    in_time = tuple(line for _, line in sorted(lines, key=lambda line: line[0]))
    return Base("written", in_time, {}, settings)


def recorded_base(archive: Path, host: str, settings: Mapping[str, Any]) -> Base:
    """Return a recorded host."""
    maillog, others = "", {}
    for path in sorted((archive / host).iterdir()):
        if path.name.startswith("maillog"):
            maillog += gzip.decompress(path.read_bytes()).decode()
        else:
            others[path.name] = path.read_text(encoding="utf-8")
    lines = tuple(
        re.sub(rf"^(\S+ +\S+ \S+|\d{{4}}-\S+) {host} ", r"\1 {host} ", _braced(line))
        for line in maillog.splitlines()
    )
    return Base(host, lines, others, settings, is_sendmail=archive == SENDMAIL)


def bases() -> list[Base]:
    """Return the hosts that mail is forged for: of Postfix, written and recorded, and of sendmail."""
    recorded = {"time_zone": "Asia/Tokyo", "scan_port": 10025}
    return [
        written_base(),
        recorded_base(RECORDING, "imsva21", recorded | {"product": "imsva", "build": 1900}),
        recorded_base(
            SENDMAIL,
            "sendmail43",
            recorded | {"mta": "sendmail", "product": "imss", "queue_run_delay_seconds": 60},
        ),
    ]


def forgeries(base: Base, count: int, seed: int) -> Iterator[Forgery]:
    """Draw forged mails for a host."""
    chance = random.Random(seed)
    places = SENDMAIL_PLACES if base.is_sendmail else POSTFIX_PLACES
    failing = [at for at, line in enumerate(base.maillog) if re.search("status=deferred|stat=Deferred", line)]
    for number in range(count):
        place = places[(number + seed) % len(places)]
        syntax = draw_syntax(chance)
        at = chance.randrange(1, len(base.maillog))
        if failing and chance.random() < 0.6:
            near = chance.choice(failing) + chance.randrange(-20, 20)
            at = min(max(near, 1), len(base.maillog) - 1)
        header = STAMPED.match(base.maillog[at - 1])
        if header is None:
            continue
        texts = [cut(text, chance) for text in place(chance, syntax, f"F{number:07X}")]
        lines = [f"{header['stamp']} {header['host']} {_braced(text)}" for text in texts]
        yield Forgery(
            base,
            f"{base.host}-{seed}-{number}",
            (*base.maillog[:at], *lines, *base.maillog[at:]),
            f"{place.__name__} after line {at}: " + " | ".join(lines),
            tuple(lines),
        )


def drawn(count: int, seed: int) -> list[Forgery]:
    """Draw forged mails for all bases: three of five for the written one."""
    shares = (count - 2 * (count // 5), count // 5, count // 5)
    return [
        forgery
        for base, share in zip(bases(), shares, strict=True)
        for forgery in forgeries(base, share, seed)
    ]


def cut(text: str, chance: random.Random) -> str:
    """Cut what a program logs as Postfix does, now and then as a syslogd does."""
    tag, colon, logged = text.partition(": ")
    if chance.random() < 0.1 and len(logged) > 1000 and not logged[:1000].endswith(")"):
        return tag + colon + logged[:1000]
    return tag + colon + logged[:2000]


def _braced(text: str) -> str:
    """Return a text that str.format leaves as it is."""
    return text.replace("{", "{{").replace("}", "}}")
