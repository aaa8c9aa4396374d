"""What a run says of hosts that could have shown nothing, and of zones that cannot be right."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import restarts_by_host, run_job
from transforms.archive.files import passed_over
from transforms.contracts.contracts import Checker, load_contracts
from transforms.lake.files import write_parquet
from transforms.lake.records import Rows
from transforms.marts.silences import WITNESSES_AGREE, witnesses_apart
from transforms.run import Job

CASES = Path(__file__).parent / "archives"
RESTART = pl.Schema(
    {
        "restart_id": pl.String(),
        "host": pl.String(),
        "down_at": pl.Datetime("us", "UTC"),
        "evidence": pl.List(pl.String()),
    }
)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
RESTARTS = Rows({"marts.restarts": ["restarts.parquet"]}, {})


@pytest.mark.slow
def test_a_log_server_s_hosts_with_entries_of_their_own_lack_no_maillog(
    tmp_path: Path, checker: Checker
) -> None:
    shutil.copytree(CASES / "log_server", tmp_path / "archive")
    run = run_job(Job(tmp_path / "archive", tmp_path / "lake"), checker)
    assert run.findings == []
    columns = ("flush_verdict", "held_message_count", "product", "build", "build_verdict", "time_zone")
    found = restarts_by_host(tmp_path / "lake")
    assert {host: [tuple(row[name] for name in columns) for row in rows] for host, rows in found.items()} == {
        host: [("effective", 3, "imsva", 1631, "known_defective", "UTC")] for host in ("gw", "gw2")
    }


@pytest.mark.slow
def test_a_host_without_a_line_in_the_log_server_s_files_lacks_its_maillog(
    tmp_path: Path, checker: Checker
) -> None:
    shutil.copytree(CASES / "log_server", tmp_path / "archive")
    with (tmp_path / "archive" / "fleet.toml").open("a") as fleet:
        fleet.write("[hosts.gw3]\n")
    run = run_job(Job(tmp_path / "archive", tmp_path / "lake"), checker)
    assert [(finding.place, finding.severity) for finding in run.findings] == [("gw3/", "critical")]


@pytest.mark.parametrize(
    ("hours_apart", "count", "expected"),
    [(9, 3, "+9 h"), (-3.5, 4, "-3.5 h"), (9, 2, None), (0, 3, None), (9.2, 3, None)],
)
def test_witnesses_that_lie_half_hours_apart_again_and_again_speak_against_the_zone(
    hours_apart: float, count: int, expected: str | None, tmp_path: Path
) -> None:
    rows = []
    for number in range(count):
        at = NOON + timedelta(days=number, minutes=7 * number)
        rows += [
            (f"m{number}", "gw", at + timedelta(hours=hours_apart, seconds=number), ["maillog"]),
            (f"s{number}", "gw", at, ["system_event"]),
        ]
    write_parquet(pl.DataFrame(rows, RESTART, orient="row"), tmp_path / "restarts.parquet")
    found = witnesses_apart(tmp_path, load_contracts()["marts.restarts"], RESTARTS, {"gw": "GMT+00:00"})
    assert [(problem.where, problem.rule, problem.severity) for problem in found] == (
        [("gw", WITNESSES_AGREE, "warning")] if expected else []
    )
    assert all(f"the time zone, GMT+00:00, looks wrong by {expected}" in problem.what for problem in found)


def test_a_chance_meeting_of_many_outages_says_nothing(tmp_path: Path) -> None:
    rows = [(f"m{n}", "gw", NOON + timedelta(minutes=37 * n), ["maillog"]) for n in range(200)]
    rows += [(f"s{n}", "gw", NOON + timedelta(minutes=41 * n + 5), ["system_event"]) for n in range(200)]
    write_parquet(pl.DataFrame(rows, RESTART, orient="row"), tmp_path / "restarts.parquet")
    contract = load_contracts()["marts.restarts"]
    assert witnesses_apart(tmp_path, contract, RESTARTS, {}) == []


def test_ignored_files_with_names_like_those_of_logs_are_told() -> None:
    ignored = [
        "a/maillog_20261124",
        "a/postfix.log",
        "a/readme.txt",
        "b/maillog~",
        "c/x/imssmgr.old",
        "d.txt",
    ]
    assert [(problem.where, problem.severity, problem.what) for problem in passed_over(ignored)] == [
        (
            "a/",
            "warning",
            "files are ignored although their names resemble those of logs: a/maillog_20261124, "
            "a/postfix.log",
        ),
        ("c/", "warning", "files are ignored although their names resemble those of logs: c/x/imssmgr.old"),
    ]
