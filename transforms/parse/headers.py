"""Lines to their header (stamp, host, program) and their text, by the forms of header that daemons write.

The named groups of a form are: some of year, month_name or month, day, time, fraction and offset for the
stamp; logging_host; tag (or cut_tag) with pid; and text. A stamp without a year or an offset is completed
later (clock.py). White space around the text does not belong to it, nor does what a syslog daemon writes for
control characters at its end.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from transforms.bounds import BEYOND, MOST_PID, MOST_THREAD_ID
from transforms.log_rules import NUMERIC_DATE, OFFSET, TIME
from transforms.parse.patterns import BARE
from transforms.parse.programs import with_programs

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
        # What is left of the program's name, where it fits several programs (programs.py).
        "program_prefix": pl.String(),
    }
)

_READ_SCHEMA = pl.Schema(
    {name: dtype for name, dtype in HEADER_SCHEMA.items() if name != "program_prefix"}
    | {"is_tag_cut": pl.Boolean()}
)
# Between columns: a template may have tabs, and an empty column leaves two blanks.
GAP = r"[ \t]+"
PRI = r"^(?:<[0-9]{1,3}>)?"
MONTH_NAME = rf"(?P<month_name>(?i:{'|'.join(MONTHS)}))"
# `journalctl -o short` in a Japanese, Chinese or Korean locale (glibc, abmon): `11月`, ` 2月`, `11월`.
MONTH_NUMBER = r" ?(?P<month>1[0-2]|0?[1-9])[月월]"
DAY_NAME = r"(?P<day>[0-3]?[0-9])"
NUMERIC_DATE_ = r"[0-9]{4}-[01][0-9]-[0-3][0-9]"
# FreeBSD's `syslogd -v` puts `<2.6>` or `<mail.info>` before the host, AIX `mail:info` behind it.
HOST = (
    rf"(?:<[0-9a-z]+\.[0-9a-z]+>{GAP})?(?:(?P<logging_host>[^ \t-\r]*[^ \t-\r:]){GAP})?"
    rf"(?:[0-9a-z]+:[a-z]+{GAP})?"
)
# A template may leave the host out: a word that ends with a colon is a tag. Solaris puts
# `[ID 197553 mail.info]` before the text. syslogd's own `last message repeated` and `-- MARK --` have no tag.
SENDER = (
    rf"{HOST}(?:(?P<tag>[^\s\[\]:]+)(?:\[(?P<pid>[0-9]+)\])?:[ \t]*"
    r"(?:\[ID [0-9]+ \w+\.\w+\] )?(?P<text>.*)"
    r"|(?P<text_bare>last message repeated [0-9]+ times|-- MARK --)[ \t]*)$"
)
# rsyslog's forwarding templates cut `tag[pid]:` after 32 characters (`%syslogtag:1:32%`).
CUT_SENDER = rf"{HOST}(?P<cut_tag>[!-9;-~]{{32}}){GAP}(?P<text>.*)$"
# What may be left: the bracket, and as many digits of the process id as there was room for.
CUT_TAG = r"^[^\[\]]+(?:\[[0-9]*\]?)?$"
# `docker logs -t` and Kubernetes put a stamp of their own before the line that a container writes.
CONTAINER = rf"(?:{NUMERIC_DATE_}T[0-9:]{{8}}\.[0-9]+Z (?:(?:stdout|stderr) F )?)?"
# What may stand at the end of a text: white space, and what rsyslog (`#012`, `\012` or `\n`) and the BSD
# syslogd (`^M`) write for it.
TRAILING = r"(?:[ \t-\r\x00]|[#\\]0(?:00|1[1-5])|\\[nrt]|\^[@IJM])+$"
LEADING = r"^[ \t]+"
# The beginning of an RFC 3164 header with any word in place of the month.
ANY_MONTH = rf"{PRI}[ \t]*[^\s\d<>\[\]:]{{2,12}} {{1,2}}[0-3]?[0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]\b"
# The last microsecond of 9999: out of range, and the latest that Python's datetime holds.
LAST_MICROSECOND = 253_402_300_799_999_999
ENGLISH_MONTH = rf"{PRI}[ \t]*{MONTH_NAME} "


@dataclass(frozen=True)
class Header:
    """One form of header: a regex with the groups that the module names."""

    name: str
    regex: str
    samples: tuple[str, ...] = field(default=())
    is_trimmed: bool = True
    """Whether white space is removed around the text; columns that are separated by tabs need it."""
    is_by_setting: bool = False
    """Whether the regex is a setting, so that its groups may hold anything."""


RFC_3164 = rf"{PRI}{CONTAINER}(?:{MONTH_NAME}|{MONTH_NUMBER}) {{1,2}}{DAY_NAME} {TIME}{GAP}"
RFC_3339 = rf"{PRI}{NUMERIC_DATE}[T ]{TIME}{OFFSET}?{GAP}(?:(?:stdout|stderr) F )?"
SYSLOG_HEADERS = (
    Header(
        # As syslogd, rsyslog, postlogd and `journalctl -o short` write it; the day is padded or not.
        name="RFC 3164",
        regex=rf"{RFC_3164}{SENDER}",
        samples=(
            "Feb  3 10:07:36 imsva91 postfix/smtp[25240]: text",
            "<22>Feb 03 10:07:36 imsva91 postfix/smtp[25240]: text",
            "Feb 3 10:07:36.123456 imsva91 postfix/smtp[25240]: text",
            "Feb  3 10:07:36 postfix/smtp[25240]: text",
            " 2月 03 10:07:36 imsva91 postfix/smtp[25240]: text",
        ),
    ),
    Header(
        # rsyslog's file format; `journalctl -o short-iso` (no colon in the offset) and short-iso-precise.
        name="RFC 3339",
        regex=rf"{RFC_3339}{SENDER}",
        samples=(
            "2026-02-03T10:07:36.123456+09:00 imsva91 postfix/smtp[25240]: text",
            "2026-02-03T01:07:36Z imsva91 postfix/smtp[25240]: text",
            "2026-02-03T10:07:36+0900 imsva91 postfix/smtp[25240]: text",
            "<22>2026-02-03 10:07:36 imsva91 postfix/smtp[25240]: text",
            "2026-02-03T01:07:36.123456789Z postfix/smtp[25240]: text",
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
        regex=(
            rf"{PRI}(?P<year>[0-9]{{4}}) {MONTH_NAME} {{1,2}}{DAY_NAME} {TIME}(?: ?{OFFSET})?{GAP}{SENDER}"
        ),
        samples=("2013 Jun 16 16:05:06.123 imsva91 postfix/smtp[25240]: text",),
    ),
    Header(
        # `journalctl -o short-full`, with the zone's short name; with-unit has the unit in place of the tag.
        name="journal short-full",
        regex=(
            rf"^[^\s\d]{{1,8}} {NUMERIC_DATE} {TIME} (?:(?P<offset>UTC)|[A-Z+-][A-Za-z0-9+-]*){GAP}{SENDER}"
        ),
        samples=("Tue 2026-02-03 10:07:36 JST imsva91 postfix/smtp[25240]: text",),
    ),
    Header(
        # RSYSLOG_TraditionalForwardFormat
        name="RFC 3164 with a cut tag",
        regex=rf"{RFC_3164}{CUT_SENDER}",
        samples=(
            "Feb  3 10:07:36 imsva91 postfix-inbound-gateway01/smtp[2 text",
            "Feb  3 10:07:36 imsva91 postfix-inbound-gateway01/master text",
            "Feb  3 10:07:36 imsva91 postfix/submission/smtpd[2021375 text",
            "Feb  3 10:07:36 imsva91 postfix/submission/smtpd[202137] text",
        ),
    ),
    Header(
        # RSYSLOG_ForwardFormat
        name="RFC 3339 with a cut tag",
        regex=rf"{RFC_3339}{CUT_SENDER}",
        samples=("2026-02-03T10:07:36+09:00 imsva91 postfix-inbound-gateway01/smtpd[ text",),
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
    """Read the headers of lines (`line_number`, `line`) into HEADER_SCHEMA; `day` is NULL without a header.

    One file may mix all forms. A run of NULs before a line, which a crash leaves, is ignored.
    """
    parts = []
    rest = lines.with_columns(stripped=pl.col("line").str.strip_chars_start("\0"))
    for header in headers:
        found = rest["stripped"].str.extract_groups(header.regex).struct.unnest()
        is_match = found["day"].is_not_null()
        if "cut_tag" in found.columns:
            is_match &= found["cut_tag"].str.contains(CUT_TAG)
        if header.is_by_setting:
            is_match &= found.select(_is_stamp(found.columns)).to_series()
        parts.append(_typed(pl.concat([rest, found], how="horizontal").filter(is_match), header))
        rest = rest.filter(~is_match)
        if rest.is_empty():
            break
    is_json = rest["stripped"].str.starts_with("{")
    if headers is SYSLOG_HEADERS and is_json.any():
        parts.append(_read_journal(rest.filter(is_json)))
        rest = rest.filter(~is_json)
    parts.append(_typed(rest))
    return with_programs(pl.concat(parts).sort("line_number")).select(HEADER_SCHEMA.names())


def _is_stamp(columns: list[str]) -> pl.Expr:
    """Tell for which lines the groups form a stamp."""
    forms = {
        "year": "[0-9]{4}",
        "month": "[0-9]{1,2}",
        "day": "[0-9]{1,2}",
        "time": TIME,
        "fraction": "[0-9]{1,9}",
    }
    forms = {name: form for name, form in forms.items() if name in columns}
    return pl.all_horizontal(
        pl.col(name).str.contains(f"^(?:{form})$").fill_null(name == "fraction")
        for name, form in forms.items()
    )


def has_foreign_month(line: pl.Expr) -> pl.Expr:
    """Tell which lines would have a header if their month were English."""
    return line.str.contains(ANY_MONTH) & ~line.str.contains(ENGLISH_MONTH)


def trimmed(text: pl.Expr) -> pl.Expr:
    """Return texts without white space around them, nor what daemons write for it at the end."""
    return text.str.replace(LEADING, "").str.replace(TRAILING, "")


def _typed(found: pl.DataFrame, header: Header | None = None) -> pl.DataFrame:
    """Turn the groups of one header form into the columns of _READ_SCHEMA."""

    def group(name: str) -> pl.Expr:
        return pl.col(name) if name in found.columns else pl.lit(None, pl.String)

    month_number = {name.lower(): number for number, name in enumerate(MONTHS, 1)}
    hour, minute, second = (group("time").str.slice(at, 2).cast(pl.Int64) for at in (0, 3, 6))
    text = pl.coalesce(group("text"), group("text" + BARE))
    offset = group("offset").str.replace(":", "")
    offset_minutes = offset.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + offset.str.slice(3, 2).cast(
        pl.Int64, strict=False
    )
    return found.select(
        "line_number",
        "line",
        year=group("year").cast(pl.Int32),
        month=pl.coalesce(
            group("month_name")
            .str.to_lowercase()
            .replace_strict(month_number, default=None, return_dtype=pl.Int8),
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
        utc_offset=pl.when(offset.is_in(["Z", "UTC"]))
        .then(pl.duration(minutes=0))
        .when(offset.str.starts_with("-"))
        .then(pl.duration(minutes=-offset_minutes))
        .otherwise(pl.duration(minutes=offset_minutes)),
        logging_host=group("logging_host"),
        tag=pl.coalesce(group("tag"), group("cut_tag").str.extract(r"^([^\[]+)")),
        pid=_number(pl.coalesce(group("pid"), group("cut_tag").str.extract(r"\[([0-9]+)\]$")), MOST_PID),
        is_tag_cut=group("cut_tag").is_not_null() & ~group("cut_tag").str.contains("[", literal=True),
        text=trimmed(text) if header and header.is_trimmed else text,
        thread_id=_number(group("thread_id"), MOST_THREAD_ID),
        level=group("level"),
        component=group("component"),
    ).select(pl.col(name).cast(dtype) for name, dtype in _READ_SCHEMA.items())


def _number(digits: pl.Expr, most: int) -> pl.Expr:
    """Read a number; BEYOND if it is too large, NULL if it is not a number."""
    is_number = digits.str.contains(r"^[0-9]+$")
    number = digits.cast(pl.Int64, strict=False)
    return pl.when(is_number).then(pl.when(number <= most).then(number).otherwise(BEYOND))


def _read_journal(lines: pl.DataFrame) -> pl.DataFrame:
    """Read lines of `journalctl -o json`; any other line has no header."""
    rows = [
        {"line_number": number, "line": line, **_journal_header(stripped)}
        for number, line, stripped in lines.select("line_number", "line", "stripped").iter_rows()
    ]
    return pl.DataFrame(rows, schema=_READ_SCHEMA).with_columns(trimmed(pl.col("text")))


def _whole(value: Any) -> int:
    """Read a number, which the journal writes as text. Raises ValueError for anything else."""
    text = str(value)
    if not text.isascii() or not text.isdigit():
        raise ValueError
    return int(text)


def _text(value: Any) -> str:
    """Read a text; the journal writes one that is not UTF-8 as a list of bytes.

    Half a surrogate pair, which JSON can hold and UTF-8 cannot, becomes its escape.
    """
    text = bytes(value).decode(errors="backslashreplace") if isinstance(value, list) else str(value)
    return text.encode(errors="backslashreplace").decode()


def _journal_header(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        logged_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            microseconds=min(_whole(entry["__REALTIME_TIMESTAMP"]), LAST_MICROSECOND)
        )
        text, tag = entry["MESSAGE"], entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM")
        pid = entry.get("SYSLOG_PID") or entry.get("_PID")
        return {
            "year": logged_at.year,
            "month": logged_at.month,
            "day": logged_at.day,
            "time_of_day": logged_at - datetime.combine(logged_at.date(), datetime.min.time(), UTC),
            "utc_offset": timedelta(),
            "logging_host": _text(entry.get("_HOSTNAME") or ""),
            "tag": _text(tag or ""),
            "pid": min(_whole(pid), MOST_PID + 1) if pid else None,
            # A program may write several lines at once; they stay one.
            "text": _text(text).replace("\n", "\\n"),
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}
