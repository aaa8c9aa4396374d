"""The page in Debian's Chromium: what it draws, filters, opens, copies and prints, in each state and form."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser, Page

from flows.catalog import fetch, open_catalog
from flows.language import LANGUAGES, Seconds, duration, figure
from flows.report.page import FOLDER, write_page
from flows.tables import plain
from tests.browser import PHONE, axe_script, chromium, open_page, wait_for_charts
from tests.conftest import install_debian_package
from tests.fleets import HOSTILE_HOST, Case, make_fleet

pytestmark = pytest.mark.slow
FORMS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
    "320 px": {"viewport": {"width": 320, "height": 256}},
}
STATES: tuple[Case, ...] = ("no_restarts", "all_flushed", "unknown", "empty")
PAGES = ("sample", "full", *STATES)
MISSING = "flush_verdict in ('missing', 'ineffective')"
# What was on the screen: the counts of "12 of 3,456 restarts".
COUNTS = re.compile(r"[\d,]+")
CONTRAST = 4.5


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, installed where that is possible."""
    if not shutil.which("chromium"):
        install_debian_package("chromium")
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory, sample_lake: Path) -> dict[str, Path]:
    """The lake of the sample, of a fleet of 50 hosts and 30 days, and of each empty state."""
    folder = tmp_path_factory.mktemp("lakes")
    make_fleet(folder / "full", host_count=50, days=30)
    for state in STATES:
        make_fleet(folder / state, host_count=5, days=10, case=state)
    return {name: sample_lake if name == "sample" else folder / name for name in PAGES}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, lakes: dict[str, Path]) -> dict[str, Path]:
    """The page of each lake."""
    folder = tmp_path_factory.mktemp("pages")
    for name, lake in lakes.items():
        write_page(lake, folder / f"{name}.html", language="en")
    return {name: folder / f"{name}.html" for name in lakes}


def ask(lake: Path, sql: str) -> Any:
    """Return the one value of a query."""
    with open_catalog(lake) as catalog:
        ((value,),) = catalog.execute(sql).fetchall()
    return value


def shown_count(page: Page) -> int:
    return int(COUNTS.findall(page.locator("#shown").inner_text())[0].replace(",", ""))


def check_all(page: Page) -> None:
    names = page.locator("#verdicts input")
    for number in range(names.count()):
        names.nth(number).check()


def open_everything(page: Page) -> None:
    """Open all details, and the first two restarts."""
    for summary in page.locator("summary").all():
        if summary.is_visible() and not summary.locator("xpath=..").get_attribute("open"):
            summary.click()
    for number in range(min(2, page.locator("#list .open").count())):
        page.locator("#list .open").nth(number).click()
    wait_for_charts(page)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PAGES)
def test_it_requests_nothing_logs_nothing_and_fits_the_window(
    name: str, form: str, browser: Browser, pages: dict[str, Path]
) -> None:
    page, noted = open_page(browser, pages[name], **FORMS[form])
    open_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("[data-language=ja]")
    wait_for_charts(page)
    page.locator("#method").scroll_into_view_if_needed()
    assert noted == []
    page.context.close()


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, form) for name in ("sample", "full") for form in ("light", "dark", "phone", "ja")),
        *((name, "light") for name in STATES),
    ],
)
def test_axe_core_finds_nothing(name: str, form: str, browser: Browser, pages: dict[str, Path]) -> None:
    script = axe_script()
    if script is None:
        pytest.skip("axe-core is not to be had: needs npm and its registry")
    page, _ = open_page(browser, pages[name], **FORMS.get(form, {}))
    if form == "ja":
        page.click("[data-language=ja]")
    open_everything(page)
    page.evaluate(script)
    found = page.evaluate(
        "async () => (await axe.run(document)).violations.map("
        "(v) => `${v.impact} ${v.id} ${v.nodes.length}: ${v.nodes[0].html.slice(0, 200)}`)"
    )
    assert found == []
    page.context.close()


@pytest.mark.parametrize("name", ["sample", "full", "all_flushed", "unknown"])
def test_the_figures_are_those_of_the_marts(
    name: str, browser: Browser, lakes: dict[str, Path], pages: dict[str, Path]
) -> None:
    lake = lakes[name]
    expected = {
        "restart_count": ask(lake, "select count(*) from marts.restarts"),
        "missing_count": ask(lake, f"select count(*) from marts.restarts where {MISSING}"),
        "held_count": ask(lake, "select count(*) from marts.held_messages"),
        "avoidable_seconds": Seconds(
            ask(lake, "select coalesce(sum(avoidable_delay_total_seconds), 0) from marts.missing_flushes")
        ),
        "longest_seconds": Seconds(ask(lake, "select max(restart_delay_seconds) from marts.held_messages")),
        "unknown_count": ask(lake, "select count(*) from marts.restarts where flush_verdict = 'unknown'"),
    }
    page, _ = open_page(browser, pages[name])
    if expected["missing_count"]:
        # The squares count days of hosts, the figures restarts.
        expected["heat_total"] = ask(lake, "select sum(missing_flush_count)::int from marts.fleet_daily")
        assert expected["heat_total"] == expected["missing_count"]
    for key, value in expected.items():
        assert page.locator(f"[data-figure={key}]").inner_text().strip() == figure(value, "en"), key
    page.context.close()


def test_filters_find_what_the_marts_have(
    browser: Browser, lakes: dict[str, Path], pages: dict[str, Path]
) -> None:
    lake = lakes["full"]
    page, _ = open_page(browser, pages["full"])
    assert shown_count(page) == ask(lake, f"select count(*) from marts.restarts where {MISSING}")
    check_all(page)
    assert shown_count(page) == ask(lake, "select count(*) from marts.restarts")
    page.select_option("#host", plain(HOSTILE_HOST))
    quoted = HOSTILE_HOST.replace("'", "''")
    of_host = f"select count(*) from marts.restarts where host = '{quoted}'"
    assert shown_count(page) == ask(lake, of_host)
    assert set(page.locator("#list td.c-host").all_inner_texts()) == {HOSTILE_HOST}
    page.select_option("#trigger", "license")
    assert shown_count(page) == ask(lake, f"{of_host} and restart_trigger = 'license'")
    page.select_option("#trigger", "")
    page.fill("#from", "2026-11-10")
    page.fill("#until", "2026-11-11")
    local = "cast(timezone('Europe/Berlin', down_at) as date)"
    days = f"{of_host} and {local} between '2026-11-10' and '2026-11-11'"
    assert shown_count(page) == ask(lake, days) > 0
    assert "from=2026-11-10" in page.url, "the state of the filters is the address"
    address = page.url.partition("#")[2]
    again, _ = open_page(browser, pages["full"], f"#{address}")
    assert shown_count(again) == ask(lake, days)
    page.click("#clear")
    assert shown_count(page) == ask(lake, f"select count(*) from marts.restarts where {MISSING}")
    page.fill("#find", "no such restart")
    assert page.locator("#list tbody").inner_text().strip() == "No restart fits these filters."
    page.context.close()
    again.context.close()


def test_the_list_is_sorted_by_any_column_with_the_keyboard(
    browser: Browser, lakes: dict[str, Path], pages: dict[str, Path]
) -> None:
    page, _ = open_page(browser, pages["full"])
    check_all(page)
    page.focus("[data-sort=held]")
    page.keyboard.press("Enter")
    held = [int(text.replace(",", "")) for text in page.locator("#list td.c-held").all_inner_texts()]
    assert held == sorted(held, reverse=True)
    assert held[0] == ask(lakes["full"], "select max(held_message_count) from marts.restarts")
    assert page.locator("th[aria-sort=descending] [data-sort=held]").count() == 1
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort=ascending] [data-sort=held]").count() == 1, "and the focus stays"
    assert page.locator("#list td.c-held").first.inner_text() == "0"
    more = page.locator("#list tr.row").count()
    page.click("#more")
    assert page.locator("#list tr.row").count() > more
    page.context.close()


def test_squares_are_reached_by_arrow_keys_and_show_their_restarts(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page, _ = open_page(browser, pages["full"])
    square = page.locator(".heat td[tabindex='0']").first
    missing = int(square.inner_text())
    square.focus()
    page.keyboard.press("Enter")
    assert shown_count(page) == missing
    square.focus()
    page.keyboard.press("ArrowRight")
    focused = "document.activeElement"
    assert page.evaluate(f"{focused}.tagName") == "TD"
    assert re.match(
        r"\S+, 2026-\d\d-\d\d: \d+ of \d+ restarts not flushed", page.evaluate(f"{focused}.title")
    )
    page.context.close()


def test_an_address_opens_a_restart_whose_command_is_copied_and_picture_saved(
    browser: Browser, lakes: dict[str, Path], pages: dict[str, Path]
) -> None:
    with open_catalog(lakes["full"]) as catalog:
        restarts = fetch(
            catalog,
            f"select restart_id, held_message_count from marts.restarts where {MISSING} "
            "qualify row_number() over (order by contains(host, '<') desc, held_message_count desc) = 1",
        )
    (restart,) = restarts
    restart_id = restart["restart_id"]
    assert HOSTILE_HOST in restart_id
    allowed = {"permissions": ["clipboard-read", "clipboard-write"]}
    page, noted = open_page(browser, pages["full"], f"#open={quote(restart_id)}", **allowed)
    assert f"the restart {restart_id}" in (page.locator("tr.detail svg").get_attribute("aria-label") or "")
    assert f"{restart['held_message_count']:,}" in page.locator("tr.detail .facts").inner_text()
    page.locator("tr.detail .copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "maillag explain '" + restart_id.replace("'", "'\\''") + "'"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    picture = Path(download.value.path()).read_text("utf-8")
    assert ElementTree.fromstring(picture).tag.endswith("svg")  # noqa: S314 -- our own page's
    assert "var(--" not in picture
    assert "</script>" not in picture
    assert noted == []
    page.context.close()


def test_commands_of_advice_are_copied_as_they_are(
    browser: Browser, lakes: dict[str, Path], pages: dict[str, Path]
) -> None:
    page, _ = open_page(browser, pages["full"], permissions=["clipboard-read", "clipboard-write"])
    page.locator("[data-advice=edit_wrapper] .copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    commands = ask(
        lakes["full"], "select any_value(commands) from marts.host_advice where code = 'edit_wrapper'"
    )
    assert copied == "\n".join(commands)
    assert "postfix flush" in copied
    page.context.close()


def test_the_language_is_switched_everywhere(browser: Browser, pages: dict[str, Path]) -> None:
    page, _ = open_page(browser, pages["full"])
    page.click("[data-language=ja]")
    wait_for_charts(page)
    assert page.title() == "検索サービスの再起動とキューの flush"
    assert page.evaluate("document.documentElement.lang") == "ja"
    shown = "[...document.querySelectorAll('.en')].filter((e) => e.getClientRects().length).length"
    assert page.evaluate(shown) == 0
    drawn = page.locator("#waits-chart").inner_text()
    assert "flush 済み" in drawn
    assert "Flushed" not in drawn
    labels = page.locator("svg[role=img]").evaluate_all("all => all.map((e) => e.getAttribute('aria-label'))")
    assert all(re.search("[ぁ-ん]", label) for label in labels)
    page.context.close()


def test_it_prints_light_and_without_what_is_for_the_mouse(browser: Browser, pages: dict[str, Path]) -> None:
    page, _ = open_page(browser, pages["sample"], color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    for hidden in (".bar", ".filters", ".copy"):
        assert not page.locator(hidden).first.is_visible(), hidden
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#waits-chart svg").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.context.close()


def test_no_other_script_runs_and_no_markup_came_out_of_a_log(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page, _ = open_page(browser, pages["full"])
    open_everything(page)
    markup = "document.querySelectorAll('img, iframe, object, td script, svg script, b[id]').length"
    assert page.evaluate(markup) == 0
    ran = """() => {
      const script = document.createElement("script");
      script.textContent = "window.broken = 1";
      const image = document.createElement("img");
      image.setAttribute("onerror", "window.broken = 2");
      image.src = "data:,";
      document.body.append(script, image);
      return window.broken ?? null;
    }"""
    assert page.evaluate(ran) is None
    page.context.close()


@pytest.mark.parametrize("name", PAGES)
def test_without_javascript_the_answer_is_there(name: str, browser: Browser, pages: dict[str, Path]) -> None:
    page, noted = open_page(browser, pages[name], java_script_enabled=False)
    assert page.locator("h1").is_visible()
    assert page.locator("#method").is_visible()
    assert not page.locator(".filters").first.is_visible()
    if name in {"sample", "full"}:
        assert page.locator("noscript tr").count() > 3
        assert page.locator(".todo pre").first.is_visible()
    assert noted == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_numbers_in_the_squares_can_be_read(
    scheme: str, browser: Browser, pages: dict[str, Path]
) -> None:
    """Axe-core leaves single characters alone."""
    page, _ = open_page(browser, pages["full"], color_scheme=scheme)
    colors = page.evaluate("""() => ["m1", "m2", "m3", "m4", "nk"].map((kind) => {
      const td = document.createElement("td");
      td.className = kind;
      document.querySelector(".heat tbody tr").append(td);
      const { color, backgroundColor } = getComputedStyle(td);
      td.remove();
      return [kind, color, backgroundColor];
    })""")
    for kind, text, ground in colors:
        lighter, darker = sorted((luminance(text), luminance(ground)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= CONTRAST, kind
    page.context.close()


def luminance(color: str) -> float:
    """Return the relative luminance of `rgb(...)`."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_page_writes_durations_as_the_command_line_does(browser: Browser) -> None:
    lengths = [*range(4000), 0.4, 0.5, 1.5, 59.5, 599.5, 3569, 3570, 35969, 35970, 36000, 37800, 4e6]
    script = (FOLDER / "js/texts.js").read_text("utf-8")
    page = browser.new_page()
    page.set_content('<script type="application/json" id="data">{"columns": {"host": []}}</script>')
    for language in LANGUAGES:
        found = page.evaluate(
            f"() => {{ {script} language = '{language}'; return {json.dumps(lengths)}.map(duration); }}"
        )
        assert found == [duration(length, language) for length in lengths]
    page.context.close()
