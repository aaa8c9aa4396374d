"""A real Prefect server with the project's deployments, a worker and somebody to be notified."""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg

from tests.conftest import install_debian_package

PROJECT = Path(__file__).parents[1]
PREFECT = Path(sys.executable).with_name("prefect")
# As docs/operations.md has it, but for the address.
MAKE_BLOCK = """
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook
text = {"text": "{{subject}}: {{body}}"}
print(Webhook(name="maillag", url="%s", json_data=text).save("maillag"))
"""
NO_BLOCK = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Orchestrator:
    """A running server, the environment to reach it, and the notifications that it sent."""

    environment: dict[str, str]
    automations: Path
    """The project's automations with the id of the block."""
    worker_log: Path
    notifications: list[str] = field(default_factory=list)

    def command(self, *arguments: str | Path) -> str:
        """Run a command in the project's folder to its good end; return what it printed."""
        done = subprocess.run(
            arguments,
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def prefect(self, *arguments: str | Path) -> str:
        """Run a `prefect` command."""
        return self.command(PREFECT, "--no-prompt", *arguments)

    def run(self, deployment: str, **parameters: object) -> None:
        """Run a deployment to its good end, as a user does."""
        given = [f"--param={name}={value}" for name, value in parameters.items()]
        self.prefect("deployment", "run", f"{deployment}/{deployment}", "--watch", *given)

    def ask(self, path: str, **query: object) -> Any:
        """Return what the server's API answers."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.environment['PREFECT_API_URL']}/{path}",
            data=json.dumps(query).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return json.load(response)

    def flow_runs(self, **query: object) -> list[dict[str, Any]]:
        """Return the flow runs that a filter leaves."""
        found: list[dict[str, Any]] = self.ask("flow_runs/filter", flow_runs=query)
        return found


@contextmanager
def orchestrator(
    folder: Path, environment: dict[str, str], database_url: str | None
) -> Iterator[Orchestrator]:
    """Start a server on a database (SQLite, if none is given), deploy, notify and work as the docs say."""
    port = free_port()
    environment = (
        os.environ
        | {
            "PWD": str(PROJECT),
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "DO_NOT_TRACK": "1",
        }
        | environment
    )
    if database_url:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_url
    started = Orchestrator(environment, folder / "automations.yaml", folder / "worker.log")
    with ExitStack() as stack:
        server = ("server", "start", "--host", "127.0.0.1", "--port", str(port))
        stack.enter_context(running(folder / "server.log", environment, *server))
        wait_for(lambda: answers(f"{environment['PREFECT_API_URL']}/health"))
        started.prefect("work-pool", "create", "local", "--type", "process")
        started.prefect("deploy", "--all")
        address = stack.enter_context(receiving(started.notifications))
        block_id = started.command(sys.executable, "-c", MAKE_BLOCK % address).strip()
        text = (PROJECT / "automations.yaml").read_text()
        started.automations.write_text(text.replace(NO_BLOCK, block_id))
        started.prefect("automation", "create", "--from-file", started.automations)
        worker = ("worker", "start", "--pool", "local", "--type", "process", "--limit", "1")
        stack.enter_context(running(started.worker_log, environment, *worker))
        yield started


@dataclass(frozen=True)
class PostgreSQL:
    """A running server with a database, `place` is `user@host:port/name` of it."""

    place: str
    start: Callable[[], None]
    stop: Callable[[], None]


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Start Debian's PostgreSQL with a cluster of its own.

    Skips the test where it is not installed and cannot be.
    """
    if not any(programs := list(Path("/usr/lib/postgresql").glob("*/bin"))):
        install_debian_package("postgresql")
        programs = list(Path("/usr/lib/postgresql").glob("*/bin"))
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="maillag-postgresql-") as folder:
        # It refuses to be run by root.
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [max(programs) / program, "--pgdata", f"{folder}/data", *arguments],
                cwd=folder,
                user=owner.pw_uid,
                group=owner.pw_gid,
                extra_groups=[],
                stdout=subprocess.DEVNULL,
                check=True,
            )

        run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"

        def start() -> None:
            run("pg_ctl", "start", "--wait", "--log", f"{folder}/log", "--options", options)

        def stop() -> None:
            run("pg_ctl", "stop", "--wait", "--mode", "immediate")

        start()
        try:
            with psycopg.connect(f"host=127.0.0.1 port={port} user=postgres", autocommit=True) as server:
                server.execute("create role maillag login")
                server.execute("create database maillag owner maillag")
            yield PostgreSQL(f"maillag@127.0.0.1:{port}/maillag", start, stop)
        finally:
            stop()


@contextmanager
def receiving(notifications: list[str]) -> Iterator[str]:
    """Yield the address of a web server that gathers the texts that are posted to it."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            notifications.append(json.loads(body)["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


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


def answers(url: str) -> bool:
    """Tell whether a server answers."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own server
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_for(is_so: Callable[[], object], seconds: float = 90) -> None:
    """Wait until something is true."""
    give_up_at = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not so within {seconds} seconds")
        time.sleep(0.3)
