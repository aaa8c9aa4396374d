"""Engines do every job once, however their processes end, and leave none behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from distributed import LocalCluster

from tests.conftest import SAMPLE
from tests.jobs import Checked, Deed, OddError, begun, check_file, do, place, print_much
from tests.test_contracts import CONTRACTS, create_broken_table
from tests.test_crash import assert_ended
from transforms.contracts.contracts import Checker
from transforms.cores import thread_count
from transforms.dask_engine import DaskEngine
from transforms.engine import Engine, LocalEngine, open_engine
from transforms.problems import MaillagError

PROJECT = SAMPLE.parents[1]
DASK = Path(sys.executable).with_name("dask")
# Does jobs that last, as given: the engine's name, its address, and a folder.
DRIVER = """
import sys
from pathlib import Path
from tests.jobs import Deed, do
from transforms.engine import open_engine
name, address, folder = sys.argv[1:]
try:
    with open_engine(name, dask_address=address, worker_count=2) as engine:
        list(engine.run(do, [Deed(name, Path(folder), seconds=60) for name in "ab"]))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def no_child_is_left() -> Iterator[None]:
    """Fail if the test leaves a process of this one, alive or as a zombie."""
    before = children()
    yield
    assert children() <= before


@pytest.fixture
def engine(no_child_is_left: None) -> Iterator[LocalEngine]:
    with LocalEngine(2) as opened:
        yield opened


def children() -> set[str]:
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def results(engine: Engine, *deeds: Deed) -> dict[str, str | None]:
    done = {deed.name: result for deed, result in engine.run(do, deeds)}
    assert len(done) == len(deeds)
    return done


def wait_until(is_so: Callable[[], object]) -> None:
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    pytest.fail("waited for a minute")


@pytest.mark.parametrize(
    ("worker_count", "job_count", "is_light"),
    [(1, 3, False), (2, 1, False), (2, 3, True), (2, 0, False)],
    ids=["one worker", "one job", "light jobs", "no job"],
)
def test_little_work_is_done_in_this_process(worker_count: int, job_count: int, is_light: bool) -> None:
    before = children()
    with LocalEngine(worker_count) as engine:
        done = [*engine.run(place, range(job_count), is_light=is_light)]
        assert children() == before
    assert [number for number, _ in done] == [*range(job_count)]
    assert {result[0] for _, result in done if result} <= {os.getpid()}


def test_worker_processes_share_the_jobs_and_the_cores(engine: LocalEngine, tmp_path: Path) -> None:
    # Each waits for the other's.
    assert results(engine, *(Deed(name, tmp_path, waits_for=2) for name in "ab")) == {"a": "a", "b": "b"}
    places = dict(engine.run(place, range(20)))
    assert places.keys() == {*range(20)}
    processes, of_polars, of_others = zip(*filter(None, places.values()), strict=True)
    assert len({*processes}) <= 2
    assert os.getpid() not in processes
    assert {*of_polars, *of_others} == {max(1, thread_count() // 2)}


def test_a_job_is_taken_only_when_a_worker_is_free_for_it(engine: LocalEngine) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    for count, _ in enumerate(engine.run(place, jobs()), 1):
        # Those that are done, and two that are being done.
        assert taken == [*range(min(12, count + 2))]


def test_jobs_are_begun_in_their_order(engine: LocalEngine, tmp_path: Path) -> None:
    lasting = Deed("lasting", tmp_path, waits_for=5)
    list(engine.run(do, [lasting, *(Deed(name, tmp_path) for name in "abcd")]))
    assert [name for name in begun(tmp_path) if name != "lasting"] == [*"abcd"]


@pytest.mark.parametrize(("error", "raised"), [(ValueError, ValueError), (OddError, RuntimeError)])
def test_what_a_job_raises_is_raised_and_ends_the_others(
    engine: LocalEngine, tmp_path: Path, error: type[Exception], raised: type[Exception]
) -> None:
    lasting, failing = Deed("a", tmp_path, seconds=250), Deed("b", tmp_path, error=error)
    with pytest.raises(raised) as caught:
        list(engine.run(do, [lasting, failing]))
    assert "tests/jobs.py" in f"{caught.value}{caught.value.__notes__ if raised is error else ''}"
    assert results(engine, Deed("c", tmp_path), Deed("d", tmp_path)) == {"c": "c", "d": "d"}


def test_who_stops_early_ends_the_jobs(engine: LocalEngine, tmp_path: Path) -> None:
    for _ in engine.run(do, [Deed("a", tmp_path, seconds=250), Deed("b", tmp_path)]):
        break


def test_a_job_whose_worker_is_killed_is_tried_once_more(engine: LocalEngine, tmp_path: Path) -> None:
    deeds = [Deed("a", tmp_path), Deed("b", tmp_path, deaths=1), Deed("c", tmp_path), Deed("d", tmp_path)]
    assert results(engine, *deeds) == {name: name for name in "abcd"}
    # Last, since the others may be what it lacked memory for.
    assert sorted(begun(tmp_path)) == ["a", "b", "b", "c", "d"]
    assert begun(tmp_path)[-1] == "b"


def test_a_job_that_kills_every_worker_has_no_result_and_all_others_have(
    engine: LocalEngine, tmp_path: Path
) -> None:
    deeds = [Deed(name, tmp_path, deaths=9 if name in "bc" else 0) for name in "abcdef"]
    assert results(engine, *deeds) == {name: None if name in "bc" else name for name in "abcdef"}
    assert sorted(begun(tmp_path)) == [*"abbccdef"]
    assert results(engine, Deed("g", tmp_path), Deed("h", tmp_path)) == {"g": "g", "h": "h"}


def test_a_worker_that_died_between_two_runs_is_replaced(engine: LocalEngine, tmp_path: Path) -> None:
    processes = {result[0] for _, result in engine.run(place, range(8)) if result}
    os.kill(processes.pop(), signal.SIGKILL)
    assert results(engine, Deed("a", tmp_path), Deed("b", tmp_path)) == {"a": "a", "b": "b"}


def test_workers_print_nothing(engine: LocalEngine, capfd: pytest.CaptureFixture[str]) -> None:
    assert dict(engine.run(print_much, range(4))) == {number: number for number in range(4)}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, -15)]
)
def test_workers_end_quietly_with_their_driver(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    with start(tmp_path, sys.executable, "-c", DRIVER, "local", "", str(tmp_path)) as driver:
        wait_until(lambda: {*begun(tmp_path)} == {"a", "b"})
        # As Ctrl-C, to all of them that the terminal knows.
        os.killpg(driver.pid, sent)
        assert driver.wait(20) == code
    assert_ended([driver.pid])
    assert (tmp_path / f"{driver.pid}.log").read_text() == ""


@pytest.mark.parametrize(
    ("name", "address", "problem"),
    [
        ("ray", None, "engine: 'ray' is none. Write one of local, dask."),
        ("dask", None, "dask_address: is not set"),
        ("dask", "tcp://127.0.0.1:1", "no Dask scheduler answers at tcp://127.0.0.1:1"),
        ("dask", "tls://127.0.0.1:1", "Dask's settings name no certificate"),
        ("dask", "nonsense", "no Dask scheduler answers at nonsense"),
        ("dask", "x://127.0.0.1:1", "no Dask scheduler answers at x://"),
    ],
)
def test_an_engine_that_cannot_be_opened_is_a_clear_error(
    name: str, address: str | None, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.dask_engine.CONNECT_SECONDS", 1)
    with pytest.raises(MaillagError, match=problem):
        open_engine(name, dask_address=address)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "transforms.dask_engine", raising=False)
    with pytest.raises(MaillagError, match=r"Install maillag\[dask\]"):
        open_engine("dask", dask_address="tcp://127.0.0.1:1")


def test_distributed_is_imported_only_for_dask() -> None:
    run = "from transforms.engine import open_engine; open_engine('local'); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    assert {"distributed", "dask", "great_expectations"}.isdisjoint(done.stdout.split())


# ---- Great Expectations, and Dask ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """A file with rows that break rules of two tables."""
    tables = ("events.queue_removals", "events.clients")
    database = tmp_path_factory.mktemp("checked") / "broken.duckdb"
    with duckdb.connect(str(database)) as connection:
        for table in tables:
            create_broken_table(connection, table)
    return Checked(database, tuple(CONTRACTS[table] for table in tables))


@pytest.mark.slow
def test_checks_find_the_same_here_and_in_workers(engine: LocalEngine, checked: Checked) -> None:
    ((_, here),) = engine.run(check_file, [checked])
    assert here
    assert [found for _, found in engine.run(check_file, [checked] * 3)] == [here] * 3
    ((_, again),) = engine.run(check_file, [checked])
    assert again == here


@pytest.mark.slow
def test_a_checker_that_is_killed_is_replaced(checked: Checked) -> None:
    with Checker() as checker:
        before = children()
        found = checker.check(checked.database, checked.contracts)
        (process,) = children() - before
        os.kill(int(process), signal.SIGKILL)
        assert checker.check(checked.database, checked.contracts) == found


@dataclass(frozen=True)
class Cluster:
    """A scheduler and its workers, all of them processes of their own."""

    folder: Path
    address: str
    scheduler: "subprocess.Popen[bytes]"
    workers: "list[subprocess.Popen[bytes]]"

    def add_worker(self, *options: str, path: Path = PROJECT) -> None:
        """Add a worker, with a maillag of its own if `path` has one."""
        listens = ("--host", "127.0.0.1", "--no-dashboard", "--local-directory", str(self.folder))
        worker = (DASK, "worker", self.address, "--memory-limit", "0", *listens)
        self.workers.append(start(self.folder, *worker, *(options or ("--nthreads", "1")), path=path))


@contextmanager
def started_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a scheduler; end it and its workers behind the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    scheduler = start(folder, DASK, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
    cluster = Cluster(folder, f"tcp://127.0.0.1:{port}", scheduler, [])
    try:
        yield cluster
    finally:
        for process in (*cluster.workers, scheduler):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert_ended([process.pid for process in cluster.workers])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with started_cluster(tmp_path) as started:
        yield started


@pytest.fixture
def two_workers(cluster: Cluster) -> Cluster:
    for _ in range(2):
        cluster.add_worker()
    return cluster


@pytest.mark.slow
def test_dask_workers_do_the_jobs_of_a_driver(
    two_workers: Cluster, checked: Checked, capfd: pytest.CaptureFixture[str], no_child_is_left: None
) -> None:
    folder = two_workers.folder
    with LocalEngine(1) as local:
        ((_, here),) = local.run(check_file, [checked])
    with open_engine("dask", dask_address=two_workers.address) as engine:
        met = [Deed(name, folder, waits_for=2) for name in "ab"]
        assert results(engine, *met) == {"a": "a", "b": "b"}
        assert [found for _, found in engine.run(check_file, [checked] * 3)] == [here] * 3
        places = {result for _, result in engine.run(place, range(8))}
        assert {(*threads,) for _, *threads in filter(None, places)} == {(1, 1)}
        deaths = {"c": 1, "d": 99, "e": 0, "f": 0}
        deeds = [Deed(name, folder, deaths=count) for name, count in deaths.items()]
        assert results(engine, *deeds) == {"c": "c", "d": None, "e": "e", "f": "f"}
        with pytest.raises(ValueError, match="g"):
            results(engine, Deed("g", folder, error=ValueError), Deed("h", folder, seconds=3))
        assert results(engine, Deed("i", folder)) == {"i": "i"}
        two_workers.scheduler.kill()
        with pytest.raises(MaillagError, match="connection to the Dask scheduler was lost"):
            results(engine, Deed("j", folder))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_jobs_without_a_worker_are_an_error(two_workers: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.dask_engine.NO_WORKER_SECONDS", 1)
    with open_engine("dask", dask_address=two_workers.address) as engine:
        running = engine.run(do, [Deed("a", two_workers.folder), Deed("b", two_workers.folder, seconds=250)])
        assert next(running)[1] == "a"
        for worker in two_workers.workers:
            os.killpg(worker.pid, signal.SIGKILL)
        with pytest.raises(MaillagError, match="the scheduler has had no worker for 1 s"):
            next(running)


def other_version(folder: Path, changed: str) -> Path:
    """Return a folder with a maillag of which one file is another."""
    for name in ("transforms", "sql", "expectations"):
        shutil.copytree(PROJECT / name, folder / name)
    (folder / changed).write_text("raise ImportError")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "changed", "problem"),
    [
        (("--nthreads", "2"), None, "this Dask worker has 2 threads"),
        ((), "sql/macros.sql", "this Dask worker has maillag [0-9a-f]{16} instead of"),
        (
            (),
            "transforms/dask_engine.py",
            r"this Dask worker cannot run maillag \(.*Install the same version",
        ),
    ],
    ids=["two threads", "other rules", "no maillag"],
)
def test_unfit_workers_are_refused(
    cluster: Cluster, options: tuple[str, ...], changed: str | None, problem: str
) -> None:
    path = other_version(cluster.folder / "other", changed) if changed else PROJECT
    cluster.add_worker(*options, path=path)
    with pytest.raises(MaillagError, match=problem):
        open_engine("dask", dask_address=cluster.address)


@pytest.mark.slow
def test_a_scheduler_without_workers_is_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.dask_engine.CONNECT_SECONDS", 3)
    with pytest.raises(MaillagError, match="the scheduler has no worker"):
        open_engine("dask", dask_address=cluster.address)


@pytest.mark.slow
def test_a_worker_of_another_version_that_joins_later_is_refused(cluster: Cluster) -> None:
    cluster.add_worker()
    with DaskEngine(cluster.address) as engine:
        cluster.add_worker(path=other_version(cluster.folder / "other", "sql/macros.sql"))
        wait_until(lambda: len(engine.thread_counts()) == 2)
        with pytest.raises(MaillagError, match=r"this Dask worker has maillag .* instead of"):
            results(engine, *(Deed(name, cluster.folder, seconds=250) for name in "ab"))


@pytest.mark.slow
def test_workers_of_a_local_cluster_do_the_jobs(tmp_path: Path) -> None:
    options = {"dashboard_address": "127.0.0.1:0", "silence_logs": 60, "local_directory": str(tmp_path)}
    with LocalCluster(n_workers=2, threads_per_worker=1, **options) as local, local.get_client():
        engine = open_engine("dask", dask_address=local.scheduler_address)
        with engine as opened:
            deeds = [Deed("a", tmp_path), Deed("b", tmp_path, deaths=1), Deed("c", tmp_path)]
            assert results(opened, *deeds) == {name: name for name in "abc"}


def start(folder: Path, *command: str | Path, path: Path = PROJECT) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, which imports what tests import; see its log in the folder."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": f"{path}:{PROJECT}"},
        )
    log.rename(folder / f"{process.pid}.log")
    return process
