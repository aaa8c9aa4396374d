"""Archives through the pipeline, and their rows beside the oracle's."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from tests.oracle.oracle import Row

# Instants are compared to the microsecond; the marts' delays are whole milliseconds.
MILLISECOND = 0.0011


def fetch_rows(lake: Path, table: str) -> dict[str, list[Row]]:
    """Return a mart's rows by host."""
    found = defaultdict(list)
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


def differences(oracle: list[Row], mart: list[Row], keys: tuple[str, ...], ignored: frozenset[str]) -> list[str]:
    """Return what differs, in words; rows are matched by their keys."""
    told = []
    by_key: dict[str, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((oracle, mart)):
        for row in rows:
            by_key[str([row[key] for key in keys])][side].append(row)
    for key, (ours, theirs) in sorted(by_key.items()):
        if len(ours) != 1 or len(theirs) != 1:
            told.append(f"{key}: {len(ours)} rows of the oracle, {len(theirs)} of the mart")
            continue
        told += [
            f"{key}: {name} is {_shown(ours[0][name])} by the oracle, {_shown(theirs[0][name])} in the mart"
            for name in ours[0]
            if name not in ignored and not _is_equal(ours[0][name], theirs[0][name])
        ]
    return told


def _is_equal(ours: object, theirs: object) -> bool:
    if isinstance(ours, list) and isinstance(theirs, list):
        return sorted(ours) == sorted(theirs)
    if isinstance(ours, float) or isinstance(theirs, float):
        return isinstance(ours, int | float) and isinstance(theirs, int | float) and abs(ours - theirs) < 0.0055
    return ours == theirs


def _shown(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def table(rows: Iterable[Mapping[str, object]]) -> str:
    """Show rows, one value a line, for a person to compare."""
    return "\n\n".join(
        "\n".join(f"  {name}: {_shown(value)}" for name, value in row.items()) for row in rows
    )
