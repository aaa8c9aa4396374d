"""Turns what programs say to /dev/log into a maillog and `messages`, by Debian's real rsyslogd.

It needs a /dev of its own (run.py makes one), as programs do not ask where the log is.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/dev/log")
_CONFIGURATION = """\
global(workDirectory="{directory}" localHostname="{host}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{socket}" HostName="{host}"
      RateLimit.Interval="{interval}" RateLimit.Burst="{burst}")
mail.* action(type="omfile" file="{directory}/maillog" template="{template}")
*.*;mail.none action(type="omfile" file="{directory}/messages" template="RSYSLOG_TraditionalFileFormat")
"""
_STARTS_WITHIN_SECONDS = 10.0


class Rsyslog:
    """The syslog daemon of one host.

    `settings`: `burst`, so many lines of one process in 5 s, beyond which lines are dropped (0: none is);
    `template`, one of rsyslog's own, for the maillog.
    """

    def __init__(self, directory: Path, *, host: str, settings: Mapping[str, str]) -> None:
        self._directory = directory
        burst = int(settings.get("burst", "0"))
        self._configuration = directory / "rsyslog.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(
                directory=directory,
                host=host,
                socket=SOCKET,
                interval=5 if burst else 0,
                burst=burst,
                template=settings.get("template", "RSYSLOG_TraditionalFileFormat"),
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start, and return when /dev/log is there.

        Raises RuntimeError where there is a /dev/log of somebody else's, or rsyslogd does not start.
        """
        if SOCKET.exists():
            raise RuntimeError(
                f"{SOCKET} belongs to this machine: a syslog daemon of the rig needs namespaces"
            )
        self._process = subprocess.Popen(
            ["rsyslogd", "-n", "-f", self._configuration, "-i", self._directory / "rsyslogd.pid"],
            env={"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        started_at = time.time()
        while not SOCKET.exists():
            if self._process.poll() is not None or time.time() > started_at + _STARTS_WITHIN_SECONDS:
                raise RuntimeError("rsyslogd does not start: apt-get install rsyslog")
            time.sleep(0.05)

    def stop(self) -> None:
        """Write what is left, and stop."""
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None
