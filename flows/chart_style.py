"""What all charts share: colours, axes, texts, and the ways out: the page, SVG and PNG.

Colours are names. The style sheet of the page gives them values for light, dark and paper; a picture takes
those of FILE_COLORS.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import vl_convert

from flows.language import Language, say, texts

Rows = Sequence[Mapping[str, Any]]
Chart = alt.TopLevelMixin

# The colours of a picture by their names in the style sheet, there `--missing` and so on. Orange and blue are
# those of Okabe and Ito, which people with any colour vision tell apart.
FILE_COLORS = {
    "missing": "#d55e00",
    "flushed": "#0072b2",
    "other": "#a9b3bc",
    "wait": "#6b7986",
    "wait-bg": "#c9d2da",
    "band": "#e3e6e9",
    "ink": "#1b2127",
    "soft": "#57616b",
    "line": "#dce1e6",
    "card": "#ffffff",
}
FONT = 'system-ui, "Hiragino Sans", "Yu Gothic UI", Meiryo, "Noto Sans CJK JP", "Noto Sans", sans-serif'
WIDTH = 720
OUTCOMES = ("missing", "effective", "other")
"""What became of a restart, as charts colour it: not flushed, flushed, or nothing waited or not known."""

# Steps of an axis of time, in seconds.
_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)


def chart_svg(chart: Chart) -> str:
    """Return a chart as an SVG picture, in the colours of FILE_COLORS."""
    return vl_convert.vegalite_to_svg(_with_file_colors(chart.to_dict()))


def chart_png(chart: Chart, scale: float = 2) -> bytes:
    """Return a chart as a PNG picture of `scale` pixels a point; Japanese needs a Japanese font."""
    return vl_convert.vegalite_to_png(_with_file_colors(chart.to_dict()), scale=scale)


def page_spec(chart: Chart) -> dict[str, Any]:
    """Return a chart's Vega-Lite specification without its rows, with colours as CSS variables."""
    spec: dict[str, Any] = chart.to_dict()
    return {name: part for name, part in spec.items() if name not in {"datasets", "$schema"}}


def _with_file_colors(spec: dict[str, Any]) -> dict[str, Any]:
    # What a log wrote is in the rows and may look like a colour.
    style = json.dumps({name: part for name, part in spec.items() if name != "datasets"})
    colored: dict[str, Any] = json.loads(
        re.sub(r"var\(--([\w-]+)\)", lambda found: FILE_COLORS[found[1]], style)
    )
    return colored | {"datasets": spec["datasets"]}


def color_of(name: str) -> str:
    """Return a colour of FILE_COLORS as the style sheet's variable."""
    return f"var(--{name})"


CONFIG = {
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": color_of("soft"),
        "titleColor": color_of("soft"),
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": color_of("line"),
        "domainColor": color_of("soft"),
        "tickColor": color_of("soft"),
        "aria": False,
    },
    "legend": {"labelColor": color_of("ink"), "labelFontSize": 13, "symbolStrokeWidth": 2, "aria": False},
    "header": {"labelColor": color_of("ink"), "labelFontSize": 13},
    "title": {"color": color_of("ink")},
    # Who cannot see a picture is told its description, and not each of its marks.
    "mark": {"aria": False, "tooltip": None},
}


def finished(chart: Any, *, name: str, rows: Rows, columns: Sequence[str], description: str) -> Chart:
    """Return a chart with these columns of its rows as its data set, and with the common style."""
    # One call, because each copies the whole chart.
    done: Chart = chart.properties(
        datasets={name: [{column: row[column] for column in columns} for row in rows]},
        description=description,
        background=color_of("card"),
        padding=6,
        config=CONFIG,
    )
    return done


def time_axis(field: str, title: str, language: Language, scale: alt.Scale) -> alt.X:
    """Return an axis of seconds with at most ten steps of a round length, in the unit that fits them."""
    begin, end = "domain('x')[0]", "domain('x')[1]"
    step = (
        "".join(f"({end} - {begin}) <= {10 * step} ? {step} : " for step in _STEPS)
        + f"({end} - {begin}) / 10"
    )
    in_units = " : ".join(
        f"({step}) < {most} ? {text_expression(language, f'page.axis_{unit}', f'datum.value / {seconds}')}"
        for unit, seconds, most in (("seconds", 1, 60), ("minutes", 60, 3600), ("hours", 3600, "1e9"))
    )
    return alt.X(
        f"{field}:Q",
        title=title,
        scale=scale,
        axis=alt.Axis(
            values=alt.ExprRef(f"sequence(ceil({begin} / ({step})) * ({step}), {end} + 1, {step})"),
            labelExpr=f"{in_units} : ''",
            labelOverlap=True,
            titleAnchor="end",
            grid=False,
        ),
    )


def percent_axis() -> alt.Axis:
    """Return an axis of shares from 0 to 1."""
    return alt.Axis(format="%", tickCount=5, labelExpr="replace(datum.label, '%', ' %')")


def outcome_colors(language: Language, outcomes: Sequence[str], symbol: str) -> alt.Color:
    """Return the colours of these first OUTCOMES, with a legend."""
    names = {outcome: say(language, f"page.class_{outcome}") for outcome in outcomes}
    colors = [color_of(name) for name in ("missing", "flushed", "other")][: len(outcomes)]
    legend = alt.Legend(
        title=None, orient="top", labelExpr=name_expression(names), symbolType=symbol, labelLimit=320
    )
    return alt.Color("outcome:N", scale=color_scale(outcomes, colors), legend=legend)


def color_scale(domain: Iterable[str], colors: Sequence[str]) -> alt.Scale:
    """Return a scale that gives each value the colour in its place."""
    return alt.Scale(domain=[*domain], range=[*colors])


def name_expression(names: Mapping[str, object], value: str = "datum.label") -> str:
    """Return an expression for the name of a value; a value without a name stays as it is."""
    known = {key: text for key, text in names.items() if isinstance(text, str)}
    return f"({json.dumps(known, ensure_ascii=False)})[{value}] || {value}"


def text_expression(language: Language, key: str, count: str = "datum.message_count") -> str:
    """Return an expression for a text, with a count as its figure `n`."""
    text = texts(language)[key]
    forms = [text] if isinstance(text, str) else [text["one"], text["other"]]
    one, *other = [
        " + ".join(
            f"format({count}, ',')" if part == "{n}" else json.dumps(part, ensure_ascii=False)
            for part in re.split(r"(\{n\})", form)
            if part
        )
        for form in forms
    ]
    return f"{count} == 1 ? {one} : {other[0]}" if other else one
