"""What is read of files that are not quite what their names say, and what is said of them."""

from pathlib import Path

import polars as pl
import pytest

from tests.bench import reading
from transforms.fast_lane.arrays import MOST_HOSTS
from transforms.ingest import read
from transforms.ingest.read import Reads

MAILLOG = (Path(__file__).parent / "forms" / "maillog").read_text(encoding="utf-8")
NOTICES = """\
Nov 24 10:05:01 gw rsyslogd-2177: imuxsock begins to drop messages from pid 902 due to rate-limiting
Nov 24 10:05:02 gw postfix/smtp[1003]: CC2002C803E: to=<a@example.com>, relay=none, delay=0.03, \
delays=0.02/0.01/0/0, dsn=4.4.1, status=deferred (connect to localhost[127.0.0.1]:10025: Connection refused)
Nov 24 10:05:06 gw rsyslogd-2177: imuxsock lost 512 messages from pid 902 due to rate-limiting
no line of a log
"""


@pytest.fixture(params=[False, True], ids=["general lane", "fast lane"], autouse=True)
def _lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with and without the fast lane."""
    if not request.param:
        monkeypatch.setattr(read, "_load_fast_lane", lambda plan: None)


def test_a_system_log_tells_of_lost_lines_and_of_nothing_else(tmp_path: Path) -> None:
    reads = read_files(tmp_path, {"gw/maillog-20261124": MAILLOG, "gw/messages-20261124": NOTICES})
    (record,) = [new.record for new in reads.new_sources if new.record.log_kind == "system_log"]
    assert (record.line_count, record.event_line_count, record.noise_line_count) == (4, 2, 2)
    events = rows_of(tmp_path, reads, "service_events").filter(source_id=record.source_id)
    assert events["event_kind"].to_list() == ["lines_lost"] * 2
    assert events["lost_line_count"].to_list() == [None, 512]
    others = {file.table_name for file in reads.files} - {"events.service_events", "ops.line_counts"}
    assert others
    for table in others:
        frame = rows_of(tmp_path, reads, table.removeprefix("events."))
        assert record.source_id not in frame["source_id"].to_list()
    assert not reads.problems


def test_a_system_log_of_another_format_is_no_problem(tmp_path: Path) -> None:
    reads = read_files(tmp_path, {"gw/maillog-20261124": MAILLOG, "gw/messages": '{"a": 1}\nb\n'})
    assert not reads.problems
    assert {new.record.unparsed_line_count for new in reads.new_sources} == {0}


def test_a_log_with_months_of_another_language_says_how_to_export_it(tmp_path: Path) -> None:
    greek = MAILLOG.replace("Nov 24", "Νοε 24")
    reads = read_files(tmp_path, {"gw/maillog-20261124": MAILLOG, "gw2/maillog-20261124": greek})
    (problem,) = reads.problems
    assert problem.where == "gw2/maillog-20261124"
    assert "months" in problem.what
    assert "LC_ALL=C" in problem.remedy
    assert "short-iso" in problem.remedy
    assert not problem.is_note


def test_a_log_with_some_months_of_another_language_says_so_as_well(tmp_path: Path) -> None:
    german = MAILLOG + MAILLOG.replace("Nov 24", "Dez 24")
    (new,) = read_files(tmp_path, {"gw/maillog": german}).new_sources
    assert new.record.unparsed_line_count == MAILLOG.count("\n")
    assert any("month_name" in problem.what and "LC_ALL=C" in problem.remedy for problem in new.problems)


def test_a_log_server_s_lines_without_a_program_go_to_the_host_that_they_name(tmp_path: Path) -> None:
    fleet = '[hosts."central"]\nhost_from = "line"\n'
    form = "<22>1 2026-11-24T10:00:00+00:00 {} postfix 902 - -  892A0205B6: removed\n"
    log = form.format("gw1") + form.format("gw2")
    reads = read_files(tmp_path, {"fleet.toml": fleet, "central/mail.log-20261124": log})
    removed = rows_of(tmp_path, reads, "queue_removals")
    assert sorted(removed.select("host", "program").rows()) == [("gw1", "qmgr"), ("gw2", "qmgr")]


def test_hosts_are_told_apart_up_to_a_number(tmp_path: Path) -> None:
    line = "Nov 24 10:00:00 gw{} postfix/qmgr[1]: 892A0205B6: removed\n"
    many = "".join(line.format(number) for number in range(3 * MOST_HOSTS))
    reads = read_files(tmp_path, {"gw/maillog-20261124": many})
    (counts,) = [file.path for file in reads.files if file.table_name == "ops.line_counts"]
    by_host = pl.read_parquet(tmp_path / "lake" / counts).group_by("logging_host").agg(pl.sum("line_count"))
    assert len(by_host) == MOST_HOSTS + 1
    assert dict(by_host.iter_rows())["(others)"] == 2 * MOST_HOSTS
    assert by_host["line_count"].sum() == 3 * MOST_HOSTS


def read_files(folder: Path, files: dict[str, str]) -> Reads:
    """Read an archive of these files into a lake."""
    for name, content in files.items():
        path = folder / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return reading.read(folder / "archive", folder / "lake")


def rows_of(folder: Path, reads: Reads, table: str) -> pl.DataFrame:
    """Return the rows of a table of events."""
    paths = [folder / "lake" / file.path for file in reads.files if file.table_name == f"events.{table}"]
    return pl.concat(pl.read_parquet(path) for path in paths)
