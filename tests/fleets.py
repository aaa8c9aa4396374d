"""Makes the catalog of a made-up fleet, for the page: hosts, restarts, held mail, advice, gaps and findings.

A host loses flushes by its build, as in the field: some all, some those that its manager did not notice.
Text that strangers choose (senders, message ids, a finding) is hostile, and so is the name of one host.
Columns that the page does not read stay NULL.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np

from transforms.contracts.contracts import load_contracts
from transforms.lake.catalog import CATALOG_NAME
from transforms.marts.advice import load_advice

Case = Literal["full", "no_restarts", "all_flushed", "unknown", "empty"]
Row = dict[str, Any]

START = datetime(2026, 10, 25, 15, tzinfo=UTC)  # midnight in Tokyo
DAY = 86_400
BAD_MD5 = "5e0eb2ceffbf474480ec2814e85d66ae"
HOSTILE = "<img src=x onerror=alert(1)>\u202e\u2028</script><script>alert(2)</script>"
SENDER, MESSAGE_ID = f"secret.sender@example.com{HOSTILE}", f"<secret.id@example.com>{HOSTILE}"
HOSTILE_HOST = "berlin-mx08<b id=x>\"'{n}{{7*7}}"
BUSY_BY_HOUR = (
    np.array([2, 1, 1, 1, 1, 2, 4, 8, 16, 20, 18, 17, 14, 17, 18, 18, 17, 15, 11, 8, 6, 5, 4, 3]) / 20
)
# Product, build, md5 of the wrapper, and the day and build of a patch.
KINDS: tuple[tuple[str | None, int | None, str | None, tuple[int, int] | None], ...] = (
    ("imsva", 1631, None, (14, 1830)),
    ("imsva", 1830, None, None),
    ("imsva", 1631, None, None),
    ("imss", 1335, BAD_MD5, None),
    ("imss", 1241, None, None),
    ("imsva", 1978, None, None),
    ("imss", 1210, None, None),
    ("imss", 1339, None, None),
    ("imsva", 1830, None, None),
    (None, None, None, None),
)
RATES = (0.05, 0.12, 0.3, 0.08, 0.6, 0.03, 0.2, 0.15, 1.6, 0.1)
SITES = ("tokyo", "osaka", "nagoya", "fukuoka", "berlin")


@dataclass(frozen=True)
class Host:
    """A made-up host: messages a second at the busiest hour, retry interval, shift from UTC."""

    number: int
    name: str
    product: str | None
    build: int | None
    wrapper_md5: str | None
    patch: tuple[int, int] | None
    zone: str
    shift_hours: int
    rate: float
    retry_seconds: int

    def build_at(self, second: float) -> int | None:
        """Return the build at a second since START."""
        return self.patch[1] if self.patch and second >= self.patch[0] * DAY else self.build


@dataclass(frozen=True)
class Restart:
    """A made-up restart, in seconds since START; arrays have one entry a held message."""

    down: float
    up: float
    trigger: str
    verdict: str
    reason: str | None
    missing_reason: str | None
    ordered: float | None
    flushed: float | None
    build_verdict: str
    is_overlong: bool
    deferred: np.ndarray[Any, Any]
    reactivated: np.ndarray[Any, Any]
    released: np.ndarray[Any, Any]

    @property
    def is_missing(self) -> bool:
        """Tell whether waiting mail was not flushed."""
        return self.verdict in {"missing", "ineffective"}

    @property
    def waits(self) -> np.ndarray[Any, Any]:
        """Return how long each held message waited."""
        waits: np.ndarray[Any, Any] = self.released - self.deferred
        return waits


def make_fleet(lake: Path, *, host_count: int, days: int, case: Case = "full") -> None:
    """Write a catalog of made-up tables into an empty folder; `empty` has no host at all."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for number in range(0 if case == "empty" else host_count):
        host = make_host(number)
        random = np.random.default_rng(number)
        restarts = {
            f"{at(restart.down):%Y%m%dT%H%M%SZ}": restart
            for restart in make_restarts(host, days, case, random)
        }
        add_host(rows, host, list(restarts.values()), case)
        add_days(rows, host, list(restarts.values()), days)
        for instant, restart in restarts.items():
            add_restart(rows, host, f"{host.name}-{instant}", restart)
    if case == "full" and host_count > 31:
        add_troubles(rows, days)
    write_catalog(lake, rows)


def make_host(number: int) -> Host:
    product, build, md5, patch = KINDS[number % 10]
    site = SITES[number // 10 % 5]
    name = f"{site}-mx{number // 50 * 10 + number % 10 + 1:02d}" if number != 47 else HOSTILE_HOST
    is_slow = product == "imsva" and (build or 0) < 1830
    zone, shift = ("Europe/Berlin", 1) if site == "berlin" else ("Asia/Tokyo", 9)
    return Host(
        number, name, product, build, md5, patch, zone, shift, RATES[number * 7 % 10], 900 if is_slow else 300
    )


def judge_build(product: str | None, build: int | None, md5: str | None) -> str:
    if product is None or build is None:
        return "unknown"
    if product == "imsva":
        return "known_defective" if build < 1830 else "fixed"
    is_defective = build < 1241 or (1335 <= build <= 1342 and md5 in (None, BAD_MD5))
    return "known_defective" if is_defective else "fixed"


def has_no_log(number: int, day: int, days: int) -> bool:
    return (number == 5 and 9 <= day < 12) or (number == 31 and day >= days - 4)


def make_restarts(host: Host, days: int, case: Case, random: np.random.Generator) -> Iterator[Restart]:
    """Yield a host's restarts in order: seven updates a day, and now and then another cause."""
    if case == "no_restarts" or host.number % 23 == 22:
        return
    phase, run_phase = random.uniform(0, 60), random.uniform(0, host.retry_seconds)
    downs: list[tuple[float, str]] = []
    for day in range(days):
        for hour in (0.4, 3.5, 6.5, 9.6, 12.5, 16.4, 20.6):
            if random.random() < 0.9:
                downs.append((day * DAY + hour * 3600 + random.normal(0, 700), "component_update"))
        if random.random() < 0.5:
            downs.append(
                (
                    day * DAY + random.uniform(9, 19) * 3600,
                    ("configuration_change", "manual", "unknown")[day % 3],
                )
            )
        if random.random() < 0.05:
            downs.append((day * DAY + random.uniform(1, 5) * 3600, "license"))
    free_at = 0.0
    for second, trigger in sorted(downs):
        down = float(np.floor(max(second, 60) - (host.shift_hours - 9) * 3600))
        if down < free_at + 300 or has_no_log(host.number, int(down // DAY), days):
            continue
        restart = make_restart(host, down, trigger, case, (phase, run_phase), random)
        free_at = max([restart.up, *restart.released])
        yield restart


def make_restart(
    host: Host,
    down: float,
    trigger: str,
    case: Case,
    phases: tuple[float, float],
    random: np.random.Generator,
) -> Restart:
    """Return one restart: the manager polls once a minute; a defective build does not flush when ordered."""
    build_verdict = judge_build(host.product, host.build_at(down), host.wrapper_md5)
    is_overlong = bool(random.random() < 0.012)
    outage = float(random.uniform(150, 900) if is_overlong else np.clip(random.lognormal(3.25, 0.45), 8, 59))
    up = down + outage
    is_noticed = down + (phases[0] - down) % 60 < up
    ordered = up + 2 + (phases[0] - up - 2) % 60 if is_noticed else None
    works = build_verdict == "unknown" or (host.product == "imsva" and is_noticed and random.random() < 0.8)
    if case == "all_flushed" or (build_verdict == "fixed" and random.random() < 0.985):
        ordered, works = ordered or up + random.uniform(3, 50), True
    flushed = ordered + random.uniform(0.2, 1.5) if ordered and works else None
    rate = host.rate * BUSY_BY_HOUR[int((down + (host.shift_hours + 15) * 3600) // 3600) % 24]
    held_count, dead_until = int(random.poisson(rate * outage)), up
    if held_count >= 12:
        # The destination is dead until it is flushed or minimal_backoff_time is over.
        dead_until = min(flushed or np.inf, down + 6 + host.retry_seconds)
        held_count += int(random.poisson(rate * max(0, dead_until - up)))
    arrived = np.sort(random.uniform(down, max(dead_until, down + 1), held_count))
    deferred = np.floor(arrived + random.exponential(0.3, held_count))
    due = deferred + host.retry_seconds - 1
    reactivated = np.full(held_count, flushed) if flushed else due + (phases[1] - due) % host.retry_seconds
    place = np.argsort(np.argsort(reactivated, kind="stable")) - np.searchsorted(
        np.sort(reactivated), reactivated
    )
    released = np.maximum(np.floor(reactivated + 0.3 + place / max(3.0, random.normal(18, 4))), deferred + 1)
    verdict, reason, missing_reason = "effective", None, None
    if held_count == 0:
        verdict = "not_needed"
    elif case == "unknown":
        verdict, reason = "unknown", ("log_end", "coverage_gap", "settings_unknown")[int(down) % 3]
    elif flushed is None and host.product is None:
        verdict, reason = "unknown", "settings_unknown"
    elif case == "full" and held_count < 3 and random.random() < 0.25:
        verdict, reason = "unknown", "too_few_messages"
    elif flushed is None:
        verdict = "ineffective" if ordered else "missing"
        missing_reason = (
            "not_noticed" if not is_noticed else "wrapper_defect" if host.wrapper_md5 else "not_ordered"
        )
    return Restart(
        down, up, trigger, verdict, reason, missing_reason, ordered, flushed if held_count else None,
        build_verdict, is_overlong, deferred, reactivated, released,
    )  # fmt: skip


def add_restart(rows: dict[str, list[Row]], host: Host, restart_id: str, restart: Restart) -> None:
    waits, held_count = restart.waits, len(restart.deferred)
    identity = {"restart_id": restart_id, "host": host.name}
    what = {
        "flush_verdict": restart.verdict,
        "missing_reason": restart.missing_reason,
        "build_verdict": restart.build_verdict,
        "held_message_count": held_count,
        "down_at": at(restart.down),
        "up_at": at(restart.up),
    }
    rows["marts.restarts"].append(
        identity
        | what
        | {
            "verdict_reason": restart.reason,
            "restart_trigger": restart.trigger,
            "confidence": "certain" if held_count > 3 else "likely" if held_count else "possible",
            "outage_seconds": round(restart.up - restart.down, 1),
            "delayed_over_5_min_count": int((waits > 300).sum()),
            "restart_delay_p50_seconds": quantile(waits, 0.5),
            "restart_delay_max_seconds": quantile(waits, 1),
            "is_up_at_estimated": restart.down % 3 == 0,
            "is_overlong": restart.is_overlong,
            "down_at_earliest": at(restart.down - restart.down % 20),
            "down_at_latest": at(restart.down + 1),
            "up_at_earliest": at(restart.up - restart.down % 8),
            "up_at_latest": at(restart.up + restart.down % 4),
            "last_released_at": at(restart.released.max()) if held_count else None,
            "flush_commanded_at": at(np.floor(restart.ordered)) if restart.ordered else None,
            "flush_observed_at": at(restart.flushed) if restart.flushed else None,
        }
    )
    if restart.is_missing:
        due = restart.up + 60
        saved = np.maximum(0, restart.released - np.maximum(due, restart.deferred))
        rows["marts.missing_flushes"].append(
            identity
            | what
            | {
                "expected_flush_at": at(due),
                "avoidable_delay_total_seconds": float(saved.sum()),
                "avoidable_delay_max_seconds": float(saved.max()),
            }
        )
    for number in range(held_count):
        rows["marts.held_messages"].append(
            {
                **identity,
                "instance": "postfix",
                "queue_id": f"{restart.down:.0f}{number:05d}",
                "sender": SENDER,
                "message_id": MESSAGE_ID,
                "released_by": "flush" if restart.flushed else "queue_run",
                "outcome": "delivered",
                "restart_delay_seconds": float(waits[number]),
                "first_deferred_at": at(restart.deferred[number]),
                "reactivated_at": at(restart.reactivated[number]),
                "released_at": at(restart.released[number]),
            }
        )


def add_host(rows: dict[str, list[Row]], host: Host, restarts: Sequence[Restart], case: Case) -> None:
    current = [restart for restart in restarts if not host.patch or restart.down >= host.patch[0] * DAY]
    missing_count = sum(restart.is_missing for restart in current)
    build = host.patch[1] if host.patch else host.build
    build_verdict = judge_build(host.product, build, host.wrapper_md5)
    is_sound = build_verdict == "fixed"
    advised = {
        "check_scan_service": any(restart.is_overlong for restart in current) and host.number % 4 == 0,
        "find_build": host.product is None,
        "apply_patch_1": host.product == "imss" and (build or 0) < 1241,
        "apply_patch_2": host.product == "imsva" and (build or 0) < 1830,
        "check_wrapper": build == 1339,
        "edit_wrapper": host.wrapper_md5 is not None,
        "check_flush": is_sound and missing_count > 1,
        "shorten_retry": host.product == "imsva" and (build or 0) < 1830,
    }
    given = [advice for advice in load_advice() if advised.get(advice.code) and case in {"full", "unknown"}]
    figures = {"build": build, "current_missing_count": missing_count, "current_judged_count": len(current)}
    for position, advice in enumerate(given, 1):
        rows["marts.host_advice"].append(
            {
                "host": host.name,
                "position": position,
                "code": advice.code,
                "title_en": advice.title_en,
                "title_ja": advice.title_ja,
                "text_en": " ".join(filled(advice.en, figures)),
                "text_ja": "".join(filled(advice.ja, figures)),
                "commands": filled(advice.commands, figures),
            }
        )
    known = {"host": host.name, "product": host.product, "build": build}
    behaviour = (
        "no_evidence"
        if not restarts
        else "as_expected"
        if is_sound == (missing_count == 0)
        else "unexpected_missing"
    )
    rows["marts.host_diagnosis"].append(
        {**known, "version": "9.1", "build_verdict": build_verdict, "behaviour": behaviour}
    )
    rows["fleet.hosts"].append({**known, "time_zone": host.zone})
    if host.patch and restarts:
        sides = {"before": restarts[: len(restarts) - len(current)], "after": current}
        change: Row = {
            "host": host.name,
            "changed_at": at(host.patch[0] * DAY),
            "changes": ["build: 1631 -> 1830"],
        }
        for side, part in sides.items():
            missing = sum(restart.is_missing for restart in part)
            judged = missing + sum(restart.verdict == "effective" for restart in part)
            change |= {
                f"missing_flush_count_{side}": missing,
                f"judged_{side}_count": judged,
                f"missing_share_{side}": missing / judged if judged else None,
                f"restart_delay_p50_seconds_{side}": quantile(
                    np.concatenate([r.waits for r in part] or [np.array([])]), 0.5
                ),
            }
        rows["marts.fleet_changes"].append(change)


def add_days(rows: dict[str, list[Row]], host: Host, restarts: Sequence[Restart], days: int) -> None:
    by_day: dict[date, list[Restart]] = defaultdict(list)
    for restart in restarts:
        by_day[(at(restart.down) + timedelta(hours=host.shift_hours)).date()].append(restart)
    for day in range(days):
        local_date = (START + timedelta(hours=9, days=day)).date()
        here = by_day.get(local_date, [])
        is_gap = has_no_log(host.number, day, days)
        rows["marts.fleet_daily"].append(
            {
                "host": host.name,
                "date": local_date,
                "restart_count": len(here),
                "judged_restart_count": sum(r.is_missing or r.verdict == "effective" for r in here),
                "unknown_restart_count": sum(r.verdict == "unknown" for r in here),
                "missing_flush_count": sum(r.is_missing for r in here),
                "coverage_share": 0.0 if is_gap else 0.4 if (host.number, day) == (5, 8) else 1.0,
            }
        )
        rows["ops.source_files"].append(
            {
                "source_id": f"{host.number:04d}{day:04d}",
                "host": host.name,
                "log_kind": "maillog",
                "path": f"{host.name}/maillog-{local_date}.gz",
                "status": "loaded",
                "line_count": 90_000,
                "unparsed_line_count": 3 if host.number == 12 else 0,
                "last_logged_at": at(day * DAY + DAY - 1),
            }
        )


def add_troubles(rows: dict[str, list[Row]], days: int) -> None:
    gaps = [
        (5, "maillog", "missing_file", 8.4, 12),
        (31, "maillog", "silence", days - 4, days),
        (8, "maillog", "lost_lines", 3.51, 3.52),
        (19, "manager_log", "missing_file", 6, 9),
    ]
    rows["marts.coverage"] += [
        {
            "host": make_host(number).name,
            "log_kind": kind,
            "reason": reason,
            "gap_from": at(begin * DAY),
            "gap_until": at(end * DAY),
        }
        for number, kind, reason, begin, end in gaps
    ]
    rows["ops.quarantine"] += [
        {
            "place": "fukuoka-mx02/maillog-20261120.gz",
            "rule": "the file can be read",
            "severity": "critical",
            "what": "CRC check failed after 48,113 lines",
            "remedy": "Copy the file again; what was read before the damage is in the lake.",
        },
        {
            "place": "osaka-mx03/maillog-20261101.gz:8121",
            "rule": "At most one in a hundred of a file's lines is unparsed",
            "severity": "warning",
            "what": f"a line of secret.sender@example.com {HOSTILE}",
            "remedy": "Look at events.unparsed_lines.",
        },
    ]
    rows["ops.runs"].append(
        {"run_id": "20261124T180000Z-ab12cd", "status": "done", "started_at": at(days * DAY)}
    )


def write_catalog(lake: Path, rows: dict[str, list[Row]]) -> None:
    """Write the tables, with the columns of their contracts."""
    lake.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(lake / CATALOG_NAME)) as catalog:
        catalog.execute("set timezone = 'UTC'")
        for table, contract in load_contracts().items():
            if not contract.is_public:
                continue
            columns = {name: column.data_type for name, column in contract.columns.items()}
            catalog.execute(f"create schema if not exists {table.split('.')[0]}")
            catalog.execute(
                f"create table {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
            )
            if rows[table]:
                insert(catalog, table, columns, rows[table], lake / "rows.jsonl")


def insert(
    catalog: duckdb.DuckDBPyConnection, table: str, columns: dict[str, str], rows: Sequence[Row], aside: Path
) -> None:
    """Insert many rows at once, through a file."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    aside.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), "utf-8")
    types = ", ".join(f"'{name}': '{columns[name]}'" for name in names)
    lines = f"read_json($file, format = 'newline_delimited', columns = {{{types}}})"
    catalog.execute(f"insert into {table} by name select * from {lines}", {"file": str(aside)})
    aside.unlink()


def filled(lines: Sequence[str], figures: Row) -> list[str]:
    """Return the lines of an advice whose figures are known."""
    return [
        line.format_map(figures) if "$" not in line else line
        for line in lines
        if "$" in line or all(figures.get(name) is not None for name in names_in(line))
    ]


def names_in(line: str) -> list[str]:
    return [part.partition("}")[0] for part in line.split("{")[1:]]


def at(second: float) -> datetime:
    return START + timedelta(seconds=float(second))


def quantile(values: np.ndarray[Any, Any], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None
