"""A folder of logs to source files: what is read, what is left alone, and what is reported."""

from datetime import date, time
from pathlib import Path

import pytest

from transforms.archive.file_names import FileName, classify
from transforms.archive.files import SourceFile, discover
from transforms.fleet.fleet import read_fleet
from transforms.ingest.plan import choose_zones, plan_reads
from transforms.ingest.read import read_sources
from transforms.lake.ledger import Ledger
from transforms.log_rules import LogRules
from transforms.problems import MaillagError


@pytest.mark.parametrize(
    ("name", "log_kind", "name_date", "is_live"),
    [
        ("maillog", "maillog", None, True),
        ("maillog.1", "maillog", None, False),
        ("maillog.10.gz", "maillog", None, False),
        ("maillog-20261124", "maillog", date(2026, 11, 24), False),
        ("maillog-20261124.gz", "maillog", date(2026, 11, 24), False),
        ("maillog-20261124.bz2", "maillog", date(2026, 11, 24), False),
        ("maillog-20261124.xz", "maillog", date(2026, 11, 24), False),
        ("maillog.20261124", "maillog", date(2026, 11, 24), False),
        ("maillog-20261124-1795489607.gz", "maillog", date(2026, 11, 24), False),
        ("maillog-20261399", "maillog", None, False),
        ("maillog.gz", "maillog", None, False),
        ("mail.log", "maillog", None, True),
        ("mail.log.1", "maillog", None, False),
        ("mail.log.2.gz", "maillog", None, False),
        ("mail.log-20261124.gz", "maillog", date(2026, 11, 24), False),
        ("imssmgr.20200203.0001", "manager_log", date(2020, 2, 3), True),
        ("imssmgr", "manager_log", None, True),
        ("imssmgr.20200203.0012.gz", "manager_log", date(2020, 2, 3), False),
        ("maillog-20261124.zst", "maillog", date(2026, 11, 24), False),
        # logrotate(8): dateformat, a second rotation of one day, extension.
        ("maillog-2026-11-24", "maillog", date(2026, 11, 24), False),
        ("mail.log.2026-11-24", "maillog", date(2026, 11, 24), False),
        ("maillog-2026-11-24.gz", "maillog", date(2026, 11, 24), False),
        ("maillog-2026-11-24-1795489607", "maillog", date(2026, 11, 24), False),
        ("maillog-2026-11-24_03:10", "maillog", date(2026, 11, 24), False),
        ("maillog_20261124", "maillog", date(2026, 11, 24), False),
        ("maillog_20261124.xz", "maillog", date(2026, 11, 24), False),
        ("maillog-20261124.1", "maillog", date(2026, 11, 24), False),
        ("maillog-20261124.1.gz", "maillog", date(2026, 11, 24), False),
        ("maillog-20261124_031000", "maillog", date(2026, 11, 24), False),
        ("maillog-20261124.log", "maillog", date(2026, 11, 24), False),
        ("mail-20261124.log.gz", "maillog", date(2026, 11, 24), False),
        ("mail.1.log", "maillog", None, False),
        ("mail.log-20261124.log", "maillog", date(2026, 11, 24), False),
        # Postfix's own maillog_file, rotated by `postfix logrotate`.
        ("postfix.log", "maillog", None, True),
        ("postfix.log.1", "maillog", None, False),
        ("postfix.log.20261124-031000.gz", "maillog", date(2026, 11, 24), False),
        ("postfix-20261124.log", "maillog", date(2026, 11, 24), False),
        ("maillog.20261124-031000", "maillog", date(2026, 11, 24), False),
        # FreeBSD's newsyslog.
        ("maillog.0.bz2", "maillog", None, False),
        ("maillog.20261124T031000.bz2", "maillog", date(2026, 11, 24), False),
        ("messages", "system_log", None, True),
        ("messages-20261124.gz", "system_log", date(2026, 11, 24), False),
        ("syslog.1", "system_log", None, False),
        ("syslog.2.gz", "system_log", None, False),
        ("maillog-2026112403.gz", "maillog", date(2026, 11, 24), False),
        ("mail", "maillog", None, True),
        ("mail-20261124.xz", "maillog", date(2026, 11, 24), False),
        ("journal.json", "maillog", None, True),
        ("journal-gw1.json.gz", "maillog", None, False),
        ("sysevt.imss.20200203.0001", "system_events", date(2020, 2, 3), True),
        ("sysevt.imss.20200203.0001.gz", "system_events", date(2020, 2, 3), False),
        ("system-events.csv", "system_events", None, False),
        ("system_events_20261124.txt.gz", "system_events", None, False),
        ("msgtra.imss.20191018.0001", "message_tracking", date(2019, 10, 18), True),
        ("postqueue.txt", "queue_snapshot", None, False),
        ("postqueue-p-20261124.txt", "queue_snapshot", date(2026, 11, 24), False),
        ("postqueue-j-20261124T1205.json.gz", "queue_snapshot", date(2026, 11, 24), False),
        ("mailq", "queue_snapshot", None, False),
        ("main.cf", "inventory", None, False),
        ("postconf-n-20261124.txt", "inventory", date(2026, 11, 24), False),
        ("md5sum-20261124.txt", "inventory", date(2026, 11, 24), False),
    ],
)
def test_name_tells_what_a_log_is(
    name: str, log_kind: str, name_date: date | None, is_live: bool, tmp_path: Path
) -> None:
    (tmp_path / "gw").mkdir()
    (tmp_path / "gw" / name).write_bytes(b"line\n")
    found = discover(tmp_path, read_fleet(tmp_path))
    (source,) = found.sources
    assert (source.log_kind, source.name.name_date, source.is_live) == (log_kind, name_date, is_live)
    assert source == SourceFile(
        host="gw",
        path=f"gw/{name}",
        absolute_path=tmp_path / "gw" / name,
        member=None,
        size_bytes=5,
        modified_at_ns=(tmp_path / "gw" / name).stat().st_mtime_ns,
        name=source.name,
        is_live=is_live,
        is_central=False,
    )
    assert found.ignored == []
    assert [problem.what for problem in found.problems] == (
        ["holds no maillog and no log of the product"] if log_kind in {"inventory", "system_log"} else []
    )


def test_name_of_a_snapshot_may_tell_its_instant() -> None:
    assert classify("postqueue-p-20261124T120530.txt") == FileName(
        "queue_snapshot", name_date=date(2026, 11, 24), name_time=time(12, 5, 30), is_rotated=False
    )


@pytest.mark.parametrize(
    "name",
    [
        "maillog.old",
        "maillog~",
        "maillog.1.swp",
        "xmaillog",
        "mailxlog",
        "MAILLOG",
        "mail.err",
        "maillog\n",
        "postfix",
        "postfix.1",
        "messages.json",
        "maillog-2026-11",
        "imssmgr.conf",
        "imssmgrmon.20200203.0001",
        "log.imss.20200203.0001",
        "cron-20261124.gz",
        "polevt.imss.20191018.0001",
        "postqueue.sh",
        "main.cf.rpmnew",
    ],
)
def test_other_name_is_no_log_and_is_listed(name: str, tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    (tmp_path / "gw" / "maillog").touch()
    (tmp_path / "gw" / name).touch()
    found = discover(tmp_path, read_fleet(tmp_path))
    assert classify(name) is None
    assert [source.path for source in found.sources] == ["gw/maillog"]
    assert found.ignored == ["gw/" + name.replace("\n", "%0A")]
    assert found.problems == []


def test_files_come_host_by_host_in_name_order(tmp_path: Path) -> None:
    names = ["gw2/maillog", "gw1/maillog.1", "gw1/imssmgr.20261124.0001", "gw1/maillog"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = discover(tmp_path, read_fleet(tmp_path))
    assert [source.path for source in found.sources] == [
        "gw1/imssmgr.20261124.0001",
        "gw1/maillog",
        "gw1/maillog.1",
        "gw2/maillog",
    ]


def test_only_the_newest_manager_log_is_still_written(tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    for name in ("imssmgr.20261123.0001", "imssmgr.20261124.0001", "imssmgr.20261124.0002"):
        (tmp_path / "gw" / name).touch()
    found = discover(tmp_path, read_fleet(tmp_path))
    assert [source.is_live for source in found.sources] == [False, False, True]


def test_path_of_the_fleet_file_tells_where_the_logs_are(tmp_path: Path) -> None:
    for name in (
        "bundle/logs/maillog",
        "bundle/logs/main.cf",
        "bundle/other/maillog",
        "gw2/maillog",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "fleet.toml").write_text("[hosts.gw1]\npath = 'bundle/logs/*'\n[hosts.gw2]\n")
    found = discover(tmp_path, read_fleet(tmp_path))
    assert [(source.host, source.path) for source in found.sources] == [
        ("gw1", "bundle/logs/maillog"),
        ("gw1", "bundle/logs/main.cf"),
        ("gw2", "gw2/maillog"),
    ]
    assert found.ignored == []


def test_dangling_link_is_a_problem_and_the_other_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    (tmp_path / "gw" / "maillog").symlink_to(tmp_path / "nowhere")
    (tmp_path / "gw" / "maillog.1").touch()
    found = discover(tmp_path, read_fleet(tmp_path))
    assert [source.path for source in found.sources] == ["gw/maillog.1"]
    (problem,) = found.problems
    assert problem.where == "gw/maillog"
    assert problem.what == "cannot be read (No such file or directory)"
    assert "permissions" in problem.remedy
    assert not problem.is_note


def test_folders_below_a_host_s_are_looked_into(tmp_path: Path) -> None:
    for name in ("CDT-1/IMSVA/LogFile/Event5/maillog", "CDT-1/IMSVA/LogFile/Event3/log.imss.1", "maillog/x"):
        (tmp_path / "gw" / name).parent.mkdir(parents=True)
        (tmp_path / "gw" / name).touch()
    found = discover(tmp_path, read_fleet(tmp_path))
    assert [source.path for source in found.sources] == ["gw/CDT-1/IMSVA/LogFile/Event5/maillog"]
    assert found.ignored == ["gw/CDT-1/IMSVA/LogFile/Event3/log.imss.1", "gw/maillog/x"]
    assert found.problems == []


def test_host_without_logs_is_a_problem_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "gw").mkdir()
    (tmp_path / "gw" / "readme.txt").touch()
    found = discover(tmp_path, read_fleet(tmp_path))
    assert found.sources == []
    assert found.ignored == ["gw/readme.txt"]
    (problem,) = found.problems
    assert problem.where == "gw/"
    assert problem.what == "holds no maillog and no log of the product"
    assert "maillog-20261124.gz" in problem.remedy
    assert "`path` of host 'gw'" in problem.remedy


def test_host_without_a_folder_is_a_problem_as_well(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("[hosts.gw1]\n[hosts.gw2]\npath = 'nowhere/*'\n")
    found = discover(tmp_path, read_fleet(tmp_path))
    assert [problem.where for problem in found.problems] == ["gw1/", "nowhere/*"]


def test_archive_that_is_no_folder_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "maillog").touch()
    for archive in (tmp_path / "maillog", tmp_path / "nowhere"):
        with pytest.raises(MaillagError, match=r"is not a folder\. Give the folder that holds"):
            discover(archive, read_fleet(tmp_path))


def test_log_beside_the_host_folders_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    (tmp_path / "maillog").write_text("Nov 24 10:00:00 gw postfix/qmgr[1]: 892A0205B6: removed\n")
    found = discover(tmp_path, read_fleet(tmp_path))
    assert "maillog" in [*found.ignored, *(problem.where for problem in found.problems)]


def test_archive_is_not_changed_by_reading_it(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "gw").mkdir(parents=True)
    log = archive / "gw" / "maillog"
    log.write_text("Nov 24 10:00:00 gw postfix/qmgr[1]: 892A0205B6: removed\n")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in archive.rglob("*")}
    fleet = read_fleet(archive)
    sources = discover(archive, fleet).sources
    ledger = Ledger("sqlite://")
    zones = choose_zones(fleet, sources, "UTC")
    plan = plan_reads(sources, ledger, fleet=fleet, zones=zones, rules=LogRules())
    read_sources(plan, tmp_path / "lake", {}, run_id="run", part="1")
    ledger.close()
    after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in archive.rglob("*")}
    assert after == before
