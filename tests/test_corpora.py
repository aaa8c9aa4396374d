"""Other projects' lines, and what those projects read in them: nothing is left over, and the fields agree.

The corpora stand beside the repository and are no part of it: whyscream/postfix-grok-patterns (191 cases) and
homoluctus/maillogger (8 lines).
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from transforms.parse.clock import YearWindow
from transforms.parse.events import ParsedBlock, Parser, Reading, split_lines
from transforms.parse.tables import NOISE, UNPARSED
from transforms.zone import Zone

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
GROK_CASES = CORPORA / "postfix-grok-patterns" / "cases.yaml"
MAILLOGGER = CORPORA / "maillogger"
needs_corpora = pytest.mark.skipif(not CORPORA.exists(), reason=f"the corpora are not at {CORPORA}")

QUEUE_ID = "892A0205B6"
HEADER = "Nov 24 10:00:00 gw postfix/"
ATTEMPT = f"{QUEUE_ID}: to=<a@example.com>, "
ATTEMPT_END = "dsn=2.0.0, status=sent (250 ok)"
# A few cases are fragments; each stands in the line that it is a part of.
WHOLE_LINES = {
    "RELAY": f"{ATTEMPT}relay={{}}, delay=0, delays=0/0/0/0, {ATTEMPT_END}",
    "DELAYS": f"{ATTEMPT}relay=none, delay=3.6, delays={{}}, {ATTEMPT_END}",
    "TLS_FEATURES": f"{ATTEMPT}relay=mx.example.com[192.0.2.9]:25, delay=0, delays=0/0/0/0, tls={{}}, "
    f"{ATTEMPT_END}",
    "COMMAND_COUNTER_DATA": "disconnect from mx.example.com[192.0.2.7] {}",
}
PROGRAMS = {
    "SCRIPT": "postfix-script",
    "TRIVIAL_REWRITE": "trivial-rewrite",
    "RELAY": "smtp",
    "DELAYS": "smtp",
    "TLS_FEATURES": "smtp",
    "COMMAND_COUNTER_DATA": "smtpd",
}
DELAYS = ("before_qmgr_seconds", "in_qmgr_seconds", "connection_setup_seconds", "transmission_seconds")
POSTSUPER_ACTIONS = {
    "removed": "deleted",
    "requeued": "requeued",
    "placed on hold": "held",
    "released from hold": "released",
}
# Their names (without `postfix_`) and those of Postfix itself in their `keyvalue_data`, and our columns.
COLUMNS = {
    "queueid": "queue_id",
    "from": "sender",
    "to": "recipient",
    "orig_to": "original_recipient",
    "size": "size_bytes",
    "nrcpt": "recipient_count",
    "delay": "delay_seconds",
    "conn_use": "connection_use_count",
    "dsn": "dsn",
    "tls": "tls",
    "message-id": "message_id",
    "relay_hostname": "relay_host",
    "relay_ip": "relay_address",
    "relay_service": "relay_address",
    "relay_port": "relay_port",
    "smtp_response": "reason",
    "local_response": "reason",
    "pipe_response": "reason",
    "error_response": "reason",
    **{f"delay_{name.removesuffix('_seconds')}": name for name in DELAYS},
    "delay_conn_setup": "connection_setup_seconds",
}
# What we keep within another column, as its text.
WITHIN = dict.fromkeys(
    (
        "tls_security_level",
        "tls_downgrade_level",
        "tls_policy_undecided",
        "requiretls",
        "requiretls_policy_undecided",
        "requiretls_policy_violation",
        "requiretls_downgrade_level",
    ),
    "tls",
)
# What we do not keep: the user who submitted a message.
NOT_KEPT = {"uid"}


@dataclass(frozen=True)
class Case:
    """A line of a corpus with the fields that its project reads in it."""

    name: str
    line: str
    expected: dict[str, Any]

    def __str__(self) -> str:
        return self.name


@cache
def grok_cases() -> list[Case]:
    """Return the cases as lines, with their fields under the names of our columns where they differ."""
    if not GROK_CASES.exists():
        return []
    cases = []
    for case in yaml.safe_load(GROK_CASES.read_text(encoding="utf-8")):
        kind = re.search(r"POSTFIX_([A-Z_]+)", case["pattern"])[1]  # type: ignore[index]
        # Postfix logs what cannot be printed, line ends among it, as a question mark.
        text = re.sub(r"[\x00-\x1f\x7f]", "?", case["data"])
        text = WHOLE_LINES.get(kind, "{}").replace("{}", text)
        # White space at the end is no part of a text.
        fields = {
            name.removeprefix("postfix_"): str(value).rstrip() for name, value in case["results"].items()
        }
        program = PROGRAMS.get(kind, kind.lower())
        cases.append(Case(case["case"], f"{HEADER}{program}[1]: {text}", fields))
    return cases


@needs_corpora
def test_all_cases_are_there() -> None:
    assert len(grok_cases()) == 191


@needs_corpora
@pytest.mark.parametrize("case", grok_cases(), ids=str)
def test_line_is_read_as_postfix_grok_patterns_reads_it(case: Case) -> None:
    parsed = parse(case.line)
    assert parsed.line_counts["line_count"].to_list() == [1]
    assert UNPARSED not in parsed.tables
    for table, frame in parsed.tables.items():
        (record,) = frame.rows(named=True)
        for name, value in case.expected.items():
            check(table, record, name, value)
    if not parsed.tables:
        assert parsed.line_counts["table_name"].to_list() == [NOISE]


@needs_corpora
def test_lines_are_read_as_maillogger_reads_them() -> None:
    lines = (MAILLOGGER / "maillog").read_text(encoding="utf-8").splitlines()
    records = json.loads((MAILLOGGER / "parsed_maillog.json").read_text(encoding="utf-8"))
    assert len(lines) == len(records) == 8
    for line, record in zip(lines, records, strict=True):
        parsed = parse(line, named_for=date(2020, 8, 12))
        assert parsed.tables
        assert UNPARSED not in parsed.tables
        # It reads delivery attempts only.
        if record is None:
            assert "delivery_attempts" not in parsed.tables
            continue
        attempt = parsed.tables["delivery_attempts"].row(0, named=True)
        assert attempt["queue_id"] == record["mail_id"]
        assert attempt["recipient"] == record["to_address"]
        assert relay_of(attempt) == record["relay"]
        assert attempt["delay_seconds"] == float(record["delay"])
        assert [attempt[name] for name in DELAYS] == [float(part) for part in record["delays"].split("/")]
        assert attempt["dsn"] == record["dsn"]
        assert attempt["status"] == record["status"]
        assert attempt["reason"] == record["description"]
        logged_at = datetime.strptime(record["datetime"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        assert attempt["logged_at"] == logged_at


def check(table: str, record: dict[str, Any], name: str, value: str) -> None:
    """Assert that our record holds their field."""
    if name == "queueid":
        assert record["queue_id"] == (None if value == "NOQUEUE" else value)
    elif "message" in record:
        # We keep the text of these lines whole, and their fields are parts of it.
        assert value in record["message"], name
    elif name == "keyvalue_data":
        # `uid=0 from=<root>` or `to=<a@example.com>, relay=none, `
        for key, text in re.findall(r"([a-z_]+)=([^, ]*)", value):
            check(table, record, key, text.removeprefix("<").removesuffix(">"))
    elif name == "relay":
        assert relay_of(record) == value
    elif name == "client":
        assert f"{record['client_host']}[{record['client_address']}]" == value
    elif name == "delays":
        assert [record[column] for column in DELAYS] == [float(part) for part in value.split("/")]
    elif name == "message-id":
        # They drop the brackets.
        assert re.sub(r"^<(.*)>$", r"\1", record["message_id"]) == value
    elif name == "status" and table == "queue_removals":
        assert record["removal_kind"] == value
    elif name == "status":
        assert record["status"] == value
    elif name == "postsuper_action":
        assert record["removal_kind"] == POSTSUPER_ACTIONS[value]
    elif name == "message" and table == "queue_removals":
        assert record["removal_kind"] == value
    elif name in WITHIN:
        assert value in record[WITHIN[name]]
    elif name not in NOT_KEPT:
        ours = record[COLUMNS[name]]
        assert ours == (float(value) if isinstance(ours, float | int) else value), name


def relay_of(attempt: dict[str, Any]) -> str:
    """Return the relay as Postfix writes it."""
    address, port = attempt["relay_address"], attempt["relay_port"]
    return f"{attempt['relay_host']}{f'[{address}]' if address else ''}{f':{port}' if port else ''}"


def parse(line: str, named_for: date = date(2026, 11, 24)) -> ParsedBlock:
    """Parse a line of a maillog that is named for a day."""
    reading = Reading("gw", "maillog", Zone("UTC", "default"), YearWindow.by_file_name(named_for))
    return Parser(reading).parse(split_lines(line.encode() + b"\n", 1))
