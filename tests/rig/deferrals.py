"""Turns what happens in Postfix's queue into deferrals and queue runs, without a look into its log.

At the first failed recipient of a round of deliveries Postfix makes the file defer/QUEUE_ID, just before it
logs that (bounce_append_service.c). The queue manager removes it before the next round (qmgr_message.c). A
queue run or a flush begins by opening the folder deferred (qmgr_scan.c).
"""

import ctypes
import os
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_IN_OPEN, _IN_CREATE = 0x20, 0x100  # sys/inotify.h
_HEADER = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length of the name
_LARGEST_READ = 65536
# The times of files are the kernel's last tick, up to 10 ms ago.
_TICK_SECONDS = 0.01


@dataclass(frozen=True, order=True)
class Deferral:
    """A round of deliveries of a message failed for the first of its recipients (epoch)."""

    at: float
    queue_id: str


class Watcher:
    """Has the kernel tell what happens in `defer` and `deferred` of queues, while this process lives."""

    def __init__(self) -> None:
        self.deferrals: list[Deferral] = []
        """As they were noticed."""
        self.opened_at: list[float] = []
        """When a folder `deferred` was opened: by qmgr, or by another program that lists the queue."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._folders: dict[int, Path] = {}
        self._notices = self._libc.inotify_init1(os.O_CLOEXEC)
        threading.Thread(target=self._watch, daemon=True).start()

    def add(self, queue: Path) -> None:
        """Watch a queue, which Postfix must have made (without `defer` in hash_queue_names)."""
        for folder, what in ((queue / "defer", _IN_CREATE), (queue / "deferred", _IN_OPEN)):
            watch = self._libc.inotify_add_watch(self._notices, os.fsencode(folder), what)
            if watch < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
            self._folders[watch] = folder

    def _watch(self) -> None:
        while notices := os.read(self._notices, _LARGEST_READ):
            noticed_at = time.time()
            while notices:
                watch, what, _, length = _HEADER.unpack_from(notices)
                name = notices[_HEADER.size : _HEADER.size + length].rstrip(b"\0").decode("ascii")
                notices = notices[_HEADER.size + length :]
                at = noticed_at
                if what & _IN_OPEN:
                    if not name:  # of its subfolders there are notices too
                        self.opened_at.append(round(at, 3))
                    continue
                # On a busy machine notices are read late; the file may be gone by then.
                with suppress(FileNotFoundError):
                    at = min(at, (self._folders[watch] / name).stat().st_mtime + _TICK_SECONDS)
                self.deferrals.append(Deferral(round(at, 3), name))
