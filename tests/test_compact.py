"""`maillag compact`: few files, the same rows, and nobody who reads meanwhile is disturbed."""

import gzip
import re
import shutil
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath

import polars as pl
import pyarrow.parquet as pq
import pytest

from flows.catalog import open_catalog
from flows.cli import app
from tests.conftest import SAMPLE, copy_of_lake, published_rows, run_job
from transforms import upkeep
from transforms.contracts.contracts import Checker
from transforms.explain.explain import explain_restart
from transforms.lake.compact import compacted
from transforms.lake.files import ROW_GROUP_ROWS, open_events, to_arrow
from transforms.lake.records import LakeFile
from transforms.lake.verify import verify_lake
from transforms.parse.tables import ARROW_SCHEMAS, EVENT_TABLES
from transforms.problems import MaillagError
from transforms.run import Job, open_run
from transforms.upkeep import Compacted

LATER = date(2027, 1, 1)
RESTART = "imss13-20261124T031953Z"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, checker: Checker, hosts_share: None) -> Path:
    """A lake that three runs have written to, of which each found a new log, and its archive."""
    folder = tmp_path_factory.mktemp("compact")
    for path, logs in (
        ("imsva91/maillog", SAMPLE / "imsva91" / "maillog"),
        ("imss13/maillog-20261124.gz", SAMPLE / "imss13" / "maillog.1.gz"),
        ("imss13/maillog-20261125", SAMPLE / "imss13" / "maillog"),
    ):
        (folder / "archive" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(logs, folder / "archive" / path)
        shutil.copy2(SAMPLE / "fleet.toml", folder / "archive")
        run_job(Job(folder / "archive", folder / "lake"), checker)
    return folder


@pytest.fixture
def job(made: Path, tmp_path: Path, checker: Checker) -> Job:
    """A copy of that lake and archive."""
    return copy_of_lake(made, tmp_path, checker)


def compact(job: Job) -> Compacted:
    with closing(job.open_ledger()) as ledger, open_run(job, ledger) as run_id:
        return upkeep.compact(job, ledger, run_id, today=LATER)


def event_files(job: Job) -> list[LakeFile]:
    with closing(job.open_ledger()) as ledger:
        return ledger.files_of(ledger.source_records())


@pytest.mark.slow
def test_a_dry_run_counts_the_files_and_changes_nothing(job: Job) -> None:
    rows, files = published_rows(job.lake), event_files(job)
    on_disk = {path: path.stat().st_mtime_ns for path in (job.lake / "events").rglob("*")}
    with closing(job.open_ledger()) as ledger, open_run(job, ledger) as run_id:
        would = upkeep.compact(job, ledger, run_id, today=LATER, is_dry_run=True)
    assert event_files(job) == files
    assert {path: path.stat().st_mtime_ns for path in (job.lake / "events").rglob("*")} == on_disk
    assert published_rows(job.lake) == rows
    done = compact(job)
    assert (would.old_file_count, would.new_file_count) == (done.old_file_count, done.new_file_count)
    assert would.old_file_count > would.new_file_count > 0


@pytest.mark.slow
def test_a_month_that_is_over_is_one_file_of_each_host_and_table(job: Job) -> None:
    rows = published_rows(job.lake)
    explained = explain_restart(job.lake, RESTART)
    before = event_files(job)
    with open_catalog(job.lake) as reader:
        done = compact(job)
        after = event_files(job)
        assert len(before) - len(after) == done.old_file_count - done.new_file_count > 0
        folders = [PurePosixPath(file.path).parent for file in after]
        assert len(set(folders)) == len(folders)
        assert {folder.name for folder in folders if folder.parent.name == "host=imss13"} >= {"month=2026-11"}
        assert all((job.lake / file.path).is_file() for file in before), "readers still need them"
        assert len(reader.execute("from events.delivery_attempts").fetchall()) == len(
            rows["events.delivery_attempts"]
        )
    assert published_rows(job.lake) == rows
    assert verify_lake(job.lake) == []
    for file in after:
        assert set(file.source_ids) == set(pl.read_parquet(job.lake / file.path)["source_id"])
    assert explain_restart(job.lake, RESTART) == explained
    assert compact(job).new_file_count == 0, "there is nothing left to do"


@pytest.mark.slow
def test_after_it_a_run_reads_nothing_again_and_makes_no_marts(job: Job, checker: Checker) -> None:
    compact(job)
    run = run_job(job, checker)
    assert run.new_sources == []
    assert not run.analyzed.is_rebuilt


@pytest.mark.slow
def test_the_command_says_how_many_files_it_put_together(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(event_files(job))
    app(["compact", "--lake", str(job.lake)], standalone_mode=False)
    said = re.fullmatch(r"Merged (\d+) files of events into (\d+)\.\n", capsys.readouterr().out)
    assert said
    assert len(event_files(job)) == before - int(said[1]) + int(said[2]) < before


def test_without_a_lake_there_is_nothing_to_compact(tmp_path: Path) -> None:
    with pytest.raises(MaillagError, match=r"does not exist\. Create it with"):
        app(["compact", "--lake", str(tmp_path / "typo")], standalone_mode=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_log_that_grew_replaces_its_rows_in_the_file_of_the_month(job: Job, checker: Checker) -> None:
    compact(job)
    log = job.archive / "imss13" / "maillog-20261124.gz"
    text = gzip.decompress(log.read_bytes())
    log.write_bytes(gzip.compress(text + text.splitlines(keepends=True)[-1]))
    rows = published_rows(run_job(job, checker).job.lake)
    fresh = published_rows(run_job(Job(job.archive, job.lake.with_name("fresh")), checker).job.lake)
    assert rows["events.delivery_attempts"] == fresh["events.delivery_attempts"]
    assert rows["ops.line_counts"] == fresh["ops.line_counts"]
    assert rows["marts.restarts"] == fresh["marts.restarts"]


@pytest.mark.slow
def test_killed_at_any_step_it_leaves_the_same_rows(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, files = published_rows(job.lake), event_files(job)
    for step in ("transforms.lake.ledger.Ledger.record_sources", "transforms.upkeep.publish_lake"):
        with monkeypatch.context() as patch:
            patch.setattr(step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                compact(job)
        assert published_rows(job.lake) == rows
    assert len(event_files(job)) < len(files), "the ledger has them, and the next run publishes them"
    compact(job)
    assert published_rows(job.lake) == rows


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def write_file(lake: Path, folder: str, *, row_count: int = 1, first_line: int = 1) -> LakeFile:
    """Write a file of events.message_ids whose rows are numbered."""
    path = f"events/message_ids/host=gw1/{folder}/{first_line}.parquet"
    rows = pl.DataFrame(
        {
            "line_number": range(first_line, first_line + row_count),
            "source_id": f"source of {first_line}",
            "message_id": [f"<{number}@example.com>" for number in range(row_count)],
            "logged_at": datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=first_line),
        }
    )
    schema = EVENT_TABLES["message_ids"]
    whole = pl.concat([schema.to_frame(), rows], how="diagonal_relaxed").cast(schema)
    with open_events(lake / path, ARROW_SCHEMAS["message_ids"]) as writer:
        writer.write_table(to_arrow("message_ids", whole))
    return LakeFile(path, "events.message_ids", (f"source of {first_line}",), row_count, "run")


def put_together(lake: Path, files: list[LakeFile], *, part_bytes: int = 2**20) -> dict[str, list[int]]:
    """Return the line numbers of every new file, in their order."""
    found = compacted(lake, files, today=date(2026, 11, 30), run_id="run", part_bytes=part_bytes)
    return {
        new.path.removeprefix("events/message_ids/host=gw1/"): lines_of(lake / new.path) for _, new in found
    }


def lines_of(path: Path) -> list[int]:
    return pl.read_parquet(path)["line_number"].to_list()


def test_days_of_this_month_stay_days_and_a_file_alone_stays_as_it_is(tmp_path: Path) -> None:
    folders = ("date=2026-10-31", "date=2026-11-01", "date=2026-11-02", "date=2026-11-02", "date=unknown")
    files = [write_file(tmp_path, folder, first_line=line) for line, folder in enumerate(folders, 1)]
    assert put_together(tmp_path, files) == {"date=2026-11-02/run.0.parquet": [3, 4]}


def test_days_of_a_past_month_come_in_their_order(tmp_path: Path) -> None:
    folders = ("date=2026-10-02", "date=2026-10-01", "month=2026-10", "date=2026-09-30", "date=2025-10-01")
    files = [write_file(tmp_path, folder, first_line=line) for line, folder in enumerate(folders, 1)]
    assert put_together(tmp_path, files) == {"month=2026-10/run.0.parquet": [2, 1, 3]}


def test_a_part_ends_before_it_grows_too_large(tmp_path: Path) -> None:
    counts = (1, 1, 5_000, 1, 1)
    files = [
        write_file(tmp_path, f"date=2026-10-0{day}", first_line=day, row_count=count)
        for day, count in enumerate(counts, 1)
    ]
    metadata = pq.read_metadata(tmp_path / files[2].path)
    assert put_together(tmp_path, files, part_bytes=metadata.row_group(0).total_byte_size) == {
        "month=2026-10/run.0.parquet": [1, 2],
        "month=2026-10/run.1.parquet": [4, 5],
    }


def test_row_groups_are_filled_and_rows_keep_their_order(tmp_path: Path) -> None:
    count = ROW_GROUP_ROWS - 10
    files = [
        write_file(tmp_path, f"date=2026-10-0{day}", first_line=1 + (day - 1) * count, row_count=count)
        for day in (1, 2, 3)
    ]
    ((_, new),) = compacted(tmp_path, files, today=date(2026, 11, 1), run_id="run", part_bytes=2**30)
    metadata = pq.read_metadata(tmp_path / new.path)
    groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert groups == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 3 * count - 2 * ROW_GROUP_ROWS]
    assert lines_of(tmp_path / new.path) == list(range(1, 1 + 3 * count))
    assert new.source_ids == tuple(sorted(source for file in files for source in file.source_ids))
    assert new.row_count == 3 * count
