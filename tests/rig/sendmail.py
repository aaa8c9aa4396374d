"""Turns a real sendmail 8.17 whose scan service comes and goes into maillogs with their truth.

`python -m tests.rig.sendmail --out DIR` writes DIR/HOST/maillog-YYYYMMDD.gz and DIR/truth.json. It needs
root, Debian bookworm and namespaces. Nothing is installed: the packages are unpacked under `--packages`, and
each host sees them as overlays in a mount namespace of its own, with a /dev/log, a host name and a
loopback of its own. The log is what sendmail sent to /dev/log, byte for byte; only the host name is added.
"""

import argparse
import gzip
import json
import os
import re
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedIOBase
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

from . import scanner, smtp
from .load import Client, Load
from .scanner import Behaviour, ScanService

SCAN_PORT, REINJECTION_PORT = 10025, 10026
ZONE = ZoneInfo("Asia/Tokyo")
# "relay=[127.0.0.1] [127.0.0.1]", or without the address where the queue run had failed before.
_TO_SCAN_SERVICE = re.compile(r"to=.*, mailer=esmtp, .*relay=\[127\.0\.0\.1\]")
PACKAGES = ("sendmail-bin", "sendmail-base", "sendmail-cf", "m4", "libsigsegv2", "libwrap0")

# As the product's documents have it: all mail to the smart host, which is the scan service's port.
_MTA_MC = """\
define(`_USE_ETC_MAIL_')dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `{host}.example.com')dnl
define(`confTIME_ZONE', `Asia/Tokyo')dnl
define(`confPID_FILE', `/var/{config}.pid')dnl
define(`QUEUE_DIR', `/var/spool/{config}')dnl
define(`confDELIVERY_MODE', `background')dnl
define(`confTO_QUEUEWARN', `{warn_after}')dnl
define(`SMART_HOST', `esmtp:{relay}')dnl
define(`MAIL_HUB', `esmtp:{relay}')dnl
define(`ESMTP_MAILER_ARGS', `TCP $h {relay_port}')dnl
define(`confCACERT_PATH', `/etc/mail')dnl
define(`confCACERT', `/etc/mail/{host}.crt')dnl
define(`confSERVER_CERT', `/etc/mail/{host}.crt')dnl
define(`confSERVER_KEY', `/etc/mail/{host}.key')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port={port}')dnl
MAILER(`smtp')dnl
"""
_MSP_MC = """\
define(`_USE_ETC_MAIL_')dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `{host}.example.com')dnl
define(`confTIME_ZONE', `Asia/Tokyo')dnl
define(`confPID_FILE', `/var/spool/clientmqueue/sm-client.pid')dnl
define(`MSP_QUEUE_DIR', `/var/spool/clientmqueue')dnl
define(`confRUN_AS_USER', `mail')dnl
define(`confTRUSTED_USER', `mail')dnl
FEATURE(`msp', `[127.0.0.1]')dnl
"""


@dataclass(frozen=True)
class Host:
    """One host's story; seconds are counted from the start of its sendmail."""

    name: str
    tag: str
    queue_run_seconds: int
    load: tuple[Load, ...]
    actions: tuple[tuple[float, str, dict[str, Any]], ...]
    """Seconds, a method of `Stage`, its arguments."""
    end_seconds: float
    warn_after: str = "4h"
    has_second_daemon: bool = False
    """The product's own set-up: scanned mail comes back to a second sendmail, on port 10026."""
    has_certificate: bool = False


def _outage(down: float, up: float) -> tuple[tuple[float, str, dict[str, Any]], ...]:
    return (down, "kill", {}), (up, "start", {})


def _refusal(since: float, until: float, reply: str) -> tuple[tuple[float, str, dict[str, Any]], ...]:
    return (since, "tune", {"refusal": reply}), (until, "tune", {"refusal": ""})


HOSTS = (
    Host(
        "sendmail41",
        tag="sm-mta",
        queue_run_seconds=30,
        load=(Load(2, 222, 0.5),),
        actions=(*_outage(40.3, 46.1), *_outage(100.7, 112.6), *_outage(170.2, 189.9)),
        end_seconds=228,
    ),
    Host(
        "sendmail42",
        tag="sm-mta",
        queue_run_seconds=60,
        has_second_daemon=True,
        load=(Load(2, 200, 0.5),),
        actions=(
            *_outage(30.4, 38.2),
            (41.2, "flush", {}),
            *_outage(90.1, 100.3),
            (102.4, "flush", {}),
            *_outage(150.6, 169.5),
            (174.3, "flush", {}),
        ),
        end_seconds=206,
    ),
    Host(
        "sendmail43",
        tag="sendmail",
        queue_run_seconds=60,
        warn_after="20s",
        has_certificate=True,
        load=(
            Load(2, 58, 1.5, recipients=2),
            Load(3, 58, 4, recipients=3, sender=""),
            Load(76, 290, 1.5, recipients=2),
            Load(77, 290, 4, recipients=3, sender=""),
        ),
        actions=(
            (16.0, "reload", {}),
            (20.0, "connect_only", {}),
            (21.0, "leave_in_data", {}),
            (22.0, "mail", {"recipients": ["recipient1@example.net"], "from_address": "192.0.2.25"}),
            (23.0, "mail", {"recipients": ["recipient1@example.net"], "hops": 30}),
            (24.0, "mail", {"recipients": ["recipient1@example.net"], "sender": "<>@@"}),
            *_refusal(30.0, 31.6, "451 4.3.0 Transaction failed. ERROR: Scan result uncertain."),
            *_refusal(36.0, 38.4, "550 5.7.1 Message rejected by policy"),
            (40.0, "mail", {"recipients": ["unknown1@example.net"]}),
            (42.0, "mail", {"recipients": ["unknown1@example.net", "recipient1@example.net"]}),
            (44.0, "mail", {"recipients": ["unknown1@example.net"], "sender": ""}),
            (46.0, "submit", {}),
            (47.0, "submit", {}),
            *_outage(63.4, 70.2),
            (95.0, "tune", {"scan_seconds": 2.5}),
            (101.3, "kill", {}),
            (101.4, "tune", {"scan_seconds": 0.05}),
            (114.8, "start", {}),
            (150.0, "stop_mta", {}),
            (152.0, "submit", {}),
            (153.0, "submit", {}),
            (168.0, "start_mta", {}),
            *_outage(200.5, 236.7),
            (240.0, "start_mta", {}),
        ),
        end_seconds=300,
    ),
)


class SyslogReceiver:
    """Listens on /dev/log; each line is the datagram without its priority, with the host's name added."""

    def __init__(self, host: str) -> None:
        self.lines: list[bytes] = []
        self._name = host.encode()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("/dev/log")
        Path("/dev/log").chmod(0o666)
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while True:
            text = self._socket.recv(65536).rstrip(b"\n\0").partition(b">")[2]
            self.lines.append(text[:16] + self._name + b" " + text[16:])


class _Choosy:
    """Lines of a session, without the recipients that it refuses at once."""

    def __init__(self, lines: BufferedIOBase, session: smtp._Session) -> None:
        self._lines = lines
        self._session = session

    def readline(self) -> bytes:
        while (line := self._lines.readline()).upper().startswith(b"RCPT TO:<UNKNOWN"):
            self._session._say("550 5.1.1 User unknown")
        return line

    def close(self) -> None:
        self._lines.close()


class _ChoosySession(smtp._Session):
    def setup(self) -> None:
        super().setup()
        self.rfile = _Choosy(self.rfile, self)  # type: ignore[assignment]  # readline is all that is used


_serve = scanner._serve


def _serve_choosy(control: Connection, scan_port: int, downstream_port: int, first: Behaviour) -> None:
    with patch.object(smtp, "_Session", _ChoosySession):
        _serve(control, scan_port, downstream_port, first)


class Stage:
    """All that runs for one host, inside its namespaces, and what was done to it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.syslog = SyslogReceiver(host.name)
        self.sink = smtp.Server(0, answer=lambda _mail: "250 2.0.0 Ok")
        threading.Thread(target=self.sink.serve_forever, daemon=True).start()
        downstream = REINJECTION_PORT if host.has_second_daemon else self.sink.port
        self.scanner = ScanService(SCAN_PORT, downstream_port=downstream)
        self.client = Client(host.name, {"postfix": 25})
        self.restarts: list[dict[str, Any]] = []
        self.done: list[dict[str, Any]] = []
        self._configure()

    def play(self) -> dict[str, Any]:
        """Play in real time; return the truth."""
        self.start_scanner()
        self.start_mta()
        started_at = time.time()
        if self.host.has_second_daemon:
            self._sendmail("-C/etc/mail/sendmail2.cf", "-L", self.host.tag, "-bd", "-q1m")
        if self.host.tag == "sendmail":  # as Red Hat has it: a queue runner for local submissions
            self._sendmail("-Ac", "-L", "sm-msp-queue", "-q20s")
        self.client.begin(list(self.host.load), started_at=started_at)
        for at_seconds, action, arguments in self.host.actions:
            time.sleep(max(0.0, started_at + at_seconds - time.time()))
            self.done.append({"at": _instant(time.time()), "do": action} | arguments)
            getattr(self, action)(**arguments)
        time.sleep(max(0.0, started_at + self.host.end_seconds - time.time()))
        self.client.end()
        self.stop_mta()
        time.sleep(1)
        self.scanner.kill()
        return self._truth(started_at)

    def kill(self) -> None:
        """Kill the scan service."""
        self.restarts.append({"down_at": self.scanner.kill(), "up_at": None, "flush_at": None})

    def start(self) -> None:
        """Start the scan service again."""
        self.restarts[-1]["up_at"] = self.start_scanner()

    def start_scanner(self) -> float:
        """Return when the scan service began to listen (epoch)."""
        with patch.object(scanner, "_serve", _serve_choosy):
            return self.scanner.start()

    def tune(self, **changes: Any) -> None:
        """Change what the scan service does: fields of `Behaviour`."""
        self.scanner.tune(**changes)

    def flush(self) -> None:
        """`sendmail -q`, by hand."""
        self.restarts[-1]["flush_at"] = time.time()
        threading.Thread(target=self._sendmail, args=("-q",), daemon=True).start()

    def start_mta(self) -> None:
        """Start the daemon; where it runs already, the second one finds port 25 taken."""
        self._sendmail("-L", self.host.tag, "-bd", f"-q{self.host.queue_run_seconds}s")

    def stop_mta(self) -> None:
        """Stop the daemon; deliveries under way go on."""
        self._signal("TERM")

    def reload(self) -> None:
        """Have the daemon start anew, which is a queue run too."""
        self._signal("HUP")

    def submit(self) -> None:
        """A local program's mail: through the submission queue to port 25."""
        text = "From: sender@example.com\nTo: recipient9@example.net\nSubject: report\n\nNothing.\n"
        self._sendmail("-Ac", "-t", "-fsender@example.com", stdin=text)

    def connect_only(self) -> None:
        """Connect, greet and leave, as a monitor does."""
        with smtplib.SMTP("127.0.0.1", 25) as client:
            client.ehlo("probe.example.com")

    def leave_in_data(self) -> None:
        """Break off before the final dot."""
        client = smtplib.SMTP("127.0.0.1", 25, "client.example.com")
        client.ehlo()
        client.mail("sender@example.com")
        client.rcpt("recipient1@example.net")
        client.docmd("DATA")
        client.send(b"Subject: never ends\r\n\r\nNothing")
        client.close()

    def mail(
        self,
        *,
        recipients: Sequence[str],
        sender: str = "sender@example.com",
        from_address: str = "127.0.0.1",
        hops: int = 0,
    ) -> None:
        """Send one message that is out of the ordinary; it may be refused."""
        content = "Received: from example.com by example.org\r\n" * hops + "Subject: special\r\n\r\nText\r\n"
        client = smtplib.SMTP("127.0.0.1", 25, "client.example.com", source_address=(from_address, 0))
        with client, suppress(smtplib.SMTPException):
            client.sendmail(sender, recipients, content)

    def _signal(self, name: str) -> None:
        pid = Path("/var/sendmail.pid").read_text("ascii").splitlines()[0]
        subprocess.run(["kill", f"-{name}", pid], check=True)

    def _sendmail(self, *arguments: str, stdin: str = "") -> None:
        environment = {"PATH": "/usr/sbin:/usr/bin", "TZ": ZONE.key}
        nowhere = subprocess.DEVNULL  # a pipe would be inherited by the daemon
        command = ["/usr/sbin/sendmail", *arguments]
        subprocess.run(
            command, input=stdin.encode(), env=environment, stdout=nowhere, stderr=nowhere, check=False
        )

    def _configure(self) -> None:
        name, mail = self.host.name, Path("/etc/mail")
        (mail / "aliases").write_text("postmaster: root\n", "ascii")
        (mail / "service.switch").write_text("hosts files\naliases files\n", "ascii")
        if self.host.has_certificate:
            command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN={name}.example.com"
            command += f" -keyout {mail}/{name}.key -out {mail}/{name}.crt"
            subprocess.run(command.split(), check=True, capture_output=True)
        common = {"host": name, "warn_after": self.host.warn_after}
        first = {"config": "sendmail", "port": 25, "relay": "[127.0.0.1]", "relay_port": SCAN_PORT}
        second = {"config": "sendmail2", "port": REINJECTION_PORT, "relay": "store.example.com"}
        _write_cf("sendmail", _MTA_MC, common | first)
        _write_cf("sendmail2", _MTA_MC, common | second | {"relay_port": self.sink.port})
        _write_cf("submit", _MSP_MC, {"host": name})
        for queue in ("sendmail", "sendmail2", "clientmqueue"):
            Path("/var/spool", queue).mkdir(mode=0o700)
        subprocess.run(["chown", "mail:mail", "/var/spool/clientmqueue"], check=True)
        self._sendmail("-bi")

    def _truth(self, started_at: float) -> dict[str, Any]:
        return {
            "log": [line.decode("latin-1") for line in self.syslog.lines],
            "started_at": started_at,
            "actions": self.done,
            "restarts": self.restarts,
            "sent": {sent.message_id: sent.at for sent in self.client.sent},
            "answered": [
                (event.mail.message_id, event.at, event.reply)
                for event in self.scanner.events
                if event.kind == "answered" and event.mail
            ],
            "turned_away_count": self.client.turned_away_count,
        }


def _write_cf(name: str, source: str, values: Mapping[str, Any]) -> None:
    mc = Path(f"/etc/mail/{name}.mc")
    mc.write_text(source.format(**values), "ascii")
    folder = "/usr/share/sendmail/cf/"
    command = ["m4", f"-D_CF_DIR_={folder}", f"{folder}m4/cf.m4", str(mc)]
    done = subprocess.run(command, check=True, capture_output=True)
    Path(f"/etc/mail/{name}.cf").write_bytes(done.stdout)


def find_held(played: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Restarts with the messages they held, by the second of their first and last delivery lines.

    A message is held by a restart where its first deferral on the way to the scan service falls into the
    outage. Raises AssertionError where client and scan service, who know nothing of the log, disagree.
    """
    queue_ids: dict[str, str] = {}
    first_deferred: dict[str, datetime] = {}
    released: dict[str, datetime] = {}
    attempts: dict[str, int] = {}
    for line in played["log"]:
        stamp = _stamp(line, played["started_at"])
        queue_id, _, text = line.split("]: ", 1)[1].partition(": ")
        if text.startswith("from=") and (found := re.search(r"msgid=<([^>]*)>", text)):
            queue_ids.setdefault(found[1], queue_id)
        if not _TO_SCAN_SERVICE.match(text):
            continue
        if "stat=Deferred" in text:
            first_deferred.setdefault(queue_id, stamp)
            attempts[queue_id] = attempts.get(queue_id, 0) + 1
        else:
            released[queue_id] = stamp
    message_ids = {queue_id: message_id for message_id, queue_id in queue_ids.items()}
    restarts = []
    for restart in played["restarts"]:
        held = [
            {
                "queue_id": queue_id,
                "message_id": message_ids.get(queue_id),
                "deferral_count": attempts[queue_id],
                "first_deferred_at": _second(deferred),
                "released_at": _second(released[queue_id]) if queue_id in released else None,
            }
            for queue_id, deferred in first_deferred.items()
            if int(restart["down_at"]) <= deferred.timestamp() <= restart["up_at"]
        ]
        seen_in_log = {message["message_id"] for message in held} & played["sent"].keys()
        assert seen_in_log == set(_waited(played, restart)), (restart, seen_in_log)
        restarts.append(
            {
                "down_at": _instant(restart["down_at"]),
                "up_at": _instant(restart["up_at"]),
                "is_flush_ordered": restart["flush_at"] is not None,
                "flush_at": restart["flush_at"] and _instant(restart["flush_at"]),
                "held_count": len(held),
                "held": held,
            }
        )
    return restarts


def _waited(played: Mapping[str, Any], restart: Mapping[str, Any]) -> Iterator[str]:
    """Messages that client and scan service saw waiting: taken before it was back, answered well after.

    Half a second for the client's own pace, which notes a message only once its session is over.
    """
    answered: dict[str, float] = {}
    for message_id, at, reply in played["answered"]:
        if reply.startswith("250"):
            answered.setdefault(message_id, at)
    for message_id, sent_at in played["sent"].items():
        back_at = max(sent_at, restart["up_at"])
        if (
            restart["down_at"] - 5 < sent_at < restart["up_at"] + 0.5
            and answered.get(message_id, 0.0) > back_at + 1
        ):
            yield message_id


def _stamp(line: str, started_at: float) -> datetime:
    year = datetime.fromtimestamp(started_at, ZONE).year
    return datetime.strptime(f"{year} {line[:15]} +0900", "%Y %b %d %H:%M:%S %z").astimezone(UTC)


def _second(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _instant(epoch: float) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def unpack(packages: Path) -> None:
    """Fetch and unpack the Debian packages, unless they are there; nothing is installed."""
    if (packages / "usr/libexec/sendmail/sendmail").exists():
        return
    packages.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "-q", "download", *PACKAGES], cwd=packages, check=True)
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, packages], check=True)


def enter(host: Host, packages: Path) -> None:
    """In new namespaces: put the packages over /usr, /etc and /var, and make an own /dev, name, loopback."""
    scratch = packages / "scratch"
    scratch.mkdir(exist_ok=True)
    _run(f"mount -t tmpfs rig {scratch}")
    for name in ("usr", "etc", "var"):
        for folder in (packages / name, Path(scratch, name), Path(scratch, f"{name}.work")):
            folder.mkdir(exist_ok=True)
        layers = f"lowerdir={packages}/{name}:/{name},upperdir={scratch}/{name},workdir={scratch}/{name}.work"
        _run(f"mount -t overlay -o {layers} rig /{name}")
    devices = Path(scratch, "dev")
    devices.mkdir()
    for name in ("null", "zero", "random", "urandom"):
        (devices / name).touch()
        _run(f"mount --bind /dev/{name} {devices}/{name}")
    _run(f"mount --rbind {devices} /dev")
    _run("ln -sf ../libexec/sendmail/sendmail /usr/sbin/sendmail")
    _run("chmod g-s /usr/libexec/sendmail/sendmail")
    full_name = f"{host.name}.example.com"
    names = f"127.0.0.1 localhost {full_name} {host.name} store.example.com\n192.0.2.25 client.example.com\n"
    Path("/etc/hosts").write_text(names, "ascii")
    Path("/etc/nsswitch.conf").write_text("hosts: files\n", "ascii")
    _run(f"hostname {full_name}")
    _run("ip link set lo up")
    _run("ip addr add 192.0.2.25/24 dev lo")


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def play_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Play the hosts side by side, each in namespaces of its own; what they give, in the order of HOSTS."""
    command = ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--kill-child"]
    command += [sys.executable, "-m", "tests.rig.sendmail", "--packages", str(options.packages), "--inside"]
    children = [subprocess.Popen([*command, host.name], stdout=subprocess.PIPE, text=True) for host in HOSTS]
    return [json.loads(child.communicate()[0]) for child in children]


def write(everything: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write OUT/HOST/maillog-YYYYMMDD.gz and OUT/truth.json, one held message a line."""
    truths = []
    for host, played in zip(HOSTS, everything, strict=True):
        (out / host.name).mkdir(parents=True, exist_ok=True)
        content = "".join(f"{line}\n" for line in played["log"]).encode("latin-1")
        day = datetime.fromtimestamp(played["started_at"], ZONE).strftime("%Y%m%d")
        (out / host.name / f"maillog-{day}.gz").write_bytes(gzip.compress(content, mtime=0))
        known = {"host": host.name, "tag": host.tag, "queue_run_delay_seconds": host.queue_run_seconds}
        known |= {"started_at": _instant(played["started_at"]), "sent_count": len(played["sent"])}
        known |= {name: played[name] for name in ("turned_away_count", "actions")}
        truths.append(known | {"restarts": find_held(played)})
    text = json.dumps(truths, indent=1)
    lines = re.sub(r"\{\s+(\"(?:queue_id|at)\"[^{}]*?)\s+\}", _on_one_line, text)
    (out / "truth.json").write_text(f"{lines}\n", "ascii")


def _on_one_line(found: re.Match[str]) -> str:
    return "{" + re.sub(r"\s*\n\s*", " ", found[1]) + "}"


def main() -> int:
    """The command line, and the inside of each host's namespaces."""
    parser = argparse.ArgumentParser(prog="rig.sendmail", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("rig-out"), metavar="DIR")
    parser.add_argument("--packages", type=Path, default=Path(tempfile.gettempdir(), "rig-sendmail"))
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.packages = options.packages.resolve()
    if options.inside:
        host = next(host for host in HOSTS if host.name == options.inside)
        enter(host, options.packages)
        json.dump(Stage(host).play(), sys.stdout)
        return 0
    unpack(options.packages)
    write(play_all(options), options.out)
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
