"""Event frames to immutable Parquet files, partitioned by table, host and UTC date."""

from pathlib import Path

import polars as pl

from transforms.catalog import host_folder
from transforms.events import ParsedBlock, merge_line_counts
from transforms.ledger import LakeFile

# Rows held back until they are written: bounds the memory, and the number of small files.
ROWS_PER_FLUSH = 1_000_000


class EventWriter:
    """Writes the events of one source file. Its files stay unseen until the ledger lists them."""

    def __init__(self, lake: Path, host: str, run_id: str) -> None:
        self.lake = lake
        self.host_folder = host_folder(host)
        self.run_id = run_id
        self.files: list[LakeFile] = []
        self._line_counts: list[pl.DataFrame] = []
        self._held: dict[str, list[pl.DataFrame]] = {}
        self._held_rows = 0

    def add(self, parsed: ParsedBlock) -> None:
        """Take the events of the next block; they are written once enough have come together."""
        self._line_counts.append(parsed.line_counts)
        for table, frame in parsed.tables.items():
            self._held.setdefault(table, []).append(frame)
            self._held_rows += len(frame)
        if self._held_rows >= ROWS_PER_FLUSH:
            self._flush()

    def finish(self, source_id: str) -> tuple[pl.DataFrame, list[LakeFile]]:
        """Write the rest; return the file's line counts and all its lake files."""
        self._flush()
        line_counts = merge_line_counts(self._line_counts)
        self._write("ops.line_counts", line_counts, source_id)
        return line_counts, self.files

    def _flush(self) -> None:
        for table, frames in self._held.items():
            rows = pl.concat(frames).with_columns(_date=event_date())
            for (day,), part in rows.partition_by("_date", as_dict=True, include_key=False).items():
                self._write(f"events.{table}", part, part["source_id"][0], f"date={day}")
        self._held, self._held_rows = {}, 0

    def _write(self, table: str, rows: pl.DataFrame, source_id: str, *folders: str) -> None:
        folder = Path(*table.split("."), self.host_folder, *folders)
        path = folder / f"{source_id}.{self.run_id}.{len(self.files)}.parquet"
        write_parquet(rows, self.lake / path)
        self.files.append(LakeFile(path.as_posix(), table, source_id, len(rows), self.run_id))


def event_date() -> pl.Expr:
    """Return the UTC date of an event; lines of a file in which nothing bears a time have none."""
    return pl.col("logged_at").dt.date().cast(pl.String).fill_null("unknown")


def write_parquet(rows: pl.DataFrame, path: Path) -> None:
    """Write a frame to a new Parquet file, its folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path, compression="zstd", compression_level=1)
