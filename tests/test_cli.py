"""The command line: what it prints, to which stream, and with which exit code."""

import csv
import inspect
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from flows import ask_commands, file_commands, run_commands, what_if_command
from flows.cli import COMMANDS, app
from tests.conftest import SAMPLE, run_job
from transforms.contracts.contracts import Checker
from transforms.run import Job

MAILLAG = Path(sys.executable).with_name("maillag")
# Each call starts a process and imports DuckDB and polars: a second or two.
pytestmark = pytest.mark.slow
Maillag = Callable[..., subprocess.CompletedProcess[str]]
RESTART_IDS = [
    "imsva91-20200203T010736Z",
    "imsva11-20261124T030708Z",
    "imsva11-20261124T030844Z",
    "imss12-20261124T031333Z",
    "imss13-20261124T031953Z",
    "burst14-20261124T032623Z",
    "imsva15-20261124T114912Z",
]


@pytest.fixture
def maillag(tmp_path: Path) -> Maillag:
    """Run `maillag` in a folder of its own, without settings but those that are given."""

    def call(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MAILLAG_")}
        return subprocess.run(
            [MAILLAG, *arguments],
            cwd=tmp_path,
            env=kept | settings,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


@pytest.mark.house
def test_every_command_is_registered_and_its_line_in_the_help_is_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = {
        name
        for module in (ask_commands, file_commands, run_commands, what_if_command)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    lacking = commands - {command.__name__ for command in COMMANDS}
    assert not lacking, f"flows/cli.py: COMMANDS lacks {', '.join(sorted(lacking))}"
    monkeypatch.setenv("COLUMNS", "80")
    app(["--help"], standalone_mode=False)
    assert "..." not in capsys.readouterr().out.replace("[ARGS]...", ""), (
        "`maillag --help` cuts the first line of a docstring: make it shorter"
    )


def test_restarts_come_as_a_table_for_people(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("restarts", "--lake", sample_lake)
    assert done.returncode == 0
    assert done.stderr == ""
    line = next(line for line in done.stdout.splitlines() if line.startswith("burst14"))
    assert "11-24 12:26" in line, "in the host's own time"
    assert "672" in line
    assert "Not flushed" in line


def test_restarts_come_as_json_for_machines(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("restarts", "--host", "imss12", "--json", "--lake", sample_lake)
    (restart,) = json.loads(done.stdout)
    assert restart["restart_id"] == "imss12-20261124T031333Z"
    assert restart["down_at"] == "2026-11-24T03:13:33Z"
    assert restart["restart_delay_total_seconds"] == 5869


def test_restarts_come_as_csv_with_a_header_also_if_there_are_none(
    maillag: Maillag, sample_lake: Path
) -> None:
    done = maillag("restarts", "--since", "2030-01-01", "--csv", "--lake", sample_lake)
    (header,) = csv.reader(io.StringIO(done.stdout))
    assert header[:3] == ["restart_id", "host", "flush_verdict"]


def test_since_and_until_are_days_of_the_host(maillag: Maillag, sample_lake: Path) -> None:
    on = ("--since", "2020-02-03", "--until", "2020-02-03")
    done = maillag("restarts", *on, "--json", "--lake", sample_lake)
    assert [restart["host"] for restart in json.loads(done.stdout)] == ["imsva91"]


def test_status_counts_lines_and_lists_what_is_open(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("status", "--json", "--lake", sample_lake)
    assert done.returncode == 0
    status = json.loads(done.stdout)
    assert status["counts"][0]["line_count"] == 50_613
    assert status["counts"][0]["unparsed_line_count"] == 0
    assert status["findings"] == []
    assert {host["host"] for host in status["hosts"]} == {p.name for p in SAMPLE.iterdir() if p.is_dir()}


def test_the_fleet_comes_with_what_to_do_on_each_host(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("fleet", "--lake", sample_lake)
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    (imss12,) = (line.split() for line in lines if line.startswith("imss12 "))
    assert " ".join(imss12) == "imss12 IMSS 9.1 b1335 known defective as expected 30 / 90 1 1 1 min 59 s"
    advised = lines[lines.index("Edit script/postfix: imss12, imss13") + 1 :]
    assert advised[0].startswith("The wrapper script with the md5 5e0eb2ceffbf474480ec2814e85d66ae")
    assert advised[2] == (
        r"""    sed -i 's/# IMSS should not use this script\.$/if [ "$1" == "flush" ]; then\n"""
        r"""\t\techo "postfix flush"\n\t\tpostfix $1\n\t\texit $?\n\tfi/' /opt/trend/imss/script/postfix"""
    ), "a command is one line, to be copied"
    assert "imsva11" not in "\n".join(lines[lines.index("") :]), "there is nothing to do on it"


def test_what_if_simulates_the_standard_scenarios_beside_what_happened(
    maillag: Maillag, sample_lake: Path
) -> None:
    done = maillag("what-if", "--host", "imss12", "--json", "--lake", sample_lake)
    rows = {row["scenario"]: row for row in json.loads(done.stdout)}
    assert list(rows) == [
        "as_it_was", "as_configured", "flushed", "short_retry", "postfix_defaults", "imsva_defaults",
        "not_throttled",
    ]  # fmt: skip
    assert rows["as_it_was"]["restart_delay_max_seconds"] == 119
    assert rows["as_configured"]["restart_delay_max_seconds"] == pytest.approx(119, abs=2)
    assert rows["flushed"]["restart_delay_max_seconds"] < 81
    assert rows["imsva_defaults"]["restart_delay_max_seconds"] > 900


def test_what_if_simulates_any_settings_and_refuses_what_postfix_refuses(
    maillag: Maillag, sample_lake: Path
) -> None:
    asked = ("what-if", "--host", "imss12", "--minimal-backoff-time", "1m", "--flush-after", "0")
    done = maillag(*asked, "--json", "--lake", sample_lake)
    *_, chosen = json.loads(done.stdout)
    assert chosen["scenario"] == "chosen"
    assert (chosen["minimal_backoff_seconds"], chosen["queue_run_delay_seconds"]) == (60, 30)
    assert chosen["is_flushed"]
    assert chosen["restart_delay_max_at_most_seconds"] <= 25
    for wrong in ("0", "-5s", "5 s", "99999d", "1y"):
        done = maillag("what-if", f"--queue-run-delay={wrong}", "--lake", sample_lake)
        assert done.returncode == 2
        assert "--queue-run-delay: " in done.stderr


def test_what_if_comes_as_a_table_that_says_what_is_left_out(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("what-if", "--lake", sample_lake)
    assert done.returncode == 0
    assert "All hosts" in done.stdout
    assert "Not simulated: 1 restart (the log ends too early)." in done.stdout
    assert (
        "Recommended for imsva91: the present retry settings (no flush is known to be missing)."
        in done.stdout
    )
    none = maillag("what-if", "--since", "2030-01-01", "--lake", sample_lake)
    assert none.stdout == "No restart held mail whose wait can be simulated.\n"


def test_what_if_check_compares_with_what_happened(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("what-if", "--check", "--json", "--lake", sample_lake)
    *hosts, together = json.loads(done.stdout)
    assert [row["host"] for row in hosts] == ["burst14", "imss12", "imss13"]
    assert together["message_count"] == 813
    assert together["within_bounds_share"] == 1
    assert together["error_p50_seconds"] <= 1
    assert maillag("what-if", "--check", "--no-throttling", "--lake", sample_lake).returncode == 2


def test_advice_comes_in_japanese(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("fleet", "--host", "burst14", "--lang", "ja", "--lake", sample_lake)
    assert "Patch 2 (b1830) 以降の最新の Patch を適用してください。" in done.stdout
    assert "imss12" not in done.stdout
    wrong = maillag("fleet", "--lang", "fr", "--lake", sample_lake)
    assert wrong.returncode == 2


def test_the_fleet_comes_as_json_and_csv_for_machines(maillag: Maillag, sample_lake: Path) -> None:
    (imss13,) = json.loads(maillag("fleet", "--host", "imss13", "--json", "--lake", sample_lake).stdout)
    assert imss13["behaviour"] == "as_expected"
    assert imss13["advice"] == ["apply_patch_1", "check_wrapper", "edit_wrapper"]
    (header, row) = csv.reader(
        io.StringIO(maillag("fleet", "--host", "imss13", "--csv", "--lake", sample_lake).stdout)
    )
    assert header[:3] == ["host", "product", "version"]
    assert row[:3] == ["imss13", "imss", "9.1"]
    (header,) = csv.reader(io.StringIO(maillag("fleet", "--changes", "--csv", "--lake", sample_lake).stdout))
    assert header[:3] == ["host", "changed_at", "changes"]


def test_a_change_is_shown_with_the_restarts_on_both_sides(
    maillag: Maillag, tmp_path: Path, checker: Checker
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(SAMPLE / "imsva11", archive / "imsva11")
    (archive / "fleet.toml").write_text(
        "[hosts.imsva11]\ntime_zone = 'Asia/Tokyo'\nproduct = 'imsva'\nbuild = 1631\n"
        "queue_run_delay_seconds = 30\nminimal_backoff_seconds = 90\n"
        '[[hosts.imsva11.changes]]\nfrom = 2026-11-25\nbuild = 1830\npatch = "\\u001b[31mPatch 2"\n'
    )
    run_job(Job(archive, tmp_path / "lake"), checker)
    lines = maillag("fleet", "--changes", "--lake", "lake").stdout.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "imsva11, 2026-11-25 00:00:00 (Asia/Tokyo): build: 1631 -> 1830, "
        r"patch: unknown -> \x1b[31mPatch 2",
        "Restarts With held mail Not flushed Median wait 95 % Longest wait",
        "before 2 2 0 (0 %) 12 s 18 s 18 s",
        "after 0 0 0 - - -",
        "",
    ]
    (change,) = json.loads(maillag("fleet", "--changes", "--json", "--lake", "lake").stdout)
    assert change["changes"] == ["build: 1631 -> 1830", "patch: unknown -> \x1b[31mPatch 2"]
    assert change["changed_at"] == "2026-11-24T15:00:00Z"
    fleet = maillag("fleet", "--lake", "lake").stdout
    assert "0 (0 since 2026-11-25)" in fleet
    assert "no evidence" in fleet


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        (["restarts"], [*RESTART_IDS, "11-24 12:26", "1 min 59 s"]),
        (["status"], ["2026-11-24", "2026-11-24 12:29", "Asia/Tokyo", "50,613"]),
        (["fleet"], ["burst14", "900* / 900*"]),
        (["fleet", "--changes"], []),
        (
            ["trace", "35611196089"],
            ["001C819609E", "2026-11-24 12:07:12", "imsva11-20261124T030708Z", "<473c.0003.0000@vm>"],
        ),
        (["query", "select * from marts.restarts"], [*RESTART_IDS, "2026-11-24T03:26:23Z"]),
        (["query", "select restart_id, evidence from marts.restarts"], RESTART_IDS),
        (["explain", "imss12-20261124T031333Z"], ["imss12-20261124T031333Z", "2026-11-24 12:13:53"]),
    ],
)
def test_nothing_is_cut_and_no_id_date_or_number_folded_in_any_terminal(
    arguments: list[str],
    whole: list[str],
    width: int,
    sample_lake: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    app([*arguments, "--lake", str(sample_lake)], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed
    assert [text for text in whole if text not in printed] == []
    # Log lines and commands are in one piece, and indented.
    folded = [line for line in printed.splitlines() if not line.startswith("  ")]
    assert [line for line in folded if len(line) > width] == []


def test_where_no_terminal_tells_its_width_every_row_of_a_query_is_one_line(
    maillag: Maillag, sample_lake: Path
) -> None:
    done = maillag("query", "select * from marts.restarts", "--lake", sample_lake)
    assert len(done.stdout.splitlines()) == 1 + len(RESTART_IDS)


@pytest.mark.parametrize("command", ["restarts", "fleet", "trace"])
def test_a_host_that_is_none_is_wrong_use(command: str, maillag: Maillag, sample_lake: Path) -> None:
    mail = ["35611196089"] if command == "trace" else []
    done = maillag(command, *mail, "--host", "imsva11", "--host", "typo", "--lake", sample_lake)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "maillag: typo: is no host of this lake. Its hosts: burst14, imss12, imss13, imsva11, imsva15 and 1 "
        "more.\n"
    )


def test_a_host_is_suggested_on_a_typo(maillag: Maillag, sample_lake: Path) -> None:
    for command in (["restarts", "--lake", sample_lake], ["run", SAMPLE, "--lake", "lake"]):
        done = maillag(*command, "--host", "imss122")
        assert done.returncode == 2
        assert "Did you mean imss12? Its hosts: " in done.stderr


def test_a_column_is_suggested_on_a_typo(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("query", "select flush_verdikt from marts.restarts", "--lake", sample_lake)
    assert done.returncode == 2
    assert 'Candidate bindings: "flush_verdict"' in done.stderr


@pytest.mark.parametrize("options", [("--json", "--csv"), ("--csv", "--json")])
def test_json_and_csv_exclude_each_other(
    options: tuple[str, str], maillag: Maillag, sample_lake: Path
) -> None:
    done = maillag("restarts", *options, "--lake", sample_lake)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--json and --csv exclude each other" in done.stderr


def test_the_default_of_the_lake_is_a_setting(maillag: Maillag) -> None:
    assert "Default: `lake` of the settings." in " ".join(maillag("restarts", "--help").stdout.split())


def test_what_is_wrong_with_a_query_is_shown_where_it_is(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("query", "select nothing, '\x1b[31m'", "--lake", sample_lake)
    *_, line, mark = done.stderr.splitlines()
    assert line == r"LINE 1: select nothing, '\x1b[31m'"
    assert mark.strip(" ^") == ""
    assert mark.index("^") == line.index("nothing")


def test_a_query_answers(maillag: Maillag, sample_lake: Path) -> None:
    sql = "select count(*) as n from marts.held_messages where is_never_tried"
    assert json.loads(maillag("query", sql, "--json", "--lake", sample_lake).stdout) == [{"n": 667}]
    assert maillag("query", sql, "--csv", "--lake", sample_lake).stdout == "n\n667\n"


@pytest.mark.parametrize(
    "wanted", ["001C819609E", "473c.0003.0000@vm", "<473c.0003.0000@vm>", "SENDER96@example.co.jp"]
)
def test_mail_is_traced_by_queue_id_message_id_or_address(
    wanted: str, maillag: Maillag, sample_lake: Path
) -> None:
    done = maillag("trace", wanted, "--host", "imsva11", "--json", "--lake", sample_lake)
    assert done.returncode == 0
    rows = [row for row in json.loads(done.stdout) if row["message_id"] == "<473c.0003.0000@vm>"]
    columns = ("hop_number", "queue_id", "status", "restart_id", "restart_delay_seconds")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        (1, "001C819609E", "passed_on", "imsva11-20261124T030708Z", 13),
        (2, "35611196089", "delivered", None, None),
    ]


def test_a_trace_shows_people_each_hop_and_its_hold(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("trace", "35611196089", "--host", "imsva11", "--lake", sample_lake)
    assert done.stderr == ""
    title, _, first, *_, held, _ = done.stdout.splitlines()
    assert title.startswith("imsva11-postfix-001C819609E-20261124T030712Z  from <sender96@example.co.jp>")
    assert first.startswith("  1  2026-11-24 12:07:12   001C819609E  john@example.co.jp")
    assert first.endswith("passed on")
    assert held == "Hop 1 was held for 13 s by the restart imsva11-20261124T030708Z."


def test_a_recipient_finds_the_mail_that_was_tried_for_it(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("trace", "john@example.co.jp", "--csv", "--lake", sample_lake)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {"001C819609E", "35611196089"} <= {row["queue_id"] for row in rows}
    assert all("john@example.co.jp" in json.loads(row["recipients"]) for row in rows)


def test_a_page_for_the_browser_is_written_where_one_asks(
    maillag: Maillag, sample_lake: Path, tmp_path: Path
) -> None:
    done = maillag("report", "--lake", sample_lake, "--lang", "ja", "--days", "1", "--out", "page.html")
    assert done.returncode == 0
    assert re.match(r"page\.html \(\d+\.\d MB\) を書き出しました。", done.stdout)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert '<html lang="ja">' in page
    assert 'data-date="2026-11-24"' in page
    assert 'data-date="2020-02-03"' not in page, "--days 1 is about the latest day alone"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written_is_wrong_use(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("report", "--lake", sample_lake, "--out", "no/such/folder.html")
    assert done.returncode == 2
    assert "folder.html: cannot be written (No such file or directory). Give another" in done.stderr


def test_a_trace_of_nothing_says_so(maillag: Maillag, sample_lake: Path) -> None:
    done = maillag("trace", "\x1b[31mnobody", "--lake", sample_lake)
    assert done.returncode == 0
    assert r"No mail in the lake has \x1b[31mnobody as its queue id" in done.stdout
    assert maillag("trace", "nobody", "--json", "--lake", sample_lake).stdout == "[]\n"


def test_what_a_sender_wrote_does_not_steer_the_terminal(
    maillag: Maillag, tmp_path: Path, checker: Checker
) -> None:
    hostile = '"\x1b[31m<script>\u202e[bold]"'
    host = tmp_path / "archive" / "gw1"
    host.mkdir(parents=True)
    (host / "maillog-20261124").write_text(
        f"Nov 24 10:00:00 gw1 postfix/qmgr[1]: 892A0205B6: from=<{hostile}@example.com>, size=1, nrcpt=1 "
        "(queue active)\n"
    )
    run_job(Job(tmp_path / "archive", tmp_path / "lake"), checker)
    done = maillag("query", "select sender from events.queue_activations", "--lake", "lake")
    assert r'"\x1b[31m<script>\u202e[bold]"@example.com' in done.stdout
    assert "\x1b" not in done.stdout
    done = maillag("trace", "892A0205B6", "--lake", "lake")
    assert r'from <"\x1b[31m<script>\u202e[bold]"@example.com>' in done.stdout
    assert "\x1b" not in done.stdout


def test_without_a_lake_it_says_how_to_make_one(maillag: Maillag) -> None:
    done = maillag("restarts")
    assert done.returncode == 2
    assert "Create it with: maillag run ARCHIVE" in done.stderr


def test_a_lake_that_cannot_be_written_to_is_wrong_use(maillag: Maillag, tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("not a folder")
    done = maillag("run", SAMPLE, "--lake", "lake")
    assert done.returncode == 2
    assert "lake: its ledger cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_setting_is_refused_with_a_suggestion(maillag: Maillag, tmp_path: Path) -> None:
    done = maillag("restarts", MAILLAG_LAEK="x")
    assert done.returncode == 2
    assert "MAILLAG_LAEK: is not a setting. Did you mean MAILLAG_LAKE?" in done.stderr
    (tmp_path / "maillag.toml").write_text("[thresholds]\ngap_after_secs = 60\n")
    done = maillag("restarts")
    assert done.returncode == 2
    assert "gap_after_secs is not a setting. Did you mean thresholds.gap_after_seconds?" in done.stderr


def test_init_writes_settings_that_the_next_run_follows(maillag: Maillag, tmp_path: Path) -> None:
    shutil.copytree(SAMPLE / "imsva91", tmp_path / "its logs" / "gw\x1b1")
    done = maillag("init", "its logs")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "Wrote fleet.toml, maillag.toml. The archive has 1 host.",
        "minimal_backoff_seconds is not known of gw%1B1.",
        "Next: maillag run 'its logs'",
    ]
    assert maillag("run", "its logs").returncode == 0
    (restart,) = json.loads(maillag("restarts", "--json", "--lake", "data/lake").stdout)
    assert restart["host"] == "gw%1B1"
    again = maillag("init", "its logs")
    assert again.returncode == 0
    assert again.stdout.splitlines() == [
        "Kept fleet.toml as it is.",
        "Kept maillag.toml as it is.",
        "Next: maillag run 'its logs'",
    ]
    assert "Wrote fleet.toml, maillag.toml" in maillag("init", "its logs", "--force").stdout


def test_a_run_prints_the_answer_and_a_second_one_reads_nothing(maillag: Maillag) -> None:
    first = maillag("run", SAMPLE, "--lake", "lake", "--json")
    assert (first.returncode, first.stderr) == (0, "")
    answer = json.loads(first.stdout)
    verdicts = {restart["flush_verdict"] for restart in answer["restarts"]}
    assert verdicts == {"effective", "ineffective", "missing", "not_needed", "unknown"}
    assert len(answer["missing_flushes"]) == 3
    assert answer["counts"]["new_line_count"] == 50_613
    second = maillag("run", SAMPLE, "--lake", "lake")
    assert second.returncode == 0
    assert "New in this run: 0 files, 0 lines" in second.stdout


@pytest.mark.parametrize(
    ("before", "behind", "settings", "is_japanese"),
    [
        ([], [], {}, False),
        ([], [], {"LC_ALL": "ja_JP.UTF-8"}, True),
        ([], [], {"LC_ALL": "ja_JP.UTF-8", "MAILLAG_LANG": "en"}, False),
        ([], [], {"MAILLAG_LANG": "ja"}, True),
        (["--lang", "ja"], [], {"MAILLAG_LANG": "en"}, True),
        (["--lang", "ja"], ["--lang", "en"], {}, False),
    ],
)
def test_the_language_is_that_of_the_command_else_of_the_settings_else_of_the_locale(
    before: list[str],
    behind: list[str],
    settings: dict[str, str],
    is_japanese: bool,
    maillag: Maillag,
    sample_lake: Path,
) -> None:
    done = maillag(*before, "restarts", *behind, "--lake", sample_lake, PYTHONIOENCODING="utf-8", **settings)
    assert done.returncode == 0
    assert done.stdout.startswith("検索サービスの再起動" if is_japanese else "Restarts of the scan service")


def test_the_language_is_a_setting_of_the_file(maillag: Maillag, tmp_path: Path, sample_lake: Path) -> None:
    (tmp_path / "maillag.toml").write_text("lang = 'ja'\n")
    done = maillag("restarts", "--lake", sample_lake)
    assert done.stdout.startswith("検索サービスの再起動")
    (tmp_path / "maillag.toml").write_text("lang = 'fr'\n")
    done = maillag("restarts", "--lake", sample_lake)
    assert (done.returncode, done.stdout) == (2, "")
    assert "lang = 'fr' is wrong" in done.stderr


def test_it_names_its_version_and_has_short_options_and_examples(maillag: Maillag) -> None:
    assert maillag("--version").stdout == f"maillag {version('maillag')}\n"
    for name in (command.__name__.replace("_", "-") for command in COMMANDS):
        page = maillag(name, "-h").stdout
        assert page == maillag(name, "--help").stdout
        assert f"Example:\n    maillag {name} " in page


def test_a_shell_completes_commands(maillag: Maillag) -> None:
    asked = {"_MAILLAG_COMPLETE": "complete_bash", "COMP_WORDS": "maillag res", "COMP_CWORD": "1"}
    assert maillag(**asked).stdout.split() == ["restarts"]


def test_a_quiet_run_prints_nothing_if_all_is_well_and_a_verbose_one_times_its_steps(
    maillag: Maillag,
) -> None:
    done = maillag("run", SAMPLE, "--lake", "lake", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = maillag("run", SAMPLE, "--lake", "lake", "-v")
    assert re.fullmatch(r"Reading took \d+ s\.\n(Analyzing took \d+ s\.\n)?", done.stderr)


def test_a_quiet_run_prints_what_is_wrong(maillag: Maillag, tmp_path: Path) -> None:
    (tmp_path / "archive" / "gw1").mkdir(parents=True)
    (tmp_path / "archive" / "gw1" / "maillog").write_text("this is no log\n")
    done = maillag("run", "archive", "--lake", "lake", "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert "critical: gw1/maillog: is not a maillog file" in done.stderr
    assert "note: " not in done.stderr


def test_a_run_that_is_stopped_says_what_is_kept_and_the_next_one_does_all(
    maillag: Maillag, tmp_path: Path
) -> None:
    started = subprocess.Popen(
        [MAILLAG, "run", SAMPLE, "--lake", "lake"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C reaches all processes of the terminal.
        start_new_session=True,
    )
    while not (tmp_path / "lake" / "events").exists():
        assert started.poll() is None
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGINT)
    stdout, stderr = started.communicate(timeout=60)
    assert (started.returncode, stdout) == (130, "")
    assert stderr.strip() == (
        "Stopped. What was published before stays as it is, and nothing is lost: the same command does the "
        "rest."
    )
    done = maillag("run", SAMPLE, "--lake", "lake")
    assert done.returncode == 0
    assert "50,613 lines: 0 unparsed" in done.stdout


def test_a_run_with_a_bad_file_ends_with_1_and_says_so(maillag: Maillag, tmp_path: Path) -> None:
    host = tmp_path / "archive" / "gw1"
    host.mkdir(parents=True)
    (host / "maillog").write_text("this is no log\n")
    done = maillag("run", "archive", "--lake", "lake")
    assert done.returncode == 1
    assert "critical: gw1/maillog: is not a maillog file" in done.stderr
    assert "No restart" not in done.stdout
    assert "Nothing can be said of gw1: no line of their mail was read." in done.stdout


def test_a_run_says_once_what_is_wrong_with_many_hosts(maillag: Maillag, tmp_path: Path) -> None:
    for host in ("gw1", "gw2", "gw3", "gw4", "gw5"):
        (tmp_path / "archive" / host).mkdir(parents=True)
        log = f"Nov 24 10:00:00 {host} postfix/qmgr[1]: A00001: removed\n"
        (tmp_path / "archive" / host / "maillog-20261124").write_text(log)
    done = maillag("run", "archive", "--lake", "lake", "--json")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: gw1, gw2, gw3 and 2 more hosts: the time zone is unknown: neither")
    places = [finding["place"] for finding in json.loads(done.stdout)["findings"]]
    assert places == ["gw1", "gw2", "gw3", "gw4", "gw5"]


def test_no_restart_is_said_only_of_hosts_that_could_have_shown_one(maillag: Maillag, tmp_path: Path) -> None:
    lines = {
        "quiet": "Nov 24 10:00:00 quiet postfix/qmgr[1]: A00001: removed\n",
        "blind": "Nov 24 10:00:00 blind systemd[1]: Started Session 1 of user root.\n",
    }
    for host, line in lines.items():
        (tmp_path / "archive" / host).mkdir(parents=True)
        (tmp_path / "archive" / host / "maillog-20261124").write_text(line)
    fleet = "[defaults]\ntime_zone = 'UTC'\n[hosts]\nquiet = {}\nblind = {}\n"
    (tmp_path / "archive" / "fleet.toml").write_text(fleet)
    done = maillag("run", "archive", "--lake", "lake")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: blind: none of the ")
    assert "No restart of the scan service was found on quiet." in done.stdout
    assert "Nothing can be said of blind: no line of their mail was read." in done.stdout
    assert "No flush is known to be missing." in done.stdout
    status = maillag("status", "--lake", "lake", "--json")
    (finding,) = json.loads(status.stdout)["findings"]
    assert (finding["severity"], finding["place"]) == ("warning", "blind")
    assert status.returncode == 0
