"""Compares the lake with its ledger: every listed file exists and is whole, and there are no others."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shlex import quote

import duckdb

from transforms.lake.catalog import CATALOG_NAME, attach_published, literally, published_files
from transforms.lake.heal import damaged_files, lost_rows
from transforms.lake.ledger import Ledger
from transforms.lake.lock import meet_no_run
from transforms.lake.opening import LAKE_FOLDERS, open_ledger
from transforms.problems import Problem

# Schemas that are not in the catalog.
UNPUBLISHED = ("basis.", "staging.")
RUN_AGAIN = "Restore the lake and its ledger from one backup, or remove both and run again."


def verify_lake(lake: Path, ledger_url: str | None = None, *, is_deep: bool = False) -> list[Problem]:
    """Return what is wrong with a lake: compares files by size and time, with `is_deep` by all bytes.

    Changes nothing. Raises MaillagError if a run holds the lake, or if the ledger is missing or cannot be
    opened.
    """
    with closing(open_ledger(lake, ledger_url, is_reading=True)) as ledger, meet_no_run(lake, ledger):
        return list(_problems(lake, ledger, is_deep=is_deep))


def _problems(lake: Path, ledger: Ledger, *, is_deep: bool) -> Iterator[Problem]:
    files = ledger.files()
    damaged = damaged_files(lake, files, is_deep=is_deep)
    option = "--deep " if is_deep else ""
    for file, trouble in damaged.items():
        yield Problem(
            file.path, trouble, f"To rebuild it: maillag run {option}ARCHIVE --lake {quote(str(lake))}"
        )
    known = {file.path for file in files} | set(ledger.dropped_files())
    for folder in LAKE_FOLDERS:
        for file_path in (lake / folder).rglob("*.parquet"):
            path = file_path.relative_to(lake).as_posix()
            if path not in known:
                yield Problem(path, "is not in the ledger", "Remove it.")
    yield from lost_rows(ledger)
    if not damaged:
        yield from _verify_sources(lake, ledger)
    if (lake / CATALOG_NAME).exists():
        with attach_published(lake) as catalog:
            yield from _verify_catalog(lake, ledger, catalog)


def _verify_sources(lake: Path, ledger: Ledger) -> Iterator[Problem]:
    """Compare the lines counted in the lake with those that were read according to the ledger."""
    paths = [literally(lake / path) for path in ledger.lake_files().get("ops.line_counts", [])]
    counted: dict[str, int] = {}
    if paths:
        rows = duckdb.execute(
            "select source_id, sum(line_count) from read_parquet(?, hive_partitioning = false) group by all",
            [paths],
        ).fetchall()
        counted = {source_id: int(line_count) for source_id, line_count in rows}
    lost_ids = {rows.source_id for rows in ledger.lost_rows()}
    for source_id, record in ledger.source_records().items():
        if source_id in lost_ids:
            continue
        expected = 0 if record.status == "quarantined" else record.line_count
        if counted.get(source_id, 0) != expected:
            yield Problem(
                record.path,
                f"has {expected} lines in the ledger, but {counted.get(source_id, 0)} in the lake",
                RUN_AGAIN,
            )


def _verify_catalog(lake: Path, ledger: Ledger, catalog: duckdb.DuckDBPyConnection) -> Iterator[Problem]:
    for table, paths in ledger.lake_files().items():
        if table.startswith(UNPUBLISHED):
            continue
        shown = set(published_files(catalog, table))
        if shown != set(paths):
            yield Problem(
                table,
                f"shows {len(shown - set(paths))} files that the ledger does not list, and lacks "
                f"{len(set(paths) - shown)} that it lists",
                "Run again: every run publishes a new catalog.",
            )
