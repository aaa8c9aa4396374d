"""An explanation of a restart to the text that `maillag explain` prints, or to the same as JSON."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import duckdb
from rich.console import Console
from rich.text import Text

from flows.answer import verdict_in_words
from flows.catalog import fetch
from flows.tables import plain
from flows.verdict_words import SOURCES, VerdictWords, is_known_by_command_alone
from flows.words import counted, duration, local_time
from transforms.explain.explain import Evidence, Explanation, Line, Row
from transforms.queries import read_query

# Messages, and scans, shown without --all.
SHOWN = 5
ROLES = {
    "last_answer": "last answer before",
    "scan_stopped": "stopped",
    "scan_started": "started",
    "qmgr_start": "queue manager started or restarted",
}
SETTINGS = (
    "product",
    "version",
    "build",
    "wrapper_md5",
    "mta",
    "time_zone",
    "scan_port",
    "queue_run_delay_seconds",
    "minimal_backoff_seconds",
    "maximal_backoff_seconds",
)
# The thresholds that most verdicts depend on; the JSON has all.
THRESHOLDS = (
    "flush_window_seconds",
    "backoff_margin_seconds",
    "assumed_backoff_seconds",
    "left_behind_seconds",
    "order_effect_seconds",
    "gap_after_seconds",
)


def fetch_restart(catalog: duckdb.DuckDBPyConnection, restart_id: str) -> Row:
    """Return the published row of a restart."""
    query = "select * from marts.restarts where restart_id = $restart_id"
    (restart,) = fetch(catalog, query, {"restart_id": restart_id})
    return restart


def fetch_frozen_days(catalog: duckdb.DuckDBPyConnection, restart_id: str) -> Row | None:
    """Return which days of its host have expired, if the evidence of a restart is among them."""
    rows = fetch(catalog, read_query("answers.frozen_days"), {"restart_id": restart_id})
    return rows[0] if rows else None


def frozen_in_words(days: Row) -> str:
    """Return why a restart cannot be explained any more, as a sentence."""
    return (
        f"The events of {days['host']} before {days['expired_before']} were expired on "
        f"{days['expired_at']:%Y-%m-%d}; the numbers about what happened before {days['frozen_before']} are "
        "frozen."
    )


def as_document(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation as a JSON document, in which each line has path, line_number and role."""
    words = VerdictWords(explanation) if is_derived(explanation) else None
    return {
        "restart": explanation.restart,
        "differences": {
            name: {"published": published, "derived": derived}
            for name, (published, derived) in explanation.differences.items()
        },
        "verdict": words
        and {
            "sentence": words.verdict(),
            "not": words.others(),
            "missing_reason": words.missing_reason(),
        },
        "service": [asdict(line) for line in explanation.service],
        "held": {
            **explanation.waiting,
            "messages": [_with_lines(message) for message in explanation.messages],
        },
        "orders": [asdict(line) for line in explanation.orders],
        "scans": [
            _with_lines(scan) | {"sentence": words.scan(scan.facts)} for scan in explanation.scans if words
        ],
        "coverage": {
            "spans": explanation.spans,
            "files": explanation.sources,
            "losses": [asdict(line) for line in explanation.losses],
        },
        "settings": host_settings(explanation.host),
        "thresholds": explanation.thresholds,
    }


def difference_in_words(explanation: Explanation) -> str:
    """Return in what way the verdict that the lake's events give differs from the published one."""
    restart_id = explanation.restart["restart_id"]
    if not is_derived(explanation):
        return (
            f"{restart_id}: the lake's events no longer show this restart. If you removed the events of its "
            "days, only the published row is left; if not, report this as a defect."
        )
    changed = ", ".join(
        f"{name} is {derived}, published is {published}"
        for name, (published, derived) in explanation.differences.items()
    )
    return (
        f"{restart_id}: the lake's events give other values than those published ({changed}). If you removed "
        "events of its days, the published row is right; if not, report this as a defect."
    )


def show_explanation(console: Console, explanation: Explanation, *, is_all: bool) -> None:
    """Print an explanation, with its lines grouped under headings and in order of time."""
    restart = explanation.restart
    _print(console, f"{restart['restart_id']}: {verdict_in_words(restart)}", style="bold")
    if not is_derived(explanation):
        return
    words, zone = VerdictWords(explanation), explanation.host["time_zone"]
    _print(console, f"Times are those of the host ({zone}).")
    _show_service(console, explanation, zone)
    _show_held(console, explanation, zone, is_all=is_all)
    _show_flushes(console, explanation, zone, words, is_all=is_all)
    _show_coverage(console, explanation, zone)
    _show_settings(console, explanation)
    _show_reasons(console, restart, words)


def _show_service(console: Console, explanation: Explanation, zone: str) -> None:
    _heading(console, "What the service did")
    _print(console, _outage_in_words(explanation.restart, zone))
    _show_lines(console, explanation.service, zone)


def _show_held(console: Console, explanation: Explanation, zone: str, *, is_all: bool) -> None:
    _heading(console, "What was held")
    _print(console, _held_in_words(explanation.restart, explanation.waiting))
    shown = explanation.messages if is_all else explanation.messages[:SHOWN]
    for message in shown:
        _print(console, _message_in_words(message.facts))
        _show_lines(console, message.lines, zone)
    _show_rest(console, explanation.restart["held_message_count"] - len(shown), "more message")


def _show_flushes(
    console: Console, explanation: Explanation, zone: str, words: VerdictWords, *, is_all: bool
) -> None:
    _heading(console, "Orders and flushes")
    if not explanation.orders:
        _print(console, "No order to flush was found.")
    _show_lines(console, explanation.orders, zone)
    scans = explanation.scans if is_all else _first_scans(explanation.scans)
    for scan in scans:
        _print(console, f"{_scan_in_words(scan.facts, zone)}: {words.scan(scan.facts)}.")
        _show_lines(console, scan.lines, zone)
    _show_rest(console, len(explanation.scans) - len(scans), "more queue scan")


def _show_coverage(console: Console, explanation: Explanation, zone: str) -> None:
    _heading(console, "Coverage")
    for span in explanation.spans:
        _print(
            console,
            f"{span['log_kind'].replace('_', ' ')}: {local_time(span['covered_from'], zone)} to "
            f"{local_time(span['covered_until'], zone)} without a gap",
        )
    for source in explanation.sources:
        _print(console, f"{source['path']}: {counted(source['line_count'], 'line')}, {source['status']}")
    _show_lines(console, explanation.losses, zone)


def _show_settings(console: Console, explanation: Explanation) -> None:
    _heading(console, "Settings")
    for setting in host_settings(explanation.host):
        origin = SOURCES.get(setting["source"], setting["source"])
        _print(console, f"{setting['name']} = {setting['value']} ({origin})")
    for name in THRESHOLDS:
        _print(console, f"{name} = {explanation.thresholds[name]} (config.thresholds of this lake)")


def _show_reasons(console: Console, restart: Row, words: VerdictWords) -> None:
    _heading(console, "Why")
    _print(console, words.verdict())
    for verdict, reason in words.others().items():
        _print(console, f"Why not {verdict}: {reason}.")
    if missing_reason := words.missing_reason():
        _print(
            console, f"Why it is {restart['flush_verdict']} ({restart['missing_reason']}): {missing_reason}."
        )


def is_derived(explanation: Explanation) -> bool:
    """Tell whether the lake's events still show the restart: without them there is no evidence."""
    return "restart_id" not in explanation.differences


def host_settings(host: Row) -> list[Row]:
    """Return the settings that the rules read, each with its source; unknown ones are left out."""
    return [
        {"name": name, "value": host[name], "source": host[f"{name}_source"]}
        for name in SETTINGS
        if host.get(name) is not None
    ]


def _with_lines(evidence: Evidence) -> dict[str, Any]:
    return evidence.facts | {"lines": [asdict(line) for line in evidence.lines]}


def _first_scans(scans: list[Evidence]) -> list[Evidence]:
    """Return the first few scans, flushes before others."""
    first = sorted(scans, key=lambda scan: (not scan.facts["is_flush"], scan.facts["began_at"]))[:SHOWN]
    return [scan for scan in scans if scan in first]


def _outage_in_words(restart: Row, zone: str) -> str:
    if is_known_by_command_alone(restart):
        return (
            f"The manager's command at {local_time(restart['up_at'], zone)} shows that the service was up by "
            "then. When it went down is not known, and no attempt failed."
        )
    until = f"up at {local_time(restart['up_at'], zone)}" if restart["up_at"] else "not seen up again"
    about = " (estimated)" if restart["is_up_at_estimated"] else ""
    lasted = f", {duration(restart['outage_seconds'])}" if restart["outage_seconds"] is not None else ""
    failed = "" if "maillog" in restart["evidence"] else " No attempt failed."
    return f"Down at {local_time(restart['down_at'], zone)}, {until}{about}{lasted}.{failed}"


def _held_in_words(restart: Row, waiting: Row) -> str:
    count = restart["held_message_count"]
    if not count:
        return "No message was held."
    waited = ""
    if restart["restart_delay_p50_seconds"] is not None:
        median, longest = (duration(restart[f"restart_delay_{part}_seconds"]) for part in ("p50", "max"))
        waited = (
            f" It waited {longest}." if count == 1 else f" They waited {median} (median), at most {longest}."
        )
    return (
        f"{counted(count, 'message')} {_were(count)} held, {restart['never_tried_count']:,} of them never "
        f"tried; {waiting['waiting_count']:,} waited after the service was up again.{waited} Still in the "
        f"queue at the end of the log: {restart['pending_count']:,}; lost: {restart['lost_message_count']:,}."
    )


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _message_in_words(message: Row) -> str:
    if message["released_at"] is None:
        end = f"was not released ({message['outcome']})"
    else:
        by = {"flush": "a flush", "queue_run": "a queue run"}.get(message["released_by"], "unknown means")
        end = f"waited {duration(message['restart_delay_seconds'])}, released by {by}"
    failed = ", failed again after a flush" if message["is_failed_after_flush"] else ""
    return f"{message['queue_id']} {end}{failed}"


def _scan_in_words(scan: Row, zone: str) -> str:
    outside = "" if scan["is_in_window"] else ", outside the window of this restart"
    return (
        f"At {local_time(scan['began_at'], zone)} {counted(scan['reactivated_count'], 'deferred message')} "
        f"{_were(scan['reactivated_count'])} re-activated, {scan['held_message_count']:,} of them held by "
        f"this restart{outside}"
    )


def _show_lines(console: Console, lines: Iterable[Line], zone: str) -> None:
    for line in lines:
        role = ROLES.get(line.role, line.role.replace("_", " "))
        rebuilt = "" if line.is_quoted else " (put together from its event)"
        at = local_time(line.logged_at, zone)
        _print(
            console, f"  {line.path}:{line.line_number}  {at}  {role}{rebuilt}: {line.text}", is_whole=True
        )


def _show_rest(console: Console, count: int, what: str) -> None:
    if count > 0:
        _print(console, f"... and {counted(count, what)} (all with --all).")


def _heading(console: Console, text: str) -> None:
    console.print()
    _print(console, text, style="bold")


def _print(console: Console, text: str, *, style: str = "", is_whole: bool = False) -> None:
    # Sentences are folded where the width is known; a log line stays one line.
    console.print(Text(plain(text), style=style), soft_wrap=is_whole or None)
