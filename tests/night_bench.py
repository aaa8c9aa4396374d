"""A month of mail and the night after it to what each takes: `python -m tests.night_bench [FOLDER]`.

A fleet's archive has at least 50 million lines of thirty days. It is read and analyzed as a whole, then once
more after a night has added a hundredth of it, and once without anything new. The night is run several times,
each time upon the month's lake. An archive that is in FOLDER already is used again.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path

from isal import igzip

from tests.bench.document import DOCUMENT, replace_section
from tests.bench.maillog import DAY, write_maillog
from tests.bench.measure import Cost, Figure, measure

HOSTS = tuple(f"imss{number:02}" for number in range(1, 6))
DAYS = 30
# Of a host and day: 345,000 lines, 51.8 million in the month.
MESSAGES = 22_300
# The night's day is a quiet one: it adds one line to a hundred.
NIGHT_SHARE = DAYS / 100
FIRST = DAY.date() - timedelta(days=DAYS)
MAILLAG = Path(sys.executable).with_name("maillag")
FLEET = """[defaults]
queue_run_delay_seconds = 300
minimal_backoff_seconds = 300
maximal_backoff_seconds = 4000
time_zone = "UTC"
"""
ROUNDS = 5
FIXED_SECONDS = 15
MOST_SHARE = 0.03


@dataclass(frozen=True)
class Day:
    """One host's log of one day, to be written."""

    path: Path
    day: date
    seed: int
    message_count: int


@dataclass(frozen=True)
class Row:
    """What was run, how many lines were new in it, and what each run cost."""

    what: str
    lines: int
    costs: Sequence[Cost]


def main() -> None:
    """Make the archive if need be, measure, and put a table into the document."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        archive, night, lake = folder / "archive", folder / "night", folder / "lake"
        if not (folder / "lines.txt").exists():
            make_archive(archive, night, folder / "lines.txt")
        month_lines, night_lines = map(int, (folder / "lines.txt").read_text().split())
        shutil.rmtree(lake, ignore_errors=True)
        for path in night.glob("*/*"):
            (archive / path.parent.name / path.name).unlink(missing_ok=True)
        month = run(archive, lake)
        before = folder / "lake-of-the-month"
        shutil.rmtree(before, ignore_errors=True)
        lake.rename(before)
        shutil.copytree(night, archive, dirs_exist_ok=True)
        nights, nothing = [], []
        for _ in range(ROUNDS):
            shutil.rmtree(lake, ignore_errors=True)
            shutil.copytree(before, lake)
            nights.append(run(archive, lake))
            nothing.append(run(archive, lake))
    rows = [
        Row(f"{DAYS} days of {len(HOSTS)} hosts", month_lines, [month]),
        Row("the night after them", night_lines, nights),
        Row("a night without news", 0, nothing),
    ]
    text = render(rows, measured_on=datetime.now(UTC).date())
    print(text)
    replace_section(DOCUMENT, "night", text)


def make_archive(archive: Path, night: Path, told: Path) -> None:
    """Write the month and the night beside it; note how many lines both have."""
    month = [
        Day(_path(archive, host, number), FIRST + timedelta(days=number), 1000 * place + number, MESSAGES)
        for place, host in enumerate(HOSTS)
        for number in range(DAYS)
    ]
    after = [
        Day(_path(night, host, DAYS), DAY.date(), 1000 * place + DAYS, round(MESSAGES * NIGHT_SHARE))
        for place, host in enumerate(HOSTS)
    ]
    with ProcessPoolExecutor() as pool:
        counts = [sum(pool.map(write_day, days)) for days in (month, after)]
    (archive / "fleet.toml").write_text(FLEET)
    told.write_text(f"{counts[0]} {counts[1]}\n")


def write_day(day: Day) -> int:
    """Write a day's log, compressed as after its rotation; return how many lines it has."""
    day.path.parent.mkdir(parents=True, exist_ok=True)
    log = BytesIO()
    counts = write_maillog(log, message_count=day.message_count, seed=day.seed)
    # The day is padded by a blank, as syslog does.
    stamp, shifted = f"{DAY:%b %d} ".encode(), f"{day.day:%b} {day.day.day:2} ".encode()
    text = shifted + log.getvalue().removeprefix(stamp).replace(b"\n" + stamp, b"\n" + shifted)
    with igzip.IGzipFile(day.path, "wb") as packed:  # type: ignore[no-untyped-call]
        packed.write(text)  # type: ignore[no-untyped-call]
    return counts.total()


def _path(archive: Path, host: str, number: int) -> Path:
    """Return the name of a day's log, which is rotated on the next day."""
    return archive / host / f"maillog-{FIRST + timedelta(days=number + 1):%Y%m%d}.gz"


def run(archive: Path, lake: Path) -> Cost:
    """Run maillag as the nightly flow does, contracts and publication included."""
    cost = measure([str(MAILLAG), "run", str(archive), "--lake", str(lake), "--json"])
    print(f"{cost.wall_seconds:.1f} s", file=sys.stderr)
    return cost


def render(rows: Sequence[Row], *, measured_on: date) -> str:
    """Return the document's table of the month, the night, and a night without news."""
    month, night, _ = (Figure.of([cost.wall_seconds for cost in row.costs]).median for row in rows)
    share = (night - FIXED_SECONDS) / month
    return "\n".join(
        [
            f"Measured by `python -m tests.night_bench` on {measured_on}, on 2 cores: the month once, of the "
            f"nights the medians of {ROUNDS}, with the least and the most.",
            "",
            "| `maillag run` | new lines | wall s | CPU s | peak MiB |",
            "|---|---:|---:|---:|---:|",
            *map(_line, rows),
            "",
            f"Beyond {FIXED_SECONDS} s the night took {max(share, 0):.1%} of what the month did; the aim is "
            f"{MOST_SHARE:.0%}: {'reached' if share <= MOST_SHARE else '**missed**'}.",
        ]
    )


def _line(row: Row) -> str:
    wall = Figure.of([cost.wall_seconds for cost in row.costs])
    cpu = Figure.of([cost.cpu_seconds for cost in row.costs])
    peak = Figure.of([cost.peak_mib for cost in row.costs])
    spread = f" ({wall.low:.1f} to {wall.high:.1f})" if len(row.costs) > 1 else ""
    return (
        f"| {row.what} | {row.lines:,} | {wall.median:.1f}{spread} | {cpu.median:.1f} | {peak.median:.0f} |"
    )


if __name__ == "__main__":
    main()
