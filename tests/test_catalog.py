"""Views over a lake: each row of every host once, and a host's rows out of its own files alone."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from transforms.lake.catalog import host_folder, show_files

TABLE = "events.attempts"
PERIODS = ("date=2026-11-02", "date=2026-11-03", "month=2026-10")
HOSTS = (
    "mx1",
    "mx1.example.com",
    "__HIVE_DEFAULT_PARTITION__",
    "100%",
    "a=b",
    "host=mx1",
    "it's",
    "受信1",
    "2026",
    "null",
    " ",
)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as opened:
        yield opened


def _write(lake: Path, folder: str, host: str, *rows: str) -> str:
    path = Path(folder, "r1.parquet")
    (lake / path).parent.mkdir(parents=True)
    pl.DataFrame({"host": [host] * len(rows), "queue_id": rows}).write_parquet(lake / path)
    return str(path)


def _write_hosts(lake: Path) -> dict[str, list[str]]:
    """Write one row of each host and period; return the files of each host."""
    return {
        host: [
            _write(lake, f"events/attempts/{host_folder(host)}/{period}", host, f"{host} {period}")
            for period in PERIODS
        ]
        for host in HOSTS
    }


@pytest.mark.parametrize("name", ["lake", "year=2026", "host=other"])
def test_every_row_of_every_host_is_shown_once(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, name: str
) -> None:
    files = _write_hosts(tmp_path / name)
    show_files(connection, tmp_path / name, TABLE, [path for of_host in files.values() for path in of_host])
    shown = connection.sql(f"select * from {TABLE}")
    assert shown.columns == ["host", "queue_id"]
    assert sorted(shown.fetchall()) == sorted(
        (host, f"{host} {period}") for host in HOSTS for period in PERIODS
    )


@pytest.mark.parametrize("host", HOSTS)
def test_a_query_about_one_host_opens_no_file_of_another(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, host: str
) -> None:
    files = _write_hosts(tmp_path)
    # The first file of each kind of folder tells the columns, and is opened in any case.
    paths = files.pop(host) + [path for of_host in files.values() for path in of_host]
    show_files(connection, tmp_path, TABLE, paths)
    for of_host in files.values():
        for path in of_host:
            (tmp_path / path).write_text("no Parquet")
    rows = connection.execute(f"select queue_id from {TABLE} where host = ?", [host]).fetchall()
    assert sorted(rows) == sorted((f"{host} {period}",) for period in PERIODS)


def test_files_outside_of_folders_by_host_are_shown(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    show_files(connection, tmp_path, TABLE, [_write(tmp_path, "ops/line_counts", "mx1", "A1", "A2")])
    assert connection.sql(f"select queue_id from {TABLE} order by 1").fetchall() == [("A1",), ("A2",)]
