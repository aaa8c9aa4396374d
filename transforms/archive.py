"""A folder of archived logs to the list of source files that maillag reads, by their names alone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from transforms.fleet import FLEET_FILE, Fleet, Host
from transforms.problems import MaillagError, Problem

COMPRESSED = r"(?P<compressed>\.(?:gz|bz2|xz))?"
# maillog, maillog.1, maillog-20261124, mail.log.2.gz (logrotate); imssmgr.20200203.0001 (Trend Micro
# 1309884: daily, and by size within the day).
LOG_NAMES = {
    "maillog": re.compile(
        rf"(?:maillog|mail\.log)(?P<rotation>[-.](?P<date>\d{{8}})(?:-\d+)?|\.\d+)?{COMPRESSED}"
    ),
    "manager_log": re.compile(rf"imssmgr(?P<rotation>\.(?P<date>\d{{8}})(?:\.\d{{4}})?)?{COMPRESSED}"),
}


@dataclass(frozen=True)
class SourceFile:
    """One log file of one host. `path` is relative to the archive, `name_date` the date in its name.

    `is_live`: a daemon may still be writing to it, so that its last line may be unfinished.
    """

    host: str
    log_kind: str
    path: str
    absolute_path: Path
    size_bytes: int
    modified_at_ns: int
    name_date: date | None
    is_live: bool


@dataclass(frozen=True)
class Discovery:
    """What an archive holds: source files, the other files (ignored, never guessed at), and problems."""

    sources: list[SourceFile]
    ignored: list[str]
    problems: list[Problem]


def discover(archive: Path, fleet: Fleet) -> Discovery:
    """List the archive's source files, host by host; the hosts are those of the fleet.

    Raises MaillagError if the archive is not a folder.
    """
    if not archive.is_dir():
        raise MaillagError(
            f"{archive}: is not a folder. Give the folder that holds one folder of logs per host."
        )
    sources: list[SourceFile] = []
    ignored = sorted(
        path.name
        for path in archive.iterdir()
        if path.is_file() and path.name != FLEET_FILE and not path.name.startswith(".")
    )
    problems: list[Problem] = []
    for host in fleet.hosts:
        logs = []
        for path in host_files(archive, host):
            if (log := classify(path.name)) is None:
                ignored.append(path.relative_to(archive).as_posix())
            else:
                logs.append((path, *log))
        newest_manager_log = max((p.name for p, kind, _ in logs if kind == "manager_log"), default="")
        for path, log_kind, name in logs:
            relative = path.relative_to(archive).as_posix()
            is_live = not name["compressed"] and (
                path.name == newest_manager_log or (log_kind == "maillog" and not name["rotation"])
            )
            try:
                stat = path.stat()
                with path.open("rb"):
                    pass
            except OSError as error:
                problems.append(
                    Problem(
                        relative,
                        f"cannot be read ({error.strerror})",
                        "Check its permissions or the link that it is, and run again.",
                    )
                )
                continue
            sources.append(
                SourceFile(
                    host=host.name,
                    log_kind=log_kind,
                    path=relative,
                    absolute_path=path,
                    size_bytes=stat.st_size,
                    modified_at_ns=stat.st_mtime_ns,
                    name_date=_name_date(name["date"]),
                    is_live=is_live,
                )
            )
        if not logs:
            problems.append(_no_logs(host))
    return Discovery(sources, ignored, problems)


def host_files(archive: Path, host: Host) -> Iterator[Path]:
    """Yield a host's files in name order: those of its folder, or those its `path` glob matches."""
    paths = archive.glob(host.path) if host.path else (archive / host.name).glob("*")
    yield from sorted(paths)


def classify(name: str) -> tuple[str, re.Match[str]] | None:
    """Return the kind of log that a file name stands for, and the match; None if it is no log."""
    for log_kind, pattern in LOG_NAMES.items():
        if match := pattern.fullmatch(name):
            return log_kind, match
    return None


def _name_date(digits: str | None) -> date | None:
    try:
        return date.fromisoformat(digits) if digits else None
    except ValueError:
        return None


def _no_logs(host: Host) -> Problem:
    return Problem(
        host.path or f"{host.name}/",
        "holds no maillog and no imssmgr log",
        "Copy the host's logs there under their own names (maillog, maillog.1, maillog-20261124.gz, "
        f"imssmgr.20261124.0001), or give their place as `path` of host '{host.name}' in fleet.toml.",
    )
