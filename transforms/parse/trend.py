"""Lines of Trend Micro's own logs to events, by rules for what Trend Micro does not disclose.

One line of the manager log is public (KA-0010256); the formats of imssmgr, sysevt.imss and the log query's
export are not (KB 1122512). So what is looked for in them is a setting: `LogRules` holds the defaults.
"""

from dataclasses import asdict
from typing import cast

import polars as pl

from transforms.log_rules import NUMERIC_DATE, OFFSET, TIME, LogRules
from transforms.parse.headers import Header
from transforms.parse.patterns import Pattern

# The groups of a system event's line: those that it has, and those that it may have.
LINE_GROUPS = frozenset({"year", "month", "day", "time", "text"})
OPTIONAL_GROUPS = frozenset({"fraction", "offset"})


def why_unsound(rules: LogRules) -> str | None:
    """Return what is wrong with the first rule that cannot be used, None if all can."""
    for name, rule in asdict(rules).items():
        try:
            groups = _groups(rule)
            # Where the rule is a part of a pattern, a comment or a group of its own could break that.
            _groups(f"^.*(?:{rule}).*$")
        except pl.exceptions.ComputeError as error:
            return f"{name} is no regular expression ({str(error).splitlines()[-1].strip()})"
        is_line = name == "system_event_line"
        if is_line and (missing := sorted(LINE_GROUPS - groups)):
            return f"{name} lacks the group {' and '.join(f'(?P<{group}>...)' for group in missing)}"
        if others := sorted(groups - (LINE_GROUPS | OPTIONAL_GROUPS if is_line else frozenset())):
            return f"{name} has a group that means nothing, {', '.join(others)}: write (?:...) for it"
    return None


def _groups(regex: str) -> set[str]:
    """Return the names of a regular expression's groups; raises polars' ComputeError if it is none."""
    found = pl.select(pl.lit("").str.extract_groups(regex)).to_series().dtype
    return {field.name for field in cast(pl.Struct, found).fields if not field.name.isdigit()}


def manager_patterns(rules: LogRules) -> tuple[Pattern, ...]:
    """Return the patterns of the manager log (imssmgr)."""
    return (
        Pattern(
            name="flush commanded",
            table="manager_log",
            regex=rf"(?P<message>^.*(?:{rules.flush_commanded}).*$)",
            samples=(
                "Control postfix by cmd /opt/trend/imss/bin/close_handle_sh "
                '"/opt/trend/imss/script/postfix flush >/dev/null 2>&1"',
            ),
            constants={"event_kind": "flush_commanded"},
        ),
        Pattern(
            name="any manager line",
            table="manager_log",
            regex=r"^(?P<message>.*)$",
            samples=("anything that the manager writes",),
            constants={"event_kind": "other"},
        ),
    )


def system_event_headers(rules: LogRules) -> tuple[Header, ...]:
    """Return the header of sysevt.imss and of the log query's export."""
    return (
        Header(
            name="system event",
            regex=rules.system_event_line,
            samples=("2020/02/03 10:07:30 text", '"2020/02/03 10:07:30","text"'),
            is_by_setting=True,
        ),
    )


def system_event_patterns(rules: LogRules) -> tuple[Pattern, ...]:
    """Return the patterns of system events: the scan service stopped, started, or something else."""
    return (
        _system_event(
            "scan_stopped",
            regex=rf"(?P<message>^.*(?:{rules.scan_stopped}).*$)",
            samples=(" 20002", ' "IMSSデーモンが停止しました。"', " IMSS Daemon stopped"),
        ),
        _system_event(
            "scan_started",
            regex=rf"(?P<message>^.*(?:{rules.scan_started}).*$)",
            samples=(" 20001", ' "IMSSデーモンが開始しました。"', " IMSS Daemon starts"),
        ),
        _system_event("other", regex=r"^(?P<message>.*)$", samples=(" anything else",)),
    )


def _system_event(event_kind: str, *, regex: str, samples: tuple[str, ...]) -> Pattern:
    return Pattern(
        name=event_kind,
        table="system_events",
        regex=regex,
        samples=samples,
        constants={"event_kind": event_kind},
    )


# The sample lines come from Splunk's add-on for IMSVA. The meaning of the three times is inferred from their
# order: accepted, logged, delivered.
TRACKING_HEADERS = (
    Header(
        name="msgtra.imss",
        regex=rf"^(?P<text>\w+\t[^\t]*\t{NUMERIC_DATE} {TIME} {OFFSET}\t.*)$",
        is_trimmed=False,
        samples=("NormalTransac\t2019 Oct 18 14:21:31 +02:00\t2019/10/18 14:21:32 +02:00\t",),
    ),
)
_TRACKED = (
    r"(?P<transaction_kind>[^\t]*)",
    r"(?P<accepted_at_stamp>[^\t]*)",
    r"[^\t]*",
    r"(?P<delivered_at_stamp>[^\t]*)",
    r"(?P<message_id>[^\t]*)",
    r"(?P<tracking_id>[^\t]*)",
    r"(?P<queue_id_bare>[^\t]*)",
    r"[^\t]*",
    r"(?P<sender>[^\t]*)",
    r"(?P<recipients>[^\t]*)",
    # The subject: personal, and of no use here.
    r"[^\t]*",
    r"(?:(?P<client_host>[^\t\[]*)\[(?P<client_address>[^\t\]]*)\]|[^\t]*)",
    r"(?:[^\t\[]*\[(?P<relay_address>[^\t\]]*)\](?::(?P<relay_port>[0-9]+))?|[^\t]*)",
    r"(?P<reply>[^\t]*)",
    r"(?P<status>[^\t]*)",
)
TRACKING_PATTERNS = (
    Pattern(
        name="tracked message",
        table="message_tracking",
        regex="^" + r"\t".join(_TRACKED) + r"(?:\t.*)?$",
        samples=(
            "NormalTransac\t2019 Oct 18 14:21:31 +02:00\t2019/10/18 14:21:32 +02:00\t"
            "2019 Oct 18 14:21:37 +02:00\tid@example.com\tE3BJXFPI-FRK1-IRVY-HJIW\t163748P988\t2\t"
            "sender@example.com\treader@example.com;other@example.com\tsubject\tmta.example.com[192.0.2.5]\t"
            "[192.0.2.6]:25\t250 2.6.0 Queued mail for delivery\tsent\t00100000000000000\t0",
        ),
    ),
)
