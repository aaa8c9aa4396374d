"""What stands before the text of a line: the stamp, the host, the program. One value for each form.

A header's named groups are: year, month (a name) or month_number, day, time, fraction and offset of the
stamp, of which each form has some; logging_host, tag, pid and text. A stamp without a year or an offset is
completed later (transforms/clock.py).
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from transforms.bounds import BEYOND, MOST_PID, MOST_THREAD_ID
from transforms.patterns import BARE

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

HEADER_SCHEMA = pl.Schema(
    {
        "line_number": pl.Int64(),
        "line": pl.String(),
        "year": pl.Int32(),
        "month": pl.Int8(),
        "day": pl.Int8(),
        "time_of_day": pl.Duration("us"),
        "utc_offset": pl.Duration("us"),
        "logging_host": pl.String(),
        "tag": pl.String(),
        "pid": pl.Int32(),
        "text": pl.String(),
        "thread_id": pl.Int64(),
        "level": pl.String(),
        "component": pl.String(),
    }
)

PRI = r"^(?:<[0-9]{1,3}>)?"
MONTH_NAME = rf"(?P<month_name>{'|'.join(MONTHS)})"
DAY_NAME = r"(?P<day>[0-3]?[0-9])"
NUMERIC_DATE = r"(?P<year>[0-9]{4})[-/](?P<month>[01][0-9])[-/](?P<day>[0-3][0-9])"
TIME = r"(?P<time>(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-6][0-9])(?:[.,](?P<fraction>[0-9]{1,9}))?"
OFFSET = r"(?P<offset>Z|[+-][0-2][0-9]:?[0-5][0-9])"
# Solaris puts `[ID 197553 mail.info]` before the text. `last message repeated` and `-- MARK --` are
# syslogd's own and bear no tag.
SENDER = (
    r"(?P<logging_host>\S+) (?:(?P<tag>[^\s\[\]:]+)(?:\[(?P<pid>[0-9]+)\])?: ?"
    r"(?:\[ID [0-9]+ \w+\.\w+\] )?(?P<text>.*)"
    r"|(?P<text_bare>last message repeated [0-9]+ times|-- MARK --))$"
)


@dataclass(frozen=True)
class Header:
    """One form of a header, told by its regex."""

    name: str
    regex: str
    samples: tuple[str, ...] = field(default=())


SYSLOG_HEADERS = (
    Header(
        # As syslogd, rsyslog, postlogd and `journalctl -o short` write it; the day is padded or not.
        name="RFC 3164",
        regex=rf"{PRI}{MONTH_NAME} {{1,2}}{DAY_NAME} {TIME} {SENDER}",
        samples=(
            "Feb  3 10:07:36 imsva91 postfix/smtp[25240]: text",
            "<22>Feb 03 10:07:36 imsva91 postfix/smtp[25240]: text",
            "Feb 3 10:07:36.123456 imsva91 postfix/smtp[25240]: text",
        ),
    ),
    Header(
        # rsyslog's file format; `journalctl -o short-iso` (no colon in the offset) and short-iso-precise.
        name="RFC 3339",
        regex=rf"{PRI}{NUMERIC_DATE}[T ]{TIME}{OFFSET}? {SENDER}",
        samples=(
            "2026-02-03T10:07:36.123456+09:00 imsva91 postfix/smtp[25240]: text",
            "2026-02-03T01:07:36Z imsva91 postfix/smtp[25240]: text",
            "2026-02-03T10:07:36+0900 imsva91 postfix/smtp[25240]: text",
            "<22>2026-02-03 10:07:36 imsva91 postfix/smtp[25240]: text",
        ),
    ),
    Header(
        name="RFC 5424",
        regex=(
            rf"{PRI}1 {NUMERIC_DATE}T{TIME}{OFFSET} (?P<logging_host>\S+) (?P<tag>\S+) (?P<pid>\S+) \S+ "
            r'(?:-|(?:\[(?:[^"\]]|"(?:[^"\\]|\\.)*")*\])+)(?: \x{FEFF}?(?P<text>.*))?$'
        ),
        samples=(
            "<22>1 2026-02-03T10:07:36.123456+09:00 imsva91 postfix/smtp 25240 - - text",
            '1 2026-02-03T01:07:36Z imsva91 postfix/smtp - ID1 [a@1 k="v]"][b@1] \ufefftext',
        ),
    ),
    Header(
        # A template of an rsyslog user; with the year first, nothing has to be inferred but the zone.
        name="year first",
        regex=rf"{PRI}(?P<year>[0-9]{{4}}) {MONTH_NAME} {{1,2}}{DAY_NAME} {TIME}(?: ?{OFFSET})? {SENDER}",
        samples=("2013 Jun 16 16:05:06.123 imsva91 postfix/smtp[25240]: text",),
    ),
)
TREND_STAMP = rf"^{NUMERIC_DATE} {TIME}(?:\s+GMT{OFFSET})?"
MANAGER_HEADERS = (
    Header(
        # Trend Micro KA-0010256 (blank) and KA-0004232 (TAB) differ in the separator.
        name="imssmgr",
        regex=(
            rf"{TREND_STAMP}\s+\[(?P<pid>[0-9]+):(?P<thread_id>[0-9]+)\]\s+\[(?P<level>\w+)\]\s*"
            r"(?:(?P<component>\w+):\s)?(?P<text>.*)$"
        ),
        samples=(
            "2020/02/03 10:08:28 GMT+09:00 [8954:4061145968] [NORMAL]SysMonitor: text",
            "2019/07/09 11:18:37 GMT+08:00\t[38536:4151331616] [NORMAL]text",
        ),
    ),
)


def read_headers(headers: tuple[Header, ...], lines: pl.DataFrame) -> pl.DataFrame:
    """Return the lines (`line_number`, `line`) in HEADER_SCHEMA; those without a header have no `day`.

    One file may mix all forms. A run of NULs before a line, which a crash leaves, is no part of it.
    """
    parts = []
    rest = lines.with_columns(stripped=pl.col("line").str.strip_chars_start("\0"))
    for header in headers:
        found = rest["stripped"].str.extract_groups(header.regex).struct.unnest()
        is_match = found["day"].is_not_null()
        parts.append(_typed(pl.concat([rest, found], how="horizontal").filter(is_match)))
        rest = rest.filter(~is_match)
        if rest.is_empty():
            break
    is_json = rest["stripped"].str.starts_with("{")
    if headers is SYSLOG_HEADERS and is_json.any():
        parts.append(_read_journal(rest.filter(is_json)))
        rest = rest.filter(~is_json)
    parts.append(_typed(rest))
    return pl.concat(parts).sort("line_number")


def _typed(found: pl.DataFrame) -> pl.DataFrame:
    """Turn the groups of one header form into HEADER_SCHEMA."""

    def group(name: str) -> pl.Expr:
        return pl.col(name) if name in found.columns else pl.lit(None, pl.String)

    month_number = {name: number for number, name in enumerate(MONTHS, 1)}
    hour, minute, second = (group("time").str.slice(at, 2).cast(pl.Int64) for at in (0, 3, 6))
    offset = group("offset").str.replace(":", "")
    offset_minutes = offset.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + offset.str.slice(3, 2).cast(
        pl.Int64, strict=False
    )
    return found.select(
        "line_number",
        "line",
        year=group("year").cast(pl.Int32),
        month=pl.coalesce(
            group("month_name").replace_strict(month_number, default=None, return_dtype=pl.Int8),
            group("month").cast(pl.Int8),
        ),
        day=group("day").cast(pl.Int8),
        time_of_day=pl.duration(
            hours=hour,
            minutes=minute,
            seconds=second,
            microseconds=group("fraction").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0),
            time_unit="us",
        ),
        utc_offset=pl.when(offset == "Z")
        .then(pl.duration(minutes=0))
        .when(offset.str.starts_with("-"))
        .then(pl.duration(minutes=-offset_minutes))
        .otherwise(pl.duration(minutes=offset_minutes)),
        logging_host=group("logging_host"),
        tag=group("tag"),
        pid=_number(group("pid"), MOST_PID),
        text=pl.coalesce(group("text"), group("text" + BARE)),
        thread_id=_number(group("thread_id"), MOST_THREAD_ID),
        level=group("level"),
        component=group("component"),
    ).cast(HEADER_SCHEMA)


def _number(digits: pl.Expr, most: int) -> pl.Expr:
    """Read a number; BEYOND if it is too large, NULL if it is none."""
    is_number = digits.str.contains(r"^[0-9]+$")
    number = digits.cast(pl.Int64, strict=False)
    return pl.when(is_number).then(pl.when(number <= most).then(number).otherwise(BEYOND))


def _read_journal(lines: pl.DataFrame) -> pl.DataFrame:
    """Read lines of `journalctl -o json`. A line that is none keeps no header."""
    rows = [
        {"line_number": number, "line": line, **_journal_header(stripped)}
        for number, line, stripped in lines.select("line_number", "line", "stripped").iter_rows()
    ]
    return pl.DataFrame(rows, schema=HEADER_SCHEMA)


def _whole(value: Any) -> int:
    """Read a number of the journal, which writes them as text; raises ValueError for anything else."""
    text = str(value)
    if not text.isascii() or not text.isdigit():
        raise ValueError
    return int(text)


def _journal_header(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        logged_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            microseconds=_whole(entry["__REALTIME_TIMESTAMP"])
        )
        text, tag = entry["MESSAGE"], entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM")
        # The journal writes what is no UTF-8 as a list of bytes.
        if isinstance(text, list):
            text = bytes(text).decode(errors="backslashreplace")
        pid = entry.get("SYSLOG_PID") or entry.get("_PID")
        return {
            "year": logged_at.year,
            "month": logged_at.month,
            "day": logged_at.day,
            "time_of_day": logged_at - datetime.combine(logged_at.date(), datetime.min.time(), UTC),
            "utc_offset": timedelta(),
            "logging_host": str(entry.get("_HOSTNAME") or ""),
            "tag": str(tag or ""),
            "pid": min(_whole(pid), MOST_PID + 1) if pid else None,
            # What a program writes in several lines is one line here.
            "text": str(text).replace("\n", "\\n"),
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}
