"""A support case says what happened to people who do not know maillag, and names nobody."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli import app
from flows.pseudonyms import Pseudonyms
from flows.show_explanation import MESSAGES_IN_TICKET
from flows.ticket import HTML, LINES, MARKDOWN, PICTURE, write_ticket
from tests.conftest import SAMPLE
from tests.forgery import places
from transforms.explain.explain import Explanation, explain_restart
from transforms.problems import MaillagError

RESTART = "imss12-20261124T031333Z"
ADDRESSES = re.compile(r"[\w.+'-]+@(?!domain[0-9]+\.example)[\w.-]+")


@pytest.fixture(scope="module")
def explanation(sample_lake: Path) -> Explanation:
    return explain_restart(sample_lake, RESTART, archive=SAMPLE, message_limit=MESSAGES_IN_TICKET)


@pytest.fixture
def case(sample_lake: Path, explanation: Explanation, tmp_path: Path) -> Path:
    write_ticket(sample_lake, explanation, tmp_path / "case", language="en")
    return tmp_path / "case"


def test_a_case_has_what_a_vendor_asks_for(case: Path) -> None:
    assert {path.name for path in case.iterdir()} == {MARKDOWN, HTML, PICTURE, LINES}
    text = (case / MARKDOWN).read_text(encoding="utf-8")
    for wanted in (
        "# imss12-20261124T031333Z: Flushed without effect",
        "| Product and build | IMSS 9.1 b1335 |",
        "| MD5 of script/postfix | 5e0eb2ceffbf474480ec2814e85d66ae |",
        "| Longest wait | 1 min 59 s |",
        "| queue_run_delay_seconds | 30 | the host's entry in the fleet file |",
        "![Messages waiting](timeline.png)",
        "SysMonitor: Control postfix by cmd /opt/trend/imss/bin/close_handle_sh",
        "imss12/maillog: 10,951 lines, loaded",
        "Made by maillag ",
    ):
        assert wanted in text
    assert "by other means" not in text
    assert "put together" in text.split("What the words mean")[1]
    assert "The archive was not read" not in text
    assert (case / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_lines_are_those_of_the_archive_with_file_and_number(
    case: Path, explanation: Explanation
) -> None:
    lines = (case / LINES).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) > 2 * len(explanation.messages)
    maillog = (SAMPLE / "imss12" / "maillog").read_text(encoding="utf-8").splitlines()
    # The pseudonyms have other numbers in another order.
    names = re.compile(r"name[0-9]+@domain[0-9]+")
    numbers = []
    for line in lines:
        path, number, text = line.split(":", 2)
        if path == "imss12/maillog":
            numbers.append(int(number))
            in_log = Pseudonyms().hide(maillog[int(number) - 1])
            assert names.sub("", text.lstrip()) == names.sub("", in_log)
    assert numbers == sorted(numbers)


def test_no_address_is_in_a_case_and_the_same_one_has_the_same_pseudonym(case: Path) -> None:
    for name in (MARKDOWN, HTML, LINES):
        text = re.sub('base64,[^"]*', "", (case / name).read_text(encoding="utf-8"))
        assert not ADDRESSES.search(text), name
        for domain in ("example.com", "example.net", "example.co.jp"):
            assert domain not in text
    # The recipient of the message that waited longest, in its deferral and in its release.
    text = (case / MARKDOWN).read_text(encoding="utf-8")
    of_message = re.findall(r"46B471960A8: to=<(name[0-9]+@domain[0-9]+\.example)>", text)
    assert len(of_message) == 2
    assert len(set(of_message)) == 1


def test_addresses_are_shown_if_that_is_wanted(
    sample_lake: Path, explanation: Explanation, tmp_path: Path
) -> None:
    write_ticket(sample_lake, explanation, tmp_path, language="en", with_addresses=True)
    text = (tmp_path / MARKDOWN).read_text(encoding="utf-8")
    assert "to=<jane@example.com>" in text
    assert "Addresses and message ids are as logged." in text


def test_the_page_loads_nothing_and_runs_nothing(case: Path) -> None:
    content = (case / HTML).read_text(encoding="utf-8")
    assert not re.search("<(script|link|iframe|a|form)[ >]", content)
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in content
    assert "<h1>imss12-20261124T031333Z: Flushed without effect</h1>" in content


def test_the_case_is_there_in_japanese(sample_lake: Path, explanation: Explanation, tmp_path: Path) -> None:
    write_ticket(sample_lake, explanation, tmp_path, language="ja")
    text = (tmp_path / MARKDOWN).read_text(encoding="utf-8")
    assert "| flush の実行命令 | 製品が実行を命令 |" in text
    assert '<html lang="ja">' in (tmp_path / HTML).read_text(encoding="utf-8")


def test_without_the_archive_a_case_says_so(sample_lake: Path, tmp_path: Path) -> None:
    of_lake = explain_restart(sample_lake, RESTART, message_limit=1)
    write_ticket(sample_lake, of_lake, tmp_path, language="en")
    assert "The archive was not read" in (tmp_path / MARKDOWN).read_text(encoding="utf-8")
    lines = (tmp_path / LINES).read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"imss12/[\w.]+:[0-9]+ ~ \w+=", line) for line in lines)


def test_a_folder_that_cannot_be_written_to_is_named(
    sample_lake: Path, explanation: Explanation, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MaillagError, match="cannot be written to"):
        write_ticket(sample_lake, explanation, tmp_path / "file", language="en")


def test_the_command_writes_a_case(
    sample_lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["explain", RESTART, "--lake", str(sample_lake), "--ticket", str(tmp_path / "case")]
    app(arguments, standalone_mode=False)
    assert "case.md, case.html, timeline.png, log-lines.txt" in capsys.readouterr().err
    assert (tmp_path / "case" / MARKDOWN).stat().st_size > 1000


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("to=<jane@example.com>, relay=none", "to=<name1@domain1.example>, relay=none"),
        ("from=<>, size=3", "from=<>, size=3"),
        ('to=<"odd, name"@example.com>, x', "to=<name1@domain1.example>, x"),
        ("to=<a@b>,<c@b>, delay", "to=<name1@domain1.example>,<name2@domain1.example>, delay"),
        ("to=<A@b.c>, orig_to=<a@B.C>", "to=<name1@domain1.example>, orig_to=<name1@domain1.example>"),
        ("to=root, ctladdr=<a@b> (0/0)", "to=name1, ctladdr=<name2@domain1.example> (0/0)"),
        ("orig_to=<root>, relay=x", "orig_to=<name1>, relay=x"),
        ("message-id=<1@x.example>", "message-id=<name1@domain1.example>"),
        ('recipient="odd name"@b.c relay_host=none', "recipient=name1@domain1.example relay_host=none"),
        ("recipient=root relay_host=none", "recipient=name1 relay_host=none"),
        ("sasl_username=bob, x", "sasl_username=name1, x"),
        ("to=<cut@exam", "to=<name1@domain1.example"),
        ("to=<cut", "to=<name1"),
        ("550 <a@b>: no such user", "550 <name1@domain1.example>: no such user"),
        ("helo=<mx.example.com>", "helo=<mx.example.com>"),
        ("client=mx.example.com[192.0.2.1]", "client=mx.example.com[192.0.2.1]"),
        ("postfix/smtp[1]: A1: relay=localhost[127.0.0.1]:10025", None),
        ("Nov 24 12:13:43 gw postfix/qmgr[1]: A1: removed", None),
    ],
)
def test_a_person_becomes_a_pseudonym_and_a_server_stays(text: str, hidden: str | None) -> None:
    assert Pseudonyms().hide(text) == (text if hidden is None else hidden)


NAME = st.text(
    st.characters(
        codec="utf-8",
        exclude_characters='<>",\\@=()[];:/',
        exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"],
    ),
    min_size=1,
)


@given(
    NAME, NAME, st.sampled_from(["to=<{}>, x", "from=<{}>", "{} said", 'x "{}" y', "orig_to=<{}>,", "(<{}>)"])
)
def test_no_address_of_any_letters_survives(local: str, domain: str, form: str) -> None:
    text = form.format(f"zq{local}@{domain}qz")
    assert Pseudonyms().hide(text) == form.format("name1@domain1.example")


@given(st.integers(0, 2**32))
def test_no_forged_address_survives(seed: int) -> None:
    chance = random.Random(seed)
    syntax = places.draw_syntax(chance)
    for place in (places.in_recipient, places.in_sender, places.in_original_recipient, places.in_message_id):
        for line in place(chance, syntax, "A1"):
            assert not ADDRESSES.search(Pseudonyms().hide(line)), line
