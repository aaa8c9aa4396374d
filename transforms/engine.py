"""Runs a function for each of many tasks: in this process, in worker processes, or on Dask workers."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from typing import Protocol, TypeVar, cast

from transforms.contracts.contracts import Check, Checker, check_here
from transforms.cores import thread_count
from transforms.problems import MaillagError
from transforms.worker import Worker, WorkerDiedError, retried

ENGINES = ("local", "dask")
T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Where tasks are done. `work`, tasks and results are pickled: `work` is a function of a module."""

    @property
    def loses_attempts(self) -> bool:
        """Whether attempts at tasks may have been lost, and have left files behind."""

    def run(
        self, work: Callable[[T, Check], R], tasks: Iterable[T], *, is_light: bool = False
    ) -> Iterator[tuple[T, R | None]]:
        """Call `work` for each task, and yield tasks with their results as they are done, in any order.

        Tasks are begun in their order; each is taken from `tasks` only when a worker is free. The result is
        None if the process died on the task each time it was tried. What `work` raises is raised here, and
        ends all other tasks, as does a caller that stops early. If a task is yielded again, its first result
        counts.
        """


class LocalEngine:
    """One machine. Light tasks, or a single one, are done in this process; what they let check, in a child's.

    Otherwise each worker process does one task at a time, checks it itself, and computes with its share of
    the cores. If one dies, its task is tried once more, alone, after all others.
    """

    def __init__(self, worker_count: int | None = None) -> None:
        self.loses_attempts = False
        self._count = worker_count or thread_count()
        self._checker = Checker()
        self._workers: list[Worker] = []

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (self._checker.worker, *self._workers):
            if worker:
                worker.close()

    def run(
        self, work: Callable[[T, Check], R], tasks: Iterable[T], *, is_light: bool = False
    ) -> Iterator[tuple[T, R | None]]:
        """See Engine."""
        tasks = iter(tasks)
        first = [*islice(tasks, 2)]
        if is_light or self._count == 1 or len(first) < 2:
            return self._run_here(work, chain(first, tasks))
        return retried(partial(self._at_once, work), self._count, chain(first, tasks))

    def _run_here(self, work: Callable[[T, Check], R], tasks: Iterator[T]) -> Iterator[tuple[T, R | None]]:
        if self._checker.worker is None and self._workers:
            # It may have Great Expectations loaded.
            self._checker.worker = self._workers.pop()
        for task in tasks:
            try:
                yield task, work(task, self._checker.check)
            except WorkerDiedError:
                self.loses_attempts = True
                yield task, None

    def _at_once(
        self, work: Callable[[T, Check], R], count: int, tasks: Iterable[T]
    ) -> Iterator[tuple[T, R | None, bool]]:
        """See retried."""
        if self._checker.worker:
            self._workers.insert(0, self._checker.worker)
            self._checker.worker = None
        self._workers = [worker for worker in self._workers if not worker.is_closed]
        idle = deque(self._workers)
        busy: dict[Connection, tuple[Worker, T]] = {}
        tasks = iter(tasks)
        done: tuple[T, R | None, bool] | None = None
        try:
            while True:
                # A worker gets its next task before the caller is busy with the result of its last one.
                for task in islice(tasks, count - len(busy)):
                    if not idle:
                        self._workers.append(Worker())
                        idle.append(self._workers[-1])
                    worker = idle.popleft()
                    worker.begin(work, task, check_here, thread_count=max(1, thread_count() // self._count))
                    busy[worker.connection] = worker, task
                if done:
                    yield done
                if not busy:
                    return
                worker, task = busy.pop(cast(Connection, wait([*busy])[0]))
                try:
                    done = task, worker.receive(), False
                    idle.append(worker)
                except WorkerDiedError:
                    self.loses_attempts = True
                    done = task, None, True
        finally:
            for worker, _ in busy.values():
                worker.close()


def open_engine(
    name: str, *, dask_address: str | None = None, worker_count: int | None = None
) -> AbstractContextManager[Engine]:
    """Return the engine of a name: on `worker_count` cores of this machine, or on the workers of a scheduler.

    Raises MaillagError for another name, for dask without its address or package, and if no worker of the
    same version is at that address.
    """
    if name == "local":
        return LocalEngine(worker_count)
    if name != "dask":
        raise MaillagError(f"engine: {name!r} is none. Write one of {', '.join(ENGINES)}.")
    if dask_address is None:
        raise MaillagError(
            'dask_address: is not set, and engine = "dask" needs it. Write the scheduler\'s address, such as '
            "tcp://192.0.2.1:8786, into maillag.toml or MAILLAG_DASK_ADDRESS."
        )
    try:
        # Few have distributed, and its import takes half a second.
        from transforms.dask_engine import DaskEngine
    except ImportError as error:
        raise MaillagError(
            f'engine: "dask" needs a package that is not installed ({error}). Install maillag[dask].'
        ) from None
    return DaskEngine(dask_address)
