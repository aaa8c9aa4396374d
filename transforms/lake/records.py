"""The ledger's records of source files, lake files and findings: one class for each."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import xxhash

from transforms.lake.catalog import NO_LIMITS, host_of_file

# Total size of what is read of a batch's hosts, at most and at least: every batch has a fixed cost.
BATCH_BYTES = 64 * 2**20
LEAST_BATCH_BYTES = 8 * 2**20
# So many batches keep several workers busy to the end.
BATCHES_TO_SHARE = 8
# Number of hosts in a batch: each takes memory, even if nearly nothing is read of it.
BATCH_HOSTS = 500


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

    `source_ids` and `shared_by` are those whose rows the file may have. A file of one host is in a folder
    named for it, and is not shared. The ledger notes `content` when it lists a new file, and never changes it
    afterwards.
    """

    path: str
    table_name: str
    source_ids: tuple[str, ...]
    row_count: int
    run_id: str
    content: "Content | None" = None
    shared_by: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts whose rows the file may have; none for a table that is not kept by host."""
        host = host_of_file(self.path)
        return self.shared_by if host is None else (host,)


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


@dataclass(frozen=True)
class Rows:
    """Rows of the lake: files by table, and by path the hosts whose rows count, if not all rows do."""

    paths: Mapping[str, list[str]]
    only: Mapping[str, frozenset[str]]


def rows_of(
    files: Iterable[LakeFile],
    hosts: Collection[str] | None = None,
    *,
    without: Mapping[str, Collection[str]] = NO_LIMITS,
) -> Rows:
    """Return the rows of some files, or only those of some hosts, without those that are replaced.

    `without` has, by path, the hosts whose rows are replaced; a table that is not kept by host is replaced as
    a whole.
    """
    paths: dict[str, list[str]] = {}
    only: dict[str, frozenset[str]] = {}
    chosen = None if hosts is None else frozenset(hosts)
    for file in files:
        of_file = frozenset(file.hosts)
        counted = of_file.difference(without.get(file.path, ()))
        if chosen is not None:
            counted &= chosen
        if not counted and (of_file or file.path in without):
            continue
        paths.setdefault(file.table_name, []).append(file.path)
        if counted != of_file:
            only[file.path] = counted
    return Rows(paths, only)


def files_by_host(files: Iterable[LakeFile]) -> dict[str | None, list[LakeFile]]:
    """Return each host's files, with those that it shares; files that are not kept by host are under None."""
    by_host: dict[str | None, list[LakeFile]] = {}
    for file in files:
        for host in file.hosts or (None,):
            by_host.setdefault(host, []).append(file)
    return by_host


def to_share(hosts: Iterable[str], sizes: Mapping[str, float]) -> Iterator[list[str]]:
    """Yield hosts in the given order, in batches that workers share: several, if they are worth the while."""
    hosts = [*hosts]
    share = sum(sizes.get(host, 0) for host in hosts) / BATCHES_TO_SHARE
    return by_size(hosts, sizes, most_bytes=min(BATCH_BYTES, max(LEAST_BATCH_BYTES, share)))


def by_size(
    hosts: Iterable[str], sizes: Mapping[str, float], *, most_bytes: float = BATCH_BYTES
) -> Iterator[list[str]]:
    """Yield hosts in the given order, in batches; one that is larger than the limit is alone."""
    some: list[str] = []
    size = 0.0
    for host in hosts:
        if some and (size + sizes.get(host, 0) > most_bytes or len(some) == BATCH_HOSTS):
            yield some
            some, size = [], 0.0
        some.append(host)
        size += sizes.get(host, 0)
    if some:
        yield some
