"""Takes pictures of the page, to look at and for docs/: python -m tests.report_shots LAKE FOLDER."""

import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from flows.report.page import write_page
from tests.browser import PHONE, chromium, open_page, wait_for_charts
from tests.fleets import make_fleet

DOCUMENTS = Path(__file__).parents[1] / "docs" / "pictures"
FORMS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "ja": {},
    "phone": PHONE,
    "phone-ja-dark": PHONE | {"color_scheme": "dark"},
}


def take_shots(browser: Browser, path: Path, folder: Path) -> None:
    """Take a picture of the whole page in each form, with two restarts open, and print it."""
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


def take_small_shots(browser: Browser, sample: Path, fleet: Path) -> None:
    """Take the pictures of the documents: the top of a fleet's page, one restart, and Japanese on a phone."""
    DOCUMENTS.mkdir(exist_ok=True)
    window: dict[str, Any] = {"viewport": {"width": 1000, "height": 640}}
    page, _ = open_page(browser, fleet, viewport={"width": 1000, "height": 840})
    page.screenshot(path=DOCUMENTS / "report.png")
    page.context.close()
    page, _ = open_page(browser, sample, "#open=imss13-20261124T031953Z", **window)
    page.locator("tr.detail").screenshot(path=DOCUMENTS / "report-restart.png")
    page.context.close()
    page, _ = open_page(browser, sample, color_scheme="dark", **(PHONE | {"device_scale_factor": 1}))
    page.click("[data-language=ja]")
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=DOCUMENTS / "report-phone.png")
    page.context.close()


def main(lake: Path, folder: Path) -> None:
    """Take all pictures of the sample's page and of a made-up fleet's."""
    folder.mkdir(parents=True, exist_ok=True)
    fleet_lake = folder / "fleet"
    if not fleet_lake.exists():
        make_fleet(fleet_lake, host_count=50, days=30)
    sample, fleet = folder / "sample.html", folder / "fleet.html"
    write_page(lake, sample, language="en")
    write_page(fleet_lake, fleet, language="en")
    with chromium() as browser:
        for path in (sample, fleet):
            take_shots(browser, path, folder)
        take_small_shots(browser, sample, fleet)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
