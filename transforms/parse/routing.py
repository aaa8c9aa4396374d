"""Lines with a header to the patterns that apply to them: by the kind of log and the program in the tag."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from transforms.log_rules import LogRules
from transforms.parse.headers import MANAGER_HEADERS, SYSLOG_HEADERS, Header
from transforms.parse.patterns import PROGRAM_PREFIX, QUEUE_ID, Pattern
from transforms.parse.postfix import POSTFIX_PATTERNS
from transforms.parse.programs import POSTFIX_PROGRAMS, is_without_program
from transforms.parse.sendmail import (
    INSTANCE,
    SENDMAIL_PATTERNS,
    SENDMAIL_QUEUE_ID,
    SENDMAIL_TAGS,
    SUBMISSION_QUEUE,
)
from transforms.parse.syslog import SUMMARY_OF_REPEATS, SYSLOG_PATTERNS, SYSTEM_LOG_PATTERNS
from transforms.parse.trend import (
    TRACKING_HEADERS,
    TRACKING_PATTERNS,
    manager_patterns,
    system_event_headers,
    system_event_patterns,
)

# `postfix-out/relay/smtp` is daemon smtp (program relay/smtp) of the instance postfix-out.
POSTFIX_TAG = r"^(?P<instance>[^/]+)/(?P<program>(?:[^/]+/)*(?P<daemon>[^/]+))$"
# `rsyslogd-2177` is rsyslogd with the number of its message.
SYSLOG_DAEMON = r"^([^-]+(?:-[a-z]+)*)"
# Only Postfix and sendmail write this: under the tag of another program it is unparsed, not noise.
MAIL_TEXT = (
    rf"^(?:{QUEUE_ID}: (?:to=.*, status=|from=.*\(queue active\)$|removed$|(?:resent-)?message-id="
    rf"|client=\S+\[)|{SENDMAIL_QUEUE_ID}: (?:to=.*, stat=|from=.*, nrcpts=))"
)
# How rsyslog writes a line that came again.
REPEATED_TEXT = r"^message repeated [0-9]+ times: \[ ?(.*)\]$"


def headers_of_kind(log_kind: str, rules: LogRules) -> tuple[Header, ...]:
    """Return the forms of header that a kind of log may have."""
    return {
        "maillog": SYSLOG_HEADERS,
        "system_log": SYSLOG_HEADERS,
        "manager_log": MANAGER_HEADERS,
        "system_events": system_event_headers(rules),
        "message_tracking": TRACKING_HEADERS,
    }[log_kind]


@dataclass(frozen=True)
class Tag:
    """The program that a tag names, with its instance and daemon, and whether it is Postfix or sendmail."""

    instance: str | None
    program: str | None
    daemon: str | None
    is_postfix: bool
    is_sendmail: bool
    is_without_program: bool


def describe_tag(tag: str) -> Tag:
    """Return what a tag means for the lines that bear it."""
    frame = pl.DataFrame({"tag": [tag]})
    is_postfix, is_sendmail, lacks_program = frame.select(
        is_postfix=is_postfix_tag(), is_sendmail=is_sendmail_tag(), lacks=is_without_program(pl.col("tag"))
    ).row(0)
    if is_postfix:
        groups = frame.select(pl.col("tag").str.extract_groups(POSTFIX_TAG).struct.unnest())
        return Tag(**groups.row(0, named=True), is_postfix=True, is_sendmail=False, is_without_program=False)
    return Tag(
        instance=None,
        program=tag,
        daemon=frame.select(pl.col("tag").str.extract(SYSLOG_DAEMON)).item(),
        is_postfix=False,
        is_sendmail=is_sendmail,
        is_without_program=lacks_program,
    )


def is_postfix_tag() -> pl.Expr:
    """Tell whether the column `tag` names a program of Postfix; False for a line without a tag."""
    tag = pl.col("tag").str.extract_groups(POSTFIX_TAG).struct
    is_postfix = tag.field("instance").str.starts_with("postfix") | tag.field("daemon").is_in(
        POSTFIX_PROGRAMS
    )
    return is_postfix.fill_null(value=False)


def is_sendmail_tag() -> pl.Expr:
    """Tell whether the column `tag` names sendmail; False for a line without a tag."""
    return pl.col("tag").is_in(SENDMAIL_TAGS).fill_null(value=False)


def route(
    stamped: pl.DataFrame, log_kind: str, rules: LogRules
) -> Iterator[tuple[tuple[Pattern, ...], pl.DataFrame]]:
    """Yield the lines that have a header, with the patterns that apply to them.

    No patterns apply to lines that only a mail program can have written, but whose tag names another program.
    """
    headed = stamped.filter(pl.col("logged_at").is_not_null()).with_columns(record_bytes=_record_bytes())
    if log_kind == "maillog":
        yield from _route_maillog(headed)
    elif log_kind == "system_log":
        yield SYSTEM_LOG_PATTERNS, _of_the_system(headed.drop(PROGRAM_PREFIX)).with_columns(record_bytes=0)
    else:
        patterns = {
            "manager_log": manager_patterns(rules),
            "system_events": system_event_patterns(rules),
            "message_tracking": TRACKING_PATTERNS,
        }[log_kind]
        # Nothing cuts the lines of these logs.
        yield (
            patterns,
            headed.drop(PROGRAM_PREFIX).with_columns(
                record_bytes=0, queue_id=pl.lit(None, pl.String), daemon=pl.lit(None, pl.String)
            ),
        )


def _route_maillog(headed: pl.DataFrame) -> Iterator[tuple[tuple[Pattern, ...], pl.DataFrame]]:
    headed = headed.with_columns(
        pl.coalesce(pl.col("text").str.extract(REPEATED_TEXT), "text").alias("text"),
        pl.col("tag").str.extract_groups(POSTFIX_TAG).struct.unnest(),
    )
    # A summary of repeated lines bears their tag, but is written by syslog-ng.
    is_summary = pl.col("text").str.contains(SUMMARY_OF_REPEATS)
    is_prefix = pl.col(PROGRAM_PREFIX).is_not_null() & ~is_summary
    is_postfix = is_postfix_tag() & ~is_prefix & ~is_summary
    is_sendmail = is_sendmail_tag() & ~is_summary
    is_other = ~is_postfix & ~is_sendmail & ~is_prefix & ~is_summary
    is_mail = is_other & pl.col("text").str.contains(MAIL_TEXT)
    of_unknown_program = headed.filter(is_prefix).with_columns(
        instance=pl.coalesce("instance", "tag"),
        program=pl.lit(None, pl.String),
        daemon=pl.lit(None, pl.String),
    )
    yield POSTFIX_PATTERNS, _with_queue_id(of_unknown_program, QUEUE_ID)
    yield POSTFIX_PATTERNS, _with_queue_id(headed.filter(is_postfix).drop(PROGRAM_PREFIX), QUEUE_ID)
    yield (
        SENDMAIL_PATTERNS,
        _with_queue_id(headed.filter(is_sendmail).drop(PROGRAM_PREFIX), SENDMAIL_QUEUE_ID).with_columns(
            instance=pl.when(pl.col("tag") == SUBMISSION_QUEUE).then("tag").otherwise(pl.lit(INSTANCE)),
            program="tag",
            daemon="tag",
        ),
    )
    yield (), headed.filter(is_mail).drop(PROGRAM_PREFIX).with_columns(program=pl.lit(None, pl.String))
    of_the_system = headed.filter((is_other & ~is_mail) | is_summary)
    yield SYSLOG_PATTERNS, _of_the_system(of_the_system.drop(PROGRAM_PREFIX))


def _of_the_system(lines: pl.DataFrame) -> pl.DataFrame:
    """Add the columns that patterns need to lines of programs outside the mail system."""
    return lines.with_columns(
        instance=pl.lit(None, pl.String),
        program="tag",
        daemon=pl.col("tag").str.extract(SYSLOG_DAEMON),
        queue_id=pl.lit(None, pl.String),
    )


def _with_queue_id(lines: pl.DataFrame, queue_id: str) -> pl.DataFrame:
    groups = pl.col("text").str.extract_groups(rf"^(?:(?P<queue_id>{queue_id})|NOQUEUE): (?P<rest>.*)$")
    return (
        lines.with_columns(groups.struct.unnest()).with_columns(text=pl.coalesce("rest", "text")).drop("rest")
    )


def _record_bytes() -> pl.Expr:
    """Return the length of a line without leading NULs; of a journal's JSON line, that of its text."""
    line = pl.col("line").str.strip_chars_start("\0")
    return pl.when(line.str.starts_with("{")).then("text").otherwise(line).str.len_bytes()
