"""The name of a file to the kind of log that it holds, with its date and its place in a rotation."""

import re
from dataclasses import dataclass
from datetime import date, time

from transforms.bounds import YEARS
from transforms.parse.inventory import inventory_file

COMPRESSED = r"(?P<compressed>\.(?:gz|bz2|xz|zst))?"
# logrotate(8), dateext and dateformat: maillog.1, maillog-20261124, maillog-2026112403,
# maillog-20261124-1790000000, maillog_20261124, maillog-2026-11-24, maillog-2026-11-24_03:10; a second
# rotation of one day, maillog-20261124.1; Postfix, maillog_file_rotate_suffix: postfix.log.20261124-031000;
# FreeBSD, newsyslog -t: maillog.20261124T031000. With `extension .log`, or with a maillog_file of such a
# name, `.log` stands before or behind it.
DATE = r"(?P<date>[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2})"
LOGROTATE = (
    rf"(?P<rotation>[-._]{DATE}(?:[-_.T]?[0-9]{{1,10}}(?:[-:.][0-9]{{1,4}}){{0,3}})?"
    r"|\.(?P<number>[0-9]{1,4}))?"
)
LOG_EXTENSION = r"(?:\.log)?"
# Trend Micro 1309884: imssmgr.20200203.0001, daily and by size within the day.
TREND_DAILY = r"(?P<rotation>\.(?P<date>[0-9]{8})(?:\.[0-9]{4})?)?"
LOG_NAMES = {
    "maillog": re.compile(
        # `postfix` alone is a script of that name.
        rf"(?!postfix(?!.*\.log))(?:(?:maillog|mail|postfix){LOG_EXTENSION}|(?:maillog|journal)(?:[-_.][\w.-]*)?\.json)"
        rf"{LOGROTATE}{LOG_EXTENSION}{COMPRESSED}"
    ),
    # Read only for a syslog daemon's notices of lost lines.
    "system_log": re.compile(rf"(?:messages|syslog){LOG_EXTENSION}{LOGROTATE}{LOG_EXTENSION}{COMPRESSED}"),
    "manager_log": re.compile(rf"imssmgr{TREND_DAILY}{COMPRESSED}"),
    # The log query's export has no fixed name: users keep it as system-events*.csv.
    "system_events": re.compile(
        rf"(?:sysevt\.imss{TREND_DAILY}|system[-_]events?(?P<export>[-_.]?[0-9T_-]*)\.(?:csv|txt))"
        rf"{COMPRESSED}"
    ),
    "message_tracking": re.compile(rf"msgtra\.imss{TREND_DAILY}{COMPRESSED}"),
    # Nor has the output of `postqueue -p` and -j; postqueue-20261124T1200.txt is a time in the host's zone.
    "queue_snapshot": re.compile(
        r"(?:postqueue|mailq)(?:[-_ ]?[pj])?"
        r"(?:[-_.](?P<date>[0-9]{8})(?:[T_-]?(?P<hour>[0-2][0-9])(?P<minute>[0-5][0-9])(?P<second>[0-5][0-9])?)?)?"
        rf"(?:\.(?:txt|json|out|log))?{COMPRESSED}"
    ),
}
LOG_KINDS = (*LOG_NAMES, "inventory")
# Names that are ignored, but may be those of such logs: another rotation, another daemon.
LIKE_A_LOG = re.compile(
    r"(?i:.*(?:mail[._-]?log|postfix.*log|imssmgr|sysevt|msgtra).*(?<!~)(?<!\.swp)(?<!\.conf))"
)
# A collector's files may have any name; a date in it is that of the rotation.
DATE_IN_NAME = re.compile(r"(?<![0-9])(20[0-9]{2})-?([01][0-9])-?([0-3][0-9])(?![0-9])")


@dataclass(frozen=True, slots=True)
class FileName:
    """What a file's name says of its content.

    - `name_time`: the time of a queue snapshot.
    - `rotation_number`: the higher, the older; None for the newest file.
    - `tool`: the program whose output an inventory file holds.
    """

    log_kind: str
    name_date: date | None = None
    name_time: time | None = None
    rotation_number: int | None = None
    is_rotated: bool = True
    is_compressed: bool = False
    tool: str = ""


def classify(name: str, *, is_central: bool = False) -> FileName | None:
    """Return what a file name stands for; None if it is not a log. Every file of a collector is a log."""
    for log_kind, pattern in LOG_NAMES.items():
        # A log server may keep all that it gets in `messages`.
        if not (is_central and log_kind == "system_log") and (match := pattern.fullmatch(name)):
            groups = match.groupdict()
            return FileName(
                log_kind=log_kind,
                name_date=_name_date(groups.get("date")),
                name_time=_name_time(groups),
                rotation_number=int(number) if (number := groups.get("number")) else None,
                is_rotated=(groups.get("rotation") or groups.get("export")) is not None,
                is_compressed=groups.get("compressed") is not None,
            )
    if inventory := inventory_file(name):
        tool, day = inventory
        return FileName("inventory", name_date=day if day and day.year in YEARS else None, tool=tool)
    if is_central:
        found = DATE_IN_NAME.search(name)
        return FileName(
            "maillog",
            name_date=_name_date("".join(found.groups())) if found else None,
            is_rotated=found is not None,
        )
    return None


def _name_date(digits: str | None) -> date | None:
    try:
        day = date.fromisoformat(digits.replace("-", "")) if digits else None
    except ValueError:
        return None
    return day if day and day.year in YEARS else None


def _name_time(groups: dict[str, str | None]) -> time | None:
    hour, minute, second = (groups.get(name) for name in ("hour", "minute", "second"))
    try:
        return time(int(hour), int(minute or 0), int(second or 0)) if hour else None
    except ValueError:
        return None
