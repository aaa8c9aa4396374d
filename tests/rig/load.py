"""Turns a load (so many messages, this often, from then until then) into mail and its record."""

import smtplib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Load:
    """Mail in bursts at an even pace; seconds are counted from the scenario's start."""

    from_seconds: float
    until_seconds: float
    every_seconds: float
    burst: int = 1
    """Messages at once, each over a connection of its own."""
    recipients: int = 1
    sender: str = "sender@example.com"
    """"" is the null sender of a bounce."""
    size_bytes: int = 2000
    instance: str = "postfix"
    domain: str = "example.net"
    """Of the recipients."""


@dataclass(frozen=True)
class Sent:
    """A message that Postfix took; `at` is when it said so (epoch)."""

    message_id: str
    instance: str
    queue_id: str
    sender: str
    recipient_count: int
    at: float


class Client:
    """Sends the loads of one host and remembers each message that was taken."""

    def __init__(self, host: str, ports: dict[str, int]) -> None:
        self.sent: list[Sent] = []
        self.turned_away_count = 0
        self._host = host
        self._ports = ports
        self._numbers = count(1)
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, loads: list[Load], *, started_at: float) -> None:
        """Send all loads side by side, each in its own time."""
        for load in loads:
            thread = threading.Thread(target=self._send_load, args=(load, started_at), daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        """Send no more, and wait for what is under way."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _send_load(self, load: Load, started_at: float) -> None:
        with ThreadPoolExecutor(load.burst) as connections:
            for tick in count():
                due = load.from_seconds + tick * load.every_seconds
                if due >= load.until_seconds:
                    return
                if self._is_over.wait(max(0.0, started_at + due - time.time())):
                    return
                for _ in range(load.burst):
                    connections.submit(self._send, load)

    def _send(self, load: Load) -> None:
        number = next(self._numbers)
        message_id = f"{number:04d}.{self._host}@client.example.com"
        recipients = tuple(f"recipient{n}@{load.domain}" for n in range(1, load.recipients + 1))
        content = (
            f"From: <{load.sender or 'mailer-daemon@example.com'}>\r\nTo: <{recipients[0]}>\r\n"
            f"Subject: message {number}\r\nMessage-ID: <{message_id}>\r\n\r\n"
        ).encode() + b"Nothing to see here.\r\n" * (load.size_bytes // 22)
        try:
            with smtplib.SMTP("127.0.0.1", self._ports[load.instance], "localhost", 30) as client:
                client.ehlo()
                client.mail(load.sender)
                for recipient in recipients:
                    client.rcpt(recipient)
                code, text = client.data(content)
        except (OSError, smtplib.SMTPException):
            code, text = 0, b""  # Postfix itself is down: this mail stays with its sender
        if code != 250:
            self.turned_away_count += 1
            return
        queue_id = text.decode("ascii", "replace").rpartition(" ")[2]
        self.sent.append(Sent(message_id, load.instance, queue_id, load.sender, load.recipients, time.time()))
