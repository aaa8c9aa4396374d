"""The folders of an archive to the files below them: whatever lies there, no walk hangs, loops or leaves it.

A symbolic link is followed where it leads to a place in the archive that is not read under its own name. One
that leads out of the archive is not followed, and is reported like everything that cannot be read.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from transforms.file_names import classify
from transforms.fleet import Fleet, Host
from transforms.lines import is_container
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
    """A walk through an archive, host by host. `fleet` has all its hosts, also those that are not walked.

    `problems` gathers what cannot be read, `ignored` what is no file and bears no log's name.
    """

    archive: Path
    fleet: Fleet
    problems: list[Problem] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def files_of(self, host: Host) -> Iterator[Path]:
        """Yield a host's regular files: those below its folder, or below what its `path` glob matches.

        In each folder files come before folders, both in name order.
        """
        followed: set[Path] = set()
        pending = [(path, self._is_behind_link(path)) for path in sorted(self._roots(host), reverse=True)]
        while pending:
            path, is_link = pending.pop()
            try:
                if is_link and not self._is_to_be_followed(path, host, followed):
                    continue
                mode = path.stat().st_mode
            except OSError as error:
                self.report(unreadable(self.shown(path), error))
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
        """Return the text for a path, relative to the archive."""
        return shown_path(os.fsencode(path.relative_to(self.archive)))

    def report(self, problem: Problem) -> None:
        """Add a problem, once."""
        if problem not in self.problems:
            self.problems.append(problem)

    def _roots(self, host: Host) -> set[Path]:
        if host.path is None:
            folder = os.fsdecode(raw_name(host.name))
            # A host that only the fleet file names may be called anything.
            is_folder = folder not in {"", ".", ".."} and not {"/", "\0"}.intersection(folder)
            parts = [folder] if is_folder else []
            return {self.archive / folder for folder in parts if os.path.lexists(self.archive / folder)}
        return set(
            self._matches(self.archive, [part for part in host.path.split("/") if part not in {"", "."}])
        )

    def _matches(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        """Yield what a glob matches. Unlike Path.glob, report the folders that it cannot look into."""
        if not parts:
            yield folder
            return
        part, *rest = parts
        if part == ANY_DEPTH:
            yield from self._matches(folder, rest)
            subfolders = [entry.name for entry in self._entries(folder) if _is_folder(entry)]
            for name in subfolders:
                yield from self._matches(folder / name, parts)
            return
        if MAGIC.isdisjoint(part):
            names = [name] if os.path.lexists(folder / (name := os.fsdecode(raw_name(part)))) else []
        else:
            names = [entry.name for entry in self._entries(folder) if fnmatchcase(entry.name, part)]
        for name in names:
            path = folder / name
            if not rest or (path.is_dir() and not self._leads_out(path)):
                yield from self._matches(path, rest)

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
        """The real paths that hosts are read from, unless links lead there."""
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
        is_out = not _real(path, strict=True).is_relative_to(self._real_archive)
        if is_out:
            self.report(_outside(self.shown(path)))
        return is_out

    def _is_to_be_followed(self, path: Path, host: Host, followed: set[Path]) -> bool:
        """Tell whether a link leads to something that has no other name; report why not.

        Inventory of one host may stand for another's. Raises OSError for a link to nothing.
        """
        if self._leads_out(path):
            return False
        real = _real(path)
        if real.is_dir():
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
            return False
        followed.add(real)
        return True


def is_log(name: str, host: Host) -> bool:
    """Tell whether a host's file of this name is read."""
    return is_container(name) or classify(name, is_central=host.is_collector) is not None


def unreadable(path: str, error: OSError) -> Problem:
    """Return the problem with a file or folder that the system does not let us read."""
    return Problem(
        path,
        f"cannot be read ({error.strerror or error})",
        "Check its permissions or the link that it is, and run again.",
    )


def _after_files(entry: os.DirEntry[str]) -> tuple[bool, str]:
    return _is_folder(entry), entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _real(path: Path, *, strict: bool = False) -> Path:
    # Unlike Path.resolve, with an OSError for a link that leads to itself.
    return Path(os.path.realpath(path, strict=strict))


def _odd(path: str, kind: str) -> Problem:
    return Problem(
        path, f"is {kind} and no file, so it was not opened", "Put the log there as a file, or remove it."
    )


def _outside(path: str) -> Problem:
    return Problem(
        path,
        "is a symbolic link that leads out of the archive, and was not followed",
        "Copy what it leads to into the archive, or mount it there.",
    )


def _another_name(path: str, target: str) -> Problem:
    return Problem(
        path,
        f"is a symbolic link to {target}, which is read under that name",
        "Nothing to do.",
        is_note=True,
    )
