"""Whichever engine does the tasks of a run, and whatever is killed meanwhile, the rows are the same."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from tests.conftest import SAMPLE, Run, published_rows
from tests.engine_nights import (
    APART,
    BROKEN,
    FEW,
    KEPT_OUT,
    ONLY_COLLECTED,
    SHARING,
    SILENT,
    Death,
    Tried,
    run_night,
    write_nights,
    write_two_nights,
)
from tests.same_rows import differences
from tests.test_crash import MAILLAG, assert_ended
from tests.test_engine import PROJECT, Cluster, children, start, started_cluster
from transforms.dask_engine import DaskEngine
from transforms.engine import Engine, LocalEngine, open_engine
from transforms.lake.catalog import CATALOG_NAME
from transforms.lake.records import QuarantineRow
from transforms.lake.verify import verify_lake
from transforms.run import Job

pytestmark = pytest.mark.slow
DRIVER = "import sys; from tests.engine_nights import drive; drive(*sys.argv[1:])"


@dataclass(frozen=True)
class Night:
    """An archive, and what a lake has after a run in this process in one batch: a catalog, and findings."""

    archive: Path
    catalog: Path
    findings: list[QuarantineRow]
    run: Run


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> list[Night]:
    """The three nights as one lake saw them; each in one batch, and no hosts share files."""
    folder = tmp_path_factory.mktemp("nights")
    lake = folder / "lake"
    seen = []
    for number, archive in enumerate(write_nights(folder)):
        run = run_night(Job(archive, lake), Tried(LocalEngine(1)), {})
        # The files that a night replaces stay for a day.
        catalog = lake / f"night-{number}.duckdb"
        shutil.copy(lake / CATALOG_NAME, catalog)
        shutil.copytree(lake, folder / f"lake-{number}")
        seen.append(Night(archive, catalog, open_findings(run.job), run))
    return seen


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler with two workers, all of them processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        # A worker that dies is started again, which takes seconds.
        patch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
        with started_cluster(tmp_path_factory.mktemp("dask")) as cluster:
            for _ in range(2):
                cluster.add_worker()
            yield cluster


@pytest.fixture
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    # A busy machine may take long to start workers.
    monkeypatch.setattr("transforms.dask_engine.CONNECT_SECONDS", 100)
    before = children()
    with ExitStack() as stack:
        if request.param == "LocalCluster":
            options = {
                "dashboard_address": "127.0.0.1:0",
                "silence_logs": 60,
                "local_directory": str(tmp_path),
            }
            cluster = stack.enter_context(LocalCluster(n_workers=2, threads_per_worker=1, **options))
            opened = open_engine("dask", dask_address=cluster.scheduler_address)
        elif request.param == "scheduler":
            opened = open_engine("dask", dask_address=request.getfixturevalue("scheduler").address)
        else:
            opened = LocalEngine(1 if request.param == "here" else 2)
        yield stack.enter_context(opened)
    if request.param in ("here", "processes"):
        assert children() <= before


def assert_same(job: Job, night: Night) -> None:
    """The lake has the rows of the reference, and no file that its ledger does not list."""
    assert list(differences(night.catalog, job.lake / CATALOG_NAME)) == []
    assert_sound(job)


def assert_sound(job: Job) -> None:
    assert verify_lake(job.lake) == []
    assert [path.name for pattern in ("spill.*", "*.duckdb.*") for path in job.lake.glob(pattern)] == []


def test_the_nights_have_all_that_engines_could_differ_in(nights: list[Night]) -> None:
    first, second, third = nights
    assert not first.run.analyzed.settled_hosts
    assert {*SILENT} < {*second.run.analyzed.settled_hosts}
    assert {*third.run.analyzed.settled_hosts} > set()
    critical = {row.place.partition("/")[0] for row in third.findings if row.severity == "critical"}
    assert critical == {BROKEN, KEPT_OUT}
    assert ONLY_COLLECTED in {record.host for record in third.run.new_sources}


@pytest.mark.parametrize(
    ("engine", "changed"),
    [("here", SHARING), ("processes", APART), ("LocalCluster", APART), ("scheduler", SHARING)],
    indirect=["engine"],
    ids=["here", "processes", "LocalCluster", "scheduler"],
)
def test_rows_are_those_of_one_batch_in_this_process(
    nights: list[Night], engine: Engine, changed: dict[str, int], tmp_path: Path
) -> None:
    for night in nights:
        job = Job(night.archive, tmp_path / "lake")
        run = run_night(job, Tried(engine, changed), changed)
        assert_same(job, night)
        assert open_findings(run.job) == night.findings


# ---- Kills -----------------------------------------------------------------------------------------------

MIDDLE_OF_READING = "transforms.lake.files:EventWriter.finish"
MIDDLE_OF_MARTS = "transforms.marts.mart_files:MartWriter.write"


@dataclass(frozen=True)
class Base:
    """The lake of a first night, the archive of a second, and the catalog of the second without any death."""

    lake: Path
    archive: Path
    catalog: Path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("base")
    first, second = write_two_nights(folder)
    run_night(Job(first, folder / "lake"), Tried(LocalEngine(1), FEW), FEW)
    clean = run_over(Base(folder / "lake", second, Path()), folder / "clean", Tried(LocalEngine(1), FEW))
    return Base(folder / "lake", second, clean.job.lake / CATALOG_NAME)


def run_over(base: Base, lake: Path, engine: Engine) -> Run:
    """Run over a lake, by default a copy of the first night's."""
    if not lake.exists():
        shutil.copytree(base.lake, lake)
    return run_night(Job(base.archive, lake), engine, FEW)


def assert_same_as(base: Base, job: Job, *, but_of: str = "") -> None:
    assert list(differences(base.catalog, job.lake / CATALOG_NAME, but_of=but_of)) == []
    assert_sound(job)


def restarts_of(host: str, lake: Path) -> list[str]:
    return [row for row in published_rows(lake, "marts")["marts.restarts"] if f"'{host}'" in row]


@pytest.mark.parametrize("engine", ["processes", "scheduler"], indirect=True)
def test_a_worker_that_is_killed_changes_nothing(base: Base, engine: Engine, tmp_path: Path) -> None:
    deaths = []
    for number, function in enumerate((MIDDLE_OF_READING, MIDDLE_OF_MARTS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        deaths.append(Death(function, folder))
    run = run_over(base, tmp_path / "lake", Tried(engine, FEW, deaths))
    assert all(any(death.folder.iterdir()) for death in deaths)
    assert_same_as(base, run.job)


@pytest.mark.parametrize("engine", ["processes", "scheduler"], indirect=True)
def test_a_file_on_which_each_worker_dies_is_left_out(base: Base, engine: Engine, tmp_path: Path) -> None:
    poisoned = max((base.archive / "gw02").glob("maillog-*"))
    name = poisoned.relative_to(base.archive).as_posix()
    without = tmp_path / "without"
    shutil.copytree(base.archive, without)
    (without / name).unlink()
    spared = run_over(replace(base, archive=without), tmp_path / "spared", Tried(LocalEngine(1), FEW))
    death = Death(MIDDLE_OF_READING, tmp_path, times=99, named=name)
    tried = Tried(engine, FEW, [death])
    run = run_over(base, tmp_path / "lake", tried)
    # Nothing that has killed a worker is done in the driver.
    assert tried.lights == {(True, False), (False, True)}
    assert_same_as(replace(base, catalog=spared.job.lake / CATALOG_NAME), run.job)
    (finding,) = (row for row in run.findings if row.place == name)
    assert finding.severity == "critical"
    assert finding.what.startswith("the process that read it was killed each time")
    assert_same_as(base, run_over(base, run.job.lake, Tried(engine, FEW)).job)


@pytest.mark.parametrize("engine", ["processes"], indirect=True)
def test_a_host_on_whose_marts_each_worker_dies_keeps_its_old_ones(
    base: Base, engine: Engine, tmp_path: Path
) -> None:
    death = Death(MIDDLE_OF_MARTS, tmp_path, times=99, named="gw02")
    tried = Tried(engine, FEW, [death])
    run = run_over(base, tmp_path / "lake", tried)
    # Nothing that has killed a worker is done in the driver.
    assert tried.lights == {(True, False), (False, True)}
    assert_same_as(base, run.job, but_of="gw02")
    (finding,) = (row for row in run.findings if row.place == "gw02")
    assert finding.what.startswith("its marts could not be built: the worker process was killed")
    assert restarts_of("gw02", run.job.lake) == restarts_of("gw02", base.lake) != []
    assert_same_as(base, run_over(base, run.job.lake, Tried(engine, FEW)).job)


@pytest.mark.parametrize("engine", ["processes"], indirect=True)
def test_what_is_delivered_twice_counts_once(base: Base, engine: Engine, tmp_path: Path) -> None:
    run = run_over(base, tmp_path / "lake", Tried(engine, FEW, times=2))
    assert_same_as(base, run.job)


DURING_THE_MARTS = ("transforms.marts.batch:Built.add", 1)


@pytest.mark.parametrize(
    ("engine", "death"),
    [
        ("processes", ("transforms.lake.ledger:Ledger.record_sources", 1)),
        ("processes", DURING_THE_MARTS),
        ("processes", ("transforms.lake.ledger:Ledger.replace_marts", 1)),
        ("processes", ("transforms.lake.ledger:Ledger.name_marts", 1)),
        ("processes", ("transforms.lake.catalog:copyfile", 1)),
        ("scheduler", DURING_THE_MARTS),
    ],
    indirect=["engine"],
    ids=[
        "between two batches",
        "during the marts",
        "before they are named",
        "before they are published",
        "while they are published",
        "Dask",
    ],
)
def test_a_driver_that_is_killed_loses_nothing(
    base: Base, engine: Engine, death: tuple[str, int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    job = Job(base.archive, tmp_path / "lake")
    shutil.copytree(base.lake, job.lake)
    address = request.getfixturevalue("scheduler").address if isinstance(engine, DaskEngine) else ""
    given = (job.archive, job.lake, address, *death)
    with start(tmp_path, sys.executable, "-c", DRIVER, *map(str, given)) as driver:
        assert driver.wait(120) == -9, (tmp_path / f"{driver.pid}.log").read_text()
    assert_ended([driver.pid])
    run_over(base, job.lake, Tried(engine, FEW))
    assert_same_as(base, job)


# ---- As users run it -------------------------------------------------------------------------------------


def test_a_flow_and_the_command_line_run_on_dask_by_settings(
    scheduler: Cluster, sample_lake: Path, tmp_path: Path
) -> None:
    environment = os.environ | {
        "MAILLAG_DASK_ADDRESS": scheduler.address,
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    flow = f"from flows.flows import nightly; nightly(archive={str(SAMPLE)!r}, lake='flow', engine='dask')"
    runs: dict[str, tuple[list[str | Path], dict[str, str]]] = {
        "command": ([MAILLAG, "run", SAMPLE, "--lake", "command"], {"MAILLAG_ENGINE": "dask"}),
        "flow": ([sys.executable, "-c", flow], {"PYTHONPATH": str(PROJECT)}),
    }
    for lake, (command, more) in runs.items():
        before = task_count(scheduler)
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | more, capture_output=True, text=True, check=False
        )
        assert task_count(scheduler) > before
        assert done.returncode == 0, done.stderr
        job = Job(SAMPLE, tmp_path / lake)
        assert list(differences(sample_lake / CATALOG_NAME, job.lake / CATALOG_NAME)) == []
        assert open_findings(job) == open_findings(Job(SAMPLE, sample_lake))
        assert_sound(job)


def task_count(scheduler: Cluster) -> int:
    """Return how many jobs the workers have done."""
    with Client(scheduler.address, set_as_default=False) as client:
        count: int = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
        return count


def open_findings(job: Job) -> list[QuarantineRow]:
    with closing(job.open_ledger()) as ledger:
        return sorted((replace(row, run_id="") for row in ledger.findings()), key=str)
