"""Measures the page and writes the figures into docs/report.md: python -m tests.report_bench.

Of each time the best of several counts: what a busy machine adds is not the page's.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Browser

from flows.catalog import open_catalog
from flows.report.page import write_page
from tests.browser import chromium, wait_for_charts
from tests.fleets import make_fleet

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "report.md"
MAILLAG = Path(sys.executable).with_name("maillag")
BEGIN, END = "<!-- measured -->", "<!-- end -->"
TRIES = 5


def main() -> None:
    """Measure a fleet of 50 hosts and 30 days, and the sample."""
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        lake, page, cold = folder / "fleet", folder / "fleet.html", folder / "cold"
        make_fleet(lake, host_count=50, days=30)
        with open_catalog(lake) as catalog:
            ((restarts,),) = catalog.execute("select count(*) from marts.restarts").fetchall()
            ((held,),) = catalog.execute("select count(*) from marts.held_messages").fetchall()
        command = ("report", "--lake", lake, "--out", page)
        first = seconds_of(lambda: run(*command, XDG_CACHE_HOME=str(cold)), tries=1)
        built = seconds_of(lambda: run(*command))
        opened, worked = open_seconds(browser, page)
        sample = folder / "sample"
        run("run", ROOT / "data" / "sample", "--lake", sample)
        cost = seconds_of(lambda: run("run", ROOT / "data" / "sample", "--lake", sample)) - seconds_of(
            lambda: run("run", ROOT / "data" / "sample", "--lake", sample, MAILLAG_REPORT="false")
        )
        small = folder / "sample.html"
        write_page(sample, small, language="en")
        rows = [
            ("size", "5 MB", f"{page.stat().st_size / 1e6:.1f} MB"),
            (
                "`maillag report`",
                "20 s",
                f"{built:.1f} s; {first:.1f} s the first time, when Vega is bundled",
            ),
            ("opened in Chromium, with its charts", "2 s", f"{opened:.2f} s"),
            ("work of the main thread until then", "1 s", f"{worked:.2f} s"),
            ("what it adds to `maillag run data/sample`", "2 s", f"{cost:.1f} s"),
            ("size of the sample's page", "-", f"{small.stat().st_size / 1e6:.1f} MB"),
        ]
    what = f"50 hosts, 30 days, {restarts:,} restarts, {held:,} held messages (`tests/fleets.py`)"
    load = os.getloadavg()[0]
    lines = [
        BEGIN,
        f"Measured {datetime.now(UTC):%Y-%m-%d} with `python -m tests.report_bench`, {os.cpu_count()} cores,",
        f"load {load:.0f}: {what}.",
        "",
        "| | limit | measured |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        END,
    ]
    text = "\n".join(lines)
    print(text)
    old = DOCUMENT.read_text("utf-8")
    DOCUMENT.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: text, old, flags=re.DOTALL), "utf-8")


def run(*arguments: str | Path, **variables: str) -> None:
    subprocess.run([MAILLAG, *arguments], env=os.environ | variables, check=True, capture_output=True)


def seconds_of(call: Callable[[], None], tries: int = TRIES) -> float:
    """Return how long the fastest of some calls took."""
    seconds = []
    for _ in range(tries):
        began = time.monotonic()
        call()
        seconds.append(time.monotonic() - began)
    return min(seconds)


def open_seconds(browser: Browser, path: Path) -> tuple[float, float]:
    """Return the least time until the charts are drawn, and the least work of the main thread until then."""
    walls, works = [], []
    for _ in range(TRIES):
        page = browser.new_context().new_page()
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        began = time.monotonic()
        page.goto(path.resolve().as_uri())
        wait_for_charts(page)
        walls.append(time.monotonic() - began)
        metrics = {
            metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]
        }
        works.append(metrics["TaskDuration"])
        page.context.close()
    return min(walls), min(works)


if __name__ == "__main__":
    main()
