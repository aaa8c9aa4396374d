"""Inserts and deletes rows of the ledger's tables, within a transaction of the caller."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from transforms.lake.catalog import host_of_file
from transforms.lake.ledger_tables import (
    ACKNOWLEDGED,
    DROPPED_FILES,
    GROWN_SOURCES,
    LAKE_FILE_HOSTS,
    LAKE_FILE_SOURCES,
    LAKE_FILES,
    QUARANTINE,
    RUNS,
    SEEN_FILES,
    SOURCE_FILES,
    STALE_HOSTS,
)
from transforms.lake.records import Content, LakeFile, QuarantineRow, read_content

# Rows for one insert: a run may read a hundred thousand files.
ROWS_AT_A_TIME = 1_000


def select_files(connection: sa.Connection, source_ids: Iterable[str] | None = None) -> list[LakeFile]:
    """Return the lake's files: all, or those that hold rows of any of these sources."""
    names = None
    if source_ids is not None:
        names = {row.path for row in _select(connection, LAKE_FILE_SOURCES, "source_id", source_ids)}
    if names is None:
        listed = connection.execute(sa.select(LAKE_FILES)).all()
    else:
        by_path = _select(connection, LAKE_FILES, "path", names)
        listed = [*by_path, *_select(connection, LAKE_FILES, "listed_as", names)]
    of_sources: dict[str, list[str]] = {}
    for row in _select(connection, LAKE_FILE_SOURCES, "path", names):
        of_sources.setdefault(row.path, []).append(row.source_id)
    sharing: dict[str, set[str]] = {}
    for row in _select(connection, LAKE_FILE_HOSTS, "path", names):
        sharing.setdefault(row.path, set()).add(row.host)
    hosts = sa.select(SOURCE_FILES.c.source_id, SOURCE_FILES.c.host)
    host_of = dict(connection.execute(hosts).tuples().all())
    for name, ids in of_sources.items():
        sharing[name] = {host_of[source_id] for source_id in ids if source_id in host_of}
    # Files that list their members together share these tuples.
    sources = {name: tuple(sorted(ids)) for name, ids in of_sources.items()}
    shared_by = {name: tuple(sorted(of_file)) for name, of_file in sharing.items()}
    return [
        LakeFile(
            row.path,
            row.table_name,
            sources.get(name, ()),
            row.row_count,
            row.run_id,
            Content(row.size_bytes, row.modified_at_ns or 0, row.content_hash) if row.content_hash else None,
            () if host_of_file(row.path) else shared_by.get(name, ()),
        )
        for row in listed
        for name in [row.listed_as or row.path]
    ]


def _select(
    connection: sa.Connection, table: sa.Table, name: str, values: Iterable[str] | None
) -> list[sa.Row[Any]]:
    """Return the rows of a table that have one of these values in a column, or all rows."""
    if values is None:
        return list(connection.execute(sa.select(table)))
    rows: list[sa.Row[Any]] = []
    values = iter(values)
    while some := list(islice(values, ROWS_AT_A_TIME)):
        rows += connection.execute(sa.select(table).where(table.c[name].in_(some)))
    return rows


def insert_files(connection: sa.Connection, lake: Path, files: Iterable[LakeFile]) -> None:
    """List new files. Reads those whose content is not known yet."""
    files = list(files)
    # A file that was dropped with others may be listed again unchanged.
    delete(connection, DROPPED_FILES.c.path, [file.path for file in files])
    names: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
    alike = Counter((file.source_ids, file.shared_by) for file in files)
    rows = [
        {
            "path": file.path,
            "table_name": file.table_name,
            "row_count": file.row_count,
            "run_id": file.run_id,
            "listed_as": names.setdefault(members, uuid4().hex)
            if alike[members := (file.source_ids, file.shared_by)] > 1 and any(members)
            else None,
            **asdict(file.content or read_content(lake / file.path)),
        }
        for file in files
    ]
    insert(connection, LAKE_FILES, rows)
    listed = {row["listed_as"] or row["path"]: file for row, file in zip(rows, files, strict=True)}
    of_sources = (
        {"path": name, "source_id": id_} for name, file in listed.items() for id_ in file.source_ids
    )
    insert(connection, LAKE_FILE_SOURCES, of_sources)
    of_marts = ((name, file.shared_by) for name, file in listed.items() if not file.source_ids)
    insert(
        connection,
        LAKE_FILE_HOSTS,
        ({"path": name, "host": host} for name, hosts in of_marts for host in hosts),
    )


def record_growth(connection: sa.Connection, source_ids: Iterable[str], grown_ids: Collection[str]) -> None:
    """Note the hash of sources before they grew, unless noted; forget sources that changed otherwise."""
    noted = {row.source_id for row in _select(connection, GROWN_SOURCES, "source_id", grown_ids)}
    delete(connection, GROWN_SOURCES.c.source_id, set(source_ids) - set(grown_ids))
    grown = [
        {"source_id": row.source_id, "content_hash_before": row.content_hash}
        for row in _select(connection, SOURCE_FILES, "source_id", set(grown_ids) - noted)
    ]
    insert(connection, GROWN_SOURCES, grown)


def drop_files(connection: sa.Connection, paths: Iterable[str]) -> None:
    """Take files off the lists."""
    paths = list(paths)
    for table in (LAKE_FILES, DROPPED_FILES):
        delete(connection, table.c.path, paths)
    names = sa.select(sa.func.coalesce(LAKE_FILES.c.listed_as, LAKE_FILES.c.path))
    for table in (LAKE_FILE_SOURCES, LAKE_FILE_HOSTS):
        connection.execute(sa.delete(table).where(table.c.path.not_in(names)))
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
    """Insert findings; acknowledged ones become warnings and say so.

    They replace what was found at the same place before: perhaps in another file, which had that path.
    """
    known = {tuple(row[:4]): row[4] for row in connection.execute(sa.select(ACKNOWLEDGED))}
    documents = []
    for row in rows:
        if at := known.get((row.place, row.stage, row.rule, row.what)):
            row = replace(row, severity="warning", remedy=f"Acknowledged on {at:%Y-%m-%d}. {row.remedy}")
        documents.append(asdict(row))
    if documents:
        key = QUARANTINE.primary_key.columns
        same = sa.delete(QUARANTINE).where(*(column == sa.bindparam(f"its_{column.name}") for column in key))
        connection.execute(same, [{f"its_{c.name}": row[c.name] for c in key} for row in documents])
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
