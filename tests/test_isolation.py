"""One host's trouble stays its own: it keeps the marts that it had, and all others get new ones."""

import os
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import Run, run_job
from tests.test_nights import NoChecks
from transforms import pipeline, publish, upkeep
from transforms.contracts.contracts import Checker, Contract, load_contracts
from transforms.ingest import read
from transforms.lake.catalog import CATALOG_NAME
from transforms.marts.models import Model, load_models
from transforms.parse.events import ParsedBlock, Parser
from transforms.run import Job, open_run

HOSTS = ("mx1", "mx2", "mx3")
BAD = "mx2"
# One message that an outage held up, on every day.
DAY = """\
{day} 10:00:00 {host} postfix/smtpd[11]: {id}: client=mx.example.com[192.0.2.7]
{day} 10:00:00 {host} postfix/qmgr[13]: {id}: from=<a@example.com>, size=1000, nrcpt=1 (queue active)
{day} 10:00:01 {host} postfix/smtp[21]: {id}: to=<b@example.com>, relay=none, delay=1, delays=0/0/1/0, \
dsn=4.4.1, status=deferred (connect to 127.0.0.1[127.0.0.1]:10025: Connection refused)
{day} 10:10:00 {host} postfix/qmgr[13]: {id}: from=<a@example.com>, size=1000, nrcpt=1 (queue active)
{day} 10:10:01 {host} postfix/smtp[22]: {id}: to=<b@example.com>, relay=127.0.0.1[127.0.0.1]:10025, \
delay=601, delays=600/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok)
{day} 10:10:01 {host} postfix/qmgr[13]: {id}: removed
"""


def write_day(archive: Path, number: int) -> None:
    for host in HOSTS:
        (archive / host).mkdir(parents=True, exist_ok=True)
        text = DAY.format(day=f"Oct  {number}", host=host, id=f"A0000{number}")
        (archive / host / f"maillog-2026100{number + 1}").write_text(text)


@pytest.fixture(autouse=True)
def _nothing_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    models = load_models()
    monkeypatch.setattr(pipeline, "load_models", lambda: models)
    monkeypatch.setattr(publish, "publish", lambda lake, **_: lake / CATALOG_NAME)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A fleet that was read once; another day of each host has come since."""
    archive = tmp_path / "archive"
    for number in (1, 2, 3):
        write_day(archive, number)
    (archive / "fleet.toml").write_text('[defaults]\ntime_zone = "UTC"\n')
    job = Job(archive, tmp_path / "lake")
    assert run_job(job, NoChecks()).findings == []
    write_day(archive, 4)
    return job


def files(job: Job, host: str, schema: str) -> dict[str, list[Path]]:
    """Return the files with a host's rows by table, as the ledger lists them."""
    with closing(job.open_ledger()) as ledger:
        listed = [file for file in ledger.files() if file.table_name.startswith(f"{schema}.")]
    return {
        table: [job.lake / file.path for file in listed if file.table_name == table and host in file.hosts]
        for table in sorted({file.table_name for file in listed})
    }


def marts(job: Job, host: str) -> dict[str, list[str]]:
    """Return a host's rows of all marts."""
    its = pl.col("host") == host
    return {
        table: sorted(str(row) for path in paths for row in pl.read_parquet(path).filter(its).rows())
        for table, paths in files(job, host, "marts").items()
    }


def marts_of_clean_run(job: Job) -> dict[str, dict[str, list[str]]]:
    clean = replace(job, lake=job.lake.with_name("clean"))
    run_job(clean, NoChecks())
    return {host: marts(clean, host) for host in HOSTS}


def the_cause(job: Job, run: Run, before: dict[str, list[str]]) -> str:
    """Return what the finding about the bad host says, once all else is as it should be."""
    (finding,) = run.findings
    assert (finding.place, finding.stage, finding.severity) == (BAD, "marts", "critical")
    clean = marts_of_clean_run(job)
    assert marts(job, BAD) == before != clean[BAD]
    for host in set(HOSTS) - {BAD}:
        assert marts(job, host) == clean[host]
    with closing(job.open_ledger()) as ledger:
        listed = {path for paths in ledger.lake_files().values() for path in paths}
        listed |= ledger.dropped_files().keys()
    assert {str(path.relative_to(job.lake)) for path in job.lake.rglob("*.parquet")} == listed
    return finding.what


def assert_mended(job: Job) -> None:
    run = run_job(job, NoChecks())
    assert run.findings == []
    assert {host: marts(job, host) for host in HOSTS} == marts_of_clean_run(job)
    assert not run_job(job, NoChecks()).analyzed.is_rebuilt


def fail_for_bad_host(models: Iterable[Model], name: str) -> list[Model]:
    return [
        replace(
            model,
            source=f"from ({model.source}\n) where if(host = '{BAD}', error('at <a@b.example>'), true)",
        )
        if model.name == name
        else model
        for model in models
    ]


def test_a_run_of_one_host_keeps_the_findings_about_the_others(job: Job) -> None:
    (job.archive / BAD / "maillog-20261105").write_text("no line of a log\n")
    (found,) = (row for row in run_job(job, NoChecks()).findings if row.stage == "archive")
    assert found.place == f"{BAD}/maillog-20261105"
    assert found in run_job(replace(job, hosts=("mx1",)), NoChecks()).findings
    (job.archive / BAD / "maillog-20261105").unlink()
    assert found not in run_job(replace(job, hosts=(BAD,)), NoChecks()).findings


@pytest.mark.slow
@pytest.mark.parametrize("name", ["staging.log_gaps", "staging.attempts", "marts.fleet_daily"])
def test_a_query_fails_for_one_host(name: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    before = marts(job, BAD)
    models = fail_for_bad_host(load_models(), name)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "load_models", lambda: models)
        what = the_cause(job, run_job(job, NoChecks()), before)
        assert what == f"its marts could not be built ({name}): Invalid Input Error: at <<address>>"
        again = run_job(job, NoChecks())
        assert again.analyzed.is_rebuilt
        assert [finding.what for finding in again.findings] == [what]
    assert_mended(job)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["events.delivery_attempts", "ops.line_counts"])
def test_a_file_of_one_host_is_damaged(table: str, job: Job) -> None:
    before = marts(job, BAD)
    path = files(job, BAD, table.partition(".")[0])[table][0]
    sound, times = path.read_bytes(), path.stat()
    # What only reading all of it tells.
    path.write_bytes(b"PAR1" + bytes(len(sound) - 8) + b"PAR1")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.name in the_cause(job, run_job(job, NoChecks()), before)
    assert_mended(job)


def test_a_file_on_which_the_parser_fails(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Parser.parse

    def fail(self: Parser, lines: pl.DataFrame) -> ParsedBlock:
        assert not lines["line"].str.contains(f"Oct  4 .* {BAD} ").any(), "of a@b.example"
        return parse(self, lines)

    with monkeypatch.context() as patch:
        patch.setattr(read, "_load_fast_lane", lambda plan: None)
        patch.setattr(Parser, "parse", fail)
        run = run_job(job, NoChecks())
    (finding,) = run.findings
    assert finding.place == f"{BAD}/maillog-20261005"
    assert finding.what.startswith("maillag itself failed on it (AssertionError: of <address>")
    clean = marts_of_clean_run(job)
    assert marts(job, BAD) != clean[BAD]
    assert {host: marts(job, host) for host in HOSTS if host != BAD} == {
        host: rows for host, rows in clean.items() if host != BAD
    }
    assert_mended(job)


@pytest.mark.slow
def test_damaged_marts_are_made_anew(job: Job) -> None:
    for paths in files(job, BAD, "marts").values():
        for path in paths:
            path.write_bytes(b"")
    assert_mended(job)


@pytest.mark.slow
def test_the_marts_of_one_host_break_a_critical_rule(
    job: Job, monkeypatch: pytest.MonkeyPatch, checker: Checker
) -> None:
    before = marts(job, BAD)
    rule = {
        "type": "unexpected_rows_expectation",
        "description": "No restart is of that host.",
        "severity": "critical",
        "kwargs": {"unexpected_rows_query": f"select * from {{batch}} where host = '{BAD}'"},
    }
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "load_contracts", lambda: with_rules("marts.restarts", rule))
        run = run_job(job, checker)
        what = the_cause(job, run, before)
        assert what == "breaks a rule of marts.restarts in 4 rows: No restart is of that host"
    assert_mended(job)


@pytest.mark.slow
def test_a_warning_stays_while_other_hosts_have_news(
    job: Job, monkeypatch: pytest.MonkeyPatch, checker: Checker
) -> None:
    rule = {
        "type": "unexpected_rows_expectation",
        "description": "No restart is of that host.",
        "severity": "warning",
        "kwargs": {"unexpected_rows_query": f"select * from {{batch}} where host = '{BAD}'"},
    }
    monkeypatch.setattr(pipeline, "load_contracts", lambda: with_rules("marts.restarts", rule))
    (warning,) = run_job(job, checker).findings
    assert (warning.place, warning.row_count) == (BAD, 4)
    (job.archive / "mx1" / "maillog-20261006").write_text(DAY.format(day="Oct  5", host="mx1", id="A00005"))
    # That any host logged on a new day is news of all; then there is none of it.
    run_job(job, checker)
    (job.archive / "mx1" / "maillog-20261007").write_text(DAY.format(day="Oct  5", host="mx1", id="B00005"))
    assert [finding.place for finding in run_job(job, checker).findings] == [BAD]


def with_rules(table: str, *rules: dict[str, Any]) -> dict[str, Contract]:
    contracts = dict(load_contracts())
    contract = contracts[table]
    return contracts | {table: replace(contract, expectations=(*contract.expectations, *rules))}


@pytest.mark.slow
def test_days_of_a_failed_host_are_not_expired(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    models = fail_for_bad_host(load_models(), "staging.attempts")
    for module in (pipeline, upkeep):
        monkeypatch.setattr(module, "load_models", lambda: models)
    run_job(job, NoChecks())
    before = {host: marts(job, host) for host in HOSTS}
    with closing(job.open_ledger()) as ledger, open_run(job, ledger) as run_id:
        expired = upkeep.expire(job, ledger, run_id, before=date(2026, 10, 3), today=date(2026, 11, 30))
    assert [days.host for days in expired.frozen] == ["mx1", "mx3"]
    assert {host: marts(job, host) for host in HOSTS} == before
    assert len(files(job, BAD, "events")["events.queue_removals"]) == 4
    assert len(files(job, "mx1", "events")["events.queue_removals"]) == 2
