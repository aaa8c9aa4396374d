"""The deployments run against a real Prefect server and a process worker, from prefect.yaml."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows import answer
from tests.conftest import SAMPLE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

PROJECT = Path(__file__).parents[1]
PREFECT = Path(sys.executable).with_name("prefect")


@dataclass(frozen=True)
class Orchestrator:
    """A Prefect server with the project's deployments and a worker, and the environment to reach it."""

    environment: dict[str, str]
    lake: Path

    def prefect(self, *arguments: str, is_done: bool = True) -> str:
        """Run a `prefect` command in the project's folder; return what it printed."""
        done = subprocess.run(
            [PREFECT, *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert (done.returncode == 0) == is_done, done.stdout + done.stderr
        return done.stdout

    def run(self, deployment: str, is_done: bool = True, **parameters: Path) -> str:
        """Run a deployment to its end, as a user does."""
        given = [f"--param={name}={value}" for name, value in parameters.items()]
        return self.prefect("deployment", "run", deployment, "--watch", *given, is_done=is_done)

    def failures(self) -> list[str]:
        """Return why flow runs failed, as the server shows it."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.environment['PREFECT_API_URL']}/flow_runs/filter",
            data=b'{"flow_runs": {"state": {"type": {"any_": ["FAILED"]}}}}',
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return [run["state"]["message"] for run in json.load(response)]


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    folder = tmp_path_factory.mktemp("prefect")
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PWD": str(PROJECT),
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        "MAILLAG_ARCHIVE": str(SAMPLE),
        "MAILLAG_LAKE": str(folder / "lake"),
    }
    started = Orchestrator(environment, folder / "lake")
    with ExitStack() as processes:
        server = ("server", "start", "--host", "127.0.0.1", "--port", str(port))
        processes.enter_context(running(folder / "server.log", environment, *server))
        wait_for(f"{api}/health")
        started.prefect("--no-prompt", "work-pool", "create", "local", "--type", "process")
        started.prefect("--no-prompt", "deploy", "--all")
        worker = ("worker", "start", "--pool", "local", "--type", "process")
        processes.enter_context(running(folder / "worker.log", environment, *worker))
        yield started


def test_the_nightly_deployment_makes_the_lake(orchestrator: Orchestrator) -> None:
    assert "Completed" in orchestrator.run("nightly/nightly")
    with answer.open_catalog(orchestrator.lake) as catalog:
        restarts = answer.fetch(catalog, answer.RESTARTS, answer.EVERYTHING)
        (run,) = answer.fetch(catalog, "select status, line_count from ops.runs")
    assert len(restarts) == 7
    assert run == {"status": "done", "line_count": 50_613}
    assert "burst14" in orchestrator.prefect("artifact", "inspect", "missing-flushes")


def test_the_nightly_deployment_is_scheduled_every_night(orchestrator: Orchestrator) -> None:
    assert "30 4 * * *" in orchestrator.prefect("deployment", "inspect", "nightly/nightly")


def test_ingest_and_analyze_run_apart(orchestrator: Orchestrator) -> None:
    lake = orchestrator.lake.with_name("apart")
    orchestrator.run("ingest/ingest", lake=lake)
    orchestrator.run("analyze/analyze", lake=lake)
    with answer.open_catalog(lake) as catalog:
        assert len(answer.fetch(catalog, answer.RESTARTS, answer.EVERYTHING)) == 7


def test_a_file_that_cannot_be_read_fails_the_flow_run_and_says_so(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    (tmp_path / "archive" / "gw1").mkdir(parents=True)
    (tmp_path / "archive" / "gw1" / "maillog").write_text("this is no log\n")
    orchestrator.run("nightly/nightly", is_done=False, archive=tmp_path / "archive", lake=tmp_path / "lake")
    (failure,) = orchestrator.failures()
    assert "gw1/maillog: is no maillog" in failure


@contextmanager
def running(log: Path, environment: dict[str, str], *arguments: str) -> Iterator[None]:
    """Run a `prefect` command in the background, and stop it with all its children."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PREFECT, *arguments],
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(url: str, seconds: float = 90) -> None:
    """Wait until a server answers."""
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own server
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer")
