"""What a worker does with a task: reads the new files of some hosts, or builds their marts, and checks them.

A worker knows neither lock nor ledger. It writes files that nobody sees until the driver lists them, and
returns lists, counts and findings.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from transforms.contracts.contracts import Check, Finding
from transforms.engine import Engine
from transforms.findings import check_events, check_marts, doubts
from transforms.ingest.plan import Plan
from transforms.ingest.read import Reads, read_sources
from transforms.lake.records import SourceRecord
from transforms.marts.batch import Built
from transforms.marts.build import MartTask, build_hosts
from transforms.memory import release_memory
from transforms.progress import listening
from transforms.run import Progress

# Less work than this is done in this process: others take time to start. Events take several times as long
# to turn into marts as a log to read, byte for byte.
LIGHT_LOG_BYTES = 32 * 2**20
LIGHT_EVENT_BYTES = 8 * 2**20
LIGHT_HOSTS = 500


class Task(Protocol):
    """Work on some hosts, for one worker."""

    @property
    def number(self) -> int:
        """Distinguishes it from the run's other tasks of its kind."""

    @property
    def size_bytes(self) -> int:
        """How many bytes are read."""

    @property
    def host_count(self) -> int:
        """Of how many hosts."""

    @property
    def is_suspect(self) -> bool:
        """Whether it is a part of a task whose worker was killed."""


T = TypeVar("T", bound=Task)
R = TypeVar("R")


def run_tasks(
    engine: Engine, work: Callable[[T, Check], R], tasks: Sequence[T], progress: Progress, *, light_bytes: int
) -> Iterator[tuple[T, R | None]]:
    """Yield each task with its result as it is done, in any order; None if its worker was killed each time.

    A task that the engine yields again is passed over. Advances the progress by bytes.
    """
    told = 0.0
    yielded: set[int] = set()

    def listen(size_bytes: float) -> None:
        nonlocal told
        told += size_bytes
        progress.advance(size_bytes)

    with listening(listen):
        # What killed a worker must not kill this process.
        is_light = (
            sum(task.size_bytes for task in tasks) < light_bytes
            and sum(task.host_count for task in tasks) < LIGHT_HOSTS
            and not any(task.is_suspect for task in tasks)
        )
        for task, result in engine.run(work, tasks, is_light=is_light):
            if task.number in yielded:
                continue
            yielded.add(task.number)
            # Other processes tell nothing before a task is done.
            progress.advance(max(0, task.size_bytes - told))
            told = 0.0
            yield task, result


@dataclass(frozen=True)
class ReadTask:
    """The files of some hosts that are to be read, and what was read of these hosts before, by source_id."""

    number: int
    run_id: str
    lake: Path
    plan: Plan
    known: dict[str, SourceRecord]
    is_suspect: bool = False

    @property
    def size_bytes(self) -> int:
        """The size of the files on disk."""
        return sum(source.size_bytes for source, _ in self.plan.readings)

    @property
    def host_count(self) -> int:
        """The number of hosts, with a collector as one."""
        return len({source.host for source, _ in self.plan.readings})


@dataclass(frozen=True)
class ReadPart:
    """What a worker read, and the rules that it breaks."""

    reads: Reads
    broken: list[Finding]


def read_batch(task: ReadTask, check: Check) -> ReadPart:
    """Read the files of a task, and check their events."""
    # What an attempt at this task that was killed left behind must not be taken for what this one writes.
    part = f"r{task.number}.{secrets.token_hex(2)}"
    reads = read_sources(task.plan, task.lake, task.known, run_id=task.run_id, part=part)
    release_memory()
    return ReadPart(reads, check_events(task.lake, reads, check) if reads.new_sources else [])


def build_batch(task: MartTask, check: Check) -> Built:
    """Build the marts of a task's hosts, check them, and see what they reveal about logs and settings."""
    recipe = task.recipe
    built = build_hosts(
        task,
        partial(
            check_marts,
            lake=recipe.lake,
            contracts=recipe.contracts,
            thresholds=recipe.given["config.thresholds"],
            check=check,
        ),
    )
    hosts = set(task.hosts) - built.failed_hosts
    zones = dict(recipe.given["fleet.hosts"].select("host", "time_zone").iter_rows())
    rows = built.rows_after(task.files, hosts)
    return replace(built, doubts=doubts(recipe.lake, rows, recipe.contracts, zones))
