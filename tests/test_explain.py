"""maillag explain: the lines are those of the archive, and the verdict is derived anew from the lake."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import pytest
import yaml
from rich.console import Console

from flows.catalog import EVERYTHING, RESTARTS, fetch, open_catalog
from flows.show_explanation import as_document, show_explanation
from flows.verdict_words import VerdictWords
from flows.words import local_time
from tests.conftest import RECORDING, SAMPLE, Run, run_job
from tests.test_sql import WRITTEN_AT, story_lines
from transforms.archive.quotes import Place, read_quotes
from transforms.contracts.contracts import Checker
from transforms.explain.explain import Explanation, Line, explain_restart, find_restart
from transforms.ingest.plan import ZONE_IS_KNOWN
from transforms.lake.catalog import CATALOG_NAME, attach_published, published_files
from transforms.problems import MaillagError
from transforms.run import Job

# Each explanation runs the models, and takes a second.
pytestmark = pytest.mark.slow
ARCHIVES = {"sample": SAMPLE, "rig": RECORDING}
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "explanations.yaml").read_text(encoding="utf-8")
)
# The rig's host whose scans are slow, without a restart.
WITHOUT_RESTARTS = "imsva43"
VERDICTS = {"not_needed", "effective", "ineffective", "missing", "unknown"}

# Two messages wait for a queue run; what a sender wrote is hostile.
HOSTILE = '"\x1b[31m<script>[bold]\u202e"@example.com'
STORY = f"""
09:59:58 4A0101 active
09:59:58 4A0101 sent
10:00:00 4A0201 active
10:00:00 4A0201 refused to={HOSTILE}
10:00:01 4A0202 active
10:00:01 4A0202 refused
10:00:20 4A0301 active
10:00:20 4A0301 sent
10:05:30 4A0201 active
10:05:30 4A0202 active
10:05:31 4A0201 sent to={HOSTILE}
10:05:31 4A0202 sent
"""
# A scan days before speaks against the assumed minimal_backoff_time, so that no early mail proves a flush.
REFUTATION = """
09:59:00 3A0101 active
10:00:00 3A0101 unreachable_elsewhere
10:00:00 3A0102 active
10:00:10 3A0102 unreachable_elsewhere
10:00:30 3A0101 active
10:00:31 3A0101 sent_elsewhere
10:00:31 3A0101 removed
10:20:00 3A0102 active
10:20:01 3A0102 sent_elsewhere
10:20:01 3A0102 removed
"""
EARLY = STORY.replace("10:05:3", "10:00:3")
FLEET = """
[hosts.bundled]
[hosts.hostile]
minimal_backoff_seconds = 300
[hosts.refuted]
[hosts.loghost]
path = "central/*"
host_from = "line"
"""


@dataclass(frozen=True)
class Told:
    """An archive in which each host tells a story of its own, and its lake."""

    archive: Path
    lake: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Told:
    # The path of the lake becomes SQL.
    folder = tmp_path_factory.mktemp("it's")
    archive = folder / "archive"
    texts = {host: story(STORY, host) for host in ("bundled", "hostile", "collected")}
    texts["refuted"] = story(REFUTATION, "refuted", day=19) + story(EARLY, "refuted")
    for name, text in {
        "hostile/maillog-20261124": texts["hostile"],
        "refuted/maillog-20261124": texts["refuted"],
        "central/all.log-20261124": "Nov 24 09:00:00 loghost rsyslogd: start\n" + texts["collected"],
        "fleet.toml": FLEET,
    }.items():
        write(archive / name, text)
    (archive / "bundled").mkdir()
    with tarfile.open(archive / "bundled" / "CDT!1.tar.gz", "w:gz") as bundle:
        content = texts["bundled"].encode()
        member = tarfile.TarInfo("Event5/maillog-20261124")
        member.size = len(content)
        bundle.addfile(member, io.BytesIO(content))
    run = run_job(Job(archive, folder / "lake"), checker)
    # Nobody told the hosts' zones.
    assert {finding.rule for finding in run.findings} == {ZONE_IS_KNOWN}
    return Told(archive, folder / "lake")


def story(text: str, host: str, *, day: int = 24) -> str:
    return "".join(
        f"{line.replace('Nov 24', f'Nov {day}', 1)}\n" for line in story_lines(text, host, "maillog") if line
    )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (WRITTEN_AT, WRITTEN_AT))


def maillag(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("maillag"), *arguments],
        # Without the COLUMNS that readline, which pytest imports, adds behind Python's back.
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def all_lines(explanation: Explanation) -> list[Line]:
    of_rows = [line for row in (*explanation.messages, *explanation.scans) for line in row.lines]
    return [*explanation.service, *explanation.orders, *explanation.losses, *of_rows]


def roles(lines: list[Line]) -> list[str]:
    return [line.role for line in lines]


@contextmanager
def changed_catalog(lake: Path, table: str, pattern: str, replacement: str) -> Iterator[None]:
    """Let a view of the published catalog show something else for a while."""
    catalog = lake / CATALOG_NAME
    kept = catalog.read_bytes()
    schema, name = table.split(".")
    with duckdb.connect(str(catalog)) as connection:
        ((sql,),) = connection.execute(
            "select sql from duckdb_views() where schema_name = ? and view_name = ?", [schema, name]
        ).fetchall()
        changed = re.sub(pattern, replacement, sql)
        assert changed != sql
        # What the format of the file makes of the view's lambda.
        connection.execute("set lambda_syntax = 'ENABLE_SINGLE_ARROW'")
        connection.execute(changed.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
    yield
    catalog.write_bytes(kept)


# What is recorded


@pytest.fixture(scope="module")
def lakes(sample_lake: Path, rig_run: Run) -> dict[str, Path]:
    return {"sample": sample_lake, "rig": rig_run.job.lake}


@cache
def explained(lake: Path, restart_id: str, archive: Path) -> Explanation:
    return explain_restart(lake, restart_id, archive=archive)


@pytest.mark.parametrize(
    ("archive", "host"),
    [
        pytest.param(name, folder.name, id=f"{name}-{folder.name}")
        for name, archive in ARCHIVES.items()
        for folder in sorted(archive.iterdir())
        if folder.is_dir()
    ],
)
def test_every_verdict_is_derived_anew_and_every_number_has_its_lines(
    archive: str, host: str, lakes: dict[str, Path]
) -> None:
    lines_of: dict[str, list[str]] = {}
    with open_catalog(lakes[archive]) as catalog:
        restarts = fetch(catalog, RESTARTS, EVERYTHING | {"hosts": [host]})
    assert bool(restarts) == (host != WITHOUT_RESTARTS)
    for restart in restarts:
        explanation = explained(lakes[archive], restart["restart_id"], ARCHIVES[archive])
        assert explanation.differences == {}
        assert explanation.restart == restart
        assert_words(explanation)
        assert_numbers(explanation)
        for line in all_lines(explanation):
            if line.path not in lines_of:
                content = (ARCHIVES[archive] / line.path).read_bytes()
                content = gzip.decompress(content) if line.path.endswith(".gz") else content
                lines_of[line.path] = content.decode().split("\n")
            assert line.text == lines_of[line.path][line.line_number - 1]
            assert line.is_quoted
            assert (line.queue_id or "") in line.text


def assert_words(explanation: Explanation) -> None:
    why, verdict = VerdictWords(explanation), explanation.restart["flush_verdict"]
    assert why.verdict().startswith(f'The verdict is "{why.name_of(verdict)}": ')
    assert why.others().keys() == VERDICTS - {verdict}
    assert (why.missing_reason() is None) == (explanation.restart["missing_reason"] is None)


def assert_numbers(explanation: Explanation) -> None:
    restart = explanation.restart
    assert len(explanation.messages) == restart["held_message_count"]
    for message in explanation.messages:
        told = roles(message.lines)
        assert told.count("deferral") == message.facts["failed_attempt_count"]
        assert ("release" in told) == (message.facts["released_at"] is not None)
        assert message.lines[0].logged_at == message.facts["first_deferred_at"]
    service = {line.role: line.logged_at for line in explanation.service}
    if "maillog" in restart["evidence"]:
        assert service["first_failure"] >= restart["down_at"]
        assert restart["down_at"] in (service["first_failure"], service.get("scan_stopped"))
        assert service.get("last_failure", service["first_failure"]) == restart["up_at_earliest"]
        assert ("last_answer" in service) == (restart["down_at_earliest"] is not None)
    if "system_event" in restart["evidence"]:
        assert service.keys() & {"scan_stopped", "scan_started"}
    orders = {line.role: line.logged_at for line in reversed(explanation.orders)}
    assert orders.get("flush_commanded") == restart["flush_commanded_at"]
    assert orders.get("flush_marker") == restart["flush_marked_at"]
    flushes = [scan for scan in explanation.scans if scan.facts["is_flush"] and scan.facts["is_in_window"]]
    observed_at = min((scan.facts["began_at"] for scan in flushes), default=None)
    assert observed_at == restart["flush_observed_at"]
    for scan in explanation.scans:
        assert "reactivation" in roles(scan.lines)


@pytest.mark.parametrize("restart_id", EXPECTED)
def test_the_words_and_places_are_these(restart_id: str, lakes: dict[str, Path]) -> None:
    expected = dict(EXPECTED[restart_id])
    archive = expected.pop("archive")
    explanation = explained(lakes[archive], restart_id, ARCHIVES[archive])
    why = VerdictWords(explanation)
    said = {
        "verdict": why.verdict(),
        "why_not": why.others(),
        "service": {line.role: f"{line.path}:{line.line_number}" for line in explanation.service},
        "orders": {line.role: f"{line.path}:{line.line_number}" for line in explanation.orders},
        "scans": [
            f"{local_time(scan.facts['began_at'], why.zone)[-8:]} {why.scan(scan.facts)}"
            for scan in explanation.scans[:2]
        ],
    }
    if reason := why.missing_reason():
        said["missing_reason"] = reason
    assert said == expected


# How it is asked for


@pytest.mark.parametrize("instant", ["20261124T095958Z", "20261124T100001Z", "20261124T100220Z"])
def test_any_instant_inside_a_restart_names_it(instant: str, told: Told) -> None:
    with open_catalog(told.lake) as catalog:
        assert find_restart(catalog, f"hostile-{instant}") == "hostile-20261124T100000Z"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("hostile-20261124T095957Z", "lies in no restart. The nearest: hostile-20261124T100000Z."),
        ("hostile-20261124T100221Z", "lies in no restart. The nearest: hostile-20261124T100000Z."),
        (
            "gw9-20261124T100000Z",
            "no restart of host gw9. Hosts with restarts: bundled, collected, hostile, ",
        ),
        ("hostile", "names no restart. Write host and time"),
        ("hostile-20261399T100000Z", "names no restart. Write host and time"),
        ("' or true --20261124T100000Z", "no restart of host %27%20or%20true%20-."),
    ],
)
def test_an_id_that_names_none_is_told_the_nearest(asked: str, says: str, told: Told) -> None:
    with open_catalog(told.lake) as catalog, pytest.raises(MaillagError) as error:
        find_restart(catalog, asked)
    assert says in str(error.value)


def test_an_archive_that_is_none_is_wrong_use(told: Told, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    done = maillag("explain", "hostile-20261124T100000Z", "--lake", told.lake, "--archive", nowhere)
    assert done.returncode == 2
    assert "nowhere: is not a folder" in done.stderr


@pytest.fixture
def twice_in_a_second() -> Iterator[duckdb.DuckDBPyConnection]:
    """Two restarts of one host in one second, and one restart of each of five others."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("create schema marts")
        connection.execute(
            "create table marts.restarts as "
            "select host || '-20261124T100001Z' || suffix as restart_id, host, "
            "timestamptz '2026-11-24 10:00:01+00' + to_milliseconds(len(suffix) * 100) as down_at, "
            "down_at as window_from, down_at + interval 2 minutes as window_until "
            "from (values ('gw1', ''), ('gw1', '-2'), ('gw2', ''), ('gw3', ''), ('gw4', ''), ('gw5', '')) "
            "as restarts(host, suffix)"
        )
        yield connection


@pytest.mark.parametrize("restart_id", ["gw1-20261124T100001Z", "gw1-20261124T100001Z-2"])
def test_restarts_within_one_second_have_ids_of_their_own(
    restart_id: str, twice_in_a_second: duckdb.DuckDBPyConnection
) -> None:
    assert find_restart(twice_in_a_second, restart_id) == restart_id


def test_a_numbered_id_that_names_none_is_no_instant(twice_in_a_second: duckdb.DuckDBPyConnection) -> None:
    assert find_restart(twice_in_a_second, "gw1-20261124T100002Z") == "gw1-20261124T100001Z-2"
    with pytest.raises(MaillagError, match="The nearest: gw1-20261124T100001Z, gw1-20261124T100001Z-2"):
        find_restart(twice_in_a_second, "gw1-20261124T100001Z-3")


def test_other_hosts_are_spoken_of_just_where_there_are_any(
    twice_in_a_second: duckdb.DuckDBPyConnection,
) -> None:
    with pytest.raises(MaillagError, match=r"Hosts with restarts: gw1, gw2, gw3, gw4, gw5\.$"):
        find_restart(twice_in_a_second, "gw9-20261124T100001Z")
    twice_in_a_second.execute("insert into marts.restarts (restart_id, host) values ('gw6-', 'gw6')")
    with pytest.raises(MaillagError, match=r"Hosts with restarts: gw1, gw2, gw3, gw4, gw5 and others\.$"):
        find_restart(twice_in_a_second, "gw9-20261124T100001Z")


# What it prints


def printed(explanation: Explanation) -> list[str]:
    stream = io.StringIO()
    show_explanation(Console(file=stream, soft_wrap=True), explanation, is_all=False)
    return stream.getvalue().splitlines()


def test_a_restart_that_a_command_alone_tells_of_was_over_by_then(lakes: dict[str, Path]) -> None:
    lines = printed(explained(lakes["sample"], "imsva15-20261124T114912Z", SAMPLE))
    assert (
        "The manager's command at 2026-11-24 20:49:12 shows that the service was up by then. When it went "
        "down is not known, and no attempt failed."
    ) in lines
    assert "No message was held." in lines
    assert "imsva15/imssmgr.20261124.0001: 1 line, loaded" in lines


def test_waits_are_told_of_mail_that_was_released(lakes: dict[str, Path]) -> None:
    none_released = explained(lakes["sample"], "imsva91-20200203T010736Z", SAMPLE)
    assert (
        "2 messages were held, 0 of them never tried; 2 waited after the service was up again. Still in the "
        "queue at the end of the log: 2; lost: 0."
    ) in printed(none_released)
    waited = {f"restart_delay_{part}_seconds": 12 for part in ("p50", "max")}
    one = replace(
        none_released,
        restart=none_released.restart | waited | {"held_message_count": 1, "pending_count": 0},
        waiting={"waiting_count": 1, "unended_count": 0},
    )
    assert (
        "1 message was held, 0 of them never tried; 1 waited after the service was up again. It waited 12 s. "
        "Still in the queue at the end of the log: 0; lost: 0."
    ) in printed(one)


def test_a_reload_is_no_start_of_postfix(lakes: dict[str, Path]) -> None:
    told = printed(explained(lakes["rig"], "imsva37-20261124T113921Z", RECORDING))
    assert any("  queue manager started or restarted: " in line for line in told)
    assert not any("Postfix started: " in line for line in told)


def test_a_flush_that_was_seen_to_miss_mail_is_incomplete(lakes: dict[str, Path]) -> None:
    title, *_ = printed(explained(lakes["rig"], "imss48-20261124T114851Z", RECORDING))
    assert title == "imss48-20261124T114851Z: Flushed incompletely"


def test_it_prints_path_line_time_and_text_and_the_sentence(told: Told) -> None:
    done = maillag(
        "explain", "hostile-20261124T100005Z", "--lake", told.lake, "--archive", told.archive, "--all"
    )
    assert done.returncode == 0
    printed = done.stdout.splitlines()
    assert any(
        line.startswith(
            "  hostile/maillog-20261124:6  2026-11-24 10:00:01  deferral: Nov 24 10:00:01 hostile "
            "postfix/smtp[22]: 4A0202: to=<reader@example.com>"
        )
        for line in printed
    )
    assert printed[-6:] == [
        'The verdict is "Not flushed": 2 messages waited after the service was up again (about 10:00:21), no '
        "manager log covers the window, and no flush was seen.",
        'Why not "Nothing waited": 2 messages waited after the service was up again (about 10:00:21).',
        'Why not "Flushed": no flush was seen in the window of this restart (09:59:58 to 10:02:21).',
        'Why not "Flushed without effect": no flush was seen that missed anything, and no manager log covers '
        "the window.",
        'Why not "Not known": the maillog goes on without a gap until 10:05:31, and minimal_backoff_time is '
        "300 s (the host's entry in the fleet file).",
        'Why it is "Not flushed" (the log does not show why): no manager log covers the window, so the '
        "manager may or may not have ordered a flush.",
    ]


def test_what_a_sender_wrote_does_not_steer_the_terminal(told: Told) -> None:
    arguments = ("explain", "hostile-20261124T100000Z", "--lake", told.lake, "--archive", told.archive)
    printed = maillag(*arguments).stdout
    assert r'to=<"\x1b[31m<script>[bold]\u202e"@example.com>' in printed
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    document = json.loads(maillag(*arguments, "--json").stdout)
    texts = [line["text"] for message in document["held"]["messages"] for line in message["lines"]]
    assert any(HOSTILE in text for text in texts)


def test_json_has_every_line_with_its_place_and_role(told: Told) -> None:
    done = maillag(
        "explain", "hostile-20261124T100000Z", "--lake", told.lake, "--archive", told.archive, "--json"
    )
    document = json.loads(done.stdout)
    failure = next(line for line in document["service"] if line["role"] == "first_failure")
    assert failure == {
        "role": "first_failure",
        "path": "hostile/maillog-20261124",
        "line_number": 4,
        "logged_at": "2026-11-24T10:00:00Z",
        "queue_id": "4A0201",
        "text": (told.archive / "hostile" / "maillog-20261124").read_text().splitlines()[3],
        "is_quoted": True,
    }
    assert document["verdict"]["not"].keys() == VERDICTS - {document["restart"]["flush_verdict"]}
    assert document["thresholds"]["flush_window_seconds"] == 120
    assert {setting["name"]: setting["source"] for setting in document["settings"]}[
        "minimal_backoff_seconds"
    ] == "fleet_file"


def test_only_the_worst_messages_are_printed_unless_all_are_asked_for(sample_lake: Path) -> None:
    few = maillag("explain", "imss13-20261124T031953Z", "--lake", sample_lake, "--archive", SAMPLE).stdout
    every = maillag(
        "explain", "imss13-20261124T031953Z", "--lake", sample_lake, "--archive", SAMPLE, "--all"
    ).stdout
    assert "... and 80 more messages (all with --all)." in few
    assert few.count(" released by ") == 5
    assert every.count(" released by ") == 85
    assert " more " not in every


# Where the lines are


@pytest.mark.parametrize(
    ("host", "path", "number"),
    [
        ("bundled", "bundled/CDT%211.tar.gz!Event5/maillog-20261124", 4),
        ("collected", "central/all.log-20261124", 5),
    ],
)
def test_lines_are_found_in_bundles_and_in_a_collector_s_files(
    host: str, path: str, number: int, told: Told
) -> None:
    explanation = explain_restart(told.lake, f"{host}-20261124T100000Z", archive=told.archive)
    failure = next(line for line in explanation.service if line.role == "first_failure")
    assert (failure.path, failure.line_number) == (path, number)
    assert all(line.is_quoted and (line.queue_id or "") in line.text for line in all_lines(explanation))


def test_without_the_archive_lines_are_put_together_from_their_events(told: Told) -> None:
    explanation = explain_restart(told.lake, "hostile-20261124T100000Z")
    assert explanation.differences == {}
    failure = next(line for line in explanation.service if line.role == "first_failure")
    assert not failure.is_quoted
    assert "queue_id=4A0201" in failure.text
    assert "reason=connect to localhost[127.0.0.1]:10025: Connection refused" in failure.text
    console = Console(file=io.StringIO(), width=132)
    show_explanation(console, explanation, is_all=True)
    assert "first failure (put together from its event): " in console.file.getvalue()  # type: ignore[attr-defined]


def test_another_file_of_the_same_name_is_not_quoted(told: Told, tmp_path: Path) -> None:
    write(tmp_path / "hostile" / "maillog-20261124", story(EARLY.replace("4A0", "5A0"), "hostile"))
    explanation = explain_restart(told.lake, "hostile-20261124T100000Z", archive=tmp_path)
    lines = all_lines(explanation)
    assert lines
    assert not any(line.is_quoted for line in lines)


def test_quotes_are_read_up_to_the_damage_and_from_no_file_that_is_gone(tmp_path: Path) -> None:
    lines = [f"line {number} {os.urandom(512).hex()}" for number in range(1, 2001)]
    whole = gzip.compress("\n".join(lines).encode())
    (tmp_path / "maillog.1.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "maillog").write_text("one\r\ntwo")
    places = [
        Place("maillog.1.gz", "maillog", 3),
        Place("maillog.1.gz", "maillog", 2000),
        Place("maillog", "maillog", 1),
        Place("maillog", "maillog", 2),
        Place("maillog", "maillog", 3),
        Place("maillog.2", "maillog", 1),
        Place("bundle.zip!maillog", "maillog", 1),
    ]
    assert read_quotes(tmp_path, places) == {
        ("maillog.1.gz", 3): lines[2],
        ("maillog", 1): "one",
        ("maillog", 2): "two",
    }


# Whether it is still so


def test_what_older_days_tell_is_asked_for_where_it_matters(told: Told) -> None:
    explanation = explain_restart(told.lake, "refuted-20261124T100000Z", archive=told.archive)
    assert explanation.restart["verdict_reason"] == "settings_unknown"
    assert explanation.differences == {}
    assert "that limit is only assumed" in VerdictWords(explanation).scan(explanation.scans[0].facts)


def test_a_published_verdict_that_the_events_do_not_give_is_told_and_ends_with_1(told: Told) -> None:
    with changed_catalog(
        told.lake, "marts.restarts", r"SELECT \*", "SELECT * REPLACE ('effective' AS flush_verdict)"
    ):
        done = maillag("explain", "hostile-20261124T100000Z", "--lake", told.lake)
        document = as_document(explain_restart(told.lake, "hostile-20261124T100000Z"))
    assert done.returncode == 1
    assert "critical: hostile-20261124T100000Z: the lake's events give other values" in done.stderr
    assert document["differences"].keys() == {"flush_verdict"}
    assert document["differences"]["flush_verdict"]["published"] == "effective"


def test_a_restart_whose_days_are_gone_is_told_and_ends_with_1(told: Told) -> None:
    a_file_of_the_host = r"(, )?'(?:[^']|'')*host=hostile(?:[^']|'')*'"
    with changed_catalog(told.lake, "events.delivery_attempts", a_file_of_the_host, ""):
        done = maillag("explain", "hostile-20261124T100000Z", "--lake", told.lake)
        document = as_document(explain_restart(told.lake, "hostile-20261124T100000Z"))
    assert done.returncode == 1
    assert "the lake's events no longer show this restart" in done.stderr
    assert done.stdout.startswith("hostile-20261124T100000Z: ")
    assert document["verdict"] is None
    assert document["restart"]["restart_id"] == "hostile-20261124T100000Z"


def test_the_files_of_the_catalog_are_those_of_the_lake(told: Told) -> None:
    with attach_published(told.lake) as connection:
        files = published_files(connection, "events.delivery_attempts")
        assert published_files(connection, "ops.source_files") == []
        assert published_files(connection, "events.system_events") == []
        with pytest.raises(duckdb.PermissionException):
            connection.execute("select * from read_text('/etc/hostname')")
    assert all((told.lake / file).is_file() for file in files)
    folders = {part for file in files for part in Path(file).parts if part.startswith("host=")}
    assert folders == {"host=bundled", "host=collected", "host=hostile", "host=refuted"}


NO_EFFECT = "no flush was seen, though"
NOT_DESCRIBED = "KA-0010256 does not describe this"
SEEN_AT = datetime(2026, 11, 24, 10, 0, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("missing_reason", "product", "build_verdict", "flush_observed_at", "says"),
    [
        (
            "wrapper_defect",
            "imss",
            "known_defective",
            None,
            "the build (IMSS 9.1 b1335) is known to be defective",
        ),
        (
            "wrapper_defect",
            "imss",
            "fixed",
            None,
            "the MD5 of the wrapper script is that of the defective one",
        ),
        (
            "order_without_effect",
            "imsva",
            "known_defective",
            None,
            f"{NO_EFFECT} the defect of the build (IMSVA 9.1 b1335) is that no flush is ordered: "
            f"{NOT_DESCRIBED}",
        ),
        (
            "order_without_effect",
            "imss",
            "unspecified",
            None,
            f"{NO_EFFECT} the wrapper script is not known to be defective "
            f"(flush of the build (IMSS 9.1 b1335): not mentioned): {NOT_DESCRIBED}",
        ),
        (
            "unknown",
            "imsva",
            "known_defective",
            SEEN_AT,
            "seen, and the log does not show why it left mail waiting",
        ),
    ],
)
def test_the_reason_of_an_order_without_effect_is_never_the_build_of_another_product(
    missing_reason: str, product: str, build_verdict: str, flush_observed_at: datetime | None, says: str
) -> None:
    explanation = SimpleNamespace(
        host={"time_zone": "UTC", "product": product, "version": "9.1", "build": 1335},
        restart={
            "missing_reason": missing_reason,
            "flush_order": "ordered",
            "build_verdict": build_verdict,
            "down_at": datetime(2026, 11, 24, 10, tzinfo=UTC),
            "flush_commanded_at": datetime(2026, 11, 24, 10, 0, 44, tzinfo=UTC),
            "flush_observed_at": flush_observed_at,
        },
    )
    ordered = "a flush was ordered at 10:00:44 (by the manager)"
    reason = VerdictWords(cast(Explanation, explanation)).missing_reason()
    assert reason in (f"{ordered}, and {says}", f"{ordered} and {says}")
