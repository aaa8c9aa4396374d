"""Sets who may read the lake: the permissions of everything written to it, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LAKE_MODE = 0o640


@contextmanager
def writing(mode: int) -> Iterator[None]:
    """Give files created by this process and its children the permissions `mode`, and folders matching ones.

    SQLite, DuckDB, Arrow and polars cannot be given permissions, but all obey the umask.
    """
    before = os.umask(0o777 & ~_folder_mode(mode))
    try:
        yield
    finally:
        os.umask(before)


def mend_rights(lake: Path, mode: int) -> None:
    """Set the permissions of everything in a lake, if its folder or an entry just below has different ones.

    Files that belong to another user stay as they are.
    """
    if not any(_has_other_rights(path, mode) for path in (lake, *lake.iterdir())):
        return
    # The lake itself comes last, so that an interrupted correction starts again.
    for folder, _, names in os.walk(lake, topdown=False):
        for path in (*(Path(folder, name) for name in names), Path(folder)):
            if _has_other_rights(path, mode):
                with suppress(PermissionError, FileNotFoundError):
                    path.chmod(_folder_mode(mode) if path.is_dir() else mode)


def _has_other_rights(path: Path, mode: int) -> bool:
    with suppress(FileNotFoundError):
        found = path.lstat().st_mode
        wanted = _folder_mode(mode) if stat.S_ISDIR(found) else mode
        return not stat.S_ISLNK(found) and stat.S_IMODE(found) & 0o777 != wanted
    return False


def _folder_mode(mode: int) -> int:
    """Return the rights of a folder: those who may read its files may enter it."""
    return mode | (mode & 0o444) >> 2
