"""Writes tables of events into immutable Parquet files by table and UTC date, of one host or of several."""

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.fast_lane.arrays import MOST_HOSTS
from transforms.lake.catalog import host_folder
from transforms.lake.records import LakeFile
from transforms.parse.events import ParsedBlock
from transforms.parse.line_counts import OTHER_HOSTS, merge_line_counts
from transforms.parse.tables import ARROW_SCHEMAS, REPEATED

# Rows of a table and day that are held back until they are written together.
ROW_GROUP_ROWS = 65_536
# Held rows of all tables and days together, because a source may have lines of many days.
MOST_HELD_ROWS = 4 * ROW_GROUP_ROWS
# Held rows of ordinary lines take a tenth of this; the limit is for long lines.
MOST_HELD_BYTES = 64 * 1024 * 1024
# Tables of few rows, from small source files, that are held before they are combined.
MOST_HELD_TABLES = 256
# Files open for writing at a time, because a source may have lines of any number of days.
MOST_OPEN_FILES = 256
# Rows of line counts that are gathered before they are added up.
MOST_LINE_COUNTS = 65_536
# Fewer hosts have files of their own, which queries of one host find by their path: damage to a file is then
# one host's. With many hosts, that each query opens so many files costs more.
FEWEST_SHARING = 50
DAY_MICROSECONDS = 86_400_000_000


@dataclass
class _OpenFile:
    """A file that is being written: the rows held back, and the job that writes the rows before them."""

    path: Path
    table: str
    held: list[pa.Table] = field(default_factory=list)
    small_count: int = 0
    held_rows: int = 0
    held_bytes: int = 0
    row_count: int = 0
    source_ids: set[str] = field(default_factory=set)
    writer: pq.ParquetWriter | None = None
    job: Future[None] | None = None

    def add(self, rows: pa.Table) -> None:
        self.held.append(rows)
        self.small_count += 1
        if self.small_count == MOST_HELD_TABLES:
            # Each column of each table takes extra memory.
            small = self.held[-MOST_HELD_TABLES:]
            self.held[-MOST_HELD_TABLES:] = [pa.concat_tables(small).unify_dictionaries().combine_chunks()]
            self.small_count = 0
        self.held_rows += rows.num_rows
        self.held_bytes += rows.nbytes
        self.row_count += rows.num_rows
        for chunk in rows.column("source_id").chunks:
            self.source_ids.update(chunk.dictionary.to_pylist())

    def write(self, pool: ThreadPoolExecutor) -> None:
        """Start writing the held rows after the job before has ended."""
        self.wait()
        self.job = pool.submit(self._write, pa.concat_tables(self.held))
        self.held, self.small_count, self.held_rows, self.held_bytes = [], 0, 0, 0

    def wait(self) -> None:
        """Wait for the job that is writing. Raises the error that ended it."""
        if self.job:
            self.job.result()

    def _write(self, rows: pa.Table) -> None:
        if self.writer is None:
            self.writer = open_events(self.path, rows.schema)
        self.writer.write_table(rows.unify_dictionaries(), row_group_size=ROW_GROUP_ROWS)


class EventWriter:
    """Writes the events of source files. The files stay unseen until the ledger lists them.

    They are those of `host`, or of several small hosts that come one after another (None). `name`
    distinguishes the files from those of other writers; `pool` does the writing.
    """

    def __init__(
        self, lake: Path, host: str | None, *, name: str, run_id: str, pool: ThreadPoolExecutor
    ) -> None:
        self.lake = lake
        self.host_folder = host_folder(host) if host else ""
        self.shared_by: set[str] = set()
        """The hosts whose rows are added, if there are several."""
        self.name = name
        self.run_id = run_id
        self._pool = pool
        self._line_counts: list[pl.DataFrame] = []
        self._line_count_room = MOST_LINE_COUNTS
        self._hosts: set[str] = set()
        self._open: dict[tuple[str, str], _OpenFile] = {}
        self._closed: list[_OpenFile] = []
        self._file_count = 0
        self._held_rows = 0
        self._held_bytes = 0

    def add(self, parsed: ParsedBlock) -> None:
        """Take the events of the next lines; they are written once there are enough of them."""
        self.count(parsed.line_counts)
        for table, frame in parsed.tables.items():
            days = frame.with_columns(_date=event_date()).partition_by(
                "_date", as_dict=True, include_key=False
            )
            for (day,), part in days.items():
                self._add(table, str(day), to_arrow(table, part))

    def count(self, line_counts: pl.DataFrame) -> None:
        """Take counts of lines (LINE_COUNTS). Only the first hosts named in lines are counted separately."""
        named = line_counts["logging_host"].drop_nulls().unique(maintain_order=True).to_list()
        self._hosts.update(
            [name for name in named if name not in self._hosts][: MOST_HOSTS - len(self._hosts)]
        )
        if not self._hosts.issuperset(named):
            name = pl.col("logging_host")
            is_known = name.is_null() | name.is_in(list(self._hosts))
            line_counts = line_counts.with_columns(
                logging_host=pl.when(is_known).then(name).otherwise(pl.lit(OTHER_HOSTS))
            )
        self._line_counts.append(line_counts)
        self._line_count_room -= len(line_counts)
        if self._line_count_room < 0:
            self._line_counts = [merge_line_counts(self._line_counts)]
            self._line_count_room = max(MOST_LINE_COUNTS, len(self._line_counts[0]))

    def add_rows(self, table: str, rows: pa.Table) -> None:
        """Take rows of one table (tables.ARROW_SCHEMAS) that all have a time."""
        (times,) = rows.column("logged_at").chunks
        day_numbers = np.frombuffer(times.buffers()[1], np.int64) // DAY_MICROSECONDS
        first, last = day_numbers.min(), day_numbers.max()
        if first == last:
            self._add(table, _date(first), rows)
            return
        for day in np.unique(day_numbers):
            self._add(table, _date(day), rows.filter(pa.array(day_numbers == day)))

    def _add(self, table: str, day: str, rows: pa.Table) -> None:
        if (table, day) not in self._open:
            folder = Path("events", table, self.host_folder, f"date={day}")
            path = folder / f"{self.name}.{self._file_count}.parquet"
            self._open[table, day] = _OpenFile(self.lake / path, table)
            self._file_count += 1
        file = self._open[table, day]
        self._hold(-file.held_rows, -file.held_bytes)
        file.add(rows)
        if file.held_rows >= ROW_GROUP_ROWS:
            file.write(self._pool)
        self._hold(file.held_rows, file.held_bytes)
        if (
            self._held_rows >= MOST_HELD_ROWS
            or self._held_bytes >= MOST_HELD_BYTES
            or len(self._open) > MOST_OPEN_FILES
        ):
            self._write_held()

    def _hold(self, row_count: int, size_bytes: int) -> None:
        self._held_rows += row_count
        self._held_bytes += size_bytes

    def _write_held(self) -> None:
        for file in self._open.values():
            file.wait()
        for file in self._open.values():
            if file.held:
                file.write(self._pool)
        self._held_rows = self._held_bytes = 0
        if len(self._open) > MOST_OPEN_FILES:
            self._close()

    def _close(self) -> None:
        for file in self._open.values():
            file.wait()
            if file.writer:
                file.writer.close()
        self._closed += self._open.values()
        self._open.clear()

    def finish(self) -> tuple[pl.DataFrame, list[LakeFile]]:
        """Write the rest; return the line counts and all lake files. Raises OSError."""
        self._write_held()
        self._close()
        line_counts = merge_line_counts(self._line_counts)
        path = self.lake / "ops" / "line_counts" / self.host_folder / f"{self.name}.parquet"
        write_parquet(line_counts, path)
        of_all = tuple(line_counts["source_id"].unique().sort())
        shared_by = tuple(sorted(self.shared_by))

        def lake_file(path: Path, table: str, row_count: int, source_ids: set[str]) -> LakeFile:
            # The ledger lists the sources of all files that hosts share once.
            ids = of_all if shared_by else tuple(sorted(source_ids))
            name = path.relative_to(self.lake).as_posix()
            return LakeFile(name, table, ids, row_count, self.run_id, shared_by=shared_by)

        written = [
            lake_file(file.path, f"events.{file.table}", file.row_count, file.source_ids)
            for file in self._closed
        ]
        return line_counts, [*written, lake_file(path, "ops.line_counts", len(line_counts), set(of_all))]


def may_share(host_count: int) -> bool:
    """Return whether so many hosts with little data share files."""
    return host_count >= FEWEST_SHARING


def without_sources(
    lake: Path, files: Iterable[LakeFile], source_ids: set[str], run_id: str
) -> Iterator[LakeFile]:
    """Yield the files without the rows of these sources; a file that also has other sources is rewritten."""
    for file in files:
        others = tuple(source_id for source_id in file.source_ids if source_id not in source_ids)
        if others == file.source_ids:
            yield file
        elif others and (rest := _with_rows_of(lake, file, "source_id", others, run_id)):
            yield rest


def without_hosts(
    lake: Path, files: Iterable[LakeFile], hosts: Collection[str], run_id: str
) -> Iterator[LakeFile]:
    """Yield files of marts without the rows of these hosts; a file that also has other hosts is rewritten."""
    gone = set(hosts)
    for file in files:
        others = tuple(host for host in file.hosts if host not in gone)
        if others == file.hosts:
            yield file
        elif others and (rest := _with_rows_of(lake, file, "host", others, run_id)):
            yield rest


def _with_rows_of(
    lake: Path, file: LakeFile, column: str, values: tuple[str, ...], run_id: str
) -> LakeFile | None:
    """Return a file rewritten with the rows that have one of these values; None if there are no such rows."""
    rows = pq.read_table(lake / file.path, partitioning=None)
    rows = rows.filter(pc.is_in(rows.column(column), pa.array(values)))
    return rewrite(lake, file, rows, run_id) if rows.num_rows else None


def rewrite(lake: Path, file: LakeFile, rows: pa.Table, run_id: str) -> LakeFile:
    """Write the remaining rows of a file (at least one) under a new name; the file stays as it is."""
    path = path_of_rewritten(file, run_id)
    schema = ARROW_SCHEMAS.get(file.table_name.removeprefix("events."))
    with open_events(lake / path, schema or rows.schema) as writer:
        writer.write_table(rows.cast(schema) if schema else rows, row_group_size=ROW_GROUP_ROWS)

    def values(column: str) -> tuple[str, ...]:
        return tuple(sorted(pc.unique(rows.column(column)).to_pylist()))

    return replace(
        file,
        path=path,
        source_ids=values("source_id") if file.source_ids else (),
        shared_by=values("host") if file.shared_by else (),
        row_count=rows.num_rows,
        run_id=run_id,
        content=None,
    )


def discard(lake: Path, files: Iterable[LakeFile], kept: Iterable[LakeFile] = ()) -> None:
    """Remove files that no reader has seen yet, except those that are kept."""
    for file in set(files) - set(kept):
        (lake / file.path).unlink()


def path_of_rewritten(file: LakeFile, run_id: str) -> str:
    """Return the path for a file's rewritten rows; names do not grow if that happens every night."""
    path = PurePosixPath(file.path)
    original = path.name if path.name.startswith(run_id) else path.name.split(".of.")[-1]
    return path.with_name(f"{run_id}.of.{original}").as_posix()


def event_date() -> pl.Expr:
    """Return the UTC date of an event, `unknown` if no line of its file has a time."""
    return pl.col("logged_at").dt.date().cast(pl.String).fill_null("unknown")


def to_arrow(table: str, frame: pl.DataFrame) -> pa.Table:
    """Return a frame of events in its table's Arrow schema."""
    schema = ARROW_SCHEMAS[table]
    rows = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return pa.Table.from_arrays(
        [
            column.cast(pa.string()).dictionary_encode()
            if pa.types.is_dictionary(field.type)
            else column.cast(field.type)
            for field, column in zip(schema, rows.columns, strict=True)
        ],
        schema=schema,
    )


def open_events(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Create a Parquet file and its folders, with the encodings that measured best.

    Times and numbers are encoded as differences, repeated values by dictionary, and other text plain.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    by_number = [
        field.name
        for field in schema
        if field.name in REPEATED or pa.types.is_dictionary(field.type) or pa.types.is_floating(field.type)
    ]
    by_difference = [
        field.name
        for field in schema
        if field.name not in by_number
        and (pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type))
    ]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=by_number,
        column_encoding=dict.fromkeys(by_difference, "DELTA_BINARY_PACKED"),
        write_statistics=["host", "logged_at", "line_number"],
        store_schema=False,
        # Each column of a row group is written at once, in one page: the default, 1,024 values at a time in
        # pages of 20,000, took a tenth more time, and more space.
        write_batch_size=ROW_GROUP_ROWS,
        max_rows_per_page=ROW_GROUP_ROWS,
    )


def write_parquet(rows: pl.DataFrame, path: Path) -> None:
    """Write a frame to a new Parquet file, and create its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path, compression="zstd", compression_level=1)


def write_table(lake: Path, table: str, rows: pl.DataFrame, run_id: str) -> LakeFile:
    """Write all rows of a table into one file of the lake; return it."""
    path = Path(*table.split("."), f"{run_id}.parquet")
    write_parquet(rows, lake / path)
    return LakeFile(path.as_posix(), table, (), len(rows), run_id)


def _date(day_number: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=int(day_number))).isoformat()
