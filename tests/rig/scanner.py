"""Turns mail on the scan port into mail on the re-injection port, as imssd does, until killed.

The service is a process of its own, so that it can be killed in the middle of a scan. It passes a
message on first and answers then, with the reply of the Postfix behind it.
"""

import multiprocessing
import os
import signal
import smtplib
import threading
import time
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Literal

from .smtp import Received, Server

_processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Behaviour:
    """What the service does with what it gets; may change while it runs."""

    scan_seconds: float = 0.05
    """From the final dot until the message is passed on."""
    reply_seconds: float = 0.0
    """From then until the answer: a service killed here has its mail delivered twice."""
    slow_every: int = 0
    """Every so many messages, a scan takes slow_seconds instead; 0 is never."""
    slow_seconds: float = 0.0
    greeting: str = "220 localhost ESMTP imss"
    """"" hangs up without a word, "421 ..." turns the client away."""
    refusal: str = ""
    """The answer to every message ("451 ..."), which is then neither scanned nor passed on."""


@dataclass(frozen=True)
class Scanned:
    """One mail transaction with the service; `received_at` tells those of one message apart."""

    message_id: str
    queue_id: str
    recipient_count: int
    received_at: float


@dataclass(frozen=True)
class ScanEvent:
    """What the service saw of a mail (or, without one, of itself), at an epoch time."""

    kind: Literal["listening", "closed", "received", "passed_on", "answered"]
    at: float
    mail: Scanned | None = None
    reply: str = ""


class ScanService:
    """The scan service on a port: started, killed, closed and tuned from outside."""

    def __init__(self, scan_port: int, *, downstream_port: int) -> None:
        self.events: list[ScanEvent] = []
        self._ports = (scan_port, downstream_port)
        self._behaviour = Behaviour()
        self._process: SpawnProcess | None = None
        self._control: Connection | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> float:
        """Return when the service began to listen (epoch).

        Raises RuntimeError where the port is taken.
        """
        self.kill()
        self._control, inner = _processes.Pipe()
        self._process = _processes.Process(
            target=_serve, args=(inner, *self._ports, self._behaviour), daemon=True
        )
        self._process.start()
        inner.close()
        try:
            event = self._control.recv()
        except EOFError:
            raise RuntimeError(
                f"the scan service cannot listen on 127.0.0.1:{self._ports[0]}: stop what does"
            ) from None
        self._reader = threading.Thread(target=self._collect, args=(self._control,), daemon=True)
        self._reader.start()
        assert isinstance(event, ScanEvent)
        return event.at

    def kill(self) -> float:
        """Kill the service (SIGKILL) with all its sessions; return when."""
        killed_at = time.time()
        if self._process:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._reader:
            self._reader.join()
            self._reader = None
        return killed_at

    def close_listener(self) -> float:
        """Refuse new connections, let the messages under way end; return since when."""
        closed_at = time.time()
        if self._control:
            self._control.send("close")
        return closed_at

    def freeze(self) -> float:
        """Stop the process (SIGSTOP): the kernel still accepts connections; return since when."""
        frozen_at = time.time()
        if self._process and self._process.pid:
            os.kill(self._process.pid, signal.SIGSTOP)
        return frozen_at

    def tune(self, **changes: Any) -> None:
        """Change the behaviour, of the running service and of those started later."""
        self._behaviour = replace(self._behaviour, **changes)
        if self._control and self._process:
            self._control.send(self._behaviour)

    def _collect(self, control: Connection) -> None:
        try:
            while True:
                self.events.append(control.recv())
        except (EOFError, OSError):
            return  # the process is gone; what it saw is in the list


class _Scanner:
    """The inside of the service's process."""

    def __init__(self, control: Connection, downstream_port: int, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._control = control
        self._lock = threading.Lock()
        self._downstream_port = downstream_port
        self._numbers = count(1)

    def tell(self, event: ScanEvent) -> None:
        with self._lock:
            self._control.send(event)

    def answer(self, mail: Received) -> str:
        behaviour = self.behaviour
        scanned = Scanned(mail.message_id, mail.queue_id, len(mail.recipients), mail.at)
        self.tell(ScanEvent("received", mail.at, scanned))
        is_slow = behaviour.slow_every and next(self._numbers) % behaviour.slow_every == 0
        time.sleep(behaviour.slow_seconds if is_slow else behaviour.scan_seconds)
        reply = behaviour.refusal
        if not reply:
            reply = self._pass_on(mail)
            self.tell(ScanEvent("passed_on", time.time(), scanned, reply))
            time.sleep(behaviour.reply_seconds)
        self.tell(ScanEvent("answered", time.time(), scanned, reply))
        return reply

    def _pass_on(self, mail: Received) -> str:
        try:
            with smtplib.SMTP("127.0.0.1", self._downstream_port, "localhost", 30) as client:
                client.ehlo()
                client.mail(mail.sender)
                for recipient in mail.recipients:
                    client.rcpt(recipient)
                code, text = client.data(mail.content)
                return f"{code} {text.decode('ascii', 'replace')}"
        except (OSError, smtplib.SMTPException):
            return "451 4.3.0 Transaction failed"


def _serve(control: Connection, scan_port: int, downstream_port: int, first: Behaviour) -> None:
    scanner = _Scanner(control, downstream_port, first)
    server = Server(scan_port, answer=scanner.answer, greeting=lambda: scanner.behaviour.greeting)
    scanner.tell(ScanEvent("listening", time.time()))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        while True:
            order = control.recv()
            if isinstance(order, Behaviour):
                scanner.behaviour = order
            else:
                server.drain()
                scanner.tell(ScanEvent("closed", time.time()))
    except EOFError:
        os._exit(0)  # whoever started the service is gone: so is the service
