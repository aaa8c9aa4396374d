"""Debian's Chromium for tests and pictures of the page: opens it, and notes what it requests and logs."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "chromium")
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
# How many charts that have a place are not drawn yet.
UNDRAWN = (
    "[...document.querySelectorAll('.chart:not([hidden]), .timeline')]"
    ".filter((box) => box.clientWidth && !box.querySelector('svg[role=img]')).length"
)
AXE_VERSION = "4.14.1"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser."""
    with sync_playwright() as playwright:
        # Containers allow no sandbox, and give little shared memory.
        browser = playwright.chromium.launch(
            executable_path=shutil.which(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def open_page(browser: Browser, path: Path, address: str = "", **options: Any) -> tuple[Page, list[str]]:
    """Open the page in a context of its own, until its charts are drawn; return what it requests and logs."""
    noted: list[str] = []
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    page = context.new_page()
    page.on("console", lambda message: noted.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: noted.append(f"error: {error}"))
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "blob:")) else noted.append(request.url),
    )
    page.goto(path.resolve().as_uri() + address)
    if options.get("java_script_enabled", True):
        wait_for_charts(page)
    return page, noted


def wait_for_charts(page: Page) -> None:
    """Wait until every chart that has a place is drawn."""
    # The policy of the page forbids what wait_for_function does.
    for _ in range(3000):
        if not page.evaluate(UNDRAWN):
            return
        page.wait_for_timeout(10)
    raise TimeoutError("charts were not drawn within half a minute")


def axe_script() -> str | None:
    """Return axe-core, fetched once into the user's cache; None where npm or its registry is not there."""
    folder = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "maillag-tests"
        / f"axe-{AXE_VERSION}"
    )
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists() and shutil.which("npm"):
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            "npm",
            "install",
            "--silent",
            "--no-save",
            "--no-audit",
            "--prefix",
            str(folder),
            f"axe-core@{AXE_VERSION}",
        ]
        subprocess.run(command, check=False, timeout=120, capture_output=True)
    return script.read_text("utf-8") if script.exists() else None
