"""The page without a browser: its states, what it must not hold, how it is written, and how large it gets."""

import base64
import hashlib
import json
import re
import stat
from html import unescape
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.catalog import fetch, open_catalog
from flows.language import texts
from flows.report import content, drawing, page
from flows.report.page import leave_page, make_page, write_page
from flows.runs import run_archive
from tests.conftest import SAMPLE
from tests.fleets import HOSTILE_HOST, Case, make_fleet
from transforms.contracts.contracts import load_contracts
from transforms.engine import LocalEngine
from transforms.lake.catalog import CATALOG_NAME
from transforms.problems import HAS_MAIL_LINES, MaillagError
from transforms.run import Job, NoProgress

STATES: dict[Case, str] = {
    "full": "missing",
    "no_restarts": "none",
    "all_flushed": "flushed",
    "unknown": "unknown",
    "empty": "none",
}


@pytest.fixture(scope="module")
def sample_page(sample_lake: Path) -> str:
    return make_page(sample_lake, language="en")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("fleet") / "lake"
    make_fleet(lake, host_count=48, days=3)
    return lake


def data_of(text: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    data: dict[str, Any] = json.loads(found)
    return data


def text_of(html: str) -> str:
    """Return the English words of a piece of the page."""
    english = re.sub(r'<span class="ja" lang="ja">.*?</span>', "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", "", english)).split())


def headline(text: str) -> tuple[str, str]:
    (state, html) = re.findall(r'<h1 data-state="(\w+)">(.*?)</h1>', text, re.DOTALL)[0]
    return state, text_of(html)


def test_the_sample_is_told_in_one_sentence(sample_page: str) -> None:
    assert headline(sample_page) == (
        "missing",
        "After 3 of 7 restarts the queue was not flushed: 813 messages waited 30 s too long on average, "
        "up to 1 min 16 s. 4 hosts need work.",
    )


@pytest.mark.parametrize(("case", "state"), STATES.items())
def test_each_state_has_its_sentence(case: Case, state: str, tmp_path: Path) -> None:
    make_fleet(tmp_path, host_count=3, days=2, case=case)
    text = make_page(tmp_path, language="en")
    found, said = headline(text)
    assert (found, bool(said)) == (state, True)
    if case == "empty":
        assert "0 lines of 0 hosts were read" in text_of(text)


def test_a_lake_without_a_catalog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaillagError, match="does not exist"):
        make_page(tmp_path, language="en")


def test_a_day_of_which_nobody_knows_is_never_painted_as_good(tmp_path: Path) -> None:
    make_fleet(tmp_path, host_count=9, days=4, case="unknown")
    text = make_page(tmp_path, language="en")
    with open_catalog(tmp_path) as catalog:
        unknown = fetch(catalog, "select * from marts.fleet_daily where unknown_restart_count > 0")
    assert len(unknown) > 10
    assert len(re.findall(r'<td class="nk[ "]', text)) == len(unknown)
    assert "No flush is known to be missing, but for some restarts the logs cannot tell." in text_of(text)


def test_no_sender_recipient_or_message_id_is_in_it(sample_lake: Path, sample_page: str, fleet: Path) -> None:
    with open_catalog(sample_lake) as catalog:
        rows = fetch(
            catalog,
            "select sender as name from marts.held_messages union select message_id from marts.held_messages "
            "union select recipient from marts.held_recipients",
        )
    names = {row["name"].strip("<>") for row in rows if row["name"] and row["name"].strip("<>")}
    assert len(names) > 100
    assert [name for name in names if name in sample_page] == []
    made_up = make_page(fleet, language="en")
    assert "secret." not in made_up
    assert "a line of (address)" in text_of(made_up)


def test_what_a_log_wrote_stays_text(fleet: Path) -> None:
    text = make_page(fleet, language="en")
    markup, script_count = re.subn(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert script_count == 3, "the data, Vega and the script of the page"
    assert not re.search("<img|<b id|<script", markup)
    assert not re.search("[<>]", text.partition('id="data">')[2].partition("</script>")[0])
    assert not re.findall(r"[\u202e\u2028\u2029]", text)
    assert HOSTILE_HOST in unescape(markup)
    assert HOSTILE_HOST in data_of(text)["hosts"]


def test_the_policy_allows_these_scripts_and_this_style_alone(sample_page: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', sample_page)
    rules = dict(rule.split(" ", 1) for rule in unescape(policy).split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    scripts = re.findall(r"<script>(.*?)</script>", sample_page, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", sample_page, re.DOTALL)
    assert len(scripts) == 2
    assert rules["script-src"].split() == [hash_of(script) for script in scripts]
    assert rules["style-src"].split() == [hash_of(style) for style in styles]
    assert not re.search(r'\sstyle="', sample_page.replace(scripts[0], ""))
    assert not re.search(r'(?:src|href)="(?!#)', sample_page.replace(scripts[0], ""))


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_both_languages_are_in_it_and_one_is_shown_without_a_script(sample_lake: Path) -> None:
    japanese = make_page(sample_lake, language="ja")
    assert '<html lang="ja">' in japanese
    assert "<title>検索サービスの再起動とキューの flush</title>" in japanese
    assert data_of(japanese)["texts"].keys() == {"en", "ja"}
    assert data_of(japanese)["specs"]["ja"].keys() == {"waits", "hours", "changes", "what_if", "marks"}


def test_hosts_with_the_same_advice_stand_together(fleet: Path) -> None:
    text = make_page(fleet, language="en")
    codes = re.findall(r'data-advice="(\w+)"', text)
    assert codes == sorted(set(codes), key=codes.index), "one entry for each piece of advice"
    (wrapper,) = re.findall(r'data-advice="edit_wrapper">(.*?)</li>', text, re.DOTALL)
    assert text_of(wrapper).count("mx04") == 5
    assert 'data-en="Edit script/postfix"' in wrapper


def test_sentences_of_one_host_are_told_apart_from_those_of_all() -> None:
    same = {"code": "c", "title_en": "T", "title_ja": "題", "commands": ["a b"], "position": 1}
    cost = {"missing_count": 1, "avoidable_seconds": 5.0}
    rows = [
        {
            **same,
            **cost,
            "host": host,
            "text_en": f"Do it. Seen {n} times.",
            "text_ja": f"実行します。{n} 回です。",
        }
        for host, n in (("gw1", 3), ("gw2", 4))
    ]
    (group,) = content._advice_groups(rows)
    assert group["same"] == {"en": ["Do it."], "ja": ["実行します。"]}
    assert [host["own"] for host in group["hosts"]] == [
        {"en": [f"Seen {n} times."], "ja": [f"{n} 回です。"]} for n in (3, 4)
    ]
    assert (group["missing_count"], group["avoidable_seconds"]) == (2, 10.0)


def test_timelines_beyond_the_limit_are_left_out_and_counted(
    fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "TIMELINE_BYTES", 20_000)
    text = make_page(fleet, language="en")
    data = data_of(text)
    with open_catalog(fleet) as catalog:
        (held,) = fetch(catalog, "select count(*) as n from marts.restarts where held_message_count > 0")
    kept = len(data["timelines"])
    assert 10 < kept < held["n"]
    assert f"the timelines of {held['n'] - kept:,} of them are left out" in text_of(text)
    verdicts = {data["verdicts"][data["columns"]["verdict"][int(number)]] for number in data["timelines"]}
    assert verdicts <= {"missing", "ineffective"}, "those without a flush come first"


def test_restarts_beyond_the_limit_are_not_listed_and_that_is_said(
    fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "LISTED_COUNT", 50)
    text = make_page(fleet, language="en")
    assert len(data_of(text)["columns"]["host"]) == 50
    assert re.search(r"Listed are 50 of [\d,]+, those without a flush", text_of(text))


def test_hosts_beyond_the_limit_are_counted(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "HOST_COUNT", 3)
    text = make_page(fleet, language="en")
    with open_catalog(fleet) as catalog:
        ((lacking,),) = catalog.execute(
            "select count(*) from (select host from marts.fleet_daily where missing_flush_count > 0 union "
            "select host from marts.coverage where log_kind = 'maillog' "
            "and gap_until - gap_from > interval 1 hour)"
        ).fetchall()
    squares = text.partition('<section id="fleet">')[2].partition("</table>")[0]
    assert squares.count('<th scope="row"><a') == 3
    assert f"{lacking - 3} more are not shown." in text_of(text.partition('id="hosts"')[0])


def test_hosts_whose_logs_could_not_show_a_restart_are_named(tmp_path: Path) -> None:
    make_fleet(tmp_path, host_count=2, days=2, case="no_restarts")
    add_finding(tmp_path, "tokyo-mx02", rule=HAS_MAIL_LINES, what="has no line of Postfix")
    text = text_of(make_page(tmp_path, language="en"))
    assert "The logs of one host could not have shown a restart." in text
    assert "as they have no line of their mail program: tokyo-mx02" in text


def test_findings_come_in_both_languages_without_addresses(tmp_path: Path) -> None:
    make_fleet(tmp_path, host_count=1, days=2)
    add_finding(tmp_path, "gw1/a@example.com.log", rule="r", what="cannot be read (of b@example.com)")
    text = make_page(tmp_path, language="en")
    assert '<span class="en" lang="en">cannot be read (of (address))</span>' in text
    assert '<span class="ja" lang="ja">読み取れません (of (address))</span>' in text
    assert "example.com" not in text


def add_finding(lake: Path, place: str, *, rule: str, what: str) -> None:
    columns = "place, rule, severity, what, remedy"
    with duckdb.connect(str(lake / CATALOG_NAME)) as catalog:
        catalog.execute(
            f"insert into ops.quarantine ({columns}) values (?, ?, 'warning', ?, 'Mend it.')",
            [place, rule, what],
        )


@pytest.mark.parametrize(
    ("table", "column", "prefix"),
    [
        ("marts.coverage", "reason", "page.gap"),
        ("marts.coverage", "log_kind", "page.log"),
        ("ops.quarantine", "severity", "page.severity"),
    ],
)
def test_every_value_that_it_shows_has_words(table: str, column: str, prefix: str) -> None:
    (values,) = (
        rule["kwargs"]["value_set"]
        for rule in load_contracts()[table].expectations
        if rule["type"] == "expect_column_values_to_be_in_set" and rule["kwargs"]["column"] == column
    )
    assert [value for value in values if f"{prefix}_{value}" not in texts("en")] == []


def test_the_drawing_is_made_once_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = drawing.load_drawing()
    (kept,) = (tmp_path / "maillag" / "page").iterdir()
    monkeypatch.setattr(drawing, "_make_drawing", lambda: pytest.fail("was made again"))
    assert drawing.load_drawing() == made
    assert "</script" not in made["script"]
    kept.write_text("damaged")
    monkeypatch.setattr(drawing, "_make_drawing", lambda: {"script": "new", "specs": {}})
    assert drawing.load_drawing() == {"script": "new", "specs": {}}
    assert json.loads(kept.read_text())["script"] == "new"


def test_a_user_without_a_cache_folder_gets_the_drawing_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(drawing, "_make_drawing", lambda: {"script": "made"})
    assert drawing.load_drawing() == {"script": "made"}


def test_the_page_takes_the_place_of_the_old_one_or_leaves_it(
    sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    out.write_text("old")
    monkeypatch.setattr(page, "make_page", lambda *_, **__: "half \ud800 of it")
    with pytest.raises(UnicodeEncodeError):
        write_page(sample_lake, out, language="en")
    assert out.read_text() == "old"
    assert [*tmp_path.iterdir()] == [out]


@pytest.mark.slow
def test_each_run_writes_the_page_with_the_rights_of_the_lake(tmp_path: Path) -> None:
    job = Job(SAMPLE, tmp_path / "lake", hosts=("imss13",), lake_mode=0o600)
    done = run_archive(job, LocalEngine(), NoProgress(), page_language="ja")
    assert done.page_problem is None
    written = job.lake / "report.html"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    text = written.read_text("utf-8")
    assert headline(text)[0] == "missing"
    assert '<html lang="ja">' in text
    assert [path.name for path in job.lake.iterdir() if "html" in path.name] == ["report.html"]
    written.unlink()
    run_archive(job, LocalEngine(), NoProgress(), page_language=None)
    assert not written.exists(), "the setting switches it off"


def test_a_page_that_cannot_be_written_is_a_warning_with_its_remedy(
    sample_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "write_page", fail)
    problem = leave_page(sample_lake, "run", "en")
    assert problem
    assert problem.severity == "warning"
    assert str(problem) == (
        "report.html: cannot be written ([Errno 28] No space left on device). All results are published. "
        "Correct the cause, then: maillag report"
    )


def test_the_list_and_its_timelines_have_the_figures_of_the_marts(
    sample_lake: Path, sample_page: str
) -> None:
    data = data_of(sample_page)
    with open_catalog(sample_lake) as catalog:
        restarts = fetch(catalog, "select * from marts.restarts order by down_at, host")
    columns = data["columns"]
    assert [data["hosts"][number] for number in columns["host"]] == [row["host"] for row in restarts]
    assert columns["held"] == [row["held_message_count"] for row in restarts]
    assert [data["verdicts"][number] for number in columns["verdict"]] == [
        row["flush_verdict"] for row in restarts
    ]
    held = [
        sum(timeline["m"].get("0", [])[1::2]) if (timeline := data["timelines"].get(str(number))) else 0
        for number in range(len(restarts))
    ]
    assert held == columns["held"], "each held message was deferred once"
