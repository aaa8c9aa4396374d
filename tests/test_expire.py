"""`maillag expire`: old events go, the marts stay as they were, and nothing brings the events back."""

import gzip
import json
import shutil
import subprocess
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from flows.catalog import fetch, open_catalog
from flows.cli import app
from tests.conftest import SAMPLE, copy_of_lake, published_rows, run_job
from tests.test_cli import MAILLAG
from tests.test_compact import interrupt, lines_of, write_file
from transforms import upkeep
from transforms.contracts.contracts import Checker, load_contracts
from transforms.lake.expire import changed_rows, events_since
from transforms.lake.files import write_parquet
from transforms.lake.records import LakeFile, Rows
from transforms.lake.verify import verify_lake
from transforms.marts.mart_files import marts
from transforms.marts.models import load_models
from transforms.problems import MaillagError
from transforms.run import Job, open_run
from transforms.thresholds import Thresholds
from transforms.upkeep import Expired

DAY = date(2026, 11, 1)
TODAY = date(2026, 12, 1)
OLD_RESTART = "imss13-20261024T031953Z"
NEW_RESTART = "imss13-20261124T031953Z"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, checker: Checker, hosts_share: None) -> Path:
    """A lake and its archive: two hosts in November, of which one had the same day in October."""
    folder = tmp_path_factory.mktemp("expire")
    archive = folder / "archive"
    shutil.copytree(SAMPLE / "imsva11", archive / "imsva11")
    shutil.copy2(SAMPLE / "fleet.toml", archive)
    logs = SAMPLE / "imss13"
    text = gzip.decompress((logs / "maillog.1.gz").read_bytes()) + (logs / "maillog").read_bytes()
    manager = (logs / "imssmgr.20261124.0001").read_bytes()
    (archive / "imss13").mkdir()
    (archive / "imss13" / "maillog-20261124").write_bytes(text)
    (archive / "imss13" / "imssmgr.20261124.0001").write_bytes(manager)
    (archive / "imss13" / "maillog-20261024").write_bytes(text.replace(b"Nov 24", b"Oct 24"))
    (archive / "imss13" / "imssmgr.20261024.0001").write_bytes(manager.replace(b"2026/11/24", b"2026/10/24"))
    run_job(Job(archive, folder / "lake"), checker)
    return folder


@pytest.fixture
def job(made: Path, tmp_path: Path, checker: Checker) -> Job:
    """A copy of that lake and archive."""
    return copy_of_lake(made, tmp_path, checker)


def expire(job: Job, before: date = DAY) -> Expired:
    with closing(job.open_ledger()) as ledger, open_run(job, ledger) as run_id:
        return upkeep.expire(job, ledger, run_id, before=before, today=TODAY)


def marts_of(lake: Path) -> dict[str, list[str]]:
    """Return the rows of all marts."""
    with open_catalog(lake) as catalog:
        return {table: sorted(map(str, fetch(catalog, f"from {table}"))) for table in sorted(marts())}


def first_event(lake: Path, host: str) -> datetime:
    with open_catalog(lake) as catalog:
        (row,) = fetch(
            catalog,
            "select min(logged_at) as at from events.delivery_attempts where host = $host",
            {"host": host},
        )
    at: datetime = row["at"]
    return at


def test_it_is_known_of_every_mart_how_its_rows_lie_in_the_lake() -> None:
    assert {model.name for model in load_models() if model.name.startswith("marts.")} == marts().keys()


@pytest.mark.slow
def test_events_go_and_marts_stay(job: Job, checker: Checker) -> None:
    before = marts_of(job.lake)
    assert len(before["marts.restarts"]) == 4
    assert first_event(job.lake, "imss13") < datetime(2026, 11, 1, tzinfo=UTC)
    with open_catalog(job.lake) as reader:
        events = "select count(*) from events.delivery_attempts"
        counted = reader.execute(events).fetchone()
        (frozen,) = expire(job).frozen
        assert reader.execute(events).fetchone() == counted, "who reads an older catalog sees all"
    assert (frozen.host, frozen.expired_before, frozen.frozen_before) == ("imss13", DAY, date(2026, 11, 8))
    assert first_event(job.lake, "imss13") > datetime(2026, 11, 24, tzinfo=UTC)
    assert marts_of(job.lake) == before
    assert verify_lake(job.lake) == []
    run = run_job(job, checker)
    assert run.new_sources == []
    assert not run.analyzed.is_rebuilt
    assert expire(job).frozen == [], "there is nothing left to do"
    assert expire(job, DAY - timedelta(days=30)).frozen == []


@pytest.mark.slow
def test_a_dry_run_says_what_would_expire_and_changes_nothing(job: Job) -> None:
    before = marts_of(job.lake)
    on_disk = {path: path.stat().st_mtime_ns for path in job.lake.rglob("*.parquet")}
    with closing(job.open_ledger()) as ledger, open_run(job, ledger) as run_id:
        would = upkeep.expire(job, ledger, run_id, before=DAY, today=TODAY, is_dry_run=True)
    assert [(days.host, days.expired_before) for days in would.frozen] == [("imss13", DAY)]
    assert {path: path.stat().st_mtime_ns for path in job.lake.rglob("*.parquet")} == on_disk
    assert marts_of(job.lake) == before
    assert verify_lake(job.lake, None) == []
    assert [days.host for days in expire(job).frozen] == ["imss13"]


def test_frozen_rows_survive_new_marts_and_events_do_not_come_back(job: Job, checker: Checker) -> None:
    expire(job)
    before = marts_of(job.lake)
    old = job.archive / "imss13" / "maillog-20261024"
    text = old.read_bytes()
    old.unlink()
    # Renamed, compressed and longer than before: the same source, to be read again.
    old.with_suffix(".gz").write_bytes(gzip.compress(text + text.splitlines(keepends=True)[-1]))
    # By this rule restarts have other numbers.
    run = run_job(replace(job, thresholds=Thresholds(long_delay_seconds=1)), checker)
    assert [record.path for record in run.new_sources] == ["imss13/maillog-20261024.gz"]
    assert run.analyzed.is_rebuilt
    assert [finding for finding in run.findings if finding.stage == "marts"] == []
    (note,) = (note for note in run.ingested.notes if note.where == "imss13")
    assert note.what.endswith("events before 2026-11-01 were left out: these days have expired")
    assert first_event(job.lake, "imss13") > datetime(2026, 11, 24, tzinfo=UTC)
    assert verify_lake(job.lake) == []
    after = marts_of(job.lake)
    for table in ("marts.held_messages", "marts.message_trace", "marts.missing_flushes"):
        assert after[table] == before[table]
    assert_only_new_rows_changed(before["marts.restarts"], after["marts.restarts"])


def assert_only_new_rows_changed(before: list[str], after: list[str]) -> None:
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed
    assert not any(OLD_RESTART in row for pair in changed for row in pair)


@pytest.mark.slow
def test_explain_says_that_the_numbers_are_frozen(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    expire(job)
    app(["explain", OLD_RESTART, "--lake", str(job.lake)], standalone_mode=False)
    said = capsys.readouterr().out
    assert OLD_RESTART in said
    assert "The events of imss13 before 2026-11-01 were expired on " in said
    assert "before 2026-11-08 are frozen" in said
    asked = [str(MAILLAG), "explain", OLD_RESTART, "--json", "--lake", str(job.lake)]
    document = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
    assert document["restart"]["restart_id"] == OLD_RESTART
    assert document["frozen"]["frozen_before"] == "2026-11-08"
    app(["explain", NEW_RESTART, "--lake", str(job.lake)], standalone_mode=False)
    assert "expired" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_day_that_is_too_young_or_a_lake_that_is_not_up_to_date_is_refused(job: Job) -> None:
    with pytest.raises(MaillagError, match=r"is too recent.* Give 2026-11-17 or an earlier day"):
        expire(job, date(2026, 11, 18))
    with pytest.raises(MaillagError, match=r"is not up to date\. Run this first: maillag run"):
        expire(replace(job, thresholds=Thresholds(long_delay_seconds=1)))
    assert first_event(job.lake, "imss13") < datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.slow
def test_where_later_rows_rest_on_old_events_nothing_expires(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = published_rows(job.lake)
    # Without frozen rows the restarts of October would be lost.
    monkeypatch.setattr("transforms.upkeep.FROZEN_BEYOND", timedelta(days=-30))
    with pytest.raises(MaillagError, match=r"rows of marts\.restarts.* would change\), so nothing was"):
        expire(job)
    assert published_rows(job.lake) == before
    assert verify_lake(job.lake) == []
    with closing(job.open_ledger()) as ledger:
        assert ledger.frozen_days() == {}


@pytest.mark.slow
def test_killed_at_any_step_it_leaves_the_same_marts(
    job: Job, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = marts_of(job.lake)
    for step in ("transforms.lake.ledger.Ledger.freeze", "transforms.upkeep.publish_lake"):
        with monkeypatch.context() as patch:
            patch.setattr(step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                expire(job)
        assert marts_of(job.lake) == before
        assert first_event(job.lake, "imss13") < datetime(2026, 11, 1, tzinfo=UTC)
    run_job(job, checker)
    assert marts_of(job.lake) == before
    assert first_event(job.lake, "imss13") > datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.slow
def test_the_command_says_when_there_is_nothing_to_expire(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    app(["expire", "--before", "2000-01-01", "--lake", str(job.lake)], standalone_mode=False)
    assert capsys.readouterr().out == "There are no events before 2000-01-01.\n"


def left_of(lake: Path, file: LakeFile, before: date) -> tuple[str, list[int]] | None:
    rest = events_since(lake, file, dict.fromkeys(file.hosts, before), "run")
    return (Path(rest.path).name, lines_of(lake / rest.path)) if rest else None


def test_a_file_of_a_day_stays_or_goes_and_one_of_a_month_is_written_anew(tmp_path: Path) -> None:
    # Its one row is of 24 November.
    day = write_file(tmp_path, "date=2026-11-24")
    assert left_of(tmp_path, day, date(2026, 11, 24)) == ("1.parquet", [1])
    assert left_of(tmp_path, day, date(2026, 11, 25)) is None
    month = write_file(tmp_path, "month=2026-11", first_line=86_401, row_count=2)
    assert left_of(tmp_path, month, date(2026, 11, 1)) == ("86401.parquet", [86_401, 86_402])
    assert left_of(tmp_path, month, date(2026, 11, 25)) == ("86401.parquet", [86_401, 86_402])
    assert left_of(tmp_path, month, date(2026, 11, 26)) is None
    assert left_of(tmp_path, month, date(2026, 12, 1)) is None
    unknown = write_file(tmp_path, "date=unknown")
    assert left_of(tmp_path, unknown, date(2026, 12, 1)) == ("1.parquet", [1])


def test_inventory_and_counts_of_lines_do_not_expire(tmp_path: Path) -> None:
    for table in ("events.inventory", "ops.line_counts"):
        file = replace(write_file(tmp_path, "date=2026-10-01"), table_name=table)
        assert events_since(tmp_path, file, dict.fromkeys(file.hosts, date(2026, 12, 1)), "run") is file


def test_rows_that_differ_are_counted_on_both_sides(tmp_path: Path) -> None:
    contract = load_contracts()["ops.frozen_days"]
    at = datetime(2026, 11, 24, tzinfo=UTC)
    for name, hosts in (("one", ["gw1", "gw2"]), ("other", ["gw2", "gw2", "gw3"])):
        rows = pl.DataFrame({"host": hosts}).with_columns(
            expired_before=DAY, frozen_before=DAY, expired_at=at
        )
        write_parquet(rows, tmp_path / f"{name}.parquet")
    one, other = (Rows({contract.table: [f"{name}.parquet"]}, {}) for name in ("one", "other"))
    assert changed_rows(tmp_path, [contract], one, one) == {}
    assert changed_rows(tmp_path, [contract], one, other) == {contract.table: 3}
