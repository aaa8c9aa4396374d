"""The sample's own lines, many times over, to figures of speed: gz to lake against the floor.

The floor is to inflate the same file and count its lines (`igzip -dc | wc -l`): no reader can do less.
These machines are noisy: rounds are interleaved, and medians and ratios are what counts.
"""

import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from tests.conftest import SAMPLE

ROUNDS = 3
DAYS = 60


def main() -> None:
    """Generate the data, run both in turn, and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "archive")
        source = write_archive(archive)
        print(f"{source.stat().st_size / 1e6:.0f} MB gz, {ROUNDS} rounds")
        floor = f"{sys.executable} -m isal.igzip -dc {source} | wc -l"
        maillag = [sys.executable, "-m", "tests.bench", "read", str(archive), folder]
        runs: dict[str, list[tuple[float, float, float]]] = {"igzip -dc | wc -l": [], "gz to lake": []}
        for _ in range(ROUNDS):
            runs["igzip -dc | wc -l"].append(measure(["bash", "-c", floor]))
            shutil.rmtree(Path(folder, "lake"), ignore_errors=True)
            runs["gz to lake"].append(measure(maillag))
        medians = {
            name: [statistics.median(column) for column in zip(*rounds, strict=True)]
            for name, rounds in runs.items()
        }
        base = medians["igzip -dc | wc -l"][0]
        print(f"{'':<20}{'wall s':>8}{'CPU s':>8}{'MiB':>8}{'x floor':>9}")
        for name, (wall, cpu, memory) in medians.items():
            print(f"{name:<20}{wall:>8.2f}{cpu:>8.2f}{memory:>8.0f}{wall / base:>9.1f}")
        lake_bytes = sum(file.stat().st_size for file in Path(folder, "lake").rglob("*.parquet"))
        print(f"lake / gz: {lake_bytes / source.stat().st_size:.2f}")


def write_archive(archive: Path) -> Path:
    """Write one host's maillog of many days: the lines of a sample host, a day apart."""
    host = archive / "burst14"
    host.mkdir(parents=True)
    lines = gzip.decompress((SAMPLE / "burst14" / "maillog-20261124.gz").read_bytes())
    path = host / "maillog-20261124.gz"
    with gzip.open(path, "wb", compresslevel=6) as log:
        for days in range(DAYS, 0, -1):
            stamp = f"{date(2026, 11, 24) - timedelta(days):%b %d}".encode()
            log.write(lines.replace(b"Nov 24", stamp))
    return path


def measure(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return its wall seconds, CPU seconds and peak memory in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    wall = time.perf_counter() - started
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def read(archive: Path, folder: Path) -> None:
    """Read the archive into a lake, as a run does before it checks and analyzes."""
    from transforms.archive import discover
    from transforms.fleet import read_fleet
    from transforms.ingest import read_sources
    from transforms.pipeline import Job
    from transforms.plan import choose_zones, plan_reads

    job = Job(archive, folder / "lake")
    ledger = job.open_ledger()
    fleet = read_fleet(archive)
    sources = discover(archive, fleet).sources
    zones = choose_zones(fleet, sources, job.default_time_zone)
    plan = plan_reads(sources, ledger, fleet=fleet, zones=zones, rules=job.log_rules)
    read_sources(plan, job.lake, ledger, run_id="bench")


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
