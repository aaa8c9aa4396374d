"""Fleets of growing size, with one worker and with two, to what a run costs: `python -m tests.scaling_bench`.

Each host has a day's log of the same size. A worker computes with one thread; what two workers gain is held
against what two runs gain that know nothing of each other, because these cores share caches and memory.
"""

import shutil
import statistics
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.document import replace_section
from tests.bench.maillog import write_maillog
from tests.bench.measure import Cost, measure
from tests.fleet_bench import DOCUMENT, FLEET
from tests.night_bench import MAILLAG

HOST_COUNTS = (4, 8, 20, 40)
MESSAGE_COUNT = 4_000
ROUNDS = 3


@dataclass(frozen=True)
class Point:
    """A fleet's size in lines and bytes of text, and what a run cost with one worker and with two."""

    host_count: int
    line_count: int
    text_bytes: int
    alone: Cost
    together: Cost


def main() -> None:
    """Measure, and put a table into the document."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        points = [measure_fleet(folder / f"{count}", count) for count in HOST_COUNTS]
        ideal = gain_of_two_runs(folder / f"{HOST_COUNTS[1]}")
    text = table(points, ideal)
    print(text)
    replace_section(DOCUMENT, "curves", text)


def measure_fleet(folder: Path, host_count: int) -> Point:
    """Write a fleet, and run over it with one worker and with two."""
    line_count = text_bytes = 0
    for number in range(host_count):
        log = folder / "archive" / f"mx{number:02}" / "maillog-20261115"
        log.parent.mkdir(parents=True)
        with log.open("wb") as file:
            line_count += write_maillog(file, message_count=MESSAGE_COUNT, seed=number).total()
        text_bytes += log.stat().st_size
    (folder / "archive" / "fleet.toml").write_text(FLEET)
    return Point(host_count, line_count, text_bytes, median_of(folder, 1), median_of(folder, 2))


def median_of(folder: Path, worker_count: int) -> Cost:
    """Return the run of the median time."""
    costs = [run(folder, worker_count) for _ in range(ROUNDS)]
    wall = statistics.median(cost.wall_seconds for cost in costs)
    return next(cost for cost in costs if cost.wall_seconds == wall)


def run(folder: Path, worker_count: int, lake: str = "lake") -> Cost:
    """Run maillag over an archive from nothing."""
    shutil.rmtree(folder / lake, ignore_errors=True)
    settings = [f"MAILLAG_WORKERS={worker_count}", f"POLARS_MAX_THREADS={worker_count}"]
    command = [str(MAILLAG), "run", str(folder / "archive"), "--lake", str(folder / lake), "--json"]
    return measure(["env", *settings, *command])


def gain_of_two_runs(folder: Path) -> float:
    """Return how many times as much two runs at once do as one alone, in the same time."""
    alone = median_of(folder, 1)
    costs: list[Cost] = []

    def begin(lake: str) -> Callable[[], None]:
        return lambda: costs.append(run(folder, 1, lake))

    for _ in range(ROUNDS):
        threads = [threading.Thread(target=begin(lake)) for lake in ("lake", "other")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return 2 * alone.wall_seconds / statistics.median(cost.wall_seconds for cost in costs)


def table(points: list[Point], ideal: float) -> str:
    """Return the figures as Markdown."""
    first, last = points[0], points[-1]
    rows = "".join(
        f"| {point.host_count} | {point.line_count / 1e6:.1f} M | {point.text_bytes / 1e9:.2f} "
        f"| {point.alone.wall_seconds:.1f} | {point.together.wall_seconds:.1f} "
        f"| {point.alone.wall_seconds / point.together.wall_seconds:.2f} "
        f"| {point.together.cpu_seconds:.1f} | {point.together.peak_mib:.0f} |\n"
        for point in points
    )
    more_bytes = (last.text_bytes - first.text_bytes) / 1e9
    per_gb = (last.alone.cpu_seconds - first.alone.cpu_seconds) / more_bytes
    fixed = first.alone.cpu_seconds - per_gb * first.text_bytes / 1e9
    gain = (last.alone.wall_seconds - first.alone.wall_seconds) / (
        last.together.wall_seconds - first.together.wall_seconds
    )
    return (
        f"Measured by `python -m tests.scaling_bench` on {datetime.now(UTC):%Y-%m-%d}, on 2 cores: medians "
        f"of {ROUNDS} runs from nothing. The peak is that of the largest process.\n\n"
        "| hosts | lines | GB of text | one worker, s | two workers, s | gain | CPU s | peak MiB |\n"
        "|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        f"{rows}\n"
        f"A GB of text takes {per_gb:.0f} CPU s, and a run {fixed:.0f} CPU s beside that. What the larger "
        f"fleets add to the smallest, two workers do {gain:.2f} times as fast as one; two separate runs at "
        f"once do {ideal:.2f} times as much as one in the same time, which is what these cores can give.\n"
    )


if __name__ == "__main__":
    main()
