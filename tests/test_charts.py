"""The charts, of rows and of the sample: pictures, and what the page is given."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import altair as alt
import pytest

from flows import charts
from flows.chart_style import FILE_COLORS, Rows
from flows.charts import chart_png, chart_svg, page_spec
from flows.language import LANGUAGES, Language
from flows.report.rows import choose_restarts, fetch_hours, fetch_timelines, fetch_waits

WAITS: list[dict[str, Any]] = [
    {"outcome": outcome, "waited_seconds": wait, "waiting_share": share}
    for outcome, longest in (("missing", 1500.0), ("effective", 60.0))
    for wait, share in ((0.0, 1.0), (longest / 2, 0.4), (longest, 0.0))
]
HOURS: list[dict[str, Any]] = [
    {"restart_trigger": "license", "hour": 3, "outcome": "missing", "restart_count": 3},
    {"restart_trigger": "none", "hour": 23, "outcome": "other", "restart_count": 1},
]
CHANGES: list[dict[str, Any]] = [
    {"name": "gw2  2026-11-02", "before": 0.5, "after": 0.0},
    {"name": "gw1  2026-11-01", "before": 0.25, "after": 0.5},
]


def mark(
    kind: str, at: float, until: float | None = None, *, count: int = 0, is_told: bool = False
) -> dict[str, Any]:
    return {
        "kind": kind,
        "at_seconds": at,
        "until_seconds": until,
        "message_count": count,
        "is_told": is_told,
    }


TIMELINE = [
    mark("outage", 0, 50),
    mark("unsure", 50, 60),
    *(mark("deferred", second, count=10) for second in range(0, 50, 10)),
    mark("queue_run_release", 100, count=20),
    mark("flush_release", 200, count=30),
    mark("down", 0, is_told=True),
    mark("ordered", 190, is_told=True),
    mark("queue_run", 100, count=1, is_told=True),
    mark("queue_run", 150, count=19),
    mark("flush", 200, count=30, is_told=True),
    mark("end", 206),
]
SIMULATED = [
    {
        "scenario": scenario,
        "mean_at_least_seconds": least,
        "mean_at_most_seconds": most,
        "max_at_most_seconds": longest,
    }
    for scenario, least, most, longest in (
        ("as_it_was", 1200, 1200, 1700),
        ("as_configured", None, None, None),
        ("short_retry", 300, 550, 600),
    )
]
CASES = {
    "waits": (charts.waits_chart, WAITS),
    "hours": (charts.hours_chart, HOURS),
    "changes": (charts.changes_chart, CHANGES),
    "what_if": (charts.what_if_chart, SIMULATED),
    "marks": (charts.timeline_chart, TIMELINE),
}


def words_in(svg: str) -> list[str]:
    elements = ElementTree.fromstring(svg).iter()  # noqa: S314 -- our own pictures
    return [element.text or "" for element in elements if element.tag.endswith("text")]


def chart_of(name: str, language: Language, rows: Rows | None = None) -> alt.TopLevelMixin:
    make, own_rows = CASES[name]
    return make(own_rows if rows is None else rows, language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_a_picture_has_fixed_colours_and_the_texts_of_its_language(name: str, language: Language) -> None:
    svg = chart_svg(chart_of(name, language))
    assert "var(" not in svg
    words = " ".join(words_in(svg))
    expected = {
        ("waits", "en"): ["Flushed", "Not flushed", "15 min", "40 %", "Time waited"],
        ("waits", "ja"): ["flush なし", "15分", "待ち時間"],
        ("hours", "en"): ["Licence", "Not recorded", "Nothing waited, or not known"],
        ("hours", "ja"): ["ライセンス", "記録なし"],
        ("changes", "en"): ["gw1", "gw2", "Not flushed before", "20 %"],
        ("changes", "ja"): ["gw1"],
        ("what_if", "en"): ["As it was", "Short retries", "20 min", "Wait"],
        ("what_if", "ja"): ["実際", "再送間隔を短縮", "20分"],
        ("marks", "en"): [
            "service down",
            "flush ordered",
            "queue run, 1 message",
            "flush, 30 messages",
            "120 s",
            "Released",
        ],
        ("marks", "ja"): ["flush、30 通", "120秒"],
    }
    assert [text for text in expected[name, language] if text not in words] == []


def test_a_long_wait_has_an_axis_of_hours() -> None:
    rows = [{**row, "waited_seconds": row["waited_seconds"] * 40} for row in WAITS]
    assert "10 h" in words_in(chart_svg(charts.waits_chart(rows, "en")))


@pytest.mark.parametrize("name", CASES)
def test_a_png_is_the_same_picture(name: str) -> None:
    assert chart_png(chart_of(name, "en")).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_given_the_chart_without_rows_and_with_the_colours_of_its_style(
    name: str, language: Language
) -> None:
    spec = page_spec(chart_of(name, language))
    assert spec == page_spec(chart_of(name, language, rows=[]))
    text = json.dumps(spec)
    assert f'"name": "{name}"' in text
    assert not re.search("#[0-9a-f]{3}", text)
    assert set(re.findall(r"var\(--([\w-]+)\)", text)) <= FILE_COLORS.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_chart_without_rows_is_an_empty_picture(name: str) -> None:
    assert chart_svg(chart_of(name, "en", rows=[])).startswith("<svg")


def test_the_heaviest_changes_stand_in_the_order_of_their_rows() -> None:
    names = [
        word for word in words_in(chart_svg(charts.changes_chart(CHANGES, "en"))) if word.startswith("gw")
    ]
    assert [name.split()[0] for name in names] == ["gw2", "gw1"]


def test_names_of_hosts_stay_text() -> None:
    names = ["</text><script>alert(1)</script>", "var(--gone)", "a\x1b[31mb"]
    svg = chart_svg(
        charts.changes_chart([{"name": name, "before": 0.1, "after": 0.2} for name in names], "en")
    )
    assert "<script" not in svg
    assert [word for word in words_in(svg) if word in names or "x1b" in word] == [*names[:2], r"a\x1b[31mb"]


def test_a_change_without_judged_restarts_on_both_sides_is_not_drawn() -> None:
    rows = [*CHANGES, {"name": "gw3  2026-11-03", "before": None, "after": 0.5}]
    assert not any("gw3" in word for word in words_in(chart_svg(charts.changes_chart(rows, "en"))))


def test_the_sample_gives_every_chart_but_that_of_changes(sample_lake: Path) -> None:
    with choose_restarts(sample_lake) as connection:
        assert {row["outcome"] for row in fetch_waits(connection)} == {"missing", "effective"}
        assert sum(row["restart_count"] for row in fetch_hours(connection)) == 7
    with choose_restarts(sample_lake, restart_id="imss12-20261124T031333Z") as connection:
        marks = fetch_timelines(connection)
        (held,) = connection.execute("select held_message_count from report.restarts").fetchall()
    assert {row["restart_id"] for row in marks} == {"imss12-20261124T031333Z"}
    assert sum(row["message_count"] for row in marks if row["kind"] == "deferred") == held[0] == 56
    words = words_in(chart_svg(charts.timeline_chart(marks, "en")))
    assert any(word.startswith("queue run, ") for word in words)
    assert "flush ordered" in words
