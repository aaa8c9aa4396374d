"""Jobs that the tests of the engines do: worker processes import them from here."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from transforms.contracts.contracts import Check, Contract, Finding
from transforms.cores import thread_count


class OddError(Exception):
    """It is pickled, but not made again."""

    def __init__(self, *, what: str) -> None:
        super().__init__(what)


@dataclass(frozen=True)
class Deed:
    """What a job does; its folder has a line for each try."""

    name: str
    folder: Path
    deaths: int = 0
    """How many tries kill their process."""
    seconds: float = 0
    waits_for: int = 0
    """It ends only once so many tries have begun."""
    error: type[Exception] | None = None


def begun(folder: Path) -> list[str]:
    """Return the names of the jobs in the order in which they began."""
    log = folder / "begun"
    return log.read_text().split() if log.exists() else []


def do(deed: Deed, check: Check) -> str:
    """Do a job; return its name."""
    with (deed.folder / "begun").open("a") as log:
        log.write(f"{deed.name}\n")
    if begun(deed.folder).count(deed.name) <= deed.deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(deed.seconds)
    while len(begun(deed.folder)) < deed.waits_for:
        time.sleep(0.01)
    if deed.error is OddError:
        raise OddError(what=deed.name)
    if deed.error:
        raise deed.error(deed.name)
    return deed.name


def place(number: int, check: Check) -> tuple[int, int, int]:
    """Return the process and its threads: those of polars, and those for all others."""
    import polars as pl  # takes 0.3 s, which the other jobs do not wait for

    return os.getpid(), pl.thread_pool_size(), thread_count()


def print_much(number: int, check: Check) -> int:
    """Write to standard output and standard error."""
    print(number)
    os.write(sys.stderr.fileno(), b"noise\n")
    return number


@dataclass(frozen=True)
class Checked:
    """A DuckDB file and the contracts of its tables."""

    database: Path
    contracts: tuple[Contract, ...]


def check_file(checked: Checked, check: Check) -> list[Finding]:
    """Return what is found in it."""
    return check(checked.database, checked.contracts)
