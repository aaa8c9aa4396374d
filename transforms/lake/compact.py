"""Merges the lake's many small files: those of a table, of a host or of several, into one for each month."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from itertools import chain, groupby
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.lake.catalog import period_of_file
from transforms.lake.files import ROW_GROUP_ROWS, open_events
from transforms.lake.records import LakeFile
from transforms.parse.tables import ARROW_SCHEMAS

# Size of a merged file before compression: larger files are not faster to read, but slower to rewrite.
PART_BYTES = 128 * 2**20
MONTH_LENGTH = len("2026-11")


def compacted(
    lake: Path, files: Iterable[LakeFile], *, today: date, run_id: str, part_bytes: int = PART_BYTES
) -> Iterator[tuple[list[LakeFile], LakeFile]]:
    """Merge files that belong together; yield each group with the merged file. Old files stay unchanged."""
    groups = mergeable(lake, files, today=today, part_bytes=part_bytes)
    for count, (folder, part) in enumerate(groups):
        yield part, _merged(lake, part, f"{folder}/{run_id}.{count}.parquet", run_id)


def mergeable(
    lake: Path, files: Iterable[LakeFile], *, today: date, part_bytes: int = PART_BYTES
) -> Iterator[tuple[str, list[LakeFile]]]:
    """Yield each group of files that belong together, with the folder for the merged one.

    Files of the same past month (UTC), of the same day of this month, and a host's parts of ops.line_counts
    belong together, as long as a group stays below `part_bytes`.
    """
    targets = {file: _folder(file, f"{today:%Y-%m}") for file in files}
    for folder, group in groupby(
        sorted(targets, key=lambda file: (targets[file], file.path)), targets.__getitem__
    ):
        for part in _parts(lake, group, part_bytes):
            if len(part) > 1:
                yield folder, part


def _folder(file: LakeFile, this_month: str) -> str:
    folder = PurePosixPath(file.path).parent
    month = (period_of_file(file.path) or this_month)[:MONTH_LENGTH]
    if month < this_month:
        folder = folder.with_name(f"month={month}")
    return folder.as_posix()


def _parts(lake: Path, files: Iterable[LakeFile], part_bytes: int) -> Iterator[list[LakeFile]]:
    part: list[LakeFile] = []
    part_size = 0
    for file in files:
        metadata = pq.read_metadata(lake / file.path)
        size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
        if part and part_size + size > part_bytes:
            yield part
            part, part_size = [], 0
        part.append(file)
        part_size += size
    yield part


def _merged(lake: Path, files: list[LakeFile], path: str, run_id: str) -> LakeFile:
    groups = chain.from_iterable(_row_groups(lake / file.path) for file in files)
    first = next(groups)
    schema = ARROW_SCHEMAS.get(files[0].table_name.removeprefix("events."), first.schema)
    row_count = 0
    with open_events(lake / path, schema) as writer:
        for rows in _gathered(
            chain([first], groups), schema, is_shared=any(file.shared_by for file in files)
        ):
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
            row_count += rows.num_rows
    source_ids = {source_id for file in files for source_id in file.source_ids}
    shared_by = {host for file in files for host in file.shared_by}
    return replace(
        files[0],
        path=path,
        source_ids=tuple(sorted(source_ids)),
        shared_by=tuple(sorted(shared_by)),
        row_count=row_count,
        run_id=run_id,
        content=None,
    )


def _row_groups(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for index in range(file.num_row_groups):
            yield file.read_row_group(index)


def _gathered(groups: Iterable[pa.Table], schema: pa.Schema, *, is_shared: bool) -> Iterator[pa.Table]:
    """Yield the rows in order, in tables of the size of a row group; those of several hosts by host."""
    if is_shared:
        # Readers skip row groups of other hosts. A part fits into memory.
        rows = pa.concat_tables([rows.cast(schema) for rows in groups]).unify_dictionaries()
        by_host = pc.sort_indices(rows["host"].cast(pa.string()))
        yield rows.take(by_host)
        return
    held: list[pa.Table] = []
    for rows in groups:
        held.append(rows.cast(schema))
        if sum(table.num_rows for table in held) >= ROW_GROUP_ROWS:
            together = pa.concat_tables(held)
            whole = together.num_rows - together.num_rows % ROW_GROUP_ROWS
            yield together.slice(0, whole).unify_dictionaries()
            held = [together.slice(whole)] if whole < together.num_rows else []
    if held:
        yield pa.concat_tables(held).unify_dictionaries()
