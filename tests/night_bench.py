"""A month of mail and the night after it to what each takes: `python -m tests.night_bench [FOLDER]`.

A fleet's archive has at least 50 million lines of thirty days. It is read and analyzed as a whole, then once
more after a night has added a hundredth of it, and once without anything new. The night is run several times,
each time upon the month's lake. Then the same with as many lines of a single host, and with a month and a
year of one, whose nights are alike. Archives that are in FOLDER already are used again.
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
class Fleet:
    """How many hosts log how much mail on how many days, and then on one more."""

    host_count: int
    day_count: int
    message_count: int
    """Of a host and day; each has 15 lines or so."""
    night_share: float = 1.0
    """How much of a day's mail the night's day has."""

    def __str__(self) -> str:
        hosts = "one host" if self.host_count == 1 else f"{self.host_count} hosts"
        return f"{self.day_count} days of {hosts}"


# The night adds one line to a hundred.
MONTH = Fleet(host_count=5, day_count=30, message_count=22_300, night_share=30 / 100)
OF_ONE_HOST = (
    Fleet(host_count=1, day_count=30, message_count=5 * MONTH.message_count, night_share=30 / 100),
    Fleet(host_count=1, day_count=30, message_count=5_000),
    Fleet(host_count=1, day_count=365, message_count=5_000),
)


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

    @property
    def wall(self) -> Figure:
        """Its wall time in seconds."""
        return Figure.of([cost.wall_seconds for cost in self.costs])


def main() -> None:
    """Make the archives if need be, measure, and put a table into the document."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(next(iter(sys.argv[1:]), temporary))
        if folder.name.startswith("-"):
            raise SystemExit(f"{folder}: is no folder. Give one to keep the data in, or nothing.")
        rows = [row for fleet in (MONTH, *OF_ONE_HOST) for row in measure_fleet(fleet, folder)]
    text = render(rows, measured_on=datetime.now(UTC).date())
    print(text)
    replace_section(DOCUMENT, "night", text)


def measure_fleet(fleet: Fleet, folder: Path) -> list[Row]:
    """Return what it took to read all days of a fleet, then the night, then nothing new."""
    folder /= f"{fleet.host_count}x{fleet.day_count}x{fleet.message_count}"
    archive, night, lake = folder / "archive", folder / "night", folder / "lake"
    if not (folder / "lines.txt").exists():
        make_archive(fleet, archive, night, folder / "lines.txt")
    line_count, night_line_count = map(int, (folder / "lines.txt").read_text().split())
    shutil.rmtree(lake, ignore_errors=True)
    for path in night.glob("*/*"):
        (archive / path.parent.name / path.name).unlink(missing_ok=True)
    whole = run(archive, lake)
    before = folder / "lake-before"
    shutil.rmtree(before, ignore_errors=True)
    lake.rename(before)
    shutil.copytree(night, archive, dirs_exist_ok=True)
    nights, nothing = [], []
    for _ in range(ROUNDS):
        shutil.rmtree(lake, ignore_errors=True)
        shutil.copytree(before, lake)
        nights.append(run(archive, lake))
        nothing.append(run(archive, lake))
    return [
        Row(f"{fleet}, {fleet.message_count:,} mails a host and day", line_count, [whole]),
        Row("the night after them", night_line_count, nights),
        Row("a night without news", 0, nothing),
    ]


def make_archive(fleet: Fleet, archive: Path, night: Path, told: Path) -> None:
    """Write all days and the night beside them; note how many lines both have."""
    hosts = range(fleet.host_count)
    whole = [day_of(fleet, archive, host, day) for host in hosts for day in range(fleet.day_count)]
    after = [day_of(fleet, night, host, fleet.day_count) for host in hosts]
    with ProcessPoolExecutor() as pool:
        counts = [sum(pool.map(write_day, days)) for days in (whole, after)]
    (archive / "fleet.toml").write_text(FLEET)
    told.write_text(f"{counts[0]} {counts[1]}\n")


def day_of(fleet: Fleet, folder: Path, host: int, number: int) -> Day:
    """Return a day of a host, both by number from 0; after the last day comes the night's."""
    day = DAY.date() - timedelta(days=fleet.day_count - number)
    share = fleet.night_share if number == fleet.day_count else 1
    return Day(
        folder / f"imss{host + 1:02}" / f"maillog-{day + timedelta(days=1):%Y%m%d}.gz",
        day,
        seed=1000 * host + number,
        message_count=round(fleet.message_count * share),
    )


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


def run(archive: Path, lake: Path) -> Cost:
    """Run maillag as the nightly flow does, contracts and publication included."""
    cost = measure([str(MAILLAG), "run", str(archive), "--lake", str(lake), "--json"])
    print(f"{cost.wall_seconds:.1f} s", file=sys.stderr)
    return cost


def render(rows: Sequence[Row], *, measured_on: date) -> str:
    """Return the document's table: all days, the night and a night without news, for each fleet."""
    month, night, _, large, _, _, _, after_month, _, _, after_year, _ = rows
    share = max(night.wall.median - FIXED_SECONDS, 0) / month.wall.median
    verdict = "reached" if share <= MOST_SHARE else "**missed**"
    of_one_host = large.wall.median / month.wall.median
    of_year = after_year.wall.median / after_month.wall.median
    return "\n".join(
        [
            f"Measured by `python -m tests.night_bench` on {measured_on}, on 2 cores: first runs once, "
            f"nights as medians of {ROUNDS} (minimum to maximum).",
            "",
            "| `maillag run` | new lines | wall s | CPU s | peak MiB |",
            "|---|---:|---:|---:|---:|",
            *map(_line, rows),
            "",
            f"Not counting {FIXED_SECONDS} s, the night after {MONTH} took {share:.1%} of the time of the "
            f"first run; the aim is {MOST_SHARE:.0%}: {verdict}. The first run with the same mail on one "
            f"host took {of_one_host:.2f} times as long. The night after a year took {of_year:.2f} times as "
            "long as the night after a month.",
        ]
    )


def _line(row: Row) -> str:
    cpu = Figure.of([cost.cpu_seconds for cost in row.costs])
    peak = Figure.of([cost.peak_mib for cost in row.costs])
    spread = f" ({row.wall.low:.1f} to {row.wall.high:.1f})" if len(row.costs) > 1 else ""
    wall = f"{row.wall.median:.1f}{spread}"
    return f"| {row.what} | {row.lines:,} | {wall} | {cpu.median:.1f} | {peak.median:.0f} |"


if __name__ == "__main__":
    main()
