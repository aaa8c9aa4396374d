"""Rows of the catalog to what the page shows: squares, advice by hosts, and the data for its script."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from flows.catalog import Row, fetch, fetch_sighted
from flows.findings_in_words import in_language
from flows.language import LANGUAGES, Seconds
from flows.marks import INSTANTS, MAIL
from flows.report.rows import (
    fetch_changes,
    fetch_hours,
    fetch_timelines,
    fetch_waits,
)
from flows.tables import for_logs, plain
from transforms.marts.advice import load_advice
from transforms.queries import read_query

# Restarts without a flush come first, then those of which nobody knows, then the newest.
URGENCY = {"missing": 0, "ineffective": 0, "unknown": 1, "effective": 2, "not_needed": 3}
# What is recommended for the fleet is what its hosts need that come first here.
RETRY_REASONS = ("shorter_waits", "costly", "short_enough", "no_need")
VERDICTS = ("missing", "ineffective", "effective", "not_needed", "unknown")
# What keeps the page below five megabytes, whatever the fleet.
LISTED_COUNT = 20_000
TIMELINE_BYTES = 2_000_000
COSTLIEST_COUNT = 20
GAP_COUNT = FINDING_COUNT = 200
HOST_COUNT = 200
CHANGES_DRAWN = 25
# Squares of days of which the log covers less have a mark.
FULL_DAY_SHARE = 0.9
# A host whose maillog lacks more than this is shown with those that lack flushes.
LONG_GAP_SECONDS = 3600
MARKS = ("outage", "unsure", "end", *INSTANTS)
"""The marks of a timeline that count no mail, by their numbers in the page's data."""


def headline(figures: Row) -> tuple[str, dict[str, object]]:
    """Return the key of the sentence that matters most (section `page`), and its figures.

    `figures` are those of sql/report/figures.sql.
    """
    if missing_count := figures["missing_count"]:
        restart_count, held_count = figures["restart_count"], figures["missing_held_count"]
        cost = {
            "held": held_count,
            "mean": Seconds(figures["avoidable_seconds"] / max(held_count, 1)),
            "max": Seconds(figures["avoidable_max_seconds"]),
        }
        if restart_count == 1:
            return "headline_missing_only", cost
        return "headline_missing", {"n": missing_count, "restarts": restart_count, **cost}
    if not figures["restart_count"]:
        return "headline_none", {}
    if figures["judged_count"]:
        return "headline_flushed", {"n": figures["judged_count"]}
    if figures["unknown_count"]:
        return "headline_unknown", {"n": figures["unknown_count"]}
    return "headline_nothing_waited", {"n": figures["restart_count"]}


def page_content(connection: duckdb.DuckDBPyConnection) -> Row:
    """Return all that the template shows of the chosen restarts (see rows.choose_restarts)."""
    (figures,) = _ask(connection, "report.figures")
    (lines,) = _ask(connection, "answers.counts")
    dates = sorted(row["date"] for row in fetch(connection, "select date from report.days"))
    gaps = _ask(connection, "report.gaps")
    lacking = {
        gap["host"] for gap in gaps if gap["log_kind"] == "maillog" and gap["gap_seconds"] > LONG_GAP_SECONDS
    }
    advice_of = defaultdict(list)
    for row in (advice := _ask(connection, "report.advice")):
        advice_of[row["host"]].append(row)
    listed = _ask(connection, "report.listed", count=LISTED_COUNT)
    timelines, left_out_count = _timelines(listed, fetch_timelines(connection))
    simulated = _ask(connection, "report.what_if")
    charts = {
        "waits": fetch_waits(connection),
        "hours": fetch_hours(connection),
        "changes": fetch_changes(connection),
        "what_if": [row for row in simulated if row["host"] is None],
    }
    runs = _ask(connection, "answers.last_runs")
    return {
        "dates": dates,
        "figures": figures,
        "headline": headline(figures),
        "lines": lines,
        "run_id": runs[0]["run_id"] if runs else "-",
        "squares": _squares(_ask(connection, "report.squares"), dates, loud=lacking),
        "advice": _advice_groups(advice),
        "advice_of": advice_of,
        "hosts": _ask(connection, "report.hosts"),
        "host_limit": HOST_COUNT,
        "costliest": _costliest(listed),
        "wait_shares": _ask(connection, "report.wait_shares"),
        "hours": charts["hours"],
        "changes": charts["changes"],
        "what_if": _what_if(simulated, _ask(connection, "report.retry_advice")),
        "gaps": gaps,
        "gap_limit": GAP_COUNT,
        **_what_is_not_known(connection),
        "listed_count": len(listed),
        "left_out_timeline_count": left_out_count,
        "data": {
            **_list_data(listed),
            "timelines": timelines,
            "kinds": {"mail": MAIL, "marks": MARKS},
            "rows": charts | {"changes": _drawn_changes(charts["changes"])},
        },
    }


def _what_if(simulated: Iterable[Row], advice: Sequence[Row]) -> list[Row]:
    """Return the simulated waits by host, all hosts (None) first, with the settings that are recommended.

    For all hosts together these are the settings of the hosts that need shorter ones, and their costs.
    """
    of_host: dict[str | None, list[Row]] = defaultdict(list)
    for row in simulated:
        of_host[row["host"]].append(row)
    advice_of: dict[str | None, Row] = {row["host"]: row for row in advice}
    if advice:
        urgent = min(advice, key=lambda row: RETRY_REASONS.index(row["reason"]))
        same = [row for row in advice if row["reason"] == urgent["reason"]]
        costs = {name: [row[name] for row in same] for name in urgent if name.startswith("daily_")}
        sums = {name: None if None in counts else sum(counts) for name, counts in costs.items()}
        advice_of[None] = urgent | sums
    return [
        {"host": host, "scenarios": scenarios, "advice": advice_of.get(host)}
        for host, scenarios in of_host.items()
    ]


def _ask(connection: duckdb.DuckDBPyConnection, query: str, **parameters: Any) -> list[Row]:
    return fetch(connection, read_query(query), parameters)


def _drawn_changes(changes: Iterable[Row]) -> list[Row]:
    """Return the changes that the chart shows: the first ones with judged restarts on both sides."""
    return [
        {"name": plain(row["name"]), "before": row["before"], "after": row["after"]}
        for row in changes
        if row["before"] is not None and row["after"] is not None
    ][:CHANGES_DRAWN]


def _what_is_not_known(connection: duckdb.DuckDBPyConnection) -> Row:
    """Return why there are no verdicts, findings, unparsed lines, and hosts of which nothing can be said."""
    silent = [row["host"] for row in _ask(connection, "answers.silent_hosts")]
    is_sighted = fetch_sighted(connection, ())
    return {
        "reasons": _ask(connection, "report.reasons"),
        "findings": [_finding(row) for row in _ask(connection, "answers.findings")],
        "finding_limit": FINDING_COUNT,
        "unparsed": _ask(connection, "report.unparsed"),
        "silent_hosts": silent,
        # They have logs, but none that could have shown a restart.
        "blind_hosts": [host for host, sighted in is_sighted.items() if not sighted and host not in silent],
    }


def _finding(row: Row) -> Row:
    """Return a finding in both languages, without addresses."""
    shown: Row = {name: for_logs(row[name]) for name in ("severity", "place")}
    for name in ("what", "remedy"):
        shown[name] = {language: for_logs(in_language(row[name], language)) for language in LANGUAGES}
    return shown


def _squares(cells: Iterable[Row], dates: Sequence[date], *, loud: set[str]) -> Row:
    """Return the squares of hosts by day; hosts with missing flushes, or in `loud`, apart from the others."""
    by_host: dict[str, dict[date, Row]] = defaultdict(dict)
    for cell in cells:
        share = cell["coverage_share"]
        is_part = cell["kind"] != "no_log" and 0 < share < FULL_DAY_SHARE and len(dates) > 1
        by_host[cell["host"]][cell["date"]] = cell | {"is_part": is_part}
    no_log = {
        "restart_count": 0,
        "missing_flush_count": 0,
        "kind": "no_log",
        "coverage_share": 0,
        "is_part": False,
    }
    lines = [
        {
            "host": host,
            "cells": (line := [of_host.get(day, no_log) for day in dates]),
            "missing_count": sum(cell["missing_flush_count"] for cell in line),
        }
        for host, of_host in by_host.items()
    ]
    lines.sort(key=lambda line: (-line["missing_count"], line["host"]))
    months: list[list[Any]] = []
    for day in dates:
        if months and months[-1][0] == f"{day:%Y-%m}":
            months[-1][1] += 1
        else:
            months.append([f"{day:%Y-%m}", 1])
    return {
        "months": months,
        "is_after_gap": [index > 0 and (day - dates[index - 1]).days > 1 for index, day in enumerate(dates)],
        "loud": [line for line in lines if line["missing_count"] or line["host"] in loud],
        "quiet": [line for line in lines if not (line["missing_count"] or line["host"] in loud)],
        "totals": [
            sum(line["cells"][index]["missing_flush_count"] for line in lines) for index in range(len(dates))
        ],
    }


def _advice_groups(rows: Iterable[Row]) -> list[Row]:
    """Return each piece of advice with its hosts: hosts with other commands are another group.

    `same` has the sentences that hold for all of a group's hosts, by language, and `own` those of one host.
    """
    groups: dict[tuple[str, tuple[str, ...]], Row] = {}
    for row in rows:
        key = row["code"], tuple(row["commands"])
        group = groups.setdefault(
            key, {**{name: row[name] for name in ("code", "title_en", "title_ja", "commands")}, "hosts": []}
        )
        said = {language: _sentences(row[f"text_{language}"]) for language in LANGUAGES}
        group["hosts"].append({**row, "said": said})
    for group in groups.values():
        hosts = group["hosts"]
        group["missing_count"] = sum(host["missing_count"] for host in hosts)
        group["avoidable_seconds"] = sum(host["avoidable_seconds"] for host in hosts)
        group["same"] = {
            language: [
                sentence
                for sentence in hosts[0]["said"][language]
                if all(sentence in host["said"][language] for host in hosts)
            ]
            for language in LANGUAGES
        }
        for host in hosts:
            host["own"] = {
                language: [s for s in host["said"][language] if s not in group["same"][language]]
                for language in LANGUAGES
            }
    order = {advice.code: number for number, advice in enumerate(load_advice())}

    def urgency(group: Row) -> tuple[bool, int, float]:
        # That about bounces comes first in general, but last for a host that has lost none.
        is_late = (
            group["code"] == "raise_bounce_lifetime" and max(host["position"] for host in group["hosts"]) > 1
        )
        return is_late, order.get(group["code"], len(order)), -group["avoidable_seconds"]

    return sorted(groups.values(), key=urgency)


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])|(?<=。)", text) if part.strip()]


def _costliest(listed: Iterable[Row]) -> list[Row]:
    """Return the restarts that the page shows without JavaScript."""
    missing = [row for row in listed if row["is_missing"]]
    return sorted(missing, key=lambda row: -row["avoidable_delay_total_seconds"])[:COSTLIEST_COUNT]


def _list_data(listed: Sequence[Row]) -> Row:
    """Return the list for the script: columns of numbers, with names by their number.

    The id of a restart is its host and time; `tails` has what follows in the few that have more.
    """
    hosts, triggers, reasons = (
        {value: number for number, value in enumerate(sorted({row[name] for row in listed} - {None}))}
        for name in ("host", "restart_trigger", "reason")
    )
    columns = {
        "host": [hosts[row["host"]] for row in listed],
        "down": [int(row["local_down_epoch"]) for row in listed],
        "zone": [round((row["local_down_epoch"] - row["down_epoch"]) / 60) for row in listed],
        "verdict": [VERDICTS.index(row["flush_verdict"]) for row in listed],
        "why": [reasons.get(row["reason"], -1) for row in listed],
        "trigger": [triggers[row["restart_trigger"]] for row in listed],
        "rough": [int(bool(row["is_up_at_estimated"])) for row in listed],
    }
    for short, name in (
        ("outage", "outage_seconds"),
        ("held", "held_message_count"),
        ("median", "restart_delay_p50_seconds"),
        ("longest", "restart_delay_max_seconds"),
        ("avoidable", "avoidable_delay_total_seconds"),
    ):
        columns[short] = [None if row[name] is None else round(row[name]) for row in listed]
    tails = {}
    for number, row in enumerate(listed):
        down_at = datetime.fromtimestamp(row["down_epoch"], UTC)
        if tail := row["restart_id"].removeprefix(f"{row['host']}-{down_at:%Y%m%dT%H%M%SZ}"):
            tails[number] = plain(tail)
    return {
        "hosts": [plain(host) for host in hosts],
        "verdicts": VERDICTS,
        "triggers": [*triggers],
        "reasons": [*reasons],
        "columns": columns,
        "tails": tails,
    }


def _timelines(listed: Sequence[Row], marks: Iterable[Row]) -> tuple[dict[int, Row], int]:
    """Return the timelines that fit, by the number of their restart, and how many were left out."""
    by_restart: dict[str, list[Row]] = defaultdict(list)
    for mark in marks:
        by_restart[mark["restart_id"]].append(mark)
    order = sorted(
        (number for number, row in enumerate(listed) if row["restart_id"] in by_restart),
        key=lambda number: (URGENCY[listed[number]["flush_verdict"]], -number),
    )
    timelines: dict[int, Row] = {}
    room = TIMELINE_BYTES
    for number in order:
        timeline = _timeline(listed[number], by_restart[listed[number]["restart_id"]])
        room -= len(json.dumps(timeline, separators=(",", ":")))
        if room < 0:
            break
        timelines[number] = timeline
    return timelines, len(order) - len(timelines)


def _timeline(row: Row, marks: Iterable[Row]) -> Row:
    """Return a timeline in few bytes: mail as step, count, step, count; instants without what is zero."""
    mail: dict[int, list[float]] = defaultdict(list)
    others = []
    last: dict[int, float] = defaultdict(float)
    for mark in sorted(marks, key=lambda mark: mark["at_seconds"]):
        at_seconds = _short(mark["at_seconds"])
        if mark["kind"] in MAIL[:-1]:
            kind = MAIL.index(mark["kind"])
            mail[kind] += [_short(at_seconds - last[kind]), mark["message_count"]]
            last[kind] = at_seconds
            continue
        values = [
            MARKS.index(mark["kind"]),
            at_seconds,
            _short(mark["until_seconds"]),
            mark["message_count"],
            int(mark["is_told"]),
        ]
        while not values[-1]:
            values.pop()
        others.append(values)
    return {
        "m": mail,
        "t": others,
        "x": [
            row["build_verdict"],
            row["confidence"],
            int(bool(row["is_overlong"])),
            row["delayed_over_5_min_count"],
            None if row["up_after_seconds"] is None else _short(row["up_after_seconds"]),
        ],
    }


def _short(value: float | None) -> float:
    """Return a number of seconds with one decimal, as an integer if it is whole; 0 for None."""
    rounded = round(value or 0, 1)
    return int(rounded) if rounded == int(rounded) else rounded
