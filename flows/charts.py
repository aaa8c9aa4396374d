"""Rows to charts, each defined once for the page, for `maillag export` and for a ticket.

A chart takes its rows from a named data set. The page takes the same chart without rows (`page_spec`), and
its script puts them in. Texts are of one language.
"""

import json
from typing import Any, Literal

import altair as alt

from flows.chart_style import (
    OUTCOMES,
    WIDTH,
    Chart,
    Rows,
    chart_png,
    chart_svg,
    color_of,
    color_scale,
    finished,
    name_expression,
    outcome_colors,
    page_spec,
    percent_axis,
    text_expression,
    time_axis,
)
from flows.language import Language, say, texts
from flows.marks import INSTANTS, MAIL
from flows.tables import plain

__all__ = [
    "changes_chart",
    "chart_png",
    "chart_svg",
    "hours_chart",
    "page_spec",
    "timeline_chart",
    "waits_chart",
    "what_if_chart",
]

LABEL_ROWS = 4
LABEL_HEIGHT = 16
TIMELINE_HEIGHT = 210


def waits_chart(rows: Rows, language: Language) -> Chart:
    """Return how long held mail waited: the share that still waited by the time since it was deferred.

    Rows: `outcome` (`missing` or `effective`, of the restart), `waited_seconds`, `waiting_share` (0 to 1).
    """
    chart = (
        alt.Chart(alt.NamedData("waits"))
        .mark_line(interpolate="step-after", strokeWidth=2.2)
        .encode(
            x=time_axis("waited_seconds", say(language, "page.waits_axis"), language, alt.Scale(nice=False)),
            y=alt.Y("waiting_share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=percent_axis()),
            color=outcome_colors(language, OUTCOMES[:2], "stroke"),
            order="waited_seconds:Q",
        )
        .properties(width=WIDTH, height=270)
    )
    return finished(
        chart,
        name="waits",
        rows=rows,
        columns=("outcome", "waited_seconds", "waiting_share"),
        description=say(language, "page.waits_lead"),
    )


def hours_chart(rows: Rows, language: Language) -> Chart:
    """Return when the service restarts: restarts by hour of the host's day, for each trigger.

    Rows, in the order of the triggers: `restart_trigger` (`none` if none is recorded), `hour` (0 to 23),
    `outcome` (of OUTCOMES), `restart_count`.
    """
    prefix = "words.trigger_"
    names = {
        key.removeprefix(prefix): text for key, text in texts(language).items() if key.startswith(prefix)
    }
    bars = (
        alt.Chart()
        .mark_bar()
        .encode(
            x=alt.X(
                "hour:O",
                title=say(language, "page.hours_axis"),
                scale=alt.Scale(domain=[*range(24)], paddingInner=0.1),
                axis=alt.Axis(labelAngle=0, labelExpr="datum.value % 3 ? '' : datum.label", ticks=False),
            ),
            y=alt.Y(
                "sum(restart_count):Q", title=None, axis=alt.Axis(tickCount=2, format=",d", tickMinStep=1)
            ),
            color=outcome_colors(language, OUTCOMES, "square"),
            order=alt.Order("place:Q"),
        )
        .properties(width=WIDTH, height=54)
    )
    chart = (
        bars.facet(
            row=alt.Row(
                "restart_trigger:N",
                sort=None,
                header=alt.Header(
                    title=None,
                    labelOrient="top",
                    labelAnchor="start",
                    labelAngle=0,
                    labelPadding=2,
                    labelExpr=name_expression(names, "datum.value"),
                ),
            ),
            data=alt.NamedData("hours"),
            spacing=10,
        )
        .transform_calculate(place=f"indexof({json.dumps(OUTCOMES)}, datum.outcome)")
        .resolve_scale(y="independent")
    )
    return finished(
        chart,
        name="hours",
        rows=rows,
        columns=("restart_trigger", "hour", "outcome", "restart_count"),
        description=say(language, "page.hours_lead"),
    )


def changes_chart(rows: Rows, language: Language) -> Chart:
    """Return the share of restarts without a flush before each change of a host, and after it.

    Rows, in the order of the chart: `name` (of the change), `before`, `after` (0 to 1, or None: not shown).
    """
    sides = {"before": "page.changes_before", "after": "page.changes_after"}
    legend = alt.Legend(
        title=None,
        orient="top",
        labelExpr=name_expression({side: say(language, key) for side, key in sides.items()}),
    )
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(ticks=False, labelPadding=12, labelLimit=260))
    share = alt.X("share:Q", title=say(language, "page.changes_axis"), axis=percent_axis())
    both_sides = "isValid(datum.before) && isValid(datum.after)"
    base = alt.Chart(alt.NamedData("changes")).transform_filter(both_sides)
    lines = base.mark_rule(color=color_of("other"), strokeWidth=2).encode(x="before:Q", x2="after:Q", y=y)
    points = (
        base.transform_fold(["before", "after"], as_=["side", "share"])
        .mark_point(size=80, strokeWidth=2, opacity=1)
        .encode(
            x=share,
            y=y,
            stroke=alt.Stroke(
                "side:N", scale=color_scale(sides, [color_of("missing"), color_of("flushed")]), legend=legend
            ),
            fill=alt.Fill(
                "side:N", scale=color_scale(sides, [color_of("card"), color_of("flushed")]), legend=legend
            ),
        )
    )
    chart = (lines + points).properties(width=WIDTH, height=alt.Step(24))
    return finished(
        chart,
        name="changes",
        rows=[{**row, "name": plain(row["name"])} for row in rows],
        columns=("name", "before", "after"),
        description=say(language, "page.changes_lead"),
    )


def what_if_chart(rows: Rows, language: Language) -> Chart:
    """Return how long held mail waits, as it was and under scenarios: the mean with its bounds, and the most.

    Rows, in the order of the chart: `scenario`, `mean_at_least_seconds`, `mean_at_most_seconds`,
    `max_at_most_seconds` (None: not shown).
    """
    prefix = "words.scenario_"
    names = {
        key.removeprefix(prefix): text for key, text in texts(language).items() if key.startswith(prefix)
    }
    y = alt.Y(
        "scenario:N",
        title=None,
        sort=None,
        axis=alt.Axis(ticks=False, labelPadding=12, labelLimit=260, labelExpr=name_expression(names)),
    )
    scale = alt.Scale(nice=False, zero=True)
    known = alt.Chart(alt.NamedData("what_if")).transform_filter("isValid(datum.max_at_most_seconds)")
    bars = [
        known.mark_bar(color=color_of(color), height=14).encode(
            x=time_axis(f"mean_{bound}_seconds", say(language, "page.what_if_axis"), language, scale), y=y
        )
        for color, bound in (("wait-bg", "at_most"), ("wait", "at_least"))
    ]
    longest = known.mark_tick(color=color_of("missing"), thickness=2.5, size=18).encode(
        x=alt.X("max_at_most_seconds:Q", scale=scale), y=y
    )
    return finished(
        (bars[0] + bars[1] + longest).properties(width=WIDTH, height=alt.Step(24)),
        name="what_if",
        rows=rows,
        columns=("scenario", "mean_at_least_seconds", "mean_at_most_seconds", "max_at_most_seconds"),
        description=say(language, "page.what_if_lead"),
    )


def timeline_chart(rows: Rows, language: Language, description: str = "") -> Chart:
    """Return one restart: mail that waited, the outage, orders, flushes and queue runs.

    Rows are those of sql/report/timelines.sql, of one restart: `kind`, `at_seconds`, `until_seconds` (since
    down_at), `message_count`, `is_told`.
    """
    everything = alt.Chart(alt.NamedData("marks")).transform_joinaggregate(last="max(at_seconds)")
    # Left to itself, Vega would look at each layer, and complain of those without rows.
    ends = [alt.ExprRef(f"extent(pluck(data('marks'), 'at_seconds'))[{end}]") for end in (0, 1)]
    scale = alt.Scale(domain=ends, nice=False, zero=False, padding=4)
    axis = time_axis("at_seconds", say(language, "page.timeline_axis"), language, scale)
    x = alt.X("at_seconds:Q", axis=None, scale=scale)
    top = LABEL_ROWS * LABEL_HEIGHT
    upper = alt.layer(
        _bands(everything, x, top), _waiting(everything, x, top), _labels(everything, x, language)
    )
    chart = (
        alt.vconcat(
            upper.resolve_scale(y="independent").properties(width=WIDTH, height=TIMELINE_HEIGHT),
            _lanes(everything, axis, language).properties(width=WIDTH, height=44),
            spacing=4,
        )
        .resolve_scale(x="shared", color="independent")
        .properties(title=alt.Title(say(language, "page.timeline_waiting"), anchor="start", fontSize=12))
    )
    return finished(
        chart,
        name="marks",
        rows=rows,
        columns=("kind", "at_seconds", "until_seconds", "message_count", "is_told"),
        description=description or say(language, "page.timeline_waiting"),
    )


def _waiting(everything: alt.Chart, x: alt.X, top: int) -> Any:
    counted = (
        everything.transform_filter(alt.FieldOneOfPredicate("kind", [*MAIL]))
        .transform_calculate(change="datum.kind == 'deferred' ? datum.message_count : -datum.message_count")
        .transform_aggregate(change="sum(change)", groupby=["at_seconds"])
        .transform_window(waiting="sum(change)", sort=[alt.SortField("at_seconds")])
    )
    y = alt.Y(
        "waiting:Q",
        title=None,
        scale=alt.Scale(range=[TIMELINE_HEIGHT, top], nice=True, domainMin=0),
        axis=alt.Axis(tickCount=4, tickMinStep=1, format=",d", minExtent=62, maxExtent=62, domain=False),
    )
    return alt.layer(
        counted.mark_area(interpolate="step-after", color=color_of("wait-bg"), opacity=0.75).encode(x=x, y=y),
        counted.mark_line(interpolate="step-after", color=color_of("wait"), strokeWidth=1.5).encode(x=x, y=y),
    )


def _bands(everything: alt.Chart, x: alt.X, top: int) -> Any:
    """Return when the service was down for sure, and when it was either, as the logs tell."""
    span: dict[str, Any] = {
        "x": x,
        "x2": "until_seconds:Q",
        "y": alt.value(top),
        "y2": alt.value(TIMELINE_HEIGHT),
    }
    unsure: dict[str, Any] = {"stroke": color_of("other"), "strokeDash": [2, 2], "fillOpacity": 0.4}
    return alt.layer(
        everything.transform_filter("datum.kind == 'outage'")
        .mark_rect(color=color_of("band"))
        .encode(**span),
        everything.transform_filter("datum.kind == 'unsure'")
        .mark_rect(fill=color_of("band"), **unsure)
        .encode(**span),
    )


def _labels(everything: alt.Chart, x: alt.X, language: Language) -> Any:
    """Return the instants: lines, each with its label in a lower row than the one before, which it misses."""
    keys = {kind: f"page.timeline_{kind}" for kind in INSTANTS}
    colors = color_scale(
        INSTANTS,
        [
            color_of("soft"),
            color_of("soft"),
            color_of("soft"),
            color_of("soft"),
            color_of("flushed"),
            color_of("missing"),
        ],
    )
    said = " : ".join(
        f"datum.kind == '{kind}' ? {text_expression(language, key)}" for kind, key in keys.items()
    )
    instants = everything.transform_filter(alt.FieldOneOfPredicate("kind", [*INSTANTS])).transform_calculate(
        said=f"{said} : ''"
    )
    told = (
        instants.transform_filter("datum.is_told")
        .transform_window(number="row_number()", sort=[alt.SortField("at_seconds")])
        .transform_calculate(row=f"(datum.number - 1) % {LABEL_ROWS} + 0.5")
    )
    height = LABEL_ROWS * LABEL_HEIGHT
    y = alt.Y("row:Q", axis=None, scale=alt.Scale(domain=[0, LABEL_ROWS], range=[0, height]))
    color = alt.Color("kind:N", scale=colors, legend=None)
    dash = alt.condition("datum.kind == 'due'", alt.value([3, 3]), alt.value([1, 0]))
    rules = told.mark_rule().encode(x=x, y=y, y2=alt.value(TIMELINE_HEIGHT), color=color, strokeDash=dash)
    short = (
        instants.transform_filter("!datum.is_told")
        .mark_rule()
        .encode(x=x, y=alt.value(height), y2=alt.value(TIMELINE_HEIGHT), color=color)
    )
    late = "datum.at_seconds > 0.5 * datum.last"
    texts_of: dict[str, Any] = {"x": x, "y": y, "color": color, "text": "said:N"}
    halo: dict[str, Any] = {"stroke": color_of("card"), "strokeWidth": 4}
    sides: list[tuple[str, Literal["left", "right"], int]] = [(f"!({late})", "left", 4), (late, "right", -4)]
    labels = [
        told.transform_filter(side).mark_text(align=align, dx=dx, fontSize=12, **style).encode(**texts_of)
        for side, align, dx in sides
        for style in (halo, {})
    ]
    return alt.layer(short, rules, *labels)


def _lanes(everything: alt.Chart, x: alt.X, language: Language) -> Any:
    names = {lane: say(language, f"page.timeline_{lane}") for lane in ("deferred", "released")}
    colors = [color_of(name) for name in ("wait", "flushed", "missing", "other")]
    return (
        everything.transform_filter(alt.FieldOneOfPredicate("kind", [*MAIL[:-1]]))
        .transform_calculate(lane="datum.kind == 'deferred' ? 'deferred' : 'released'")
        .mark_tick(thickness=1.4, opacity=0.75, size=16)
        .encode(
            x=x,
            y=alt.Y(
                "lane:N",
                title=None,
                scale=alt.Scale(domain=[*names]),
                axis=alt.Axis(
                    labelExpr=name_expression(names),
                    ticks=False,
                    domain=False,
                    minExtent=62,
                    maxExtent=62,
                    labelLimit=60,
                ),
            ),
            color=alt.Color("kind:N", scale=color_scale(MAIL[:-1], colors), legend=None),
        )
    )
