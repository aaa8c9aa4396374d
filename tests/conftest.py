"""What tests share: one contract checker, and the sample fleet's lake."""

import atexit
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, settings

from flows.catalog import EVERYTHING, RESTARTS, Row, fetch, open_catalog
from transforms import pipeline
from transforms.archive.files import discover
from transforms.contracts.contracts import Check, Checker, load_contracts
from transforms.engine import Engine
from transforms.fleet.fleet import Fleet
from transforms.fleet.history import host_history, latest_hosts
from transforms.ingest.plan import choose_zones, plan_reads
from transforms.ingest.read import read_sources
from transforms.lake import files
from transforms.lake.catalog import create_tables, create_views
from transforms.lake.ledger import Ledger
from transforms.lake.records import QuarantineRow, SourceRecord, rows_of
from transforms.log_rules import LogRules
from transforms.marts.repeats import show_lines_once
from transforms.pipeline import Analyzed, Ingested
from transforms.problems import Problem
from transforms.run import Job, NoProgress, open_run

pytest.register_assert_rewrite("tests.rig.checks")
# What readline, which a test process imports, adds: in a pipe nothing tells how wide it is.
os.environ.pop("COLUMNS", None)
os.environ.pop("LINES", None)
# What is printed is English unless a test asks for more.
os.environ["LC_ALL"] = "C.UTF-8"
# No test depends on how busy the machine is.
settings.register_profile("maillag", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("maillag")
SAMPLE = Path(__file__).parents[1] / "data" / "sample"
RECORDING = Path(__file__).parent / "archives" / "rig"
T = TypeVar("T")
R = TypeVar("R")
TROUBLES = Path(__file__).parent / "archives" / "rig-troubles"


@dataclass(frozen=True)
class Run:
    """What one run said, the sources that it read, and what the ledger holds after it."""

    job: Job
    ingested: Ingested
    new_sources: list[SourceRecord]
    analyzed: Analyzed
    findings: list[QuarantineRow]
    sources: dict[str, SourceRecord]


@pytest.fixture(scope="module")
def hosts_share() -> Iterator[None]:
    """Let two small hosts share lake files, as many do in a large fleet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "FEWEST_SHARING", 2)
        yield


@dataclass(frozen=True)
class Here:
    """An engine that does all work in this process, and checks with the tests' one checker."""

    checker: Checker
    loses_attempts: bool = False

    def run(
        self, work: Callable[[T, Check], R], tasks: Iterable[T], *, is_light: bool = False
    ) -> Iterator[tuple[T, R | None]]:
        """Do one task after another."""
        for task in tasks:
            yield task, work(task, self.checker.check)


def run_job(job: Job, checker: Checker, engine: Engine | None = None) -> Run:
    """Do what `maillag run` does, short of printing."""
    engine = engine or Here(checker)
    ledger = job.open_ledger()
    try:
        with open_run(job, ledger) as run_id:
            ingested = pipeline.ingest(job, ledger, run_id, engine, NoProgress())
            analyzed = pipeline.analyze(job, ledger, run_id, engine, NoProgress())
        records = ledger.source_records().values()
        # A collector's file holds several sources of one path.
        sources = {record.path: record for record in records}
        new_sources = [record for record in records if record.run_id == run_id]
        return Run(job, ingested, new_sources, analyzed, ledger.findings(), sources)
    finally:
        ledger.close()


def create_event_tables(
    connection: duckdb.DuckDBPyConnection, archive: Path, lake: Path, fleet: Fleet
) -> list[Problem]:
    """Read an archive as any is read, and create the tables that the models read, short of the settings.

    Contracts are not checked. Returns what could not be read.
    """
    sources = discover(archive, fleet).sources
    zones = choose_zones(fleet, sources, "UTC")
    ledger = Ledger("sqlite://")
    plan = plan_reads(sources, ledger, fleet=fleet, zones=zones, rules=LogRules())
    reads = read_sources(plan, lake, {}, run_id="story", part="1")
    ledger.close()
    in_lake = [
        contract
        for contract in load_contracts().values()
        if contract.table.startswith("events.") or contract.table == "ops.line_counts"
    ]
    create_views(connection, lake, contracts=in_lake, files=rows_of(reads.files).paths)
    records = [asdict(new.record) for new in reads.new_sources]
    history = host_history(fleet, zones)
    create_tables(
        connection,
        {
            "fleet.host_history": history,
            "fleet.hosts": latest_hosts(history),
            "ops.source_files": pl.DataFrame(records, schema=Ledger.schema("source_files")),
        },
    )
    show_lines_once(connection)
    return reads.problems + [problem for new in reads.new_sources for problem in new.problems]


def published_rows(lake: Path, *schemas: str) -> dict[str, list[str]]:
    """Return all rows of the catalog's views, as text in order, by table; of some schemas, if given."""
    with open_catalog(lake) as catalog:
        tables = catalog.execute(
            "select schema_name, view_name from duckdb_views() "
            "where database_name = 'maillag' and not internal"
        ).fetchall()
        return {
            f"{schema}.{name}": sorted(map(str, catalog.execute(f"from {schema}.{name}").fetchall()))
            for schema, name in tables
            if not schemas or schema in schemas
        }


def copy_of_lake(made: Path, folder: Path, checker: Checker) -> Job:
    """Copy a folder with an archive and its lake, and publish the copy as what it is."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    job = Job(folder / "archive", folder / "lake")
    run_job(job, checker)
    return job


def restarts_by_host(lake: Path) -> dict[str, list[Row]]:
    """Return all restarts of a lake, as the command line shows them."""
    found = defaultdict(list)
    with open_catalog(lake) as catalog:
        for row in fetch(catalog, RESTARTS, EVERYTHING):
            found[row["host"]].append(row)
    return found


def install_debian_package(name: str) -> None:
    """Install a Debian package unless its program is there; skip the test where that is not possible."""
    programs = "/usr/sbin:" + os.environ["PATH"]
    if os.geteuid() != 0:
        pytest.skip(f"needs root, to run {name}")
    if shutil.which(name, path=programs):
        return
    if not Path("/etc/debian_version").exists():
        pytest.skip(f"needs Debian, for its package {name}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # Of several test processes one at a time.
    with (Path(tempfile.gettempdir()) / "maillag-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["update"], ["install", "--yes", "--no-install-recommends", name]):
            subprocess.run(["apt-get", "-qq", *command], env=environment, check=True)


@pytest.fixture(scope="session")
def checker() -> Iterator[Checker]:
    """One process that checks contracts: its import takes 3 to 4 seconds."""
    with Checker() as started:
        yield started


@pytest.fixture(scope="session")
def sample_lake(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Path:
    """The lake of data/sample, published."""
    lake = tmp_path_factory.mktemp("sample") / "lake"
    run_job(Job(SAMPLE, lake), checker)
    return lake


@pytest.fixture(scope="session")
def rig_run(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Run:
    """A run over the recorded scenarios of the rig."""
    return run_job(Job(RECORDING, tmp_path_factory.mktemp("rig") / "lake"), checker)


@pytest.fixture(scope="session")
def troubles_run(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Run:
    """A run over the recorded scenarios of tests/rig/troubles.yaml."""
    return run_job(Job(TROUBLES, tmp_path_factory.mktemp("rig-troubles") / "lake"), checker)


def pytest_unconfigure() -> None:
    """Close standard error behind the summary.

    When the interpreter ends, nanobind (inside DuckDB) lists the types of DuckDB's own modules as leaked if
    Hypothesis still holds those modules; the test runner's closing line would not be the last one.
    """
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
