"""Nights of a fleet, one after another: rotation, late and corrected files, kills, and readers all the while.

After the last night the marts must be those of one clean run over the whole archive, row for row, no reader
may have met an error, and lake and ledger must agree. `make soak`, or `python -m tests.soak --nights N
--hosts N --seed N`.
"""

import argparse
import gzip
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import duckdb

from tests.oracle.generate import BUILDS, instant, maillog_line, manager_line, system_line
from tests.oracle.history import DAY, EPOCH, HOUR, MINUTE, SECOND, Settings
from tests.oracle.simulate import Episode, Host, Plan
from transforms.lake.verify import verify_lake

MAILLAG = Path(sys.executable).with_name("maillag")
# When the nightly run begins, in hours of UTC.
RUN_HOUR = 4.5
LATE_SHARE = 0.06
CORRECTED_SHARE = 0.06
KILL_SHARE = 0.5


@dataclass(frozen=True)
class Log:
    """What a host logs in one day under one name, each line with its instant."""

    day: date
    kind: str
    lines: tuple[tuple[datetime, str], ...]

    def text(self, until: datetime) -> str:
        """Return what is written by then."""
        return "".join(f"{line}\n" for at, line in self.lines if at <= until)


@dataclass
class Soak:
    """A fleet and its archive, as the nights go by."""

    folder: Path
    host_count: int
    night_count: int
    seed: int
    kill_count: int = 0
    late_count: int = 0
    corrected_count: int = 0
    logs: dict[str, list[Log]] = field(default_factory=dict)
    # The night from which on a file is there, and is right.
    due: dict[tuple[str, date], tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.archive, self.lake = self.folder / "archive", self.folder / "lake"
        self.archive.mkdir(parents=True)
        fleet = []
        for number in range(self.host_count):
            host = f"gw{number:02}"
            (self.archive / host).mkdir()
            settings: Settings = dict(self.chance.choice(BUILDS))
            if number % 4:
                settings |= {"minimal_backoff_seconds": 300, "queue_run_delay_seconds": 300}
            fleet.append(f'[hosts."{host}"]')
            fleet += [f"{name} = {value!r}".replace("'", '"') for name, value in settings.items()]
            self.logs[host] = self._host_logs(host)
            for log in self.logs[host]:
                night = self._first_night(log.day)
                there = night + self.chance.randint(1, 3) * (self.chance.random() < LATE_SHARE)
                right = there + self.chance.randint(1, 2) * (self.chance.random() < CORRECTED_SHARE)
                if log.kind == "maillog":
                    self.late_count += there > night
                    self.corrected_count += right > there
                    self.due[host, log.day] = there, right
        (self.archive / "fleet.toml").write_text("\n".join(fleet) + "\n")

    def _host_logs(self, host: str) -> list[Log]:
        episodes = []
        for day in range(self.night_count):
            start = day * DAY + self.chance.randint(0, 20) * HOUR + SECOND
            down_at = start + self.chance.randint(60, 600) * SECOND
            outages = [(down_at, down_at + self.chance.randint(4, 70) * SECOND)]
            if self.chance.random() < 0.3:
                again_at = outages[0][1] + self.chance.randint(2, 40) * MINUTE
                outages.append((again_at, again_at + 20 * SECOND))
            episodes.append(
                Episode(
                    start=start,
                    end=outages[-1][1] + 15 * MINUTE,
                    outages=tuple(outages),
                    mail_gap=15 * SECOND,
                    does_wrapper_flush=self.chance.random() < 0.7,
                )
            )
        happened = Host(
            Plan(
                seed=self.chance.randint(0, 1 << 30),
                until=self.night_count * DAY,
                episodes=tuple(episodes),
                poll_phase=self.chance.randint(0, 59) * SECOND,
                event_jitter=self.chance.choice((None, 0)),
            )
        ).run()
        lines = [
            ("maillog", at, maillog_line(at, host, tag, text, has_fractions=False))
            for at, _, tag, text in happened.lines
        ]
        lines += [("imssmgr", at, manager_line(at)) for at in happened.commands]
        lines += [("sysevt.imss", at, system_line(at, kind)) for at, kind in sorted(happened.system_events)]
        of_file: dict[tuple[date, str], list[tuple[datetime, str]]] = {}
        for kind, at, line in lines:
            of_file.setdefault((instant(at).date(), kind), []).append((instant(at), line))
        return [Log(day, kind, tuple(sorted(told))) for (day, kind), told in sorted(of_file.items())]

    def _first_night(self, day: date) -> int:
        """Return the first night after a day."""
        return (day - EPOCH.date()).days + 1

    def run_at(self, night: int) -> datetime:
        """Return when the run of a night begins."""
        return datetime(EPOCH.year, EPOCH.month, EPOCH.day, tzinfo=UTC) + timedelta(
            days=night, hours=RUN_HOUR
        )

    def deliver(self, night: int) -> None:
        """Write the archive as it is when the run of a night begins."""
        now = self.run_at(night)
        for host, logs in self.logs.items():
            for log in logs:
                if log.day <= now.date():
                    self._deliver(host, log, night, now)

    def _deliver(self, host: str, log: Log, night: int, now: datetime) -> None:
        folder = self.archive / host
        text = log.text(now)
        if log.kind != "maillog":
            write(folder / f"{log.kind}.{log.day:%Y%m%d}.0001", text, now)
            return
        if log.day == now.date():
            # The last line of a live file may not be whole yet.
            write(folder / "maillog", text + self.chance.choice(("", "Nov 2", "Nov 24 10:00:00 gw")), now)
            return
        there, right = self.due[host, log.day]
        rotated = folder / f"maillog-{log.day + timedelta(days=1):%Y%m%d}"
        if night == self._first_night(log.day):
            (folder / "maillog").unlink(missing_ok=True)
        if night < there:
            return
        if night < right:
            # A copy that was cut off, and has a line that the true one has not.
            lines = text.splitlines(keepends=True)
            text = "".join([*lines[: len(lines) * 2 // 3], "garbage of a damaged copy\n"])
        if night <= there:
            write(rotated, text, now)
        else:
            rotated.unlink(missing_ok=True)
            packed = rotated.with_name(f"{rotated.name}.gz")
            if night in (there + 1, right):
                packed.write_bytes(gzip.compress(text.encode(), mtime=0))
                set_time(packed, now)

    def run(self, lake: Path | None = None, *, kill_after: float | None = None) -> bool:
        """Run maillag as a scheduler does; tell whether it came to its end."""
        told = self.folder / "stderr.txt"
        with told.open("w") as errors:
            process = subprocess.Popen(
                [MAILLAG, "run", self.archive, "--lake", lake or self.lake],
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        try:
            exit_code = process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.kill_count += 1
            return False
        if exit_code not in (0, 1):
            raise AssertionError(f"maillag run ended with {exit_code}: {told.read_text()}")
        return True


def write(path: Path, text: str, now: datetime) -> None:
    """Write a file as the host leaves it, unless it is so already."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        set_time(path, now)


def set_time(path: Path, now: datetime) -> None:
    """The year of a log whose name bears no date is that of its last change."""
    os.utime(path, (now.timestamp(), now.timestamp()))


def read_all(lake: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all published marts, in order."""
    with duckdb.connect(str(lake / "maillag.duckdb"), read_only=True) as catalog:
        catalog.execute("set timezone = 'UTC'")
        # In a process that was spawned DuckDB believes that it speaks with a person.
        catalog.execute("set enable_progress_bar = false")
        tables = catalog.execute(
            "select view_name from duckdb_views() where schema_name = 'marts' order by all"
        ).fetchall()
        return {name: catalog.execute(f"from marts.{name} order by all").fetchall() for (name,) in tables}


def keep_reading(lake: Path, stop: Event, errors: Path) -> None:
    """Read all marts in a loop, as analysts do; write down what goes wrong."""
    while not stop.is_set():
        if not (lake / "maillag.duckdb").exists():
            time.sleep(0.1)
            continue
        try:
            marts = read_all(lake)
            known = {row[0] for row in marts["restarts"]}
            if not {row[0] for row in marts["held_messages"]} <= known:
                raise AssertionError("held_messages of a restart that is not there: half of two versions")
        except Exception as error:
            with errors.open("a") as told:
                told.write(f"{type(error).__name__}: {error}\n")
        time.sleep(0.02)


def soak(folder: Path, *, hosts: int, nights: int, seed: int, reader_count: int = 1) -> str:
    """Let the nights go by; return what happened. Raises AssertionError if a promise is broken."""
    started_at = time.monotonic()
    fleet = Soak(folder, hosts, nights, seed)
    errors = folder / "reader-errors.txt"
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    readers = [
        spawn.Process(target=keep_reading, args=(fleet.lake, stop, errors), daemon=True)
        for _ in range(reader_count)
    ]
    for reader in readers:
        reader.start()
    try:
        for night in range(1, nights + 1):
            fleet.deliver(night)
            if fleet.chance.random() < KILL_SHARE:
                fleet.run(kill_after=fleet.chance.uniform(0.3, 6))
            fleet.run()
    finally:
        stop.set()
        for reader in readers:
            reader.join(60)
    assert not errors.exists(), errors.read_text()[:2000]
    clean = folder / "clean"
    fleet.run(clean)
    nightly, whole = read_all(fleet.lake), read_all(clean)
    assert nightly["restarts"], "nothing was found"
    different = [name for name in whole if nightly[name] != whole[name]]
    assert not different, f"{different} differ from those of one clean run (kept in {folder})"
    wrong = verify_lake(fleet.lake)
    assert not wrong, wrong[:10]
    return (
        f"{nights} nights of {hosts} hosts, seed {seed}: {fleet.kill_count} kills, {fleet.late_count} late "
        f"files, {fleet.corrected_count} corrected ones; {len(whole['restarts'])} restarts and "
        f"{len(whole['message_trace'])} rows of message_trace as of one clean run; no reader met an error; "
        f"{time.monotonic() - started_at:.0f} s"
    )


def main() -> None:
    """Soak as long as asked, and tell what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="maillag-soak-"))
    print(soak(folder, hosts=given.hosts, nights=given.nights, seed=given.seed))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
