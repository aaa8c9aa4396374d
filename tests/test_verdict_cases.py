"""Logs on which a verdict is easily wrong: it is right, or unknown for the right reason."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.conftest import create_event_tables
from transforms.fleet.fleet import read_fleet
from transforms.lake.catalog import create_tables
from transforms.marts.build import config_tables
from transforms.marts.models import load_models, needed_models, run_models
from transforms.thresholds import Thresholds

FOLDER = Path(__file__).parent / "archives" / "verdicts"
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "expected.yaml").read_text())
FOUND = """
select
    host,
    flush_verdict as verdict,
    verdict_reason as reason,
    held_message_count as held,
    queue_run_count as queue_runs
from marts.restarts
order by host, down_at
"""


@pytest.mark.parametrize("name", EXPECTED)
def test_verdicts_are_right_or_unknown(name: str, tmp_path: Path) -> None:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _restarts(FOLDER / name, tmp_path):
        found.setdefault(row["host"], []).append(row)
    assert found.keys() == EXPECTED[name].keys()
    for host, expected in EXPECTED[name].items():
        if isinstance(expected, str):
            assert {row["reason"] for row in found[host]} == {expected}, host
            continue
        assert len(found[host]) == len(expected), host
        for row, right in zip(found[host], expected, strict=True):
            assert row["verdict"] in right["verdicts"], host
            told = {key: row[key] for key in ("reason", "held", "queue_runs") if key in right}
            assert told == {key: right[key] for key in told}, host


def test_every_case_is_expected() -> None:
    assert {folder.name for folder in FOLDER.iterdir() if folder.is_dir()} == EXPECTED.keys()


def _restarts(archive: Path, folder: Path) -> list[dict[str, Any]]:
    with duckdb.connect(":memory:", config={"preserve_insertion_order": "false"}) as connection:
        connection.execute("set timezone = 'UTC'")
        assert create_event_tables(connection, archive, folder / "lake", read_fleet(archive)) == []
        create_tables(connection, config_tables(Thresholds()))
        run_models(connection, needed_models(load_models(), {"marts.restarts"}))
        cursor = connection.execute(FOUND)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
