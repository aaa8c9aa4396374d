"""Turns connections to one loopback port into connections to another, as a sender filter with no objections.

A before-queue filter speaks SMTP between two smtpd. As long as it changes nothing, copied bytes do the same.
"""

import socket
import socketserver
import threading


class SenderFilter(socketserver.ThreadingTCPServer):
    """Listens from construction on, and copies each session to the port behind it."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, *, behind: int) -> None:
        self.behind = behind
        super().__init__(("127.0.0.1", port), _Session)


class _Session(socketserver.BaseRequestHandler):
    server: SenderFilter

    def handle(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:
                threading.Thread(target=_copy, args=(behind, self.request), daemon=True).start()
                _copy(self.request, behind)
        except OSError:
            return  # either side hung up, as it may at any time


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
