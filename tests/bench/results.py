"""What the runs cost to Markdown: the machine, a table of all contenders, the stages, and the targets."""

import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench.archives import DAY_COUNT, SMALL_FILE_COUNT
from tests.bench.measure import Cost, Figure
from tests.bench.reading import REST, STAGES

TITLES = {
    "floor": "floor: `igzip -dc \\| wc -l`",
    "gz": "**maillag, gz**",
    "plain": "maillag, plain",
    "zst": "maillag, zst",
    "small": f"maillag, {SMALL_FILE_COUNT} small gz",
    "duckdb_gz": "DuckDB alone, gz",
    "duckdb_plain": "DuckDB alone, plain",
    "python_re": "Python `re`, gz",
    "pflogsumm": "`igzip -dc \\| pflogsumm`",
    "floor_10x": "floor, ten days",
    "gz_10x": "maillag, ten days gz",
}
PACKAGES = ("polars", "pyarrow", "duckdb", "isal")


@dataclass(frozen=True)
class Results:
    """What was measured, by the name of the contender; sizes are of what it read and what it wrote.

    A Debian version is the package's name and its version.
    """

    line_count: int
    input_bytes: Mapping[str, int]
    output_bytes: Mapping[str, int]
    costs: Mapping[str, Sequence[Cost]]
    debian_versions: Sequence[str]

    def wall(self, name: str) -> Figure:
        """Return the seconds from start to end."""
        return Figure.of([cost.wall_seconds for cost in self.costs[name]])

    def cpu(self, name: str) -> Figure:
        """Return the seconds that its processes and threads computed."""
        return Figure.of([cost.cpu_seconds for cost in self.costs[name]])

    def peak(self, name: str) -> Figure:
        """Return the peak memory in MiB."""
        return Figure.of([cost.peak_mib for cost in self.costs[name]])

    def times(self, name: str, other: str) -> float:
        """Return how many times the other's wall time a contender takes, by the medians."""
        return self.wall(name).median / self.wall(other).median


@dataclass(frozen=True)
class Target:
    """A promise in words, its bound, and what was measured of it."""

    promise: str
    measured: float
    bound: float
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        """Tell whether the measured value is within the bound."""
        return self.measured >= self.bound if self.is_least else self.measured <= self.bound


def render(results: Results) -> str:
    """Return the generated part of docs/performance.md."""
    sections = (
        _head(results),
        _table(("", "target", "measured", "verdict"), _target_rows(results)),
        _table(
            ("", "wall s", "CPU s", "peak MiB", "x floor", "million lines/s", "MB read", "MB written"),
            _contender_rows(results),
        ),
        "Where the CPU time of *maillag, gz* goes:",
        _table(("stage", "CPU s", "share"), _stage_rows(results)),
    )
    return "\n\n".join(sections)


def targets(results: Results) -> list[Target]:
    """Return all promises that the measured contenders tell of."""
    times = results.times
    forms = ("gz", "plain", "zst", "small", "gz_10x")
    return [
        Target("gz to lake, in wall times of the floor; the goal is 2.5", times("gz", "floor"), 3.5),
        Target("plain to lake, in wall times of gz", times("plain", "gz"), 1),
        Target("times as fast as pflogsumm", times("pflogsumm", "gz"), 25, is_least=True),
        Target(
            "times as fast as DuckDB alone, gz or plain",
            min(times("duckdb_gz", "gz"), times("duckdb_plain", "plain")),
            4.5,
            is_least=True,
        ),
        Target("peak MiB, the most of all forms", max(results.peak(form).high for form in forms), 600),
        Target(
            f"peak memory of {DAY_COUNT} days, in that of one",
            results.peak("gz_10x").median / results.peak("gz").median,
            1.05,
        ),
        Target(
            f"CPU time of {SMALL_FILE_COUNT} small files, in that of one",
            results.cpu("small").median / results.cpu("gz").median,
            1.15,
        ),
        Target(
            "size of the lake, in that of the gz",
            results.output_bytes["gz"] / results.input_bytes["gz"],
            1,
        ),
    ]


def _head(results: Results) -> str:
    day = datetime.now(UTC).date()
    rounds = sorted({len(costs) for costs in results.costs.values()}, reverse=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"""\
Measured by `make bench` on {day}: {results.line_count:,} lines of one host and one day.
Medians (minimum to maximum) of {" or ".join(map(str, rounds))} rounds in which all took turns.

- {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; Linux {platform.release()}
- Python {platform.python_version()}, {", ".join(f"{name} {version(name)}" for name in PACKAGES)}
- Debian's {", ".join(results.debian_versions)}"""


def _processor() -> str:
    processors = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    match = re.search(r"^model name\s*: (.*)$", processors, re.MULTILINE)
    return match[1] if match else platform.machine()


def _target_rows(results: Results) -> Iterator[tuple[str, ...]]:
    for target in targets(results):
        bound = f"{'at least' if target.is_least else 'at most'} {target.bound:g}"
        verdict = "met" if target.is_met else "**missed**"
        yield target.promise, bound, f"{target.measured:.2f}", verdict


def _contender_rows(results: Results) -> Iterator[tuple[str, ...]]:
    for name, title in TITLES.items():
        is_long = name.endswith("_10x")
        wall, cpu = results.wall(name), results.cpu(name)
        lines = results.line_count * (DAY_COUNT if is_long else 1)
        written = results.output_bytes.get(name)
        yield (
            title,
            _spread(wall),
            _spread(cpu),
            f"{results.peak(name).median:.0f}",
            f"{results.times(name, 'floor_10x' if is_long else 'floor'):.2f}",
            f"{lines / wall.median / 1e6:.2f}",
            f"{results.input_bytes[name] / 1e6:.0f}",
            f"{written / 1e6:.0f}" if written else "",
        )


def _stage_rows(results: Results) -> Iterator[tuple[str, ...]]:
    """Yield what each stage adds to those before it."""
    whole = results.cpu("gz").median
    before = 0.0
    for stage in STAGES:
        until = results.cpu(stage).median
        yield stage, f"{until - before:.2f}", f"{(until - before) / whole:.0%}"
        before = until
    yield REST, f"{whole - before:.2f}", f"{(whole - before) / whole:.0%}"


def _spread(figure: Figure) -> str:
    return f"{figure.median:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def _table(columns: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, rule, *rows])
