"""Turns SMTP sessions on a loopback port into received messages, each answered by a function."""

import re
import socketserver
import time
from collections.abc import Callable
from dataclasses import dataclass

_ADDRESS = re.compile(r"<([^>]*)>")
_QUEUE_ID = re.compile(rb"^\s.*\bid ([0-9A-Za-z]+)", re.MULTILINE)
_MESSAGE_ID = re.compile(rb"^message-id:\s*<([^>]*)>", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Received:
    """One mail transaction, complete up to the final dot; `at` is when the dot came (epoch)."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    at: float

    @property
    def message_id(self) -> str:
        """The Message-ID without brackets, "" where there is none."""
        found = _MESSAGE_ID.search(self.content)
        return found[1].decode("ascii", "replace") if found else ""

    @property
    def queue_id(self) -> str:
        """The queue id in the topmost Received header, "" where there is none."""
        found = _QUEUE_ID.search(self.content)
        return found[1].decode("ascii") if found else ""


class Server(socketserver.ThreadingTCPServer):
    """Listens from construction on; `answer` gives the reply to the final dot.

    `greeting` is asked at each connection: "" hangs up without a word, anything that does not
    begin with 2 turns the client away.
    """

    allow_reuse_address = True  # a service that was killed comes back on the same port
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        *,
        answer: Callable[[Received], str],
        greeting: Callable[[], str] = lambda: "220 localhost ESMTP",
    ) -> None:
        self.answer = answer
        self.greeting = greeting
        self.is_draining = False
        super().__init__(("127.0.0.1", port), _Session)

    @property
    def port(self) -> int:
        """The port that is listened on (a free one, where 0 was asked for)."""
        return int(self.server_address[1])

    def drain(self) -> None:
        """Refuse new connections; each session may end the message it is at, and no more."""
        self.is_draining = True
        self.shutdown()
        self.socket.close()


class _Session(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        try:
            self._converse()
        except OSError:
            return  # the client hung up, as it may at any time

    def _converse(self) -> None:
        greeting = self.server.greeting()
        if greeting:
            self._say(greeting)
        if not greeting.startswith("2"):
            return
        sender, recipients = "", list[str]()
        while line := self.rfile.readline():
            text = line.decode("ascii", "replace").strip()
            match text[:4].upper():
                case "EHLO" | "HELO":
                    self._say("250 localhost")
                case "MAIL" if self.server.is_draining:
                    return
                case "MAIL":
                    sender, recipients = _address(text), []
                    self._say("250 2.1.0 Ok")
                case "RCPT":
                    recipients.append(_address(text))
                    self._say("250 2.1.5 Ok")
                case "DATA":
                    self._say("354 End data with <CR><LF>.<CR><LF>")
                    content = self._read_content()
                    self._say(self.server.answer(Received(sender, tuple(recipients), content, time.time())))
                case "QUIT":
                    self._say("221 2.0.0 Bye")
                    return
                case _:  # RSET and NOOP: the next MAIL starts afresh in any case
                    self._say("250 2.0.0 Ok")

    def _read_content(self) -> bytes:
        lines = list[bytes]()
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise ConnectionResetError("the client left before the final dot")
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    def _say(self, reply: str) -> None:
        self.wfile.write(reply.encode("ascii", "replace") + b"\r\n")


def _address(command: str) -> str:
    found = _ADDRESS.search(command)
    return found[1] if found else ""
