"""Takes pictures of the page to look at: python -m tests.report_shots PAGE FOLDER."""

import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from tests.browser import PHONE, chromium, open_page, wait_for_charts

FORMS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "ja": {},
    "phone": PHONE,
    "phone-ja-dark": PHONE | {"color_scheme": "dark"},
}


def take_shots(browser: Browser, path: Path, folder: Path) -> None:
    """Take a picture of the page in each form, with two restarts open, and print it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, options in FORMS.items():
        page, _ = open_page(browser, path, **options)
        if "ja" in name:
            page.click("[data-language=ja]")
        for number in range(min(2, page.locator(".open").count())):
            page.locator(".open").nth(number).click()
        wait_for_charts(page)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=folder / f"{path.stem}-{name}.png", full_page=True)
        page.context.close()
    page, _ = open_page(browser, path, color_scheme="dark")
    page.pdf(path=folder / f"{path.stem}-print.pdf", format="A4", print_background=True)
    page.context.close()


if __name__ == "__main__":
    with chromium() as started:
        take_shots(started, Path(sys.argv[1]), Path(sys.argv[2]))
