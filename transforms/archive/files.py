"""A folder of archived logs to the list of source files that maillag reads, chosen by their names."""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from transforms.archive.bundles import Member, is_bundle, list_members
from transforms.archive.file_names import LIKE_A_LOG, FileName, classify
from transforms.archive.lines import DamagedFileError
from transforms.archive.walk import Walk, unreadable
from transforms.bounds import DEFAULT_LIMITS, LAST_YEAR, Limits
from transforms.fleet.fleet import FLEET_FILE, Fleet, Host, host_folders
from transforms.names import MEMBER_MARK, shown_name, shown_path
from transforms.problems import MaillagError, Problem
from transforms.regular_files import open_regular

PATHS_NAMED = 3
# A bundle may claim any size and time for a member; the ledger can hold these.
LARGEST_INTEGER = 2**63 - 1
LAST_NS = int(datetime(LAST_YEAR, 12, 31, tzinfo=UTC).timestamp()) * 10**9
# Kinds that show neither mail nor restarts: a host with nothing else has no logs.
SECONDARY_KINDS = frozenset({"inventory", "system_log"})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One log file of one host.

    - `path`: relative to the archive, with `!` and the member's name for a file in a bundle.
    - `member`: its name in the bundle.
    - `is_live`: a daemon may still write to it, so its last line may be unfinished.
    - `is_central`: each line names its host, and `host` is the collector.
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
    """What an archive holds: source files, the paths of ignored files, and problems.

    `without_files` has a problem for each host without log files, which applies unless a collector's files
    have lines of that host.
    """

    sources: list[SourceFile]
    ignored: list[str]
    problems: list[Problem]
    without_files: dict[str, Problem] = field(default_factory=dict)


def discover(
    archive: Path, fleet: Fleet, *, only: Collection[str] = (), limits: Limits = DEFAULT_LIMITS
) -> Discovery:
    """List the archive's source files, host by host, for the hosts in `only` (empty: all).

    A bundle beyond `limits` becomes a problem. Raises MaillagError if the archive is not a folder.
    """
    if not archive.is_dir():
        raise MaillagError(
            f"{archive}: is not a folder. Give the folder that holds one folder of logs per host."
        )
    walk = Walk(archive, fleet)
    found: list[SourceFile] = []
    without_files: dict[str, Problem] = {}
    taken: set[str] = set()
    has_collector = any(host.is_collector for host in fleet.hosts)
    for host in fleet.hosts:
        if only and host.name not in only:
            continue
        sources: list[SourceFile] = []
        for path in walk.files_of(host):
            taken.add(walk.shown(path))
            sources += _sources_of(path, host, walk, limits)
        newest = {
            source.log_kind: source.path
            for source in sorted(sources, key=lambda source: source.path)
            if source.name.name_date
        }
        found += [_with_liveness(source, newest) for source in sources]
        if any(source.log_kind not in SECONDARY_KINDS for source in sources):
            continue
        if has_collector and not host.is_collector:
            without_files[host.name] = _no_logs(host)
        else:
            walk.report(_no_logs(host))
    no_files = {*host_folders(archive), FLEET_FILE}
    beside = sorted(path.name for path in archive.iterdir() if path.name not in no_files)
    shown = (shown_path(os.fsencode(name)) for name in beside if not name.startswith("."))
    ignored = [*walk.ignored, *(name for name in shown if name not in taken)]
    return Discovery(found, ignored, list(walk.problems), without_files)


def passed_over(ignored: Iterable[str]) -> Iterator[Problem]:
    """Yield a warning for each folder with ignored files that may be logs."""
    by_folder: dict[str, list[str]] = {}
    for path in ignored:
        name = path.rpartition("/")[2]
        # A bundle is ignored inside another bundle.
        if LIKE_A_LOG.fullmatch(name) or is_bundle(name):
            by_folder.setdefault(path.partition("/")[0], []).append(path)
    for folder, paths in by_folder.items():
        yield Problem(
            f"{folder}/",
            f"files are ignored although their names resemble those of logs: {_some(paths)}",
            "Rename them as docs/logs.md says, such as maillog-20261124 or maillog.1, and run again.",
            rule="files whose names are like those of logs are read",
            is_warning=True,
        )


def _sources_of(path: Path, host: Host, walk: Walk, limits: Limits) -> Iterator[SourceFile]:
    """Yield the source files that one file is or holds; report problems and ignored files to the walk."""
    relative = walk.shown(path)
    holds_members = is_bundle(path.name)
    try:
        with open_regular(path) as opened:
            stat = os.fstat(opened.fileno())
        files = [Member(path.name, path.name, stat.st_size, stat.st_mtime_ns)]
        if holds_members:
            files, damage = list_members(path, limits)
            if damage:
                walk.report(_damaged(relative, damage, len(files)))
    except OSError as error:
        walk.report(unreadable(relative, error))
        return
    read = {file.name for file in files if not file.obstacle and _classify(file, host)}
    for file in files:
        shown = f"{relative}{MEMBER_MARK}{file.name}" if holds_members else relative
        name = _classify(file, host)
        if name is None:
            walk.ignored.append(shown)
        elif file.obstacle and file.links_to not in read:
            walk.report(Problem(shown, f"{file.obstacle}, so it was not read", file.remedy))
        if name is None or file.obstacle:
            continue
        yield SourceFile(
            host=host.name,
            path=shown,
            absolute_path=path.absolute(),
            member=file.name if holds_members else None,
            size_bytes=min(file.size_bytes, LARGEST_INTEGER),
            modified_at_ns=min(max(file.modified_at_ns, 0), LAST_NS),
            name=name,
            is_live=False,
            is_central=host.is_collector and name.log_kind == "maillog",
            limits=limits,
        )


def _classify(file: Member, host: Host) -> FileName | None:
    return classify(file.base_name, is_central=host.is_collector)


def _with_liveness(source: SourceFile, newest: dict[str, str]) -> SourceFile:
    """Mark a file that may still be written to: not rotated, or the newest of a Trend Micro log."""
    is_live = (
        source.member is None
        and not source.name.is_compressed
        and source.log_kind not in {"queue_snapshot", "inventory"}
        and (not source.name.is_rotated or _is_newest_trend_log(source, newest))
    )
    return replace(source, is_live=is_live)


def _is_newest_trend_log(source: SourceFile, newest: dict[str, str]) -> bool:
    return source.log_kind != "maillog" and newest.get(source.log_kind) == source.path


def _damaged(path: str, error: DamagedFileError, file_count: int) -> Problem:
    rest = f"the files before the damage were read ({file_count})" if file_count else "nothing in it was read"
    return Problem(path, f"{error}; {rest}", error.remedy)


def _some(paths: list[str]) -> str:
    more = len(paths) - PATHS_NAMED
    return ", ".join(paths[:PATHS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _no_logs(host: Host) -> Problem:
    return Problem(
        shown_name(host.path.encode()) if host.path else f"{host.name}/",
        "holds no maillog and no log of the product",
        "Copy the host's logs there under their own names (maillog, maillog.1, maillog-20261124.gz, "
        f"imssmgr.20261124.0001), or give their location as `path` of host '{host.name}' in fleet.toml.",
    )
