"""The folders of an archive to the files below them, without hanging, looping or leaving the archive.

A symbolic link is followed if its target lies in the archive and is not read under another name. A link that
leads out of the archive is not followed; it is reported, like everything that cannot be read.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from transforms.archive.bundles import is_bundle
from transforms.archive.file_names import classify
from transforms.fleet.fleet import Fleet, Host
from transforms.names import raw_name, shown_path
from transforms.problems import Problem

MAGIC = frozenset("*?[")
ANY_DEPTH = "**"
KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass
class Walk:
    """A walk through an archive, host by host. `fleet` has all hosts, also those that are not walked.

    `problems` collects, in order, what cannot be read; `ignored` the paths of what is not named like a log.
    """

    archive: Path
    fleet: Fleet
    problems: dict[Problem, None] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def files_of(self, host: Host) -> Iterator[Path]:
        """Yield a host's regular files: those below its folder, or below what its `path` glob matches.

        In each folder files come before folders, both in name order.
        """
        followed: set[Path] = set()
        pending = [(path, self._is_behind_link(path)) for path in reversed(self._roots(host))]
        while pending:
            path, is_link = pending.pop()
            if is_link and self._leads_out(path):
                continue
            mode = self._mode(path)
            if not mode or (is_link and self._has_another_name(path, mode, host, followed)):
                continue
            if stat.S_ISREG(mode):
                yield path
            elif stat.S_ISDIR(mode):
                entries = sorted(self._entries(path), key=_after_files, reverse=True)
                pending += [(path / entry.name, entry.is_symlink()) for entry in entries]
            elif is_log(path.name, host):
                self.report(_odd(self.shown(path), KINDS[stat.S_IFMT(mode)]))
            else:
                self.ignored.append(self.shown(path))

    def shown(self, path: Path) -> str:
        """Return the text that stands for a path, relative to the archive."""
        return shown_path(os.fsencode(path.relative_to(self.archive)))

    def report(self, problem: Problem) -> None:
        """Add a problem, once."""
        self.problems[problem] = None

    def _roots(self, host: Host) -> list[Path]:
        """Return the files and folders that a host's logs are read from, none of them below another."""
        if host.path is None:
            folder = os.fsdecode(raw_name(host.name))
            # The name of a host that has no folder may be any text.
            is_folder = folder not in {"", ".", ".."} and {"/", "\0"}.isdisjoint(folder)
            return [self.archive / folder] if is_folder and os.path.lexists(self.archive / folder) else []
        found = {self.archive}
        *parts, last = Path(host.path).parts
        for part in parts:
            matched = {path for folder in found for path in self._matches(folder, part)}
            links_out = {path for path in matched if path.is_symlink() and self._leads_out(path)}
            found = {path for path in matched - links_out if stat.S_ISDIR(self._mode(path))}
        found = {path for folder in found for path in self._matches(folder, last)}
        return sorted(path for path in found if found.isdisjoint(path.parents))

    def _matches(self, folder: Path, part: str) -> Iterator[Path]:
        """Yield what a part of a glob matches; unlike Path.glob, report folders that cannot be read."""
        if part == ANY_DEPTH:
            pending = [folder]
            while pending:
                yield (below := pending.pop())
                pending += [below / entry.name for entry in self._entries(below) if _is_folder(entry)]
        elif MAGIC.isdisjoint(part):
            if os.path.lexists(path := folder / os.fsdecode(raw_name(part))):
                yield path
        else:
            yield from (
                folder / entry.name for entry in self._entries(folder) if fnmatchcase(entry.name, part)
            )

    def _mode(self, path: Path) -> int:
        """Return the type and permissions of a path's target; 0 if it cannot be looked at."""
        try:
            return path.stat().st_mode
        except OSError as error:
            self.report(unreadable(self.shown(path), error))
            return 0

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            self.report(unreadable(f"{self.shown(folder)}/", error))
            return []

    @cached_property
    def _real_archive(self) -> Path:
        return _real(self.archive)

    @cached_property
    def _homes(self) -> list[tuple[Path, Host]]:
        """The real paths that hosts are read from without following a link."""
        silent = Walk(self.archive, self.fleet)
        return [
            (_real(root), host)
            for host in self.fleet.hosts
            for root in silent._roots(host)
            if not self._is_behind_link(root)
        ]

    def _is_behind_link(self, path: Path) -> bool:
        return _real(path) != self._real_archive / path.relative_to(self.archive)

    def _leads_out(self, path: Path) -> bool:
        is_out = not _real(path).is_relative_to(self._real_archive)
        if is_out:
            self.report(_outside(self.shown(path)))
        return is_out

    def _has_another_name(self, path: Path, mode: int, host: Host, followed: set[Path]) -> bool:
        """Tell whether a link's target is read under another name, and report that; else remember the target.

        An inventory file may be linked from several hosts.
        """
        real = _real(path)
        if stat.S_ISDIR(mode):
            is_read = any(real.is_relative_to(home) or home.is_relative_to(real) for home, _ in self._homes)
        else:
            owners = [
                owner for home, owner in self._homes if real.is_relative_to(home) and is_log(real.name, owner)
            ]
            found = classify(real.name)
            is_shared = found is not None and found.log_kind == "inventory" and host not in owners
            is_read = bool(owners) and not is_shared
        if is_read or real in followed:
            target = shown_path(os.fsencode(real.relative_to(self._real_archive)))
            self.report(_another_name(self.shown(path), target))
            return True
        followed.add(real)
        return False


def is_log(name: str, host: Host) -> bool:
    """Tell whether a file of this name is read for the host."""
    return is_bundle(name) or classify(name, is_central=host.is_collector) is not None


def unreadable(path: str, error: OSError) -> Problem:
    """Return the problem of a file or folder that cannot be read."""
    return Problem(
        path,
        f"cannot be read ({error.strerror or error})",
        "Check its permissions or, if it is a link, where it leads; then run again.",
    )


def _after_files(entry: os.DirEntry[str]) -> tuple[bool, str]:
    return _is_folder(entry), entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _real(path: Path) -> Path:
    # Unlike Path.resolve, without an error for a link that leads to itself.
    return Path(os.path.realpath(path))


def _odd(path: str, kind: str) -> Problem:
    return Problem(
        path,
        f"is {kind}, not a regular file, so it was not opened",
        "Put the log there as a file, or remove it.",
    )


def _outside(path: str) -> Problem:
    return Problem(
        path,
        "is a symbolic link that leads out of the archive, and was not followed",
        "Copy its target into the archive, or mount it there.",
    )


def _another_name(path: str, target: str) -> Problem:
    return Problem(
        path,
        f"is a symbolic link to {target}, which is read under that name",
        "Nothing to do.",
        is_note=True,
    )
