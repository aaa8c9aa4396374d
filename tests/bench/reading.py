"""An archive to a new lake, as `maillag run` does it before it checks and analyzes; or only its first stages.

This is what is measured: a process of its own, its start included.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transforms.ingest.read import Reads


def read(archive: Path, lake: Path) -> "Reads":
    """Read all of the archive into the lake."""
    # Imported here, so that importing them is measured, and who measures does not grow by them.
    from transforms.archive.files import discover
    from transforms.fleet.fleet import read_fleet
    from transforms.ingest.plan import choose_zones, plan_reads
    from transforms.ingest.read import read_sources
    from transforms.run import Job

    job = Job(archive, lake)
    ledger = job.open_ledger()
    fleet = read_fleet(archive)
    sources = discover(archive, fleet).sources
    zones = choose_zones(fleet, sources, job.default_time_zone)
    plan = plan_reads(sources, ledger, fleet=fleet, zones=zones, rules=job.log_rules)
    reads = read_sources(plan, lake, {}, run_id="bench", part="1")
    ledger.close()
    assert reads.new_sources, reads.problems
    return reads


def start(archive: Path, lake: Path) -> None:
    """Import all that reading needs, and read nothing."""
    import transforms.pipeline  # noqa: F401


def inflate(archive: Path, lake: Path) -> None:
    """Start, and read and decompress all files."""
    from transforms.archive.lines import read_blocks

    start(archive, lake)
    for path in sorted(archive.glob("*/*")):
        with path.open("rb") as stream:
            for _ in read_blocks(stream):
                pass


def scan(archive: Path, lake: Path) -> None:
    """Start, inflate, and take every block through the fast lane, one after the other."""
    from datetime import date

    from transforms.archive.lines import read_blocks
    from transforms.fast_lane.lane import FastLane
    from transforms.parse.clock import YearWindow
    from transforms.parse.events import Reading
    from transforms.zone import Zone

    start(archive, lake)
    lane = FastLane()
    reading = Reading("gw", "maillog", Zone("UTC", "default"), YearWindow(date(2026, 12, 31), "file_name"))
    for path in sorted(archive.glob("*/*")):
        with path.open("rb") as stream:
            for block in read_blocks(stream, lane.padding):
                lane.scan(block, len(block) - len(lane.padding), reading)


# Each does all that those before it do, and one thing more: what it costs beyond them is its share.
STAGES: dict[str, Callable[[Path, Path], object]] = {"start-up": start, "inflate": inflate, "scan": scan}
# What the whole costs beyond the last of them.
REST = "general lane and write"

if __name__ == "__main__":
    {**STAGES, "read": read}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
