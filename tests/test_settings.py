"""Settings that cannot be used are one clear error, and rules for undisclosed logs never end a run."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.settings import load_settings
from tests.oddities import read
from transforms.engine import LocalEngine
from transforms.log_rules import LogRules
from transforms.parse.events import split_lines
from transforms.parse.headers import SYSLOG_HEADERS, read_headers
from transforms.parse.trend import system_event_headers, why_unsound
from transforms.problems import MaillagError

LINE = "(?P<year>.*?)(?P<month>.)(?P<day>.)(?P<time>.*?)(?P<text>.*)"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"lake = 'x'\n\0", "is not valid TOML (it holds NULs"),
        ("lake = 'x'\n".encode("utf-16"), "is not valid TOML (it holds NULs"),
        (b"x = " + b"[" * 100_000, "nested too deeply"),
        (b"lake = '\xff'", "maillag.toml:1: is not valid TOML (not UTF-8)"),
        (b"[log_rules]\nsystem_event_line = '.*'", "lacks the group (?P<day>...) and (?P<month>...)"),
        (b"[log_rules]\nmanual = '(?P<host>x)'", "manual has a group that means nothing, host"),
        (b"[log_rules]\nmanual = '(?x)a # b'", "manual is no regular expression"),
        (b"[log_rules]\nmanual = '('", "manual is no regular expression"),
        (b"[log_rules]\nmanual = 1", "log_rules.manual"),
        (b"engine = 'ray'", "engine = 'ray' is wrong: Input should be 'local' or 'dask'"),
        (b"workers = 0", "workers = 0 is wrong: Input should be greater than 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_settings_that_cannot_be_used_is_an_error(content: bytes, problem: str) -> None:
    Path("maillag.toml").write_bytes(content)
    with pytest.raises(MaillagError) as caught:
        load_settings()
    assert str(caught.value).startswith("maillag.toml")
    assert problem in str(caught.value)


def test_the_settings_open_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("maillag.toml").write_text("workers = 2")
    with load_settings().open_engine() as engine:
        assert isinstance(engine, LocalEngine)
    monkeypatch.setenv("MAILLAG_ENGINE", "dask")
    with pytest.raises(MaillagError, match="dask_address: is not set"):
        load_settings().open_engine()
    assert load_settings().open_engine("local")


def test_a_byte_order_mark_means_nothing() -> None:
    Path("maillag.toml").write_bytes("lake = 'x'\n".encode("utf-8-sig"))
    assert load_settings().lake == Path("x")


@pytest.mark.parametrize("value", ["x", "[" * 100_000])
def test_a_variable_that_is_no_json_is_an_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILLAG_THRESHOLDS", value)
    with pytest.raises(MaillagError, match=r"^environment: "):
        load_settings()


def test_the_default_rules_are_sound() -> None:
    assert why_unsound(LogRules()) is None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40))
def test_groups_that_hold_no_stamp_make_no_header(line: str) -> None:
    rules = LogRules(system_event_line=LINE)
    assert why_unsound(rules) is None
    headers = system_event_headers(rules)
    assert read_headers(headers, split_lines(f"{line}\n".encode(), 1))["day"].to_list() == [None]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ('"a\\ud800b"', r"a\ud800b"),
        ('"a\\udcffb"', r"a\udcffb"),
        ('"\\ud83d\\ude00"', "😀"),
        ("[97, 255, 98]", r"a\xffb"),
    ],
)
def test_half_a_character_in_a_journal_becomes_its_escape(message: str, text: str) -> None:
    line = f'{{"__REALTIME_TIMESTAMP":"1795489607000000","SYSLOG_IDENTIFIER":"x\\udc80","MESSAGE":{message}}}'
    (headed,) = read_headers(SYSLOG_HEADERS, split_lines(line.encode() + b"\n", 1)).to_dicts()
    assert headed["text"] == text
    assert headed["tag"] == r"x\udc80"


def test_a_journal_of_nested_lists_is_unparsed_and_the_rest_is_read(tmp_path: Path) -> None:
    entry = '{"__REALTIME_TIMESTAMP":"%d","SYSLOG_IDENTIFIER":"postfix/qmgr","MESSAGE":%s}\n'
    good = entry % (1_795_489_607_000_000, '"892A0205B6: removed"')
    deep = entry % (1_795_489_608_000_000, "[" * 100_000 + "]" * 100_000)
    (tmp_path / "archive" / "gw").mkdir(parents=True)
    (tmp_path / "archive" / "gw" / "journal.json").write_text(good + deep + "[" * 100_000 + "\n" + good)
    (record,) = read(tmp_path / "archive", tmp_path / "lake").records
    assert (record.line_count, record.event_line_count, record.unparsed_line_count) == (4, 2, 2)
