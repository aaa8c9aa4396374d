"""Two nights of ten thousand small hosts to what they cost: `python -m tests.fleet_bench [COUNT]`.

The real paths are measured, by the command line: reading, contracts, marts, publishing. The driver's own CPU
time is what it adds to that of its workers.
"""

import json
import resource
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.document import replace_section
from tests.bench.measure import Cost, measure
from tests.peaks import maillog

DOCUMENT = Path(__file__).parents[1] / "docs" / "scaling.md"
HOST_COUNT = 10_000
FLEET = '[defaults]\ntime_zone = "UTC"\nqueue_run_delay_seconds = 300\nminimal_backoff_seconds = 300\n'
VERDICTS = "select flush_verdict, count(*) from marts.restarts group by all"
OF_ONE_HOST = "select * from marts.restarts where host = 'gw00042'"


@dataclass(frozen=True)
class Night:
    """What a run cost in all, and its driver alone, and what the lake then is."""

    whole: Cost
    driver_seconds: float
    file_count: int
    catalog_bytes: int
    questions: dict[str, Cost]


def main() -> None:
    """Measure, and put a table into the document."""
    count = int(next(iter(sys.argv[1:]), HOST_COUNT))
    with tempfile.TemporaryDirectory() as folder:
        archive, lake = Path(folder, "archive"), Path(folder, "lake")
        nights = []
        for day in (24, 25):
            write_night(archive, count, day)
            nights.append(run_night(archive, lake))
            print(f"night {len(nights)}: {nights[-1]}", flush=True)
    replace_section(DOCUMENT, "fleet", table(count, nights))


def write_night(archive: Path, count: int, day: int) -> None:
    """Write a day's log of each host, with one restart that holds a message."""
    for number in range(count):
        host = f"gw{number:05}"
        (archive / host).mkdir(parents=True, exist_ok=True)
        lines = (
            maillog(host)
            .replace(b"Nov 24", b"Nov %d" % day)
            .replace(b"892A0205B6", b"%d%08X" % (day, number))
        )
        (archive / host / f"maillog-202611{day + 1}").write_bytes(lines)
    (archive / "fleet.toml").write_text(FLEET)


def run_night(archive: Path, lake: Path) -> Night:
    """Run a night in a process of its own, and ask some questions."""
    with tempfile.TemporaryFile("w+") as told:
        whole = measure([sys.executable, "-m", "tests.fleet_bench", "--run", str(archive), str(lake)], told)
        told.seek(0)
        driver_seconds = json.loads(told.readlines()[-1])
    catalog = lake / "maillag.duckdb"
    return Night(
        whole,
        driver_seconds,
        sum(1 for _ in lake.rglob("*.parquet")),
        catalog.stat().st_size,
        {
            query: measure([sys.executable, "-m", "tests.fleet_bench", "--ask", str(catalog), query])
            for query in ("select 1", VERDICTS, OF_ONE_HOST)
        },
    )


def run(archive: Path, lake: Path) -> None:
    """Do what `maillag run` does; print the CPU seconds of this process, without those of its workers."""
    from flows.runs import run_archive
    from transforms.engine import LocalEngine
    from transforms.run import Job, NoProgress

    run_archive(Job(archive, lake), LocalEngine(), NoProgress(), page_language=None)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps(used.ru_utime + used.ru_stime))


def ask(catalog: Path, query: str) -> None:
    """Open a catalog, as an analyst does, and ask."""
    import duckdb

    with duckdb.connect(str(catalog), read_only=True) as connection:
        connection.execute(query).fetchall()


def table(count: int, nights: list[Night]) -> str:
    """Return the figures as Markdown."""
    head = (
        f"Measured by `python -m tests.fleet_bench` on {datetime.now(UTC):%Y-%m-%d}: {count:,} hosts, one "
        "small log a host and night, on 2 cores.\n\n"
        "| | wall s | CPU s | of it the driver's, ms a host | peak MiB | files of the lake | catalog MB "
        "| to open it, s | all verdicts, CPU s | one host, CPU s |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    )
    rows = []
    for number, night in enumerate(nights, 1):
        opened, verdicts, of_one = night.questions.values()
        rows.append(
            f"| night {number} | {night.whole.wall_seconds:.0f} | {night.whole.cpu_seconds:.0f} "
            f"| {1000 * night.driver_seconds / count:.1f} | {night.whole.peak_mib:.0f} | {night.file_count} "
            f"| {night.catalog_bytes / 1e6:.1f} | {opened.wall_seconds:.2f} "
            f"| {verdicts.cpu_seconds:.2f} | {of_one.cpu_seconds:.2f} |\n"
        )
    return head + "".join(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(Path(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--ask"]:
        ask(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
