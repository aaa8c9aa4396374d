"""What every command prints, as files to read: in both languages, 80 and 200 columns wide and in a pipe.

`python -m tests.golden` writes tests/golden/files/<case>.<language>.<width>.txt anew; tests/test_golden.py
compares. Read what has changed before you commit it.
"""

import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from flows.cli import COMMANDS, main
from flows.language import LANGUAGES
from tests.conftest import SAMPLE, run_job
from transforms.contracts.contracts import Checker
from transforms.run import Job

FILES = Path(__file__).with_name("files")
WIDTHS = {"80": 80, "200": 200, "pipe": 0}
LAKE = ("--lake", "lake")
RESTART = "imss12-20261124T031333Z"
# What each case is called, and its command line. A case that changes something gets a copy of the lake.
ASKING = {
    "restarts": ("restarts", *LAKE),
    "restarts-none": ("restarts", "--since", "2030-01-01", *LAKE),
    "status": ("status", "--verify", *LAKE),
    "fleet": ("fleet", *LAKE),
    "fleet-changes": ("fleet", "--changes", *LAKE),
    "trace": ("trace", "35611196089", *LAKE),
    "trace-none": ("trace", "nobody@example.com", "--held", *LAKE),
    "what-if": ("what-if", *LAKE),
    "what-if-none": ("what-if", "--flush-after", "60s", "--since", "2030-01-01", *LAKE),
    "what-if-check": ("what-if", "--check", *LAKE),
    "explain": ("explain", RESTART, "--archive", "archive", *LAKE),
    "explain-unknown": ("explain", "imsva91-20200203T010736Z", "--archive", "archive", *LAKE),
    "query": ("query", "select restart_id, down_at, evidence from marts.restarts", *LAKE),
}
CHANGING = {
    "run": ("run", "archive", *LAKE),
    "compact": ("compact", *LAKE),
    "compact-dry-run": ("compact", "--dry-run", *LAKE),
    "expire-dry-run": ("expire", "--before", "2020-06-01", "--dry-run", *LAKE),
    "expire-none": ("expire", "--before", "2019-06-01", *LAKE),
    "acknowledge": ("acknowledge", "gw1/maillog.1.gz:0", *LAKE),
    "init": ("init", "archive"),
    "report": ("report", "--out", "page.html", *LAKE),
    "export": ("export", "marts.restarts", "--out", "restarts.csv", *LAKE),
}
CASES = ASKING | CHANGING
# A host without zone or settings, with lines that maillag cannot read and a file that is damaged.
GATEWAY = """\
Nov 24 10:00:00 gw1 postfix/smtpd[21]: connect from unknown[192.0.2.1]
Nov 24 10:00:00 gw1 postfix/smtpd[21]: 4A0101: client=unknown[192.0.2.1]
Nov 24 10:00:01 gw1 postfix/qmgr[20]: 4A0101: from=<a@example.com>, size=100, nrcpt=1 (queue active)
Nov 24 10:00:01 gw1 postfix/smtp[22]: 4A0101: to=<b@example.com>, relay=127.0.0.1[127.0.0.1]:10025, \
delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (250 ok)
Nov 24 10:00:01 gw1 postfix/qmgr[20]: 4A0101: removed
Nov 24 10:00:02 gw1 postfix/smtp[22]: this line has no known form
no line of a log
"""
CHANGE = """
[[hosts."imsva11".changes]]
from = 2026-11-25
build = 1830
patch = "Patch 2"
"""


@dataclass(frozen=True)
class Printed:
    """What a command printed, and its exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class FixedClock(datetime):
    """A clock for runs: each look at it is a second after the one before."""

    looks = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Return the next instant."""
        cls.looks += 1
        return cls(2026, 11, 30, 1, 2, 3, tzinfo=UTC) + timedelta(seconds=cls.looks)


def make_lake(folder: Path, checker: Checker) -> None:
    """Make the archive and its lake that the commands are asked about."""
    archive = folder / "archive"
    shutil.copytree(SAMPLE, archive)
    (archive / "gw1").mkdir()
    (archive / "gw1" / "maillog").write_text(GATEWAY)
    (archive / "gw1" / "maillog.1.gz").write_bytes(b"\x1f\x8b\x08 damaged")
    with (archive / "fleet.toml").open("a") as fleet_file:
        fleet_file.write(CHANGE)
    FixedClock.looks = 0
    with patch("transforms.run.datetime", FixedClock):
        run_job(Job(archive, folder / "lake"), checker)


def print_case(
    case: str, language: str, width: str, made: Path, folder: Path, *, encoding: str = "utf-8"
) -> Printed:
    """Run a case in a folder; `made` has archive and lake, which it does not change."""
    if case in CHANGING:
        (folder / "archive").symlink_to(made / "archive")
        shutil.copytree(made / "lake", folder / "lake")
        made = folder
    if case == "init":
        # It merges hosts into the fleet file of a folder only if the archive has none.
        shutil.rmtree(folder / "lake")
        (folder / "archive").unlink()
        shutil.copytree(SAMPLE, folder / "archive", ignore=shutil.ignore_patterns("fleet.toml"))
        folder = folder / "work"
        folder.mkdir()
        (folder / "fleet.toml").write_text('# mine\n[hosts."imss12"]\nminimal_backoff_seconds = 90\n')
        return call(["init", "../archive", "--lang", language], WIDTHS[width], folder, encoding)
    return call([*CASES[case], "--lang", language], WIDTHS[width], made, encoding)


def print_help(folder: Path) -> str:
    """Return the help of all commands, 80 columns wide."""
    names = ["", *(command.__name__ for command in COMMANDS)]
    pages = [call([*name.split(), "--help"], 80, folder).stdout.decode() for name in names]
    return ("-" * 80 + "\n").join(pages)


def call(arguments: list[str], width: int, folder: Path, encoding: str = "utf-8") -> Printed:
    """Run the command line in this process, in a folder, before a terminal of a width or, for 0, a pipe."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    with (
        _terminal(width),
        patch.multiple(sys, argv=["maillag", *arguments], stdout=streams[0], stderr=streams[1]),
    ):
        before = Path.cwd()
        os.chdir(folder)
        try:
            main()
            exit_code: Any = 0
        except SystemExit as end:
            exit_code = end.code or 0
        finally:
            os.chdir(before)
    for stream in streams:
        stream.flush()
    stdout, stderr = (stream.buffer.getvalue() for stream in streams)
    return Printed(stdout, stderr, exit_code)


@contextmanager
def _terminal(width: int) -> Iterator[None]:
    def size(fallback: tuple[int, int] = (80, 24)) -> os.terminal_size:
        return os.terminal_size((width, 24) if width else fallback)

    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAILLAG_")}
    environment |= {"COLUMNS": str(width)} if width else {}
    with (
        patch.dict(os.environ, environment, clear=True),
        patch("shutil.get_terminal_size", size),
    ):
        yield


def as_text(printed: Printed) -> str:
    """Return what a golden file holds."""
    text = printed.stdout.decode()
    if printed.stderr:
        text += f"--- stderr\n{printed.stderr.decode()}"
    # The size of the page is not what is meant.
    text = re.sub(r"\d+\.\d MB", "0.0 MB", text)
    return f"{text}--- exit code {printed.exit_code}\n"


def every_case() -> Iterator[tuple[str, str, str]]:
    """Yield each case in each language and width."""
    for case in CASES:
        for language in LANGUAGES:
            for width in WIDTHS:
                yield case, language, width
