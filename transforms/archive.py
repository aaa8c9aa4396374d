"""A folder of archived logs to the list of source files that maillag reads, by their names alone."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from pathlib import Path

from transforms.bounds import DEFAULT_LIMITS, LAST_YEAR, YEARS, Limits
from transforms.fleet import FLEET_FILE, Fleet, Host
from transforms.inventory import inventory_file
from transforms.lines import DamagedFileError, Member, is_container, list_members
from transforms.problems import MaillagError, Problem

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
    # Read for what a syslog daemon says of lost lines, and for nothing else.
    "system_log": re.compile(rf"(?:messages|syslog){LOG_EXTENSION}{LOGROTATE}{LOG_EXTENSION}{COMPRESSED}"),
    "manager_log": re.compile(rf"imssmgr{TREND_DAILY}{COMPRESSED}"),
    # The log query's export has no name of its own: it is to be kept as system-events*.csv.
    "system_events": re.compile(
        rf"(?:sysevt\.imss{TREND_DAILY}|system[-_]events?(?P<export>[-_.]?[0-9T_-]*)\.(?:csv|txt))"
        rf"{COMPRESSED}"
    ),
    "message_tracking": re.compile(rf"msgtra\.imss{TREND_DAILY}{COMPRESSED}"),
    # `postqueue -p` and -j have none either: postqueue-20261124T1200.txt is the instant, in the host's zone.
    "queue_snapshot": re.compile(
        r"(?:postqueue|mailq)(?:[-_ ]?[pj])?"
        r"(?:[-_.](?P<date>[0-9]{8})(?:[T_-]?(?P<hour>[0-2][0-9])(?P<minute>[0-5][0-9])(?P<second>[0-5][0-9])?)?)?"
        rf"(?:\.(?:txt|json|out|log))?{COMPRESSED}"
    ),
}
LOG_KINDS = (*LOG_NAMES, "inventory")
# What is ignored, and yet may be such a log: another rotation, another daemon's name.
LIKE_A_LOG = re.compile(
    r"(?i:.*(?:mail[._-]?log|postfix.*log|imssmgr|sysevt|msgtra).*(?<!~)(?<!\.swp)(?<!\.conf))"
)
PATHS_NAMED = 3
# A file's time, which a tar file may give as any number, in the years that there are.
LAST_NS = int(datetime(LAST_YEAR, 12, 31, tzinfo=UTC).timestamp()) * 10**9
# Kinds that tell of no mail and no restart: a host that has nothing else has no logs.
SECONDARY_KINDS = frozenset({"inventory", "system_log"})
# A collector's files may have any name; where there is a date in it, it is that of the rotation.
DATE_IN_NAME = re.compile(r"(?<![0-9])(20[0-9]{2})-?([01][0-9])-?([0-3][0-9])(?![0-9])")


@dataclass(frozen=True, slots=True)
class FileName:
    """What a file's name tells: the kind of log, its date, its place in a rotation, the tool behind it.

    `name_time` is that of a queue snapshot; `rotation_number` counts backwards, the newest file has none.
    """

    log_kind: str
    name_date: date | None = None
    name_time: time | None = None
    rotation_number: int | None = None
    is_rotated: bool = True
    is_compressed: bool = False
    tool: str = ""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One log file of one host. `path` is relative to the archive; `member` is its name in a tar or zip file.

    `is_live`: a daemon may still be writing to it, so that its last line may be unfinished. With
    `is_central` its lines name their hosts, and `host` is the collector's.
    """

    host: str
    path: str
    absolute_path: Path
    member: str | None
    size_bytes: int
    modified_at_ns: int
    name: FileName
    is_live: bool
    is_central: bool
    limits: Limits = DEFAULT_LIMITS

    @property
    def log_kind(self) -> str:
        """The kind of log, one of LOG_KINDS."""
        return self.name.log_kind


@dataclass(frozen=True)
class Discovery:
    """What an archive holds: source files, the other files (ignored, never guessed at), and problems.

    `without_files` has a problem by host for those that have no log file of their own, unless a collector's
    files tell of them.
    """

    sources: list[SourceFile]
    ignored: list[str]
    problems: list[Problem]
    without_files: dict[str, Problem] = field(default_factory=dict)


def discover(
    archive: Path, fleet: Fleet, *, has_collector: bool = False, limits: Limits = DEFAULT_LIMITS
) -> Discovery:
    """List the archive's source files, host by host; the hosts are those of the fleet.

    `has_collector`: lines of these hosts may also be in files of a collector that is not among them. A tar or
    zip file beyond `limits` becomes a problem. Raises MaillagError if the archive is not a folder.
    """
    if not archive.is_dir():
        raise MaillagError(
            f"{archive}: is not a folder. Give the folder that holds one folder of logs per host."
        )
    found = Discovery([], [], [])
    taken: set[Path] = set()
    has_collector = has_collector or any(host.is_collector for host in fleet.hosts)
    for host in fleet.hosts:
        sources: list[SourceFile] = []
        for path in host_files(archive, host):
            taken.add(path)
            sources += _sources_of(path, archive, host, found, limits)
        newest = {
            source.log_kind: source.path
            for source in sorted(sources, key=lambda source: source.path)
            if source.name.name_date
        }
        found.sources.extend(_with_liveness(source, newest) for source in sources)
        if any(source.log_kind not in SECONDARY_KINDS for source in sources):
            continue
        if has_collector and not host.is_collector:
            found.without_files[host.name] = _no_logs(host)
        else:
            found.problems.append(_no_logs(host))
    found.ignored.extend(
        path.name
        for path in sorted(archive.iterdir())
        if path.is_file() and path not in taken and path.name != FLEET_FILE and not path.name.startswith(".")
    )
    return found


def passed_over(ignored: Iterable[str]) -> Iterator[Problem]:
    """Yield a warning for each folder with ignored files whose names speak of logs."""
    by_folder: dict[str, list[str]] = {}
    for path in ignored:
        if LIKE_A_LOG.fullmatch(path.rpartition("/")[2]):
            by_folder.setdefault(path.partition("/")[0], []).append(path)
    for folder, paths in by_folder.items():
        yield Problem(
            f"{folder}/",
            f"files are ignored though their names are like those of logs: {_some(paths)}",
            "Rename them as docs/logs.md says, such as maillog-20261124 or maillog.1, and run again.",
            rule="files whose names are like those of logs are read",
            is_warning=True,
        )


def host_files(archive: Path, host: Host) -> Iterator[Path]:
    """Yield a host's files in name order: those below its folder, or below what its `path` glob matches."""
    for root in sorted(archive.glob(host.path or glob.escape(host.name))):
        if not root.is_dir():
            yield root
            continue
        for folder, subfolders, names in os.walk(root):
            subfolders.sort()
            yield from (Path(folder, name) for name in sorted(names))


def classify(name: str, *, is_central: bool = False) -> FileName | None:
    """Return what a file name stands for; None if it is no log. In a collector's path every file is one."""
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
    if told := inventory_file(name):
        tool, on = told
        return FileName("inventory", name_date=on if on and on.year in YEARS else None, tool=tool)
    if is_central:
        found = DATE_IN_NAME.search(name)
        return FileName(
            "maillog",
            name_date=_name_date("".join(found.groups())) if found else None,
            is_rotated=found is not None,
        )
    return None


def _sources_of(
    path: Path, archive: Path, host: Host, found: Discovery, limits: Limits
) -> Iterator[SourceFile]:
    """Yield the source files that one file is or holds; tell `found` of what it is not."""
    relative = path.relative_to(archive).as_posix()
    try:
        stat = path.stat()
        with path.open("rb"):
            pass
        is_bundle = is_container(path.name)
        members = list_members(path, limits) if is_bundle else []
    except OSError as error:
        found.problems.append(_unreadable(relative, error))
        return
    except DamagedFileError as error:
        found.problems.append(_damaged(relative, error))
        return
    files = members if is_bundle else [Member(path.name, stat.st_size, stat.st_mtime_ns)]
    for file in files:
        shown = f"{relative}!{file.name}" if is_bundle else relative
        name = classify(Path(file.name).name, is_central=host.is_collector)
        if name is None:
            found.ignored.append(shown)
            continue
        yield SourceFile(
            host=host.name,
            path=shown,
            absolute_path=path,
            member=file.name if is_bundle else None,
            size_bytes=file.size_bytes,
            modified_at_ns=min(max(file.modified_at_ns, 0), LAST_NS),
            name=name,
            is_live=False,
            is_central=host.is_collector and name.log_kind == "maillog",
            limits=limits,
        )


def _with_liveness(source: SourceFile, newest: dict[str, str]) -> SourceFile:
    """Mark a file that may still be written to: it is not rotated, or the newest of its dates."""
    is_live = (
        source.member is None
        and not source.name.is_compressed
        and source.log_kind not in {"queue_snapshot", "inventory"}
        and (not source.name.is_rotated or _is_newest_trend_log(source, newest))
    )
    return replace(source, is_live=is_live)


def _is_newest_trend_log(source: SourceFile, newest: dict[str, str]) -> bool:
    return source.log_kind != "maillog" and newest.get(source.log_kind) == source.path


def _name_date(digits: str | None) -> date | None:
    try:
        told = date.fromisoformat(digits.replace("-", "")) if digits else None
    except ValueError:
        return None
    return told if told and told.year in YEARS else None


def _name_time(groups: dict[str, str | None]) -> time | None:
    hour, minute, second = (groups.get(name) for name in ("hour", "minute", "second"))
    try:
        return time(int(hour), int(minute or 0), int(second or 0)) if hour else None
    except ValueError:
        return None


def _unreadable(path: str, error: OSError) -> Problem:
    return Problem(
        path,
        f"cannot be read ({error.strerror or error})",
        "Check its permissions or the link that it is, and run again.",
    )


def _damaged(path: str, error: DamagedFileError) -> Problem:
    return Problem(path, f"{error}, so nothing of it was taken", error.remedy)


def _some(paths: list[str]) -> str:
    more = len(paths) - PATHS_NAMED
    return ", ".join(paths[:PATHS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _no_logs(host: Host) -> Problem:
    return Problem(
        host.path or f"{host.name}/",
        "holds no maillog and no log of the product",
        "Copy the host's logs there under their own names (maillog, maillog.1, maillog-20261124.gz, "
        f"imssmgr.20261124.0001), or give their place as `path` of host '{host.name}' in fleet.toml.",
    )
