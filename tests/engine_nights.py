"""Three nights of a small fleet for every engine, and how their tasks are done: in small parts, with deaths.

Worker processes import this, so it changes what it must in the process that does a task.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

import duckdb
import pytest

from tests.conftest import Run, run_job
from tests.soak import Log, Soak, set_time
from transforms.contracts.contracts import Check, Checker, Contract, Finding
from transforms.engine import Engine, open_engine
from transforms.run import Job
from transforms.tasks import ReadTask

T = TypeVar("T")
R = TypeVar("R")
HOST_COUNT = 12
# After as many days a night of a lake has days that are settled.
NIGHTS = FIRST, SECOND, THIRD = (3, 4, 5)
# Nothing of them comes in the second night; of the last one there is nothing before the third.
SILENT = ("gw03", "gw04")
NEW = "gw11"
# Checks find critical rows of the one in the third night, and of the other's files in the second.
BROKEN = "gw05"
KEPT_OUT = "gw06"
COLLECTOR = '[hosts.central]\nhost_from = "line"\npath = "central/**/*"\n'
# Names in the collector's files that have files of their own, as others do not.
COLLECTED = ("gw01", "gw02", "gw11")
ONLY_COLLECTED = "gw98"
BATCH = "transforms.lake.records.BATCH_HOSTS"
SMALL = {BATCH: 5, "transforms.findings.BATCH_HOSTS": 2}
SHARING, APART = ({**SMALL, "transforms.lake.files.FEWEST_SHARING": fewest} for fewest in (2, 1000))
# For the few hosts of write_two_nights.
FEW = {**SHARING, BATCH: 3}


def write_nights(folder: Path) -> list[Path]:
    """Write the archive as each night finds it: new; hosts silent or without news; files of all sorts."""
    soak = Soak(folder / "soak", HOST_COUNT, THIRD, seed=5)
    archives = []
    logs = soak.logs
    for night in NIGHTS:
        absent = {FIRST: {NEW}, SECOND: {NEW, *SILENT}, THIRD: set[str]()}[night]
        soak.logs = {host: of_host for host, of_host in logs.items() if host not in absent}
        if night == THIRD:
            _write_collected(soak, logs)
        soak.deliver(night)
        if night == THIRD:
            _copy_and_rotate(soak.archive)
        archives.append(folder / f"night-{night}")
        shutil.copytree(soak.archive, archives[-1])
    return archives


def write_two_nights(folder: Path) -> list[Path]:
    """Write the archive of a few hosts as two nights find it."""
    soak = Soak(folder / "soak", 5, SECOND, seed=7)
    archives = []
    for night in (FIRST, SECOND):
        soak.deliver(night)
        archives.append(folder / f"night-{night}")
        shutil.copytree(soak.archive, archives[-1])
    return archives


def _write_collected(soak: Soak, logs: Mapping[str, list[Log]]) -> None:
    """Give a collector's file lines of all days of some hosts, and of one that has no files."""
    folder = soak.archive / "central" / "2026"
    folder.mkdir(parents=True)
    written = [
        (at, line)
        for host in COLLECTED
        for log in logs[host]
        if log.kind == "maillog"
        for at, line in log.lines
        if at <= soak.run_at(THIRD)
    ]
    written += [
        (at, line.replace(" gw01 ", f" {ONLY_COLLECTED} ")) for at, line in written if " gw01 " in line
    ]
    text = "".join(f"{line}\n" for _, line in sorted(written))
    (folder / "maillog-2026-11-27.log").write_text(text)
    set_time(folder / "maillog-2026-11-27.log", soak.run_at(THIRD))
    with (soak.archive / "fleet.toml").open("a") as file:
        file.write(COLLECTOR)


def _copy_and_rotate(archive: Path) -> None:
    """Copy files, and rename one that was read."""
    for host in ("gw07", "gw08"):
        first, *_ = sorted((archive / host).glob("maillog-*"))
        (archive / host / "old").mkdir()
        shutil.copy2(first, archive / host / "old")
    first, *_ = sorted((archive / "gw09").glob("maillog-*"))
    first.rename(archive / "gw09" / "maillog.9.gz")


@dataclass(frozen=True)
class Death:
    """Kills the process of a task behind a call of a function, at most so many times.

    It strikes tasks with the file or host of a name, or any task; the folder has a file for each time.
    """

    function: str
    folder: Path
    times: int = 1
    named: str = ""

    def strike(self, task: Any) -> None:
        """End this process if it is its turn."""
        for number in range(self.times if self._is_of(task) else 0):
            try:
                (self.folder / f"death-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_of(self, task: Any) -> bool:
        names = (
            [source.path for source, _ in task.plan.readings] if isinstance(task, ReadTask) else task.hosts
        )
        return not self.named or self.named in names


def do_task(
    work: Callable[[T, Check], R],
    changed: Mapping[str, int],
    deaths: Sequence[Death],
    task: T,
    _check: Check,
) -> R:
    """Do a task under settings of the test, with checks that take no time."""
    with pytest.MonkeyPatch.context() as patch:
        # The rules of the tables are not those of these checks.
        patch.setattr("transforms.findings._suspects", lambda _, contract: contract.expectations)
        for name, value in changed.items():
            patch.setattr(name, value)
        for death in deaths:
            patch.setattr(death.function.replace(":", "."), _dying(death, task))
        return work(task, find_by_count)


def _dying(death: Death, task: Any) -> Callable[..., Any]:
    """Return the function of a death, followed by it."""
    function: Callable[..., Any] = resolve_name(death.function)

    def dying(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        death.strike(task)
        return result

    return dying


def find_by_count(database: Path, contracts: Iterable[Contract]) -> list[Finding]:
    """Find the number of a host's rows of each table, and of each of its files; some of that is critical."""
    findings = []
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        for contract in contracts:
            keys = [name for name in ("host", "source_id") if name in contract.columns]
            # Of message_trace only new files are shown.
            if "host" not in keys or contract.table == "marts.message_trace":
                continue
            columns = ", ".join(keys)
            query = (
                f"select {columns}, count(*), count(*) filter ({_broken(contract)}) "
                f"from {contract.table} group by {columns}"
            )
            for host, *source_ids, row_count, broken_count in connection.execute(query).fetchall():
                findings.append(
                    Finding(
                        table=contract.table,
                        rule="has no rows.",
                        severity="critical" if broken_count else "warning",
                        host=host,
                        source_id=source_ids[0] if source_ids else None,
                        row_count=row_count,
                        rows="[]",
                    )
                )
    return findings


def _broken(contract: Contract) -> str:
    if contract.table == "marts.fleet_daily":
        return f"host = '{BROKEN}' and date = '2026-11-28' and restart_count > 0"
    if contract.table == "events.queue_removals":
        return f"host = '{KEPT_OUT}' and logged_at > '2026-11-28' and line_number > 1000"
    return "false"


@dataclass(frozen=True)
class Tried:
    """An engine that does tasks under settings of a test, with deaths, and perhaps each of them twice."""

    engine: Engine
    changed: Mapping[str, int] = field(default_factory=dict)
    deaths: Sequence[Death] = ()
    times: int = 1
    lights: set[tuple[bool, bool]] = field(default_factory=set)
    """Whether jobs were light, and whether the worker of one of them was killed before."""

    @property
    def loses_attempts(self) -> bool:
        """Whether each task is done twice, or the engine says so."""
        return self.times > 1 or self.engine.loses_attempts

    def run(
        self, work: Callable[[T, Check], R], jobs: Iterable[T], *, is_light: bool = False
    ) -> Iterator[tuple[T, R | None]]:
        """Do all tasks, however light, as the engine does heavy ones."""
        tasks: list[Any] = list(jobs)
        self.lights.add((is_light, any(task.is_suspect for task in tasks)))
        again = (job for job in tasks for _ in range(self.times))
        return self.engine.run(partial(do_task, work, self.changed, self.deaths), again)


def run_night(job: Job, engine: Engine, changed: Mapping[str, int]) -> Run:
    """Do what `maillag run` does with the tasks of small hosts in several batches."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setattr(name, value)
        return run_job(job, Checker(), engine)


def drive(archive: str, lake: str, address: str, function: str, calls: str) -> None:
    """Run in two worker processes, or on the scheduler of an address, and die behind the n-th call."""
    name = "dask" if address else "local"
    called, count = resolve_name(function), 0

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        result = called(*arguments, **named)
        count += 1
        if count == int(calls):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    with (
        pytest.MonkeyPatch.context() as patch,
        open_engine(name, dask_address=address or None, worker_count=2) as engine,
    ):
        patch.setattr(function.replace(":", "."), dying)
        run_night(Job(Path(archive), Path(lake)), Tried(engine, FEW), FEW)
