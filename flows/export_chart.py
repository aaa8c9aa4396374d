"""The charts of the page to pictures: SVG or PNG."""

from pathlib import Path

from flows.catalog import open_catalog
from flows.charts import (
    changes_chart,
    chart_png,
    chart_svg,
    hours_chart,
    timeline_chart,
    waits_chart,
    what_if_chart,
)
from flows.export import written_aside
from flows.language import Language
from flows.report.rows import (
    choose_restarts,
    fetch_changes,
    fetch_hours,
    fetch_timelines,
    fetch_waits,
    fetch_what_if,
)
from transforms.explain.explain import RESTART_ID, find_restart
from transforms.problems import MaillagError

CHARTS = {
    "waits": (waits_chart, fetch_waits),
    "hours": (hours_chart, fetch_hours),
    "changes": (changes_chart, fetch_changes),
    "what_if": (what_if_chart, fetch_what_if),
}


def export_chart(lake: Path, what: str, out: Path, *, days: int, language: Language) -> None:
    """Write one of CHARTS, about the latest days, or the timeline of a restart, to a picture.

    Raises MaillagError if there is no such restart, or if the picture cannot be written.
    """
    restart_id = None
    if what not in CHARTS:
        if not RESTART_ID.fullmatch(what):
            raise MaillagError(
                f"{what}: is no chart. Choose {', '.join(CHARTS)} or the id of a restart, as `maillag "
                "restarts` lists them."
            )
        with open_catalog(lake) as catalog:
            restart_id = find_restart(catalog, what)
    with choose_restarts(lake, days=days, restart_id=restart_id) as catalog:
        make, fetch_rows = CHARTS.get(what, (timeline_chart, fetch_timelines))
        chart = make(fetch_rows(catalog), language)
    with written_aside(out) as path:
        if out.suffix.lower() == ".svg":
            path.write_text(chart_svg(chart), encoding="utf-8")
        else:
            path.write_bytes(chart_png(chart))
