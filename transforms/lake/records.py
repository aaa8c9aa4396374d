"""The ledger's records of source files, lake files and findings: one class for each."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import xxhash


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """What the ledger knows of one source file; the columns of ops.source_files."""

    source_id: str
    host: str
    log_kind: str
    path: str
    status: str
    name_date: date | None
    content_hash: str
    content_bytes: int
    line_count: int
    event_line_count: int
    noise_line_count: int
    unparsed_line_count: int
    time_zone: str
    zone_source: str
    year_source: str
    run_id: str
    first_logged_at: datetime | None
    last_logged_at: datetime | None
    covered_from: datetime | None
    covered_until: datetime | None


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as it was when it was last read, and a source in it. An unchanged file is not read again."""

    path: str
    size_bytes: int
    modified_at_ns: int
    reading: str
    source_id: str


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One Parquet file that readers may see; `path` is relative to the lake, and marts have no sources.

    The ledger notes `content` when it lists a new file, and never changes it afterwards.
    """

    path: str
    table_name: str
    source_ids: tuple[str, ...]
    row_count: int
    run_id: str
    content: "Content | None" = None


@dataclass(frozen=True)
class Content:
    """What a lake file was when it was written. Lake files never change, so any difference is damage."""

    size_bytes: int
    modified_at_ns: int
    content_hash: str


def read_content(path: Path) -> Content:
    """Read a file and return its present content. Raises OSError."""
    with path.open("rb") as file:
        stat = path.stat()
        digest = xxhash.xxh3_128()
        while block := file.read(2**20):
            digest.update(block)
    return Content(stat.st_size, stat.st_mtime_ns, digest.hexdigest())


@dataclass(frozen=True)
class LostRows:
    """Rows that were lost with a lake file; `source_id` is empty for rows of marts."""

    path: str
    source_id: str
    table_name: str
    host: str


@dataclass(frozen=True)
class FrozenDays:
    """The UTC days before which a host's events have expired and its mart rows are frozen."""

    host: str
    expired_before: date
    frozen_before: date
    expired_at: datetime


@dataclass(frozen=True)
class QuarantineRow:
    """One open finding: a file that could not be read properly, or a violated contract.

    `stage` is archive or lake (every run checks again), source (open until that source file is read again or
    has left the archive) or marts (checked whenever marts are built). `place` is a path, host or table.
    """

    place: str
    stage: str
    rule: str
    severity: str
    what: str
    remedy: str
    row_count: int | None
    example_rows: str | None
    source_id: str | None
    run_id: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}. {self.remedy}"


def paths_by_table(files: Iterable[LakeFile]) -> dict[str, list[str]]:
    """Return the paths of files by table name."""
    paths: dict[str, list[str]] = {}
    for file in files:
        paths.setdefault(file.table_name, []).append(file.path)
    return paths
