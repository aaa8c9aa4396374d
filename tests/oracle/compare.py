"""Histories through the pipeline, their rows beside the oracle's, and the least history that differs."""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from tests.conftest import Run, run_job
from tests.oracle.history import History, write_archive
from tests.oracle.oracle import Row, judge_history
from transforms.contracts.contracts import Checker
from transforms.run import Job

KEYS = {
    "marts.restarts": ("restart_id",),
    "marts.held_messages": ("restart_id", "instance", "queue_id", "arrived_at", "first_deferred_at"),
}
# The marts' delays are whole milliseconds, the oracle's are exact; sums of many differ by more.
CLOSE = 0.02
# A history is split into this many parts at most, to see which of them matter.
MOST_PARTS = 64

# What rests on minimal_backoff_time. Where no setting tells it, the models estimate it; the oracle does not.
BACKOFF_COLUMNS = frozenset(
    (
        "released_by",
        "queue_run_count",
        "flush_verdict",
        "verdict_reason",
        "missing_reason",
        "flush_missed_count",
        "flush_failed_count",
        "flush_observed_at",
    )
)

Rows = dict[str, list[Row]]


@dataclass(frozen=True)
class Comparison:
    """A history, what the oracle and the marts make of it, and how that differs."""

    history: History
    oracle: Rows
    marts: Rows
    differences: list[str]

    def __str__(self) -> str:
        told = [str(self.history)]
        for name, rows in (("oracle", self.oracle), ("marts", self.marts)):
            for table in KEYS:
                told += [f"--- {table} by the {name}", as_text(rows[table])]
        return "\n".join([*told, "--- differences", *self.differences])


def run_histories(histories: Sequence[History], folder: Path, checker: Checker) -> Run:
    """Write histories as one archive and run the pipeline over it."""
    write_archive(histories, folder / "archive")
    return run_job(Job(folder / "archive", folder / "lake"), checker)


def compare(histories: Sequence[History], lake: Path) -> list[Comparison]:
    """Compare the rows of each history in a lake with the oracle's."""
    marts = {table: fetch_rows(lake, table) for table in KEYS}
    compared = []
    for history in histories:
        oracle = dict(zip(KEYS, judge_history(history), strict=True))
        of_host = {table: rows.get(history.host, []) for table, rows in marts.items()}
        is_known = "minimal_backoff_seconds" in history.settings
        told = [
            line
            for table in KEYS
            for line in differences(table, oracle[table], of_host[table], is_backoff_known=is_known)
        ]
        compared.append(Comparison(history, oracle, of_host, told))
    return compared


def shrink(failing: Comparison, folder: Path, checker: Checker) -> Comparison:
    """Leave out lines as long as something differs: all candidates of a round are hosts of one archive."""
    part_count = 12
    while True:
        lines = [(name, number) for name, its in failing.history.files.items() for number in range(len(its))]
        size = max(1, -(-len(lines) // part_count))
        parts = [set(lines[start : start + size]) for start in range(0, len(lines), size)]
        needless = [
            part
            for part, comparison in zip(
                parts, _compare_without(parts, failing.history, folder, checker), strict=True
            )
            if comparison.differences
        ]
        # What can go by itself may not go together: try all, halves, quarters of it, and the first alone.
        together = [needless[: -(-len(needless) // share)] for share in (1, 2, 4, len(needless) or 1)]
        unions = [set().union(*some) for some in together if some]
        smaller = [c for c in _compare_without(unions, failing.history, folder, checker) if c.differences]
        if smaller:
            failing = min(smaller, key=lambda comparison: comparison.history.line_count)
        elif size == 1:
            return failing
        if not smaller or len(needless) < len(parts) // 2:
            part_count = min(part_count * 2, MOST_PARTS) if size > 1 else part_count
            if part_count == MOST_PARTS and not smaller and len(lines) > MOST_PARTS:
                return failing


def _compare_without(
    parts: list[set[tuple[str, int]]], history: History, folder: Path, checker: Checker
) -> list[Comparison]:
    """Compare the history without each of the parts."""
    if not parts:
        return []
    shutil.rmtree(folder, ignore_errors=True)
    candidates = [
        replace(history, host=f"without{number}", files=_without(history, part))
        for number, part in enumerate(parts)
    ]
    return compare(candidates, run_histories(candidates, folder, checker).job.lake)


def _without(history: History, left_out: set[tuple[str, int]]) -> dict[str, list[str]]:
    return {
        name: [line for number, line in enumerate(lines) if (name, number) not in left_out]
        for name, lines in history.files.items()
    }


def fetch_rows(lake: Path, table: str) -> Rows:
    """Return a mart's rows by host."""
    found: Rows = defaultdict(list)
    with duckdb.connect(str(lake / "maillag.duckdb"), read_only=True) as catalog:
        catalog.execute("set timezone = 'UTC'")
        cursor = catalog.execute(f"select * from {table}")
        names = [column[0] for column in cursor.description or []]
        for values in cursor.fetchall():
            row = dict(zip(names, map(_plain, values), strict=True))
            found[str(row["host"])].append(row)
    return dict(found)


def _plain(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def differences(
    table: str, oracle: list[Row], mart: list[Row], *, is_backoff_known: bool = True
) -> list[str]:
    """Return how rows differ, in words, on the oracle's columns; rows are matched by their keys."""
    by_key: dict[str, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((oracle, mart)):
        for row in rows:
            by_key[" ".join(_shown(row[key]) for key in KEYS[table])][side].append(row)
    told = []
    for key, (ours, theirs) in sorted(by_key.items()):
        if len(ours) != len(theirs):
            told.append(f"{key}: {len(ours)} rows by the oracle, {len(theirs)} in {table}")
            continue
        # A queue id may be used twice within one second; such rows are compared in an order of their own.
        in_order = (
            sorted(rows, key=lambda row: [str(row[name]) for name in ours[0]]) for rows in (ours, theirs)
        )
        told += [
            f"{key}: {name} is {_shown(row[name])} by the oracle, {_shown(other[name])} in {table}"
            for row, other in zip(*in_order, strict=True)
            for name in row
            if not is_equal(row[name], other[name]) and (is_backoff_known or name not in BACKOFF_COLUMNS)
        ]
    return told


def is_equal(ours: object, theirs: object) -> bool:
    """Whether two values are the same, lists in any order and sums but for their rounding."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return sorted(ours) == sorted(theirs)
    if isinstance(ours, float) and isinstance(theirs, float | int):
        return abs(ours - theirs) <= CLOSE
    return ours == theirs


def _shown(value: object) -> str:
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)


def as_text(rows: Iterable[Mapping[str, object]]) -> str:
    """Show rows for a person to compare: one value a line."""
    return "\n\n".join("\n".join(f"  {name}: {_shown(value)}" for name, value in row.items()) for row in rows)
