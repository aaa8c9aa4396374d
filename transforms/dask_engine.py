"""Runs tasks on the workers of a Dask scheduler, as engine.py says. Only `open_engine` imports this."""

import hashlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from dask.typing import Key
from distributed import Client, Future, KilledWorker, Security, get_worker
from distributed.comm.addressing import resolve_address
from distributed.versions import VersionMismatchWarning

from transforms.contracts.contracts import Check, check_here
from transforms.cores import THREADS
from transforms.problems import MaillagError
from transforms.worker import call, packed, retried

T = TypeVar("T")
R = TypeVar("R")
PROJECT = Path(__file__).parents[1]
# What a run takes from the project, and the packages whose versions can change an answer.
SOURCES = ("transforms/**/*.py", "sql/**/*.sql", "expectations/*.yaml")
PACKAGES = ("polars", "duckdb", "pyarrow", "numpy", "great-expectations", "dask", "distributed")
CONNECT_SECONDS = 10
# Restarting a worker takes a few seconds, a machine some minutes.
NO_WORKER_SECONDS = 300
# How often a task that fails is tried again, perhaps by a worker that sees the shared file system.
RETRIES = 3


class DaskEngine:
    """Workers that others started, each of one thread; see docs/scaling.md and `Engine`.

    If a task's worker dies, the scheduler tries it again on others, `allowed-failures` times (3); then it
    is tried so once more, alone, after all other tasks. Raises MaillagError if there is no scheduler
    at the address, no worker, or one of another version.
    """

    # The scheduler does not say how often it tried, and a worker goes on when its driver has died.
    loses_attempts = True

    def __init__(self, address: str) -> None:
        _keep_quiet()
        self._address = address
        try:
            resolve_address(address)
            if address.startswith("tls:") and not Security().get_connection_args("client").get("ssl_context"):
                raise ValueError("Dask's settings name no certificate, see docs/scaling.md")
            self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise MaillagError(
                f"dask_address: no Dask scheduler answers at {address} ({_first_line(error)}). Start it "
                "there, or correct the address."
            ) from None
        try:
            self._refuse_unfit_workers()
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> "DaskEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def run(
        self, work: Callable[[T, Check], R], tasks: Iterable[T], *, is_light: bool = False
    ) -> Iterator[tuple[T, R | None]]:
        """See Engine; light tasks, too, are for the workers, which have loaded all that they need."""
        return retried(partial(self._at_once, work), sys.maxsize, tasks)

    def _at_once(
        self, work: Callable[[T, Check], R], most: int, tasks: Iterable[T]
    ) -> Iterator[tuple[T, R | None, bool]]:
        """See retried; each worker does a task at a time."""
        tasks = iter(tasks)
        running: dict[Key, tuple[Future[Any], T]] = {}
        ended: SimpleQueue[Future[Any]] = SimpleQueue()
        done: tuple[T, R | None, bool] | None = None
        try:
            while True:
                # A task that waits at a worker is a suspect, too, if the one before it kills that worker.
                room = min(most, max(1, len(self.thread_counts()))) - len(running)
                for task in islice(tasks, max(0, room)):
                    future = self._client.submit(
                        do, versions(), packed(work, task, check_here), retries=RETRIES, pure=False
                    )
                    running[future.key] = future, task
                    future.add_done_callback(ended.put)
                if done:
                    yield done
                if not running:
                    return
                future, task = running.pop(self._next(ended).key)
                try:
                    done = task, future.result(), False
                except KilledWorker:
                    done = task, None, True
                except CancelledError:
                    raise self._lost() from None
                future.release()
        finally:
            with suppress(OSError, CancelledError):
                self._client.cancel([future for future, _ in running.values()])

    def _next(self, ended: "SimpleQueue[Future[Any]]") -> Future[Any]:
        while True:
            with suppress(Empty):
                return ended.get(timeout=NO_WORKER_SECONDS)
            if not self.thread_counts():
                raise MaillagError(
                    f"{self._address}: the scheduler has had no worker for {NO_WORKER_SECONDS} s. "
                    "Start workers, and run maillag again."
                )

    def thread_counts(self) -> dict[str, int]:
        """Return the number of threads of each worker, by its address."""
        try:
            threads: dict[str, int] = self._client.nthreads()
        except OSError:
            raise self._lost() from None
        return threads

    def _lost(self) -> MaillagError:
        return MaillagError(
            f"{self._address}: the connection to the Dask scheduler was lost. Start it, if it is down, and "
            "run maillag again."
        )

    def _refuse_unfit_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError:
            raise MaillagError(
                f"{self._address}: the scheduler has no worker. Start some with `dask worker {self._address} "
                "--nthreads 1` (docs/scaling.md)."
            ) from None
        for worker, count in self.thread_counts().items():
            if count != 1:
                raise MaillagError(
                    f"{worker}: this Dask worker has {count} threads, which would do tasks side by side in "
                    "one process. Start it with `--nthreads 1`, and several workers with `--nworkers`."
                )
        for worker, found in self._client.run(versions, on_error="return").items():
            refuse_others(versions(), found, worker)


@cache
def versions() -> dict[str, str]:
    """Return what this process answers by: a digest of the project's files, Python, and packages."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for pattern in SOURCES for path in PROJECT.glob(pattern)):
        digest.update(f"{path.relative_to(PROJECT).as_posix()} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    python = ".".join(map(str, sys.version_info[:2]))
    return {"maillag": digest.hexdigest(), "Python": python, **{name: version(name) for name in PACKAGES}}


def refuse_others(wanted: dict[str, str], found: dict[str, str] | Exception, worker: str) -> None:
    """Raise MaillagError unless a worker has the same versions as this run."""
    if isinstance(found, Exception):
        raise MaillagError(
            f"{worker}: this Dask worker cannot run maillag ({_first_line(found)}). Install the same version "
            "of maillag there, and start the worker from it."
        )
    differing = [name for name in wanted if wanted[name] != found.get(name)]
    if differing:
        others = ", ".join(f"{name} {found.get(name)} instead of {wanted[name]}" for name in differing)
        raise MaillagError(
            f"{worker}: this Dask worker has {others}, and could give other answers. Install the same "
            "version there, and start the worker again."
        )


def do(wanted: dict[str, str], packed_call: bytes) -> Any:
    """Do a call on a worker, which may have joined since the others were looked at."""
    refuse_others(wanted, versions(), get_worker().address)
    return call(packed_call, int(os.environ.get(THREADS, 1)))


def _keep_quiet() -> None:
    """Leave it to errors to say what is wrong; distributed writes to standard error of its own."""
    for name in [*logging.root.manager.loggerDict]:
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore", VersionMismatchWarning)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
