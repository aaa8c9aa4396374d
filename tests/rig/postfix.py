"""Turns settings into a private Postfix instance on loopback ports, and its log into a maillog.

Everything it writes is under one folder: configuration, queue, data and log. It logs through its
own postlogd (`maillog_file`), so no syslog daemon is needed; the host's name in each line is the
first part of `myhostname`. `collect_maillog` changes one thing: where a line tells the
configuration folder, which is a temporary one, it says /etc/NAME.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TIME_ZONE = "Asia/Tokyo"
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_TRIES = 1000

_DIRECT = """\
127.0.0.1:{ports.smtp} inet n - n - - smtpd
"""
# The way of IMSVA: through a sender filter on 10020, before the mail is queued.
_PROXIED = """\
127.0.0.1:{ports.smtp} inet n - n - - smtpd -o content_filter=
 -o smtpd_proxy_filter=127.0.0.1:{ports.sender_filter}
127.0.0.1:{ports.behind_filter} inet n - n - - smtpd -o smtpd_authorized_xforward_hosts=127.0.0.0/8
"""
_MASTER_CF = """\
127.0.0.1:{ports.reinjection} inet n - n - - smtpd -o content_filter=
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
imss      unix - - n - - smtp
 -o smtp_helo_timeout=$imss_timeout
 -o smtp_data_done_timeout=$imss_timeout
 -o smtp_connect_timeout=$imss_connect_timeout
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Ports:
    """The ports of 127.0.0.1 that an instance listens on; those of a sender filter are 0 without one."""

    smtp: int
    reinjection: int
    sender_filter: int = 0
    behind_filter: int = 0


PROXIED_PORTS = Ports(smtp=25, sender_filter=10020, behind_filter=10021, reinjection=10026)


class PostfixError(RuntimeError):
    """Postfix did not do as it was told; the message ends with the last lines of its log."""


class Instance:
    """One Postfix instance with `content_filter = imss:localhost:SCAN_PORT`.

    With ports of a sender filter, mail passes it before it is queued (smtpd_proxy_filter). The re-injection
    port takes mail back without the content filter; from there all mail goes to `sink_port`. `settings` are
    main.cf lines and win over the rig's own. `environment` is what its programs see beside PATH.
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str,
        name: str,
        scan_port: int,
        sink_port: int,
        settings: Mapping[str, str],
        ports: Ports | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.ports = ports or Ports(smtp=free_port(), reinjection=free_port())
        self._environment = {"TZ": TIME_ZONE} | dict(environment or {})
        told = " ".join(f"{key}={value}" for key, value in self._environment.items())
        self._config = directory / name
        self._maillog = directory / "maillog"
        self.queue, data = directory / f"{name}-queue", directory / f"{name}-data"
        for folder in (self._config, self.queue, data):
            folder.mkdir(parents=True)
        subprocess.run(["chown", "postfix", data], check=True)
        self.settings = {
            "compatibility_level": "3.6",
            "queue_directory": str(self.queue),
            "data_directory": str(data),
            "hash_queue_names": "deferred",
            "maillog_file": str(self._maillog),
            "maillog_file_prefixes": str(directory),
            "syslog_name": name,
            "import_environment": (f"{told} LANG=C MAIL_CONFIG MAIL_LOGTAG POSTLOG_SERVICE POSTLOG_HOSTNAME"),
            "export_environment": f"{told} LANG=C",
            "myhostname": f"{host}.example.com",
            "mydestination": "",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "smtp_dns_support_level": "disabled",
            "smtp_tls_security_level": "none",
            "smtpd_tls_security_level": "none",
            "relayhost": f"[127.0.0.1]:{sink_port}",
            "content_filter": f"imss:localhost:{scan_port}",
            "imss_timeout": "600s",
            "imss_connect_timeout": "2s",
            **settings,
        }
        (self._config / "main.cf").write_text(
            "".join(f"{key} = {value}\n" for key, value in self.settings.items())
        )
        way = _PROXIED if self.ports.sender_filter else _DIRECT
        (self._config / "master.cf").write_text((way + _MASTER_CF).format(ports=self.ports))

    def start(self) -> None:
        """Start, making the queue's folders where they are missing."""
        self._postfix("start")

    def reload(self) -> None:
        """Have every daemon read its configuration again: a new qmgr, a new queue run phase."""
        self._postfix("reload")

    def flush(self) -> None:
        """Try all deferred mail now."""
        self._postfix("flush")

    def retry(self, queue_ids: Sequence[str], *, pause_seconds: float) -> None:
        """Try some mail now, one after another, as an operator's loop of `postqueue -i` does."""
        for queue_id in queue_ids:
            self._run("postqueue", "-c", str(self._config), "-i", queue_id)
            time.sleep(pause_seconds)

    def change_queue(self, option: str, queue_ids: Sequence[str]) -> None:
        """Requeue (-r), delete (-d) or put on hold (-h) some mail, or "ALL"."""
        chosen = [word for queue_id in queue_ids for word in (option, queue_id)]
        self._run("postsuper", "-c", str(self._config), *chosen)

    def kill_queue_manager(self) -> None:
        """Kill qmgr (SIGKILL); master starts it again when it is asked for."""
        pid, _ = self._queue_manager()
        os.kill(pid, signal.SIGKILL)

    def queue_manager_started_at(self, *, after: float) -> float:
        """Wait for a qmgr that was started after a time; return when (epoch, to 0.01 s)."""
        for _ in range(_TRIES):
            with suppress(PostfixError):
                _, started_at = self._queue_manager()
                if started_at >= after - _TICK_SECONDS:
                    return started_at
            time.sleep(_TICK_SECONDS)
        raise PostfixError(f"{self.name}: no new qmgr")

    def _queue_manager(self) -> tuple[int, float]:
        master = (self.queue / "pid" / "master.pid").read_text().strip()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                name, _, rest = stat.read_text().partition(" (")[2].rpartition(") ")
                fields = rest.split()
                if name == "qmgr" and fields[1] == master:
                    # Field 22 of proc(5) counts ticks since the machine started.
                    age_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) * _TICK_SECONDS
                    return int(stat.parent.name), round(time.time() - age_seconds, 2)
        raise PostfixError(f"no qmgr under master {master}")

    def mark(self, text: str) -> None:
        """Log a line as the wrapper script of the product does."""
        self._run("postlog", "-c", str(self._config), "-t", "postfix/postlog", text)

    def tell_state(self) -> None:
        """Ask for the state, which is logged: the log reaches up to now, though nobody may send mail."""
        self._postfix("status")

    def stop(self) -> None:
        """Stop; an instance that does not run is left as it is."""
        self._run("postfix", "-c", str(self._config), "stop", is_checked=False)

    def _postfix(self, command: str) -> None:
        self._run("postfix", "-c", str(self._config), command)

    def _run(self, *command: str, is_checked: bool = True) -> None:
        # No pipes: the daemons would inherit them, and the caller would wait for their end.
        done = subprocess.run(
            command,
            env={"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if is_checked and done.returncode:
            log = self._maillog.read_text("utf-8", "replace") if self._maillog.exists() else ""
            raise PostfixError(f"{' '.join(command)} failed:\n" + "\n".join(log.splitlines()[-5:]))


def collect_maillog(directory: Path, instances: Iterable[Instance]) -> bytes:
    """The log of all instances under the folder, each configuration named as in /etc."""
    log = (directory / "maillog").read_bytes()
    for instance in instances:
        log = log.replace(
            f"configuration {directory}/{instance.name}\n".encode(),
            f"configuration /etc/{instance.name}\n".encode(),
        )
    return log


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
