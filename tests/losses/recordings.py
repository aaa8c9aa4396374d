"""Recorded logs to sources: one host by itself, with its settings, its lines and what is known to be true."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.conftest import RECORDING, SAMPLE
from tests.oracle.history import History, Settings, read_archive

ARCHIVES = Path(__file__).parents[1] / "archives"
FOLDERS = {"rig": RECORDING, "sample": SAMPLE, "sendmail": ARCHIVES / "sendmail"}
# What the fleet file tells of retries; a source of the same log lacks them.
RETRY_SETTINGS = ("queue_run_delay_seconds", "minimal_backoff_seconds", "maximal_backoff_seconds")
UNTOLD = "untold"
# The first failure, or the order that tells of a restart, comes this long after it at most.
NEAR_TRUTH = timedelta(seconds=15)
ZONE = ZoneInfo("Asia/Tokyo")
STAMP = re.compile(r"^(?P<month>[A-Z][a-z]{2}) +(?P<day>\d+) (?P<time>\d\d:\d\d:\d\d) (?P<host>\S+) ")
TAG = re.compile(r"(?P<tag>[^\s\[\]:]+)(?:\[(?P<pid>\d+)\])?: (?P<text>.*)")
QUEUE_ID = re.compile(r"(?P<id>[0-9A-Za-z]{6,20}): ")


@dataclass(frozen=True)
class Line:
    """A line of a maillog, and what its header says; `queue_id` is None where no message is named."""

    text: str
    logged_at: datetime
    host: str
    tag: str
    pid: str
    message: str
    queue_id: str | None

    @property
    def daemon(self) -> str:
        """The last part of the program's name: `smtp` of `postfix/relay/smtp`."""
        return self.tag.rpartition("/")[2]


@dataclass(frozen=True)
class TrueRestart:
    """What is known of a restart by those who made it; no `flush_verdict` where the log cannot tell."""

    down_at: datetime
    flush_verdict: str | None


@dataclass(frozen=True)
class Source:
    """A recorded host: its maillog, its other files, its settings, and the restarts that were made."""

    name: str
    maillog: tuple[Line, ...]
    other_files: dict[str, list[str]]
    settings: Settings
    truth: tuple[TrueRestart, ...]

    def history(self, host: str, maillogs: dict[str, list[str]]) -> History:
        """Return the source as a host of an archive, with these maillogs, whose names are given the day."""
        day = f"{self.maillog[0].logged_at.astimezone(ZONE):%Y%m%d}"
        dated = {f"{name}-{day}": lines for name, lines in maillogs.items() if lines}
        return History(host, {**dated, **self.other_files}, self.settings, self.name)


@cache
def read_sources() -> tuple[Source, ...]:
    """Return every recorded host twice: with its retry settings, and without them."""
    return tuple(source for folder in FOLDERS for source in _read_folder(folder))


def find_source(name: str) -> Source:
    """Return the source of a name; raises LookupError that lists all names."""
    by_name = {source.name: source for source in read_sources()}
    if name not in by_name:
        raise LookupError(f"{name}: is no source. The sources: {', '.join(by_name)}.")
    return by_name[name]


def _read_folder(folder: str) -> Iterator[Source]:
    path = FOLDERS[folder]
    fleet = tomllib.loads((path / "fleet.toml").read_text())
    settings = {host: {**fleet.get("defaults", {}), **entry} for host, entry in fleet["hosts"].items()}
    truth = _read_truth(folder)
    for history in read_archive(path, settings):
        maillogs = {name: lines for name, lines in history.files.items() if name.startswith("maillog")}
        others = {name: lines for name, lines in history.files.items() if name not in maillogs}
        # The greater the number of a rotated file, the older it is.
        lines = [line for name in sorted(maillogs, reverse=True) for line in maillogs[name]]
        source = Source(
            name=f"{folder}/{history.host}",
            maillog=tuple(read_lines(lines, year=_year_of([*others, *maillogs]))),
            other_files=others,
            settings=history.settings,
            truth=tuple(truth.get(history.host, ())),
        )
        yield source
        told = {name: value for name, value in source.settings.items() if name not in RETRY_SETTINGS}
        if told != source.settings:
            yield replace(source, name=f"{source.name}/{UNTOLD}", settings=told)


def read_lines(lines: list[str], *, year: int) -> Iterator[Line]:
    """Yield lines with RFC 3164 headers, in the recordings' zone, as what their headers say."""
    for line in lines:
        header = STAMP.match(line)
        assert header, f"no RFC 3164 header: {line}"
        tagged = TAG.fullmatch(line, header.end())
        assert tagged, f"no tag: {line}"
        stamp = f"{year} {header['month']} {header['day']} {header['time']}"
        local = datetime.strptime(stamp, "%Y %b %d %X").replace(tzinfo=ZONE)
        queue_id = QUEUE_ID.match(tagged["text"])
        yield Line(
            text=line,
            logged_at=local.astimezone(UTC),
            host=header["host"],
            tag=tagged["tag"],
            pid=tagged["pid"] or "",
            message=tagged["text"],
            queue_id=queue_id["id"] if queue_id else None,
        )


def _year_of(names: list[str]) -> int:
    years = [int(year) for name in names for year in re.findall(r"[.-](20\d\d)\d{4}", name)]
    return min(years)


def _read_truth(folder: str) -> dict[str, list[TrueRestart]]:
    """Return the restarts of each host that some log shows."""
    if folder == "rig":
        told: list[dict[str, Any]] = json.loads((RECORDING / "truth.json").read_text())
        return {
            scenario["host"]: [
                TrueRestart(_instant(made["down_at"]), _judged(made["expected"]["flush_verdict"]))
                for made in scenario["restarts"]
            ]
            for scenario in told
        }
    if folder == "sample":
        found: dict[str, list[TrueRestart]] = {}
        for made in json.loads((ARCHIVES / "real-postfix" / "expected.json").read_text()):
            found.setdefault(made["host"], []).append(TrueRestart(_instant(made["down_at"]), made["flush"]))
        return found
    hosts = json.loads((ARCHIVES / "sendmail" / "truth.json").read_text())
    return {host["host"]: [_sendmail_restart(made) for made in host["restarts"]] for host in hosts}


def _sendmail_restart(made: dict[str, Any]) -> TrueRestart:
    down_at = datetime.fromisoformat(made["down_at"])
    released = [datetime.fromisoformat(message["released_at"]) for message in made["held"]]
    up_at = datetime.fromisoformat(made["up_at"])
    # A daemon that somebody starts by accident runs the queue, three seconds after the service is back.
    if not released or (not made["is_flush_ordered"] and max(released) < up_at + timedelta(seconds=5)):
        return TrueRestart(down_at, None)
    return TrueRestart(down_at, "effective" if made["is_flush_ordered"] else "missing")


def _judged(verdict: str | None) -> str | None:
    return None if verdict == "unknown" else verdict


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def is_near(made: TrueRestart, down_at: datetime) -> bool:
    """Whether a restart that was found may be one that was made."""
    return abs(made.down_at - down_at) <= NEAR_TRUTH


def true_verdict(source: Source, down_at: datetime) -> str | None:
    """Return the verdict that is known to be true of a restart, None where nobody knows."""
    near = [made for made in source.truth if is_near(made, down_at)]
    return min(near, key=lambda made: abs(made.down_at - down_at)).flush_verdict if near else None
