"""Bad input gets a message that names the file and what to do, and the rest of the run is complete."""

import gzip
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SAMPLE, Run, run_job
from transforms.contracts.contracts import Checker
from transforms.fleet.fleet import read_fleet
from transforms.lake.records import QuarantineRow
from transforms.problems import MaillagError
from transforms.run import Job

pytestmark = pytest.mark.slow
Runner = Callable[[], Run]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two sound hosts of the sample, to which a test adds what is bad."""
    archive = tmp_path / "archive"
    for host in ("imsva91", "imsva15"):
        shutil.copytree(SAMPLE / host, archive / host)
    shutil.copy(SAMPLE / "fleet.toml", archive)
    text = (archive / "fleet.toml").read_text()
    keep = text[: text.index('[hosts."imsva11"]')] + text[text.index('[hosts."imsva15"]') :]
    (archive / "fleet.toml").write_text(keep)
    return archive


@pytest.fixture
def run(archive: Path, tmp_path: Path, checker: Checker) -> Runner:
    return lambda: run_job(Job(archive, tmp_path / "lake"), checker)


def test_a_truncated_gzip_gives_the_lines_before_the_damage(archive: Path, run: Runner) -> None:
    whole = (archive / "imsva15" / "maillog").read_bytes()
    (archive / "imsva15" / "maillog").unlink()
    cut = gzip.compress(whole)[:-3000]
    (archive / "imsva15" / "maillog-20261124.gz").write_bytes(cut)
    done = run()
    source = done.sources["imsva15/maillog-20261124.gz"]
    assert source.status == "damaged"
    assert 0 < source.line_count < whole.count(b"\n")
    finding = the_finding(done, "imsva15/maillog-20261124.gz")
    assert finding.place.endswith(f":{source.line_count}")
    assert "ends early" in finding.what
    assert "Copy the file again" in finding.remedy
    assert_rest_is_complete(done)


def test_a_damaged_file_that_is_copied_again_replaces_its_lines(archive: Path, run: Runner) -> None:
    whole = (archive / "imsva15" / "maillog").read_bytes()
    (archive / "imsva15" / "maillog").unlink()
    path = archive / "imsva15" / "maillog-20261124.gz"
    path.write_bytes(gzip.compress(whole)[:-3000])
    run()
    path.write_bytes(gzip.compress(whole))
    done = run()
    assert done.findings == []
    assert done.sources["imsva15/maillog-20261124.gz"].line_count == whole.count(b"\n")


def test_a_host_folder_without_logs_is_named(archive: Path, run: Runner) -> None:
    (archive / "empty").mkdir()
    done = run()
    finding = the_finding(done, "empty/")
    assert "no maillog and no log of the product" in finding.what
    assert "fleet.toml" in finding.remedy
    assert_rest_is_complete(done)


def test_a_file_that_is_no_log_is_left_out(archive: Path, run: Runner) -> None:
    (archive / "imsva15" / "maillog.1").write_text("Dear administrator,\nthis is no log.\n")
    done = run()
    finding = the_finding(done, "imsva15/maillog.1")
    assert "is not a maillog file" in finding.what
    assert "imsva15/maillog.1" not in done.sources
    assert_rest_is_complete(done)


def test_binary_under_a_logs_name_is_left_out(archive: Path, run: Runner) -> None:
    (archive / "imsva15" / "maillog.1").write_bytes(os.urandom(100_000))
    done = run()
    assert "is not a maillog file" in the_finding(done, "imsva15/maillog.1").what
    assert_rest_is_complete(done)


def test_a_host_without_entry_is_read_with_defaults_that_say_so(archive: Path, run: Runner) -> None:
    (archive / "imsva15").rename(archive / "newcomer")
    done = run()
    (note,) = (n for n in done.ingested.notes if n.where == "newcomer/")
    assert "has no entry in fleet.toml" in note.what
    assert '[hosts."newcomer"]' in note.remedy
    assert done.sources["newcomer/maillog"].line_count == 1250


def test_an_entry_without_folder_is_named(archive: Path, run: Runner) -> None:
    with (archive / "fleet.toml").open("a") as fleet_file:
        fleet_file.write('[hosts."gone"]\nproduct = "imss"\n')
    done = run()
    assert "no maillog" in the_finding(done, "gone/").what
    assert_rest_is_complete(done)


def test_an_unreadable_file_is_named(archive: Path, run: Runner) -> None:
    # A dangling link, since root may read what has no permissions.
    (archive / "imsva15" / "maillog.1").symlink_to("nowhere")
    done = run()
    finding = the_finding(done, "imsva15/maillog.1")
    assert "cannot be read" in finding.what
    assert "run again" in finding.remedy
    assert_rest_is_complete(done)


def test_a_finding_is_gone_once_it_is_mended(archive: Path, run: Runner) -> None:
    (archive / "imsva15" / "maillog.1").symlink_to("nowhere")
    run()
    (archive / "imsva15" / "maillog.1").unlink()
    assert run().findings == []


def test_a_line_cut_in_half_becomes_unparsed_and_is_named(archive: Path, run: Runner) -> None:
    path = archive / "imsva15" / "maillog"
    lines = path.read_bytes().split(b"\n")
    lines[99] = lines[99][: len(lines[99]) // 2 + 20]
    path.write_bytes(b"\n".join(lines))
    done = run()
    (note,) = (n for n in done.ingested.notes if n.where.startswith("imsva15/maillog"))
    assert note.where == "imsva15/maillog:100"
    assert "1 of 1250 lines could not be parsed" in note.what
    source = done.sources["imsva15/maillog"]
    assert source.unparsed_line_count == 1
    assert source.line_count == (
        source.event_line_count + source.noise_line_count + source.unparsed_line_count
    )


def test_the_unfinished_line_of_a_live_file_waits_for_the_next_run(archive: Path, run: Runner) -> None:
    path = archive / "imsva15" / "maillog"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    done = run()
    assert done.sources["imsva15/maillog"].line_count == 1249
    assert any("unfinished" in note.what for note in done.ingested.notes)
    path.write_bytes(whole)
    assert run().sources["imsva15/maillog"].line_count == 1250


def test_an_unknown_key_of_the_fleet_file_stops_with_a_suggestion(archive: Path, run: Runner) -> None:
    with (archive / "fleet.toml").open("a") as fleet_file:
        fleet_file.write('[hosts."imsva16"]\nbiuld = 1631\n')
    with pytest.raises(MaillagError, match=r"imsva16.*'biuld'.*Did you mean build"):
        run()


def test_an_archive_that_is_no_folder_is_wrong_use(tmp_path: Path, checker: Checker) -> None:
    with pytest.raises(MaillagError, match="is not a folder"):
        run_job(Job(tmp_path / "nowhere", tmp_path / "lake"), checker)


def test_a_fleet_without_file_is_its_folders(tmp_path: Path) -> None:
    (tmp_path / "gw1").mkdir()
    fleet = read_fleet(tmp_path)
    assert [host.name for host in fleet.hosts] == ["gw1"]
    assert fleet.problems == ()


def test_a_maillog_whose_tags_name_no_program_is_kept_out_with_its_reason(archive: Path, run: Runner) -> None:
    """Such tags are noise where other programs write them, but not the lines of a mail program."""
    whole = (archive / "imsva15" / "maillog").read_text()
    (archive / "imsva15" / "maillog").write_text(re.sub(r" postfix/[^ \[]+\[", " mailgw[", whole))
    done = run()
    assert done.sources["imsva15/maillog"].status == "quarantined"
    whats = [finding.what for finding in done.findings if finding.place.startswith("imsva15/maillog")]
    assert any("are foreign to that kind of log" in what for what in whats)
    assert any('"reason": "no_program"' in (finding.example_rows or "") for finding in done.findings)
    (note,) = (note for note in done.ingested.notes if note.where.startswith("imsva15/maillog"))
    assert "no_program" in note.what
    assert "%syslogtag%" in note.remedy
    assert_rest_is_complete(done)


def test_lines_of_a_mail_program_that_no_pattern_knows_do_not_keep_a_file_out(
    archive: Path, run: Runner
) -> None:
    log = archive / "imsva15" / "maillog"
    lines = log.read_text().splitlines(keepends=True)
    stamp = " ".join(lines[0].split(" ")[:4])
    unknown = [f"{stamp} postfix/smtp[7]: Something new of number {number}\n" for number in range(len(lines))]
    log.write_text("".join([lines[0], *unknown, *unknown, *lines[1:]]))
    done = run()
    assert done.sources["imsva15/maillog"].status == "loaded"
    assert done.sources["imsva15/maillog"].unparsed_line_count == 2 * len(lines)
    assert_rest_is_complete(done)


def test_a_finding_about_a_file_is_replaced_by_one_about_the_next_file_of_its_name(
    archive: Path, run: Runner
) -> None:
    """The live log begins again each night, and what was rotated may come late."""
    log = archive / "imsva15" / "maillog"
    lines = log.read_text().splitlines(keepends=True)
    stamp = " ".join(lines[0].split(" ")[:4])
    unknown = [f"{stamp} postfix/smtp[7]: Something new of number {number}\n" for number in range(len(lines))]
    log.write_text("".join([lines[0], *unknown]))
    before = of_file(run())
    assert before
    log.write_text("".join([lines[1], *unknown]))
    done = run()
    now = of_file(done)
    assert now.keys() == before.keys()
    assert {*now.values()} == {done.sources["imsva15/maillog"].source_id}
    assert {*now.values()}.isdisjoint(before.values())
    assert_rest_is_complete(done)


def of_file(done: Run) -> dict[str, str | None]:
    """Return the source of each rule that the live log breaks."""
    return {row.rule: row.source_id for row in done.findings if row.place == "imsva15/maillog"}


def the_finding(done: Run, place: str) -> QuarantineRow:
    (finding,) = (f for f in done.findings if f.place.split(":")[0] == place)
    return finding


def assert_rest_is_complete(done: Run) -> None:
    assert done.sources["imsva91/maillog"].line_count == 3
    assert done.sources["imsva91/imssmgr.20200203.0001"].line_count == 1
    assert done.analyzed.is_rebuilt
    assert done.analyzed.catalog.is_file()
