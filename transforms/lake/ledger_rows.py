"""Inserts and deletes rows of the ledger's tables, within a transaction of the caller."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from transforms.lake.ledger_tables import (
    ACKNOWLEDGED,
    DROPPED_FILES,
    GROWN_SOURCES,
    LAKE_FILE_SOURCES,
    LAKE_FILES,
    QUARANTINE,
    RUNS,
    SEEN_FILES,
    SOURCE_FILES,
    STALE_HOSTS,
)
from transforms.lake.records import LakeFile, QuarantineRow

# Rows for one insert: a run may read a hundred thousand files.
ROWS_AT_A_TIME = 1_000


def record_growth(connection: sa.Connection, source_ids: Iterable[str], grown_ids: Collection[str]) -> None:
    """Note the hash of sources before they grew, unless noted; forget sources that changed otherwise."""
    noted = set(connection.execute(sa.select(GROWN_SOURCES.c.source_id)).scalars())
    delete(connection, GROWN_SOURCES.c.source_id, set(source_ids) - set(grown_ids))
    hashes = sa.select(SOURCE_FILES.c.source_id, SOURCE_FILES.c.content_hash)
    before = dict(connection.execute(hashes).tuples().all())
    grown = [
        {"source_id": source_id, "content_hash_before": before[source_id]}
        for source_id in grown_ids
        if source_id not in noted
    ]
    insert(connection, GROWN_SOURCES, grown)


def drop_files(connection: sa.Connection, paths: Iterable[str]) -> None:
    """Take files off the lists."""
    paths = list(paths)
    for table in (LAKE_FILES, LAKE_FILE_SOURCES, DROPPED_FILES):
        delete(connection, table.c.path, paths)
    now = datetime.now(UTC)
    insert(connection, DROPPED_FILES, ({"path": path, "dropped_at": now} for path in paths))


def make_again(connection: sa.Connection, files: Iterable[LakeFile], stale_hosts: Iterable[str]) -> None:
    """Make the next run read the source files of these lake files, and build all marts of stale hosts."""
    source_ids = {source_id for file in files for source_id in file.source_ids}
    seen = connection.execute(sa.select(SEEN_FILES.c.path, SEEN_FILES.c.source_id)).tuples()
    delete(connection, SEEN_FILES.c.path, {path for path, seen_id in seen if seen_id in source_ids})
    hosts = set(stale_hosts)
    delete(connection, STALE_HOSTS.c.host, hosts)
    insert(connection, STALE_HOSTS, ({"host": host} for host in hosts))
    connection.execute(sa.update(RUNS).values(marts_fingerprint=None))


def insert_findings(connection: sa.Connection, rows: Iterable[QuarantineRow]) -> None:
    """Insert findings; acknowledged ones become warnings and say so."""
    known = {tuple(row[:4]): row[4] for row in connection.execute(sa.select(ACKNOWLEDGED))}
    documents = []
    for row in rows:
        if at := known.get((row.place, row.stage, row.rule, row.what)):
            row = replace(row, severity="warning", remedy=f"Acknowledged on {at:%Y-%m-%d}. {row.remedy}")
        documents.append(asdict(row))
    insert(connection, QUARANTINE, documents)


def insert(connection: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows, however many."""
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        connection.execute(sa.insert(table), some)


def delete(connection: sa.Connection, column: sa.Column[Any], values: Iterable[str]) -> None:
    """Delete the rows with any of these values, however many."""
    table, name = column.table, column.name
    if parameters := [{"value": value} for value in values]:
        connection.execute(sa.delete(table).where(table.c[name] == sa.bindparam("value")), parameters)
