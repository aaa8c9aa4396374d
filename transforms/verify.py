"""The lake against its ledger: whether every file that is listed is there and whole, and nothing else is."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.catalog import CATALOG_NAME, attach_published, published_files
from transforms.lake import hold_lake
from transforms.ledger import Ledger, open_ledger
from transforms.problems import Problem

LAKE_FOLDERS = ("basis", "config", "events", "fleet", "marts", "ops", "staging")
# Of these nothing is in the catalog.
UNPUBLISHED = ("basis.", "staging.")
RUN_AGAIN = "Restore the lake and its ledger from one backup, or remove both and run again."


def verify_lake(lake: Path, ledger_url: str | None = None) -> list[Problem]:
    """Return what is wrong with a lake; of its files only the ends are read.

    Raises MaillagError if a run holds it, or if its ledger cannot be opened.
    """
    with closing(open_ledger(lake, ledger_url)) as ledger, hold_lake(lake):
        return list(_problems(lake, ledger))


def _problems(lake: Path, ledger: Ledger) -> Iterator[Problem]:
    listed = {file.path: file for file in ledger.files()}
    for path, file in listed.items():
        try:
            row_count = pq.read_metadata(lake / path).num_rows
        except (OSError, pa.ArrowException) as error:
            yield Problem(path, f"cannot be read ({str(error).splitlines()[0]})", RUN_AGAIN)
            continue
        if row_count != file.row_count:
            yield Problem(path, f"has {row_count} rows, and the ledger says {file.row_count}", RUN_AGAIN)
    known = listed.keys() | set(ledger.dropped_files())
    for folder in LAKE_FOLDERS:
        for found in (lake / folder).rglob("*.parquet"):
            if found.relative_to(lake).as_posix() not in known:
                yield Problem(found.relative_to(lake).as_posix(), "is not in the ledger", "Remove it.")
    yield from _verify_sources(lake, ledger)
    if (lake / CATALOG_NAME).exists():
        with attach_published(lake) as catalog:
            yield from _verify_catalog(lake, ledger, catalog)


def _verify_sources(lake: Path, ledger: Ledger) -> Iterator[Problem]:
    """Hold the lines that are counted in the lake against those that the ledger says were read."""
    paths = [str(lake / path) for path in ledger.lake_files().get("ops.line_counts", [])]
    counted: dict[str, int] = {}
    if paths:
        rows = duckdb.execute(
            "select source_id, sum(line_count) from read_parquet(?, hive_partitioning = false) group by all",
            [paths],
        ).fetchall()
        counted = {source_id: int(line_count) for source_id, line_count in rows}
    for source_id, record in ledger.source_records().items():
        expected = 0 if record.status == "quarantined" else record.line_count
        if counted.get(source_id, 0) != expected:
            yield Problem(
                record.path,
                f"has {expected} lines in the ledger, and {counted.get(source_id, 0)} in the lake",
                RUN_AGAIN,
            )


def _verify_catalog(lake: Path, ledger: Ledger, catalog: duckdb.DuckDBPyConnection) -> Iterator[Problem]:
    for table, paths in ledger.lake_files().items():
        if table.startswith(UNPUBLISHED):
            continue
        shown = {path.relative_to(lake.resolve()).as_posix() for path in published_files(catalog, table)}
        if shown != set(paths):
            yield Problem(
                table,
                f"shows {len(shown - set(paths))} files that the ledger does not list, and lacks "
                f"{len(set(paths) - shown)} that it does",
                "Run again: every run publishes anew.",
            )
