"""A lake heals: what is missing or damaged is noticed, named and made anew, or the loss is told."""

import gzip
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date
from itertools import cycle
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from flows.catalog import fetch, open_catalog
from flows.cli import app, main
from tests.conftest import Run, published_rows, run_job
from tests.test_crash import DAYS
from transforms import upkeep
from transforms.contracts.contracts import Checker
from transforms.lake.adapt import adapt
from transforms.lake.ledger_tables import VERSION
from transforms.lake.opening import LEDGER_NAME
from transforms.lake.records import LakeFile, read_content
from transforms.lake.verify import verify_lake
from transforms.problems import MaillagError
from transforms.run import Job, open_run
from transforms.thresholds import Thresholds

pytestmark = pytest.mark.slow
Damage = Callable[[Path], None]


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    """Change one byte of the rows, and not the size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def flip_unseen(path: Path) -> None:
    """As a disk does it, without a trace in the file's time."""
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, checker: Checker, hosts_share: None) -> Path:
    """A lake of two hosts with a restart each, and its archive."""
    folder = tmp_path_factory.mktemp("healing")
    for host in ("gw1", "gw2"):
        (folder / "archive" / host).mkdir(parents=True)
        for name, text in DAYS.items():
            (folder / "archive" / host / name).write_text(text.replace("gw1", host))
    run_job(Job(folder / "archive", folder / "lake"), checker)
    return folder


@pytest.fixture
def job(made: Path, tmp_path: Path) -> Job:
    """A copy of that lake and archive, which nobody has published where it is now."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Job(tmp_path / "archive", tmp_path / "lake")


def rows_of(lake: Path) -> dict[str, list[str]]:
    """Return all rows but those that tell of the runs."""
    return published_rows(lake, "events", "marts")


def files_of(job: Job, table: str, host: str = "gw1") -> list[LakeFile]:
    with closing(job.open_ledger()) as ledger:
        return [file for file in ledger.files() if file.table_name == table and host in file.hosts]


def critical(run: Run) -> list[str]:
    return [str(finding) for finding in run.findings if finding.severity == "critical"]


def damage_all(job: Job, table: str, damage: Damage, host: str = "gw1") -> list[str]:
    paths = [file.path for file in files_of(job, table, host)]
    for path in paths:
        damage(job.lake / path)
    assert paths
    return paths


TABLES = (
    "events.delivery_attempts",
    "ops.line_counts",
    "marts.restarts",
    "marts.message_trace",
    "staging.log_instances",
)


@pytest.mark.parametrize("damages", [(remove, empty, cut, flip), (flip, cut, remove)])
def test_what_is_damaged_is_named_and_made_anew(
    job: Job, checker: Checker, damages: tuple[Damage, ...]
) -> None:
    before = rows_of(job.lake)
    paths = set()
    for table, damage in zip(TABLES, cycle(damages), strict=False):
        paths |= set(damage_all(job, table, damage))
    told = {problem.where: problem.remedy for problem in verify_lake(job.lake, is_deep=True)}
    assert all("maillag run --deep " in told[path] for path in paths)
    run = run_job(job, checker)
    assert {note.where for note in run.ingested.notes} >= paths
    # The hosts share files.
    assert {record.host for record in run.new_sources} == {"gw1", "gw2"}
    assert critical(run) == []
    assert rows_of(job.lake) == before
    assert verify_lake(job.lake, is_deep=True) == []
    again = run_job(job, checker)
    assert (again.ingested.notes, again.new_sources, again.analyzed.is_rebuilt) == ([], [], False)


def test_tables_of_no_host_are_made_anew(job: Job, checker: Checker) -> None:
    before = rows_of(job.lake)
    with closing(job.open_ledger()) as ledger:
        for table in ("basis.rules", "config.thresholds", "fleet.host_history", "fleet.hosts"):
            (path,) = ledger.lake_files()[table]
            (job.lake / path).unlink()
    assert critical(run_job(job, checker)) == []
    assert rows_of(job.lake) == before
    assert verify_lake(job.lake, is_deep=True) == []


def test_bytes_that_changed_without_a_trace_are_found_by_deep(job: Job, checker: Checker) -> None:
    before = rows_of(job.lake)
    paths = {path for table in TABLES for path in damage_all(job, table, flip_unseen)}
    assert verify_lake(job.lake) == []
    told = {problem.where: problem.remedy for problem in verify_lake(job.lake, is_deep=True)}
    assert all("maillag run --deep " in told[path] for path in paths)
    deep = Job(job.archive, job.lake, is_deep=True)
    assert {note.where for note in run_job(deep, checker).ingested.notes} >= paths
    assert rows_of(job.lake) == before


def test_all_sources_of_a_compacted_file_are_read_again(job: Job, checker: Checker) -> None:
    with closing(job.open_ledger()) as ledger, open_run(job, ledger) as run_id:
        upkeep.compact(job, ledger, run_id, today=date(2027, 1, 1))
    before = rows_of(job.lake)
    (file,) = files_of(job, "events.delivery_attempts")
    assert len(file.source_ids) == 4
    (job.lake / file.path).unlink()
    run = run_job(job, checker)
    assert {record.path for record in run.new_sources} == {
        f"{host}/{name}" for host in ("gw1", "gw2") for name in DAYS
    }
    assert rows_of(job.lake) == before
    assert verify_lake(job.lake, is_deep=True) == []


def test_compact_takes_no_changed_bytes_over(job: Job, checker: Checker) -> None:
    before = rows_of(job.lake)
    paths = damage_all(job, "events.delivery_attempts", flip_unseen)
    with (
        pytest.raises(
            MaillagError, match=r"has different bytes.*rebuild what is damaged: maillag run ARCHIVE"
        ),
        closing(job.open_ledger()) as ledger,
        open_run(job, ledger) as run_id,
    ):
        upkeep.compact(job, ledger, run_id, today=date(2027, 1, 1))
    assert {note.where for note in run_job(job, checker).ingested.notes} >= set(paths)
    assert rows_of(job.lake) == before


def test_a_run_that_meets_changed_bytes_says_so_and_the_next_one_heals(job: Job, checker: Checker) -> None:
    before = rows_of(job.lake)
    damage_all(job, "events.delivery_attempts", zero_magic)
    with (job.archive / "gw1" / "maillog-20261124").open("a") as log:
        log.write("Nov 24 23:59:59 gw1 postfix/smtpd[11]: connect from mx.example.com[192.0.2.7]\n")
    with pytest.raises(MaillagError, match="rebuild what is damaged: maillag run ARCHIVE"):
        run_job(job, checker)
    run = run_job(job, checker)
    assert critical(run) == []
    after = rows_of(job.lake)
    assert after["events.delivery_attempts"] == before["events.delivery_attempts"]
    assert after["marts.restarts"] == before["marts.restarts"]


def zero_magic(path: Path) -> None:
    """Make a file unreadable, with its size and time as they were."""
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_rows_that_cannot_be_read_again_are_told_and_the_marts_stay(job: Job, checker: Checker) -> None:
    before = rows_of(job.lake)
    old = job.archive / "gw1" / "maillog-20261123"
    text = old.read_text()
    old.unlink()
    (lost,) = [file for file in files_of(job, "events.delivery_attempts") if "2026-11-23" in file.path]
    (job.lake / lost.path).unlink()
    run = run_job(job, checker)
    (told,) = critical(run)
    assert told.startswith("gw1/maillog-20261123: rows of events.delivery_attempts of host gw1 are lost")
    assert "(2026-11-23, UTC)" in told
    assert "Put the source file back into the archive" in told
    assert rows_of(job.lake)["marts.restarts"] == before["marts.restarts"]
    assert rows_of(job.lake)["marts.held_messages"] == before["marts.held_messages"]
    # The other host goes on, also by other rules, and what was made of the lost rows stays.
    with (job.archive / "gw2" / "maillog-20261124").open("a") as log:
        log.write("Nov 24 23:59:59 gw2 postfix/smtpd[11]: connect from mx.example.com[192.0.2.7]\n")
    other = Job(job.archive, job.lake, thresholds=Thresholds(long_delay_seconds=200))
    assert critical(run_job(other, checker)) == [told]
    with open_catalog(job.lake) as catalog:
        counts = catalog.execute("select host, count(*) from marts.restarts group by host order by 1")
        assert counts.fetchall() == [("gw1", 1), ("gw2", 1)]
        ((newest,),) = catalog.execute(
            "select max(last_logged_at) from ops.line_counts where host = 'gw2'"
        ).fetchall()
        assert newest.minute == newest.second == 59, "what came since is there"
    # Back in the archive, under another name.
    (job.archive / "gw1" / "maillog-20261123.gz").write_bytes(gzip.compress(text.encode()))
    assert critical(run_job(job, checker)) == []
    assert rows_of(job.lake)["events.delivery_attempts"] == before["events.delivery_attempts"]
    assert verify_lake(job.lake) == []


def test_a_loss_that_is_acknowledged_is_a_warning(
    job: Job, checker: Checker, capsys: pytest.CaptureFixture[str]
) -> None:
    (job.archive / "gw1" / "maillog-20261123").unlink()
    damage_all(job, "ops.line_counts", remove)
    place = "gw1/maillog-20261123"
    assert [finding.place for finding in run_job(job, checker).findings if finding.stage == "lake"] == [place]
    app(["acknowledge", place, "--lake", str(job.lake)], standalone_mode=False)
    assert "Acknowledged 1 finding about gw1/maillog-20261123" in capsys.readouterr().out
    with pytest.raises(MaillagError, match=r"has no critical finding\. Places that have one: none"):
        app(["acknowledge", place, "--lake", str(job.lake)], standalone_mode=False)
    run = run_job(job, checker)
    assert critical(run) == []
    assert [finding.remedy for finding in run.findings if "Acknowledged on" in finding.remedy]


def test_rows_of_expired_days_are_lost_for_good_and_the_finding_says_so(job: Job, checker: Checker) -> None:
    with closing(job.open_ledger()) as ledger, open_run(job, ledger) as run_id:
        upkeep.expire(job, ledger, run_id, before=date(2026, 11, 24), today=date(2026, 12, 31))
    damage_all(job, "marts.restarts", remove)
    run = run_job(job, checker)
    # The hosts share the file.
    assert [told.partition(" are lost")[0] for told in critical(run)] == [
        f"{host}: the mart rows of old days up to 2026-12-01" for host in ("gw1", "gw2")
    ]
    with open_catalog(job.lake) as catalog:
        assert catalog.execute("select host from marts.restarts").fetchall() == []


# The ledger.


def test_a_missing_ledger_is_an_error_and_nothing_is_created(job: Job, checker: Checker) -> None:
    (job.lake / LEDGER_NAME).unlink()
    before = sorted(job.lake.rglob("*"))
    for act in (
        lambda: verify_lake(job.lake),
        lambda: run_job(job, checker),
        lambda: app(["compact", "--lake", str(job.lake)], standalone_mode=False),
        lambda: app(["status", "--verify", "--lake", str(job.lake)], standalone_mode=False),
    ):
        with pytest.raises(MaillagError, match=r"its ledger, .*, is missing .*Restore lake and ledger"):
            act()
        assert sorted(job.lake.rglob("*")) == before


def test_a_reading_command_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(MaillagError, match=r"does not exist\. Create it with: maillag run ARCHIVE"):
        verify_lake(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database " * 100])
def test_a_damaged_ledger_is_told(job: Job, content: bytes) -> None:
    (job.lake / LEDGER_NAME).write_bytes(content)
    with pytest.raises(MaillagError, match="Restore lake and ledger from one backup"):
        job.open_ledger()


def as_version_0(job: Job) -> None:
    """Make the ledger one of the time before ledgers told their version."""
    with closing(sqlite3.connect(job.lake / LEDGER_NAME)) as database:
        for table in ("ledger_version", "lost_rows", "stale_hosts", "acknowledged"):
            database.execute(f"drop table {table}")
        for column in ("size_bytes", "modified_at_ns", "content_hash"):
            database.execute(f"alter table parquet_files drop column {column}")


def test_a_ledger_without_a_version_is_brought_up_to_date(job: Job, checker: Checker) -> None:
    before = rows_of(job.lake)
    as_version_0(job)
    with pytest.raises(MaillagError, match=r"has an older version. Bring it up to date with: maillag run"):
        verify_lake(job.lake)
    run = run_job(job, checker)
    assert run.new_sources == []
    assert rows_of(job.lake) == before
    paths = damage_all(job, "events.delivery_attempts", flip_unseen)
    assert {problem.where for problem in verify_lake(job.lake, is_deep=True)} == set(paths)


def test_a_damaged_file_of_a_ledger_without_a_version_is_made_anew(job: Job, checker: Checker) -> None:
    before = rows_of(job.lake)
    as_version_0(job)
    with closing(sqlite3.connect(job.lake / LEDGER_NAME)) as database:
        query = "select path from parquet_files where table_name = 'events.delivery_attempts'"
        ((path,), *_) = database.execute(query).fetchall()
    cut(job.lake / path)
    assert path in {note.where for note in run_job(job, checker).ingested.notes}
    assert rows_of(job.lake) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            f"update ledger_version set version = {VERSION + 1}",
            "Use the maillag that created it, or a newer one",
        ),
        ("alter table source_files drop column host", "it has no column source_files.host"),
        ("alter table runs add column weather text not null default 'fine'", None),
        ("drop table parquet_file_sources", "it has no table parquet_file_sources"),
        ("alter table runs drop column finding_count", None),
    ],
)
def test_a_ledger_of_another_version_is_refused_in_words_or_works(
    job: Job, checker: Checker, change: str, says: str | None
) -> None:
    with closing(sqlite3.connect(job.lake / LEDGER_NAME)) as database:
        database.execute(change)
        database.commit()
    if says:
        with pytest.raises(MaillagError, match=says):
            job.open_ledger()
    else:
        assert critical(run_job(job, checker)) == []


# Where a lake lies.


@pytest.mark.parametrize(
    "name", ["a[1]", "what?", "st*r ", 'it\'s "so"', "50%25 $HOME", "受信;#,{a,b}", "[1"]
)
def test_lakes_and_archives_may_lie_anywhere(made: Path, tmp_path: Path, checker: Checker, name: str) -> None:
    expected = rows_of(made / "lake")
    # What the name would match as a pattern.
    for other in ("a1", "whatX star"):
        shutil.copytree(made / "lake", tmp_path / other / "lake")
    folder = tmp_path / name
    shutil.copytree(made / "archive", folder / "archive")
    job = Job(folder / "archive", folder / "lake")
    assert critical(run_job(job, checker)) == []
    assert rows_of(job.lake) == expected
    assert verify_lake(job.lake, is_deep=True) == []
    with (job.archive / "gw1" / "maillog-20261124").open("a") as log:
        log.write("Nov 24 23:59:59 gw1 postfix/smtpd[11]: connect from mx.example.com[192.0.2.7]\n")
    assert run_job(job, checker).analyzed.is_rebuilt
    moved = tmp_path / f"moved {name}"
    folder.rename(moved)
    assert rows_of(moved / "lake")["marts.restarts"] == expected["marts.restarts"]
    restart_id = "gw1-20261123T100001Z"
    for arguments in (["restarts"], ["fleet"], ["explain", restart_id], ["query", "from marts.restarts"]):
        app([*arguments, "--lake", str(moved / "lake")], standalone_mode=False)
    assert verify_lake(moved / "lake", is_deep=True) == []
    assert not run_job(Job(moved / "archive", moved / "lake"), checker).analyzed.is_rebuilt


def test_a_copied_lake_shows_its_own_rows(made: Path, tmp_path: Path, checker: Checker) -> None:
    shutil.copytree(made / "lake", tmp_path / "copy")
    shutil.copytree(made / "archive", tmp_path / "archive")
    before = rows_of(made / "lake")
    (tmp_path / "archive" / "gw1" / "maillog-20261124").unlink()
    with open_catalog(tmp_path / "copy") as catalog:
        ((file, *_), *_) = catalog.execute(
            "select file_name from parquet_file_metadata(?)", [f"{tmp_path}/copy/marts/restarts/*.parquet"]
        ).fetchall()
    assert str(tmp_path) in file
    assert rows_of(tmp_path / "copy") == before


# Findings end when their cause has ended.


BAD_FILES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "truncated": ("maillog-20261122.gz", lambda text: gzip.compress(text * 200)[:-200]),
    "empty and damaged": ("maillog-20261122.gz", lambda text: gzip.compress(text)[:5]),
    "kept out": ("maillog-20261122", lambda text: text + b"Nov 22 10:00:0\0x no log\n" * 20),
    "no log": ("maillog-20261122", lambda text: b"no log\n"),
    "damaged bundle": ("logs-20261122.tar.gz", lambda text: text[:99]),
}


def test_what_was_found_in_a_file_ends_with_the_file(job: Job, checker: Checker) -> None:
    good, bad = {}, {}
    for number, (name, spoil) in enumerate(BAD_FILES.values()):
        host = job.archive / f"bad{number}"
        host.mkdir()
        (host / "maillog-20261123").write_text(DAYS["maillog-20261123"])
        good[host] = (host / "maillog-20261123").read_bytes().replace(b"Nov 23", b"Nov 22")
        bad[host / name] = spoil(good[host])

    def write_bad() -> None:
        for path, content in bad.items():
            path.write_bytes(content)

    write_bad()
    told = critical(run_job(job, checker))
    assert len(told) == len(BAD_FILES)
    for path in bad:
        assert sum(finding.startswith(f"{path.parent.name}/{path.name}") for finding in told) == 1
    assert critical(run_job(job, checker)) == told, "they are there as long as the files are"
    for path in bad:
        path.unlink()
    assert critical(run_job(job, checker)) == [], "rotation has removed them"
    write_bad()
    assert critical(run_job(job, checker)) == told, "they are back"
    for path in bad:
        path.unlink()
        (path.parent / "maillog-20261122").write_bytes(good[path.parent])
    assert critical(run_job(job, checker)) == []


@pytest.mark.parametrize("is_rotated", [True, False])
def test_what_was_found_in_a_file_is_kept_where_it_was_only_renamed(
    job: Job, checker: Checker, is_rotated: bool
) -> None:
    text = (job.archive / "gw1" / "maillog-20261123").read_bytes().replace(b"Nov 23", b"Nov 22")
    bad = job.archive / "gw1" / "maillog.1.gz"
    bad.write_bytes(gzip.compress(text * 200)[:-200])
    assert len(critical(run_job(job, checker))) == 1
    if is_rotated:
        bad.rename(bad.with_name("maillog.2.gz"))
    (told,) = critical(run_job(Job(job.archive, job.lake, hosts=() if is_rotated else ("gw2",)), checker))
    assert told.startswith(f"gw1/maillog.{2 if is_rotated else 1}.gz")


def test_an_acknowledged_finding_that_changes_or_comes_back_is_news(job: Job, checker: Checker) -> None:
    text = (job.archive / "gw1" / "maillog-20261123").read_bytes().replace(b"Nov 23", b"Nov 22")
    bad = job.archive / "gw1" / "maillog-20261122.gz"

    def spoil(cut_bytes: int) -> list[str]:
        bad.write_bytes(gzip.compress(text * 200)[:-cut_bytes])
        return critical(run_job(job, checker))

    (told,) = spoil(200)
    place = told.partition(": ")[0]
    app(["acknowledge", place, "--lake", str(job.lake)], standalone_mode=False)
    assert critical(run_job(job, checker)) == []
    with open_catalog(job.lake) as catalog:
        (finding,) = fetch(catalog, "from ops.quarantine where place = $place", {"place": place})
    assert (finding["severity"], finding["remedy"][:16]) == ("warning", "Acknowledged on ")
    assert len(spoil(300)) == 1, "it is another one"
    assert len(spoil(200)) == 1, "the first one had ended"


def test_commands_say_in_words_that_the_lake_is_damaged(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = damage_all(job, "marts.restarts", remove) + damage_all(job, "ops.line_counts", cut)
    for arguments in (["restarts"], ["query", "from marts.restarts"], ["explain", "gw1-20261123T100001Z"]):
        monkeypatch.setattr("sys.argv", ["maillag", *arguments, "--lake", str(job.lake)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr().err
        assert ended.value.code == 2
        assert told.count("\n") == 1 or arguments[0] == "query"
        assert "Traceback" not in told
    monkeypatch.setattr("sys.argv", ["maillag", "status", "--verify", "--lake", str(job.lake)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert all(path in told for path in paths)
    assert f"maillag run ARCHIVE --lake {job.lake}" in told


def write_as_another_version(job: Job, table: str, columns: str) -> None:
    """Rewrite a table's files with other columns, as a ledger without this version's columns lists them."""
    with closing(job.open_ledger()) as ledger, duckdb.connect() as connection:
        files = [file for file in ledger.files() if file.table_name == table]
        assert files
        for file in files:
            path = job.lake / file.path
            source = connection.read_parquet(str(path), hive_partitioning=False)
            rows = source.project(columns).to_arrow_table()
            pq.write_table(rows, path)
            ledger.note_contents([(file.path, read_content(path))])
        ledger.take_columns({}, replaced=[], files=[])


OTHER_COLUMNS = {
    "ops.line_counts": "* exclude (logging_host)",
    "events.delivery_attempts": "* exclude (reason), 1 as another",
    "events.queue_activations": "* replace (size_bytes::varchar as size_bytes)",
    "marts.fleet_daily": "* exclude (judged_restart_count)",
    "marts.message_trace": "* replace ([status] as status)",
    "staging.log_instances": "*, 1 as another",
    "fleet.host_history": "* exclude (build)",
    "config.thresholds": "* exclude (gap_after_seconds)",
}


def test_files_of_another_version_are_rewritten_and_made_again(job: Job, checker: Checker) -> None:
    before = rows_of(job.lake)
    for table, columns in OTHER_COLUMNS.items():
        write_as_another_version(job, table, columns)
    run = run_job(job, checker)
    noted = {note.where for note in run.ingested.notes if "another version" in note.what}
    assert noted == OTHER_COLUMNS.keys()
    assert critical(run) == []
    assert rows_of(job.lake) == before
    assert verify_lake(job.lake, is_deep=True) == []
    again = run_job(job, checker)
    assert (again.ingested.notes, again.analyzed.is_rebuilt) == ([], False)


def test_rows_of_another_version_stay_where_the_archive_has_them_no_more(job: Job, checker: Checker) -> None:
    before = rows_of(job.lake)
    write_as_another_version(job, "events.delivery_attempts", "* exclude (connection_use_count)")
    write_as_another_version(job, "marts.fleet_daily", "* exclude (judged_restart_count)")
    (first, _), *_ = DAYS.items()
    (job.archive / "gw1" / first).unlink()
    run = run_job(job, checker)
    assert critical(run) == []
    assert rows_of(job.lake)["marts.restarts"] == before["marts.restarts"]


def test_a_lake_of_this_version_is_not_looked_through(job: Job) -> None:
    with closing(job.open_ledger()) as ledger:
        paths = ledger.lake_files()
        shutil.rmtree(job.lake / "events")
        assert adapt(job.lake, ledger, "r") == []
        ledger.take_columns({}, replaced=[], files=[])
        # What cannot be read is healed, and what is as it should be is not rewritten.
        assert adapt(job.lake, ledger, "r") == []
        assert ledger.lake_files() == paths
