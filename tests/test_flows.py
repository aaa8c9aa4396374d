"""The deployments run against a real Prefect server and a process worker, from prefect.yaml."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from flows.catalog import EVERYTHING, RESTARTS, Row, fetch, open_catalog
from tests import orchestrator as running
from tests.conftest import SAMPLE
from tests.orchestrator import Orchestrator, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL"])
def orchestrator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orchestrator]:
    """Server and ledger on one kind of database, and an archive of one host with a missing flush."""
    folder = tmp_path_factory.mktemp("prefect")
    copy_host("imss13", folder / "archive")
    environment = {"MAILLAG_ARCHIVE": str(folder / "archive"), "MAILLAG_LAKE": str(folder / "lake")}
    with ExitStack() as stack:
        database_url = None
        if request.param == "PostgreSQL":
            place = stack.enter_context(running.postgresql()).place
            # Both may share a database: their tables have different names.
            database_url = f"postgresql+asyncpg://{place}"
            environment["MAILLAG_LEDGER_URL"] = f"postgresql://{place}"
        yield stack.enter_context(running.orchestrator(folder, environment, database_url))


def test_each_deployment_runs_by_hand_and_nightly_by_its_schedule(orchestrator: Orchestrator) -> None:
    lake = Path(orchestrator.environment["MAILLAG_LAKE"])

    orchestrator.run("ingest")
    orchestrator.run("analyze")
    (restart,) = rows_of(lake, RESTARTS)
    assert restart["flush_verdict"] == "missing"
    assert restart["restart_id"].split("-")[0] in (lake / "report.html").read_text(encoding="utf-8")
    (read_by,) = run_ids(lake)
    marts = set((lake / "marts").rglob("*.parquet"))

    orchestrator.run("nightly")
    assert run_ids(lake) == {read_by}
    assert set((lake / "marts").rglob("*.parquet")) == marts

    orchestrator.run("backfill", hosts='["imss13"]', since="2026-11-24", until="2026-11-24")
    assert rows_of(lake, RESTARTS) == [restart]
    assert read_by not in run_ids(lake)

    # Due every minute: a busy scheduler may see a new schedule too late for any one minute.
    orchestrator.prefect("deployment", "schedule", "create", "nightly/nightly", "--cron", "* * * * *")
    wait_for(lambda: done_by_schedule(orchestrator), seconds=200)
    orchestrator.prefect("deployment", "schedule", "pause", "--all")
    assert orchestrator.flow_runs(state={"type": {"any_": ["FAILED", "CRASHED"]}}) == []
    scheduled = done_by_schedule(orchestrator)[0]
    due = datetime.fromisoformat(scheduled["expected_start_time"])
    assert due == due.replace(second=0, microsecond=0)
    assert scheduled["name"] == f"nightly {due.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d %H:%M}"
    (event,) = events(orchestrator)
    assert event["resource"]["prefect.resource.id"].startswith("maillag.night.2")
    assert event["payload"]["restart_ids"] == [restart["restart_id"]]
    wait_for(lambda: orchestrator.notifications)
    assert orchestrator.notifications == [
        "1 missing flush on 1 host: imss13, 2026-11-24 12:19:53 (Asia/Tokyo): 85 messages waited up to "
        "1 min 59 s. Apply Patch 1 (b1335), then check the wrapper script.\n"
    ]
    of_run = {"flow_run_id": {"any_": [scheduled["id"]]}}
    (artifact,) = orchestrator.ask("artifacts/filter", artifacts=of_run | {"key": {"any_": ["night"]}})
    assert "nanobind" not in orchestrator.worker_log.read_text()
    assert artifact["data"].startswith("# After the only restart the queue was not flushed: 85 messages")


@pytest.mark.parametrize("orchestrator", ["SQLite"], indirect=True)
def test_a_night_that_never_ran_is_told(orchestrator: Orchestrator, tmp_path: Path) -> None:
    """The automation of the project, with seconds in the place of hours."""
    (automation,) = (
        one
        for one in yaml.safe_load(orchestrator.automations.read_text())["automations"]
        if one["name"] == "no run ended"
    )
    automation |= {"name": "no run ended in seconds"}
    automation["trigger"]["within"] = 20
    path = tmp_path / "automations.yaml"
    path.write_text(yaml.safe_dump({"automations": [automation]}))
    orchestrator.prefect("automation", "create", "--from-file", path)
    wait_for(lambda: any("no nightly run ended" in text for text in orchestrator.notifications))
    orchestrator.prefect("automation", "delete", "no run ended in seconds")


@pytest.mark.parametrize("orchestrator", ["SQLite"], indirect=True)
def test_deployments_have_tags_version_and_parameters_with_descriptions(orchestrator: Orchestrator) -> None:
    deployments = orchestrator.ask("deployments/filter")
    assert len(deployments) == 4
    for deployment in deployments:
        assert deployment["tags"] == ["maillag"]
        assert deployment["version"] == version("maillag")
        for parameter in deployment["parameter_openapi_schema"]["properties"].values():
            assert parameter["description"]


@pytest.mark.parametrize("orchestrator", ["SQLite"], indirect=True)
def test_the_nightly_deployment_is_scheduled_every_night(orchestrator: Orchestrator) -> None:
    assert "30 4 * * *" in orchestrator.prefect("deployment", "inspect", "nightly/nightly")


@pytest.mark.parametrize("orchestrator", ["SQLite"], indirect=True)
def test_a_parameter_of_another_type_is_refused(orchestrator: Orchestrator) -> None:
    with pytest.raises(AssertionError, match="Validation failed for field 'hosts'"):
        orchestrator.run("backfill", hosts="gw1")


@pytest.mark.parametrize("orchestrator", ["SQLite"], indirect=True)
def test_a_run_waits_for_its_archive_and_fails_with_the_promise_that_broke(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    orchestrator.prefect(
        *("deployment", "run", "nightly/nightly"),
        *("--param", f"archive={tmp_path}/archive", "--param", f"lake={tmp_path}/lake"),
    )
    retrying = {"state": {"name": {"any_": ["AwaitingRetry"]}}}
    wait_for(lambda: orchestrator.ask("task_runs/filter", task_runs=retrying))
    copy_host("imss13", tmp_path / "archive")
    (tmp_path / "archive" / "imss13" / "maillog").write_text(
        "Nov 24 12:00:00 imss13 postfix/qmgr[1]: 4F2: removed\n" + "no line of <user@example.com>\n" * 2
    )
    failed = {"state": {"type": {"any_": ["FAILED"]}}}
    wait_for(lambda: orchestrator.flow_runs(**failed))
    (run,) = orchestrator.flow_runs(**failed)
    # What to do comes first.
    told = "imss13/maillog: The file is kept out until its lines are corrected and read again."
    assert run["state"]["message"].startswith(told)
    assert "No more than half of a file's lines are foreign to that kind of log" in run["state"]["message"]
    wait_for(lambda: any(run["name"] in text for text in orchestrator.notifications))
    told = json.dumps(
        [
            orchestrator.ask("artifacts/filter", artifacts={"flow_run_id": {"any_": [run["id"]]}}),
            orchestrator.ask("logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}}),
            run,
            orchestrator.notifications,
        ]
    )
    assert "imss13/maillog" in told
    assert "user@example.com" not in told


def copy_host(host: str, archive: Path) -> None:
    """Make an archive of one host of the sample, with its entry of the fleet file."""
    shutil.copytree(SAMPLE / host, archive / host)
    text = (SAMPLE / "fleet.toml").read_text()
    entry = text[text.index(f'[hosts."{host}"]') :].split("\n\n")[0]
    (archive / "fleet.toml").write_text(f'[defaults]\ntime_zone = "Asia/Tokyo"\n\n{entry}\n')


def rows_of(lake: Path, query: str) -> list[Row]:
    with open_catalog(lake) as catalog:
        return fetch(catalog, query, EVERYTHING)


def run_ids(lake: Path) -> set[str]:
    """Return the runs that read what the lake has."""
    with open_catalog(lake) as catalog:
        return {row["run_id"] for row in fetch(catalog, "select run_id from ops.source_files")}


def done_by_schedule(orchestrator: Orchestrator) -> list[Row]:
    """Return the completed flow runs that the scheduler made."""
    completed = orchestrator.flow_runs(state={"type": {"any_": ["COMPLETED"]}})
    return [run for run in completed if run["auto_scheduled"]]


def events(orchestrator: Orchestrator) -> list[Row]:
    asked = {"event": {"name": ["maillag.flush.missing"]}}
    found: list[Row] = orchestrator.ask("events/filter", filter=asked)["events"]
    return found
