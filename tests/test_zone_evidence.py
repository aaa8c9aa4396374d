"""What the files of a host tell of its zone, and what is assumed and said where they tell nothing."""

from pathlib import Path

import pytest

from tests.conftest import run_job
from transforms.archive.files import discover
from transforms.contracts.contracts import Checker
from transforms.fleet.fleet import read_fleet
from transforms.ingest import zone_evidence
from transforms.ingest.plan import ZONE_IS_KNOWN, FoundZones, find_zones
from transforms.run import Job
from transforms.zone import Zone

MAILLOG = "Nov 24 10:00:00 gw postfix/smtp[1]: A00001: removed\n"
MANAGER = "2026/11/24 10:00:00 GMT+09:00 [8954:4061145968] [NORMAL]text\n"
TRACKED = "NormalTransac\t2026 Nov 24 10:00:00 +09:00\t2026/11/24 10:00:00 +09:00\t"


def found_in(
    archive: Path, files: dict[str, str], fleet: str = "", *, default: str = "Europe/Berlin"
) -> FoundZones:
    """Write an archive, and return the zones of its hosts."""
    for path, text in files.items():
        (archive / path).parent.mkdir(parents=True, exist_ok=True)
        (archive / path).write_text(text)
    (archive / "fleet.toml").write_text(fleet)
    hosts = read_fleet(archive)
    return find_zones(hosts, discover(archive, hosts).sources, default)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("imssmgr.20261124.0001", MANAGER, Zone("GMT+09:00", "manager_log")),
        (
            "sysevt.imss.20261124.0001",
            "2026/11/24 10:00:00 GMT+09:00 20002\n",
            Zone("GMT+09:00", "system_events"),
        ),
        ("msgtra.imss.20261124.0001", f"{TRACKED}2026 Nov 24\n", Zone("GMT+09:00", "message_tracking")),
        (
            "maillog-20261124",
            "2026-11-24T10:00:00.5+09:00 gw postfix/qmgr[1]: A00001: removed\n",
            Zone("GMT+09:00", "maillog"),
        ),
        (
            "maillog-20261124",
            "<22>1 2026-11-24T10:00:00-03:30 gw postfix/qmgr 1 - - A00001: removed\n",
            Zone("GMT-03:30", "maillog"),
        ),
        # journalctl -o short-iso; the export as JSON bears no offset.
        (
            "maillog-20261124",
            "2026-11-24T10:00:00+0900 gw postfix/qmgr[1]: A00001: removed\n",
            Zone("GMT+09:00", "maillog"),
        ),
        (
            "journal.json",
            '{"__REALTIME_TIMESTAMP": "1795489607000000", "MESSAGE": "A00001: removed", '
            '"SYSLOG_IDENTIFIER": "postfix/qmgr"}\n',
            Zone("Europe/Berlin", "default"),
        ),
        # journalctl -o short-full, on a host whose clock is UTC.
        (
            "maillog-20261124",
            "Tue 2026-11-24 10:00:00 UTC gw postfix/qmgr[1]: A00001: removed\n",
            Zone("GMT+00:00", "maillog"),
        ),
        # `Z` tells that the daemon writes UTC, not where the host is.
        (
            "maillog-20261124",
            "2026-11-24T10:00:00Z gw postfix/qmgr[1]: A00001: removed\n",
            Zone("Europe/Berlin", "default"),
        ),
        ("imssmgr.20261124.0001", "", Zone("Europe/Berlin", "default")),
    ],
)
def test_any_file_whose_lines_bear_an_offset_tells_the_zone(
    name: str, text: str, expected: Zone, tmp_path: Path
) -> None:
    found = found_in(tmp_path, {"gw/maillog": MAILLOG, f"gw/{name}": text})
    assert found.zones == {"gw": expected}
    assert [problem.rule for problem in found.problems] == [ZONE_IS_KNOWN] * expected.is_assumed


def test_an_empty_manager_log_leaves_the_zone_to_the_system_events(tmp_path: Path) -> None:
    files = {
        "gw/maillog": MAILLOG,
        "gw/imssmgr.20261124.0001": "",
        "gw/sysevt.imss.20261124.0001": "2026/11/24 10:00:00 GMT+09:00 20002\n",
    }
    assert found_in(tmp_path, files).zones == {"gw": Zone("GMT+09:00", "system_events")}


def test_the_end_of_a_file_tells_what_its_beginning_does_not(tmp_path: Path) -> None:
    text = MAILLOG * 2000 + "2026-11-24T10:00:00+09:00 gw postfix/qmgr[1]: A00001: removed\n"
    assert found_in(tmp_path, {"gw/maillog": text}).zones == {"gw": Zone("GMT+09:00", "maillog")}


@pytest.mark.parametrize("files_at_once", [1, 3, 200])
def test_hosts_whose_files_are_read_together_have_their_own_zones(
    files_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_evidence, "FILES_AT_ONCE", files_at_once)
    files = {
        f"gw{hour}/{name}": text.replace("+09:00", f"+{hour:02}:00")
        for hour in range(1, 6)
        for name, text in (("imssmgr.20261124.0001", MANAGER), ("maillog", MAILLOG))
    }
    zones = {f"gw{hour}": Zone(f"GMT+{hour:02}:00", "manager_log") for hour in range(1, 6)}
    assert found_in(tmp_path, files).zones == zones


def test_a_host_that_tells_nothing_is_read_by_the_one_zone_of_all_others(tmp_path: Path) -> None:
    files = {"gw/maillog": MAILLOG, "gw2/maillog": MAILLOG, "gw3/imssmgr.20261124.0001": MANAGER}
    found = found_in(tmp_path, files, "[hosts.gw2]\ntime_zone = 'Asia/Tokyo'\n")
    assert found.zones["gw"] == Zone("Asia/Tokyo", "fleet")
    (problem,) = found.problems
    assert (problem.where, problem.severity) == ("gw", "warning")
    assert "Asia/Tokyo is assumed, as on all other hosts" in problem.what


def test_where_the_others_differ_the_default_is_assumed(tmp_path: Path) -> None:
    files = {"gw/maillog": MAILLOG, "gw2/maillog": MAILLOG, "gw3/imssmgr.20261124.0001": MANAGER}
    found = found_in(tmp_path, files, "[hosts.gw2]\ntime_zone = 'Europe/Paris'\n")
    assert found.zones["gw"] == Zone("Europe/Berlin", "default")
    assert "Europe/Berlin is assumed" in found.problems[0].what


def test_the_fleet_file_wins_over_the_files_and_a_contradiction_is_told(tmp_path: Path) -> None:
    fleet = "[hosts.gw]\ntime_zone = 'Europe/Paris'\n"
    found = found_in(tmp_path, {"gw/maillog": MAILLOG, "gw/imssmgr.20261124.0001": MANAGER}, fleet)
    assert found.zones == {"gw": Zone("Europe/Paris", "fleet_file")}
    (problem,) = found.problems
    assert problem.what == (
        "the fleet file says Europe/Paris, but log files say GMT+09:00 (gw/imssmgr.20261124.0001, 2026-11-24)"
    )


def test_offsets_of_summer_and_winter_are_one_zone(tmp_path: Path) -> None:
    files = {
        "gw/imssmgr.20260724.0001": MANAGER.replace("2026/11", "2026/07").replace("+09", "+02"),
        "gw/imssmgr.20261124.0001": MANAGER.replace("+09", "+01"),
    }
    found = found_in(tmp_path, files)
    assert found == FoundZones({"gw": Zone("Europe/Berlin", "manager_log")}, ())
    by_offsets = found_in(tmp_path, {}, default="UTC")
    assert by_offsets.zones["gw"].name.startswith("Europe/")
    assert "is a guess" in by_offsets.problems[0].what


def test_offsets_that_no_zone_explains_are_told_and_the_surest_log_counts(tmp_path: Path) -> None:
    files = {
        "gw/maillog": "2026-11-24T01:00:00+00:00 gw postfix/qmgr[1]: A00001: removed\n",
        "gw/imssmgr.20261124.0001": MANAGER,
    }
    found = found_in(tmp_path, files)
    assert found.zones == {"gw": Zone("GMT+09:00", "manager_log")}
    assert "GMT+09:00" in found.problems[0].what
    assert "GMT+00:00" in found.problems[0].what


def test_a_host_of_a_log_server_shares_the_log_server_s_zone(tmp_path: Path) -> None:
    fleet = "[hosts.gw]\n[hosts.loghost]\nhost_from = 'line'\ntime_zone = 'Asia/Tokyo'\n"
    found = found_in(tmp_path, {"loghost/all.log": MAILLOG}, fleet)
    assert found == FoundZones(dict.fromkeys(("gw", "loghost"), Zone("Asia/Tokyo", "fleet_file")), ())


@pytest.mark.slow
def test_lines_are_read_again_once_a_file_tells_the_zone(tmp_path: Path, checker: Checker) -> None:
    archive = tmp_path / "archive"
    found_in(archive, {"gw/maillog-20261124": MAILLOG}, "[hosts.gw]\n")
    job = Job(archive, tmp_path / "lake")
    first = run_job(job, checker)
    assert [(f.place, f.severity) for f in first.findings if f.rule == ZONE_IS_KNOWN] == [("gw", "warning")]
    found_in(
        archive, {"gw/sysevt.imss.20261124.0001": "2026/11/24 10:00:00 GMT+09:00 20002\n"}, "[hosts.gw]\n"
    )
    second = run_job(job, checker)
    assert [f for f in second.findings if f.rule == ZONE_IS_KNOWN] == []
    before, after = (run.sources["gw/maillog-20261124"] for run in (first, second))
    assert (before.zone_source, after.zone_source) == ("default", "system_events")
    assert before.first_logged_at
    assert after.first_logged_at
    assert (before.first_logged_at - after.first_logged_at).total_seconds() == 9 * 3600
