"""Calls functions in a process of its own, which ends with this one, prints nothing, and may be killed."""

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, TypeVar

from transforms.cores import limit_threads

T = TypeVar("T")
R = TypeVar("R")
# Unlike multiprocessing, this does not import the main module again, which may be all of Prefect.
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; from transforms.worker import serve; serve(int(sys.argv[1]))"
)


class WorkerDiedError(Exception):
    """The process was killed, or crashed, before it answered."""


class Worker:
    """A process that calls one function at a time; functions, arguments and results are pickled."""

    def __init__(self) -> None:
        # When an answer is there, multiprocessing.connection.wait says so.
        self.connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-c", _START, str(theirs.fileno()), *sys.path],
                pass_fds=[theirs.fileno()],
                # Its standard input ends when this process does, however that ends.
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Ctrl-C is for this process, which then closes the other.
                process_group=0,
            )

    @property
    def is_closed(self) -> bool:
        """Whether the process was closed, or found to have died."""
        return self.connection.closed

    def begin(self, function: Callable[..., Any], *arguments: object, thread_count: int) -> None:
        """Begin a call with so many threads; `receive` waits for its result."""
        message = (packed(function, *arguments), thread_count)
        # If the process has died, `receive` says so.
        with suppress(OSError):
            self.connection.send(message)

    def receive(self) -> Any:
        """Wait for the result; raise what the function raised, or WorkerDiedError."""
        try:
            result, error = self.connection.recv()
        except (EOFError, OSError):
            self.close()
            raise WorkerDiedError(f"A worker process died (exit code {self._process.returncode}).") from None
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the process at once, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self.connection.close()


def retried(
    at_once: Callable[[int, Iterable[T]], Iterator[tuple[T, R | None, bool]]], most: int, tasks: Iterable[T]
) -> Iterator[tuple[T, R | None]]:
    """Yield tasks with their results; one whose process died is tried once more, alone, after all others.

    `at_once(most, tasks)` does so many tasks at a time, and yields each with its result, and whether its
    process died instead.
    """
    died = []
    for task, result, has_died in at_once(most, tasks):
        if has_died:
            died.append(task)
        else:
            yield task, result
    for task, result, _ in at_once(1, died):
        yield task, result


def packed(function: Callable[..., object], *arguments: object) -> bytes:
    """Return a call as bytes, so that `call` can prepare the process before it loads the function."""
    return pickle.dumps((function, arguments))


def call(packed_call: bytes, thread_count: int) -> Any:
    """Do a call that was packed, with so many threads."""
    limit_threads(thread_count)
    function, arguments = pickle.loads(packed_call)  # noqa: S301  # from the process that started this one
    return function(*arguments)


def serve(descriptor: int) -> None:
    """Answer calls from a connection until this process is killed, or the parent has ended."""
    Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(descriptor)
    while True:
        connection.send_bytes(_answer(*connection.recv()))


def _answer(packed_call: bytes, thread_count: int) -> bytes:
    """Return the pickled pair of a call's result and error, one of which is None."""
    try:
        return pickle.dumps((call(packed_call, thread_count), None))
    except Exception as error:
        trace = traceback.format_exc()
        error.add_note(trace)
        answer = pickle.dumps((None, error))
        try:
            pickle.loads(answer)  # noqa: S301  # an error may be pickled and yet not be made again
        except Exception:
            return pickle.dumps((None, RuntimeError(trace)))
        return answer


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)
