"""The same log as other templates, daemons and tools write it: the events are the same, in both lanes.

forms/maillog is a log of 96 lines in RFC 3164 as rsyslog writes it by default. Each form rewrites its lines.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests import lanes
from transforms.parse.clock import YearWindow
from transforms.parse.events import ParsedBlock, Parser, Reading, split_lines
from transforms.parse.tables import UNPARSED
from transforms.zone import Zone

LINES = (Path(__file__).parent / "forms" / "maillog").read_text(encoding="utf-8").splitlines()
LINE = re.compile(r"Nov 24 (?P<time>\S+) gw postfix/(?P<program>\S+)\[(?P<pid>[0-9]+)\]: (?P<text>.*)")
READING = Reading("gw", "maillog", Zone("UTC", "default"), YearWindow(date(2026, 12, 1), "file_name"))
# What a form may lose, or says otherwise.
PLACE = ("year_source", "zone_source", "source_id", "line_number", "pid", "instance")
LONG_INSTANCE = "postfix-inbound-gateway01"


def _with(form: str) -> Callable[[re.Match[str]], str]:
    """Return what writes a line in a form."""
    return lambda line: form.format(**line.groupdict())


def _cut(stamp: str, instance: str) -> Callable[[re.Match[str]], str]:
    """Return what writes a line with its tag cut at 32 characters, process ids of seven digits."""
    return lambda line: (
        f"{stamp} {line['time']} gw ".replace("T ", "T")
        + f"{instance}/{line['program']}[200{line['pid']}]:"[:32]
        + f" {line['text']}"
    )


FORMS: dict[str, Callable[[re.Match[str]], str]] = {
    "blanks at the end ($SpaceLFOnReceive)": _with("Nov 24 {time} gw postfix/{program}[{pid}]: {text}  "),
    "a tab at the end": _with("Nov 24 {time} gw postfix/{program}[{pid}]: {text}\t"),
    "lines of a Windows host": _with("Nov 24 {time} gw postfix/{program}[{pid}]: {text}\r"),
    "an escaped line feed": _with("Nov 24 {time} gw postfix/{program}[{pid}]: {text}#012"),
    "an escaped carriage return and a blank": _with("Nov 24 {time} gw postfix/{program}[{pid}]: {text}#015 "),
    "escapes with a backslash": _with("Nov 24 {time} gw postfix/{program}[{pid}]: {text}\\015\\012"),
    "escapes as in C": _with("Nov 24 {time} gw postfix/{program}[{pid}]: {text}\\n"),
    "escapes of the BSD syslogd": _with("Nov 24 {time} gw postfix/{program}[{pid}]: {text}^M"),
    "two blanks before the text": _with("Nov 24 {time} gw postfix/{program}[{pid}]:  {text}"),
    "a blank at the end, in RFC 5424": _with(
        "<22>1 2026-11-24T{time}+00:00 gw postfix/{program} {pid} - - {text} "
    ),
    "a blank at the end, in RFC 3339": _with("2026-11-24T{time}+00:00 gw postfix/{program}[{pid}]: {text} "),
    "RSYSLOG_SyslogProtocol23Format": _with("<22>1 2026-11-24T{time}+00:00 gw postfix {pid} - -  {text}"),
    "a template with programname": _with("Nov 24 {time} gw postfix[{pid}]: {text}"),
    "a template with programname, of another instance": _with("Nov 24 {time} gw postfix-in[{pid}]: {text}"),
    "a template with programname, without process ids": _with("2026-11-24T{time}Z gw postfix: {text}"),
    "RSYSLOG_TraditionalForwardFormat": _cut("<22>Nov 24", LONG_INSTANCE),
    "RSYSLOG_ForwardFormat": _cut("<22>2026-11-24T", LONG_INSTANCE),
    "a cut tag of which hardly a program is left": _cut("Nov 24", "postfix-inbound-gateway-0001"),
    "a cut tag of which no program is left": _cut("Nov 24", "postfix-inbound-gateway-0000001"),
    "a cut tag with a shorter instance": _cut("Nov 24", "postfix/submission"),
    "no host": _with("Nov 24 {time} postfix/{program}[{pid}]: {text}"),
    "no host, in RFC 3339": _with("2026-11-24T{time}.123456+00:00 postfix/{program}[{pid}]: {text}"),
    "no host, but its blank": _with("Nov 24 {time}  postfix/{program}[{pid}]: {text}"),
    "docker logs -t": _with("2026-11-24T{time}.123456789Z postfix/{program}[{pid}]: {text}"),
    "docker logs -t of a syslog daemon": _with(
        "2026-11-24T{time}.123456789Z Nov 24 {time} gw postfix/{program}[{pid}]: {text}"
    ),
    "Kubernetes": _with("2026-11-24T{time}.123456789Z stdout F postfix/{program}[{pid}]: {text}"),
    "journalctl in Japanese": _with("11月 24 {time} gw postfix/{program}[{pid}]: {text}"),
    "journalctl in Korean": _with("11월 24 {time} gw postfix/{program}[{pid}]: {text}"),
    "journalctl -o short-full": _with("Tue 2026-11-24 {time} UTC gw postfix/{program}[{pid}]: {text}"),
    "journalctl -o with-unit": _with("Tue 2026-11-24 {time} UTC gw postfix.service[{pid}]: {text}"),
    "months in lower case": _with("nov 24 {time} gw postfix/{program}[{pid}]: {text}"),
    "tabs between the columns": _with("Nov 24 {time}\tgw\tpostfix/{program}[{pid}]:\t{text}"),
    "syslogd -v of FreeBSD": _with("Nov 24 {time} <2.6> gw postfix/{program}[{pid}]: {text}"),
    "syslogd -vv of FreeBSD": _with("Nov 24 {time} <mail.info> gw postfix/{program}[{pid}]: {text}"),
    "AIX": _with("Nov 24 {time} gw mail:info postfix/{program}[{pid}]: {text}"),
    "Solaris": _with("Nov 24 {time} gw postfix/{program}[{pid}]: [ID 197553 mail.info] {text}"),
    "an address of IPv6 for the host": _with("Nov 24 {time} 2001:db8::1 postfix/{program}[{pid}]: {text}"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_events_are_the_same_in_this_form(form: Callable[[re.Match[str]], str]) -> None:
    content = "".join(f"{form(match)}\n" for line in LINES if (match := LINE.fullmatch(line)))
    as_usual, parsed = parse("".join(f"{line}\n" for line in LINES)), parse(content)
    assert UNPARSED not in parsed.tables
    assert parsed.tables.keys() == as_usual.tables.keys() != set()
    for table, frame in parsed.tables.items():
        assert_frame_equal(comparable(frame), comparable(as_usual.tables[table]))
    lanes.assert_lanes_agree(content.encode())


def test_a_program_that_is_not_told_is_no_other_s() -> None:
    """Which program of Postfix it was is NULL where the text does not tell; the line is no noise."""
    line = "Nov 24 10:00:00 gw postfix[1]: {}\n"
    parsed = parse(line.format("warning: this is odd") + line.format("this is odder"))
    assert parsed.tables["other_lines"]["program"].to_list() == [None]
    assert parsed.tables[UNPARSED]["reason"].to_list() == ["no_program"]


@pytest.mark.parametrize("stamp", ["Dec 31 23:59:58", "1969-12-31T23:59:58+00:00", "Jan  1 08:59:58"])
def test_a_summary_of_syslog_ng_takes_the_time_of_the_line_before(stamp: str) -> None:
    """syslog-ng/syslog-ng#1655: 3.8 leaves out the host, and its stamp is two seconds before 1970."""
    summary = "Last message 'connect to localhost[' repeated 2 times, suppressed by syslog-ng on gw"
    content = f"{LINES[0]}\n{stamp} postfix/smtp[1003]: {summary}\n{LINES[-1]}\n"
    (event,) = parse(content).tables["service_events"].filter(event_kind="lines_repeated").to_dicts()
    assert event["logged_at"] == datetime.fromisoformat("2026-11-24T10:00:00Z")
    assert event["lost_line_count"] == 2
    lanes.assert_lanes_agree(content.encode())


def parse(content: str) -> ParsedBlock:
    """Parse a log of the host gw, at the end of November 2026."""
    return Parser(READING).parse(split_lines(content.encode(), 1))


def comparable(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows without what a form may lose, times in whole seconds."""
    return frame.drop(PLACE).with_columns(
        pl.col("logged_at").dt.truncate("1s"),
        *([pl.col("program").str.split("/").list.last()] if "program" in frame.columns else []),
    )
