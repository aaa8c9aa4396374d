"""What was read, when and with what result: the ledger, in SQLite or PostgreSQL through SQLAlchemy."""

from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any

import polars as pl
import sqlalchemy as sa
import xxhash
from sqlalchemy.engine import Dialect

from transforms.problems import MaillagError

LEDGER_NAME = "ledger.sqlite"
# Raise when a table changes; say in _bring_up_to_date what becomes of the ledgers before. Those of version 0
# do not tell their version.
VERSION = 1
# What a lake has once a run read something.
LAKE_FOLDERS = ("basis", "config", "events", "fleet", "marts", "ops", "staging")


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware UTC datetime, kept without its zone, since SQLite has none."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Drop the zone, which is UTC."""
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Put the zone back."""
        return value and value.replace(tzinfo=UTC)


METADATA = sa.MetaData()
# Of what is inserted: a run may read a hundred thousand files.
ROWS_AT_A_TIME = 1_000

VERSIONS = sa.Table("ledger_version", METADATA, sa.Column("version", sa.BigInteger, primary_key=True))

SOURCE_FILES = sa.Table(
    "source_files",
    METADATA,
    sa.Column("source_id", sa.String, primary_key=True),
    sa.Column("host", sa.String, nullable=False),
    sa.Column("log_kind", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("name_date", sa.Date),
    sa.Column("content_hash", sa.String, nullable=False),
    sa.Column("content_bytes", sa.BigInteger, nullable=False),
    sa.Column("line_count", sa.BigInteger, nullable=False),
    sa.Column("event_line_count", sa.BigInteger, nullable=False),
    sa.Column("noise_line_count", sa.BigInteger, nullable=False),
    sa.Column("unparsed_line_count", sa.BigInteger, nullable=False),
    sa.Column("time_zone", sa.String, nullable=False),
    sa.Column("zone_source", sa.String, nullable=False),
    sa.Column("year_source", sa.String, nullable=False),
    sa.Column("run_id", sa.String, nullable=False),
    sa.Column("first_logged_at", UtcDateTime),
    sa.Column("last_logged_at", UtcDateTime),
    sa.Column("covered_from", UtcDateTime),
    sa.Column("covered_until", UtcDateTime),
)
# What has only grown since the marts were last made, with what it was then.
GROWN_SOURCES = sa.Table(
    "grown_sources",
    METADATA,
    sa.Column("source_id", sa.String, primary_key=True),
    sa.Column("content_hash_before", sa.String, nullable=False),
)
# A collector's file holds several sources.
SEEN_FILES = sa.Table(
    "seen_sources",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("modified_at_ns", sa.BigInteger, nullable=False),
    sa.Column("reading", sa.String, nullable=False),
    sa.Column("source_id", sa.String, primary_key=True),
)
LAKE_FILES = sa.Table(
    "parquet_files",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("table_name", sa.String, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.String, nullable=False),
    # NULL until the next run where a ledger of version 0 listed the file.
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("modified_at_ns", sa.BigInteger),
    sa.Column("content_hash", sa.String),
)
# A file of events holds the rows of several sources, a table that is written whole those of none.
LAKE_FILE_SOURCES = sa.Table(
    "parquet_file_sources",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("source_id", sa.String, primary_key=True, index=True),
)
# What readers of an older catalog may still have open.
DROPPED_FILES = sa.Table(
    "dropped_files",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("dropped_at", UtcDateTime, nullable=False),
)
# Rows that went with a lake file, until their source file is read again; source_id is '' for rows of marts.
LOST_ROWS = sa.Table(
    "lost_rows",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("source_id", sa.String, primary_key=True),
    sa.Column("table_name", sa.String, nullable=False),
    sa.Column("host", sa.String, nullable=False),
)
# The hosts whose marts lack a file.
STALE_HOSTS = sa.Table("stale_hosts", METADATA, sa.Column("host", sa.String, primary_key=True))
FROZEN_DAYS = sa.Table(
    "frozen_days",
    METADATA,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("expired_before", sa.Date, nullable=False),
    sa.Column("frozen_before", sa.Date, nullable=False),
    sa.Column("expired_at", UtcDateTime, nullable=False),
)
RUNS = sa.Table(
    "runs",
    METADATA,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("source_file_count", sa.BigInteger),
    sa.Column("line_count", sa.BigInteger),
    sa.Column("unparsed_line_count", sa.BigInteger),
    sa.Column("finding_count", sa.BigInteger),
    sa.Column("marts_fingerprint", sa.String),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
)
QUARANTINE = sa.Table(
    "quarantine",
    METADATA,
    sa.Column("place", sa.String, primary_key=True),
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("rule", sa.String, primary_key=True),
    sa.Column("severity", sa.String, nullable=False),
    sa.Column("what", sa.String, nullable=False),
    sa.Column("remedy", sa.String, nullable=False),
    sa.Column("row_count", sa.BigInteger),
    sa.Column("example_rows", sa.String),
    sa.Column("source_id", sa.String),
    sa.Column("run_id", sa.String, nullable=False),
)
# Findings that somebody knows of and can do nothing about.
ACKNOWLEDGED = sa.Table(
    "acknowledged",
    METADATA,
    sa.Column("place", sa.String, primary_key=True),
    sa.Column("stage", sa.String, primary_key=True),
    sa.Column("rule", sa.String, primary_key=True),
    sa.Column("what", sa.String, primary_key=True),
    sa.Column("acknowledged_at", UtcDateTime, nullable=False),
)


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
    """A file as it was when it was last read, and a source in it: unchanged means no second look."""

    path: str
    size_bytes: int
    modified_at_ns: int
    reading: str
    source_id: str


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One Parquet file that readers may see; `path` is relative to the lake, marts are of no source.

    Its content is what the ledger notes of a new file; a file that is listed keeps what was noted.
    """

    path: str
    table_name: str
    source_ids: tuple[str, ...]
    row_count: int
    run_id: str
    content: "Content | None" = None


@dataclass(frozen=True)
class Content:
    """What a lake file was when it was written. It is never changed, so that anything else is damage."""

    size_bytes: int
    modified_at_ns: int
    content_hash: str


def read_content(path: Path) -> Content:
    """Read a file and return what it is now. Raises OSError."""
    with path.open("rb") as file:
        stat = path.stat()
        digest = xxhash.xxh3_128()
        while block := file.read(2**20):
            digest.update(block)
    return Content(stat.st_size, stat.st_mtime_ns, digest.hexdigest())


@dataclass(frozen=True)
class LostRows:
    """Rows of a source file that went with a file of the lake; those of marts are of no source."""

    path: str
    source_id: str
    table_name: str
    host: str


@dataclass(frozen=True)
class FrozenDays:
    """Until when a host's events expired, and until when what the marts say of it is frozen; UTC days."""

    host: str
    expired_before: date
    frozen_before: date
    expired_at: datetime


@dataclass(frozen=True)
class QuarantineRow:
    """One open finding: a file that could not be read as it should, or a broken contract.

    `stage` is archive or lake (looked at anew by every run), source (open until that source file is read
    again, or gone from the archive) or marts (checked anew whenever the marts are built). `place` is a path,
    a host or a table.
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


def open_ledger(lake: Path, url: str | None = None, *, is_reading: bool = False) -> "Ledger":
    """Open the ledger of a lake: the database given by URL, else SQLite in the lake.

    One that is missing is made where the lake is new, and one of an older version is brought up to date,
    unless `is_reading`. Raises MaillagError if the lake cannot be written to, if the database cannot be
    reached, or if its ledger is missing, damaged or of a version that is not known.
    """
    if "\\" in str(lake.resolve()):
        raise MaillagError(f"{lake}: has a backslash in its path, which DuckDB takes for a slash. Rename it.")
    has_files = any((lake / folder).exists() for folder in LAKE_FOLDERS)
    is_new = not (has_files or is_reading)
    place = lake / LEDGER_NAME
    if not (url or is_new or place.is_file()):
        raise _missing(lake, f"{place} does not exist")
    address = _address(url) if url else sa.URL.create("sqlite", database=str(place.resolve()))
    try:
        if is_new:
            lake.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            ledger = Ledger(address, lake)
            stack.callback(ledger.close)
            with ledger.engine.begin() as connection:
                if not _bring_up_to_date(connection, lake, may_create=is_new, may_change=not is_reading):
                    raise _missing(lake, f"{'the database of ledger_url' if url else place} is empty")
            stack.pop_all()
            return ledger
    except (OSError, ImportError, sa.exc.SQLAlchemyError) as error:
        reason = _without_secrets(str(error).splitlines()[0], address)
        if url:
            remedy = "See that its database runs, or correct ledger_url"
        elif isinstance(error, sa.exc.DatabaseError) and not isinstance(error, sa.exc.OperationalError):
            remedy = f"It is damaged. {_RESTORE}"
        else:
            remedy = "Give a folder that can be written to"
        raise MaillagError(f"{lake}: its ledger cannot be opened ({reason}). {remedy}.") from None


_RESTORE = (
    "Restore lake and ledger from one backup; without one, move the lake aside and make a new one with: "
    "maillag run ARCHIVE"
)


def _missing(lake: Path, why: str) -> MaillagError:
    if not lake.is_dir():
        return MaillagError(
            f"{lake}: does not exist. Make it with: maillag run ARCHIVE --lake {quote(str(lake))}"
        )
    return MaillagError(
        f"{lake}: its ledger, which knows what its files are, is missing ({why}). Set ledger_url if it is "
        f"kept elsewhere. {_RESTORE} --lake {quote(str(lake))}"
    )


def _bring_up_to_date(connection: sa.Connection, lake: Path, *, may_create: bool, may_change: bool) -> bool:
    """Make a ledger that is missing, or bring one up to date; return whether there is one.

    Raises MaillagError where it cannot be used.
    """
    inspector = sa.inspect(connection)
    known = METADATA.tables.keys() & set(inspector.get_table_names())
    if SOURCE_FILES.name not in known and not may_create:
        return False
    is_versioned = VERSIONS.name in known
    version = connection.execute(sa.select(VERSIONS.c.version)).scalar() or 0 if is_versioned else 0
    if version > VERSION:
        raise MaillagError(
            f"{lake}: its ledger is of version {version}, and this maillag knows versions up to {VERSION}. "
            "Run the maillag that made it, or a newer one."
        )
    if known and LAKE_FILE_SOURCES.name not in known:
        raise _not_to_be_used(lake, f"has no table {LAKE_FILE_SOURCES.name}")
    lacking: list[sa.Column[Any]] = []
    for name in known:
        columns = {column["name"]: column for column in inspector.get_columns(name)}
        table = METADATA.tables[name]
        lacking += [column for column in table.columns if column.name not in columns]
        for there in columns.values():
            if there["name"] not in table.columns and not there["nullable"] and not there["default"]:
                raise _not_to_be_used(lake, f"has a column {name}.{there['name']}, which is not known")
    for column in lacking:
        if not column.nullable:
            raise _not_to_be_used(lake, f"has no column {column.table.name}.{column.name}")
    if known == METADATA.tables.keys() and version == VERSION and not lacking:
        return True
    if not may_change:
        raise MaillagError(
            f"{lake}: its ledger is of an older version. Bring it up to date with: "
            f"maillag run ARCHIVE --lake {quote(str(lake))}"
        )
    METADATA.create_all(connection)
    names = connection.dialect.identifier_preparer
    for column in lacking:
        column_type = column.type.compile(connection.dialect)
        connection.execute(
            sa.text(
                f"alter table {names.format_table(column.table)} "
                f"add column {names.format_column(column)} {column_type}"
            )
        )
    connection.execute(sa.delete(VERSIONS))
    connection.execute(sa.insert(VERSIONS).values(version=VERSION))
    return True


def _not_to_be_used(lake: Path, why: str) -> MaillagError:
    return MaillagError(
        f"{lake}: its ledger was made by another version of maillag, and cannot be brought up to date (it "
        f"{why}). Run that version, or move the lake aside and make a new one with: maillag run ARCHIVE"
    )


def _address(url: str) -> sa.URL:
    """Return the parts of a database's URL. Raises MaillagError, without the URL, if they are not clear."""
    with suppress(sa.exc.ArgumentError, ValueError):
        address = sa.make_url(url)
        # A password with an @ of its own would go on in the host's name.
        if not (address.host and "@" in f"{address.host}{address.database}"):
            return address
    raise MaillagError(
        "ledger_url: is no address such as postgresql://USER:PASSWORD@HOST:PORT/DATABASE. "
        "Write @ in a password as %40, : as %3A, / as %2F and % as %25."
    )


def _without_secrets(text: str, address: sa.URL) -> str:
    """Return an error's text without the passwords of a database's URL."""
    secrets = [address.password, *(value for name, value in address.query.items() if "pass" in name)]
    for secret in filter(None, secrets):
        text = text.replace(str(secret), "***")
    return text


class Ledger:
    """The database of source files, lake files and runs. Each method is one transaction."""

    def __init__(self, url: str | sa.URL, lake: Path = Path()) -> None:
        address = sa.make_url(url)
        if address.drivername == "postgresql":
            # As people write it; SQLAlchemy would take psycopg2, which is not installed.
            address = address.set(drivername="postgresql+psycopg")
        # An error of a statement would tell the rows: paths, hosts, addresses of mail.
        self.engine = sa.create_engine(address, hide_parameters=True)
        self.lake = lake
        if address.database is None:
            # In memory, and of nobody else.
            METADATA.create_all(self.engine)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def start_run(self, run_id: str, started_at: datetime) -> None:
        """Record that a run began."""
        with self.engine.begin() as connection:
            connection.execute(sa.insert(RUNS).values(run_id=run_id, status="running", started_at=started_at))

    def update_run(self, run_id: str, **values: str | int | datetime) -> None:
        """Set columns of ops.runs for a run."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(RUNS).where(RUNS.c.run_id == run_id).values(**values))

    def end_lost_runs(self) -> list[str]:
        """Record that runs whose end nobody saw were interrupted; return their ids."""
        with self.engine.begin() as connection:
            lost = list(
                connection.execute(sa.select(RUNS.c.run_id).where(RUNS.c.status == "running")).scalars()
            )
            connection.execute(sa.update(RUNS).where(RUNS.c.status == "running").values(status="interrupted"))
        return lost

    def last_marts_fingerprint(self) -> str | None:
        """Return what the current marts were built from, None before the first build."""
        with self.engine.connect() as connection:
            told = sa.select(RUNS.c.marts_fingerprint).where(RUNS.c.marts_fingerprint.is_not(None))
            # A ledger of version 0 has one of every run that built marts.
            return connection.execute(told.order_by(RUNS.c.started_at.desc()).limit(1)).scalar()

    def name_marts(self, run_id: str, fingerprint: str) -> None:
        """Record what the current marts were built from; of no others, as the clock may be set back."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(RUNS).values(marts_fingerprint=None))
            its_run = sa.update(RUNS).where(RUNS.c.run_id == run_id)
            connection.execute(its_run.values(marts_fingerprint=fingerprint))

    def findings(self) -> list[QuarantineRow]:
        """Return the open findings, critical ones first."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(QUARANTINE)).mappings()
            found = [QuarantineRow(**row) for row in rows]
        return sorted(found, key=lambda row: (row.severity, row.place, row.rule))

    def seen_files(self) -> dict[str, list[SeenFile]]:
        """Return what was read before, by path: a row for each source that the file holds."""
        seen: dict[str, list[SeenFile]] = {}
        with self.engine.connect() as connection:
            for row in connection.execute(sa.select(SEEN_FILES)).mappings():
                seen.setdefault(row["path"], []).append(SeenFile(**row))
        return seen

    def forget_seen(self, paths: Iterable[str]) -> None:
        """Forget that files were seen, so that the next run reads them again and replaces their rows."""
        with self.engine.begin() as connection:
            _delete(connection, SEEN_FILES.c.path, paths)

    def source_records(self) -> dict[str, SourceRecord]:
        """Return all source files by source_id."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(SOURCE_FILES)).mappings()
            return {row["source_id"]: SourceRecord(**row) for row in rows}

    def lake_files(self) -> dict[str, list[str]]:
        """Return the lake's current files by table name, in path order."""
        query = sa.select(LAKE_FILES.c.table_name, LAKE_FILES.c.path).order_by(LAKE_FILES.c.path)
        files: dict[str, list[str]] = {}
        with self.engine.connect() as connection:
            for table_name, path in connection.execute(query):
                files.setdefault(table_name, []).append(path)
        return files

    def files(self) -> list[LakeFile]:
        """Return all current files of the lake."""
        sources: dict[str, list[str]] = {}
        with self.engine.connect() as connection:
            for path, source_id in connection.execute(sa.select(LAKE_FILE_SOURCES)):
                sources.setdefault(path, []).append(source_id)
            return [
                LakeFile(
                    row.path,
                    row.table_name,
                    tuple(sorted(sources.get(row.path, ()))),
                    row.row_count,
                    row.run_id,
                    Content(row.size_bytes, row.modified_at_ns or 0, row.content_hash)
                    if row.content_hash
                    else None,
                )
                for row in connection.execute(sa.select(LAKE_FILES))
            ]

    def files_of(self, source_ids: Iterable[str]) -> list[LakeFile]:
        """Return the lake files that hold rows of any of these sources."""
        wanted = set(source_ids)
        return [file for file in self.files() if not wanted.isdisjoint(file.source_ids)]

    def record_sources(
        self,
        records: Iterable[SourceRecord],
        *,
        seen: Iterable[SeenFile],
        replaced: Iterable[LakeFile],
        files: Iterable[LakeFile],
        findings: Iterable[QuarantineRow],
        grown_ids: Collection[str] = (),
    ) -> None:
        """Take over source files with all their lake files and findings; what they had is replaced.

        Those of `grown_ids` begin with all that they had.
        """
        records, seen = list(records), list(seen)
        with self.engine.begin() as connection:
            source_ids = [record.source_id for record in records]
            _record_growth(connection, source_ids, grown_ids)
            for table in (QUARANTINE, SOURCE_FILES, LOST_ROWS):
                _delete(connection, table.c.source_id, source_ids)
            _delete(connection, SEEN_FILES.c.path, [file.path for file in seen])
            _drop_files(connection, [file.path for file in replaced])
            _insert(connection, SOURCE_FILES, map(asdict, records))
            _insert(connection, SEEN_FILES, map(asdict, seen))
            self._insert_files(connection, files)
            _insert_findings(connection, findings)

    def replace_tables(self, files: Iterable[LakeFile]) -> None:
        """Make these the current files of their tables, which are written whole."""
        files = list(files)
        names = {file.table_name for file in files}
        with self.engine.begin() as connection:
            before = sa.select(LAKE_FILES.c.path).where(LAKE_FILES.c.table_name.in_(names))
            _drop_files(connection, connection.execute(before).scalars().all())
            self._insert_files(connection, files)

    def replace_marts(self, files: Iterable[LakeFile], *, replaced: Iterable[str]) -> None:
        """Take over files of the marts in place of those with these paths."""
        with self.engine.begin() as connection:
            _drop_files(connection, replaced)
            self._insert_files(connection, files)
            connection.execute(sa.delete(GROWN_SOURCES))
            connection.execute(sa.delete(STALE_HOSTS))

    def drop_damaged(
        self, files: Iterable[LakeFile], *, lost: Iterable[LostRows], stale_hosts: Iterable[str]
    ) -> None:
        """Take damaged files out of the lists, and see to it that runs make them anew.

        Their source files are read again, and the marts of stale hosts are made anew as a whole.
        """
        files = list(files)
        source_ids = {source_id for file in files for source_id in file.source_ids}
        with self.engine.begin() as connection:
            _drop_files(connection, [file.path for file in files])
            seen = connection.execute(sa.select(SEEN_FILES.c.path, SEEN_FILES.c.source_id)).tuples()
            _delete(connection, SEEN_FILES.c.path, {path for path, its_id in seen if its_id in source_ids})
            _insert(connection, LOST_ROWS, map(asdict, lost))
            hosts = set(stale_hosts)
            _delete(connection, STALE_HOSTS.c.host, hosts)
            _insert(connection, STALE_HOSTS, ({"host": host} for host in hosts))
            connection.execute(sa.update(RUNS).values(marts_fingerprint=None))

    def lost_rows(self) -> list[LostRows]:
        """Return the rows that went with damaged files, and whose source file was not read since."""
        with self.engine.connect() as connection:
            return [LostRows(**row) for row in connection.execute(sa.select(LOST_ROWS)).mappings()]

    def stale_hosts(self) -> set[str]:
        """Return the hosts whose marts lack a file."""
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(STALE_HOSTS.c.host)).scalars())

    def note_contents(self, contents: Iterable[tuple[str, Content]]) -> None:
        """Note what lake files are, by their paths."""
        with self.engine.begin() as connection:
            for path, content in contents:
                where = LAKE_FILES.c.path == path
                connection.execute(sa.update(LAKE_FILES).where(where).values(asdict(content)))

    def suspect(self, files: Iterable[LakeFile]) -> None:
        """Have the next run look at the content of these files, however they look."""
        with self.engine.begin() as connection:
            for file in files:
                where = LAKE_FILES.c.path == file.path
                connection.execute(sa.update(LAKE_FILES).where(where).values(modified_at_ns=None))

    def grown_sources(self) -> dict[str, str]:
        """Return which source files have only grown since the marts were made, with their hash of then."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(GROWN_SOURCES)).mappings()
            return {row["source_id"]: row["content_hash_before"] for row in rows}

    def dropped_files(self) -> dict[str, datetime]:
        """Return the files that are there for readers of an older catalog only, with since when."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(DROPPED_FILES)).mappings()
            return {row["path"]: row["dropped_at"] for row in rows}

    def forget_dropped(self, paths: Iterable[str]) -> None:
        """Forget files that are no longer there."""
        with self.engine.begin() as connection:
            _delete(connection, DROPPED_FILES.c.path, paths)

    def frozen_days(self) -> dict[str, FrozenDays]:
        """Return, by host, which days were expired."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(FROZEN_DAYS)).mappings()
            return {row["host"]: FrozenDays(**row) for row in rows}

    def freeze(
        self,
        frozen: Iterable[FrozenDays],
        *,
        replaced: Iterable[str],
        files: Iterable[LakeFile],
    ) -> None:
        """Record expired days, with the files of events and marts that take the place of others."""
        frozen = list(frozen)
        with self.engine.begin() as connection:
            _delete(connection, FROZEN_DAYS.c.host, [days.host for days in frozen])
            _insert(connection, FROZEN_DAYS, map(asdict, frozen))
            _drop_files(connection, replaced)
            self._insert_files(connection, files)

    def replace_findings(self, stages: Collection[str], rows: Iterable[QuarantineRow]) -> None:
        """Make these the open findings of some stages; what was mended disappears."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(QUARANTINE).where(QUARANTINE.c.stage.in_(stages)))
            _insert_findings(connection, rows)

    def end_findings(self, present_ids: Collection[str]) -> None:
        """End what was found in source files that are not in the archive any more.

        Should such a file come back, it is read again; should a finding that was acknowledged, it is new.
        """
        with self.engine.begin() as connection:
            its_ids = sa.select(QUARANTINE.c.source_id).where(QUARANTINE.c.source_id.is_not(None)).distinct()
            gone = set(connection.execute(its_ids).scalars()) - set(present_ids)
            for table in (QUARANTINE, SEEN_FILES):
                _delete(connection, table.c.source_id, gone)
            open_ = sa.exists().where(
                *(QUARANTINE.c[name] == ACKNOWLEDGED.c[name] for name in ("place", "stage", "rule", "what"))
            )
            connection.execute(sa.delete(ACKNOWLEDGED).where(~open_))

    def acknowledge(self, findings: Iterable[QuarantineRow]) -> None:
        """Make these findings warnings for as long as they stay what they are."""
        findings = list(findings)
        now = datetime.now(UTC)
        with self.engine.begin() as connection:
            for row in findings:
                key = {name: getattr(row, name) for name in ("place", "stage", "rule", "what")}
                _insert(connection, ACKNOWLEDGED, [{**key, "acknowledged_at": now}])
                is_it = [QUARANTINE.c[name] == value for name, value in key.items()]
                connection.execute(sa.delete(QUARANTINE).where(*is_it))
            _insert_findings(connection, findings)

    def _insert_files(self, connection: sa.Connection, files: Iterable[LakeFile]) -> None:
        files = list(files)
        # One of several that were taken out together may stay as it is.
        _delete(connection, DROPPED_FILES.c.path, [file.path for file in files])
        rows = (
            {
                "path": file.path,
                "table_name": file.table_name,
                "row_count": file.row_count,
                "run_id": file.run_id,
                **asdict(file.content or read_content(self.lake / file.path)),
            }
            for file in files
        )
        _insert(connection, LAKE_FILES, rows)
        _insert(
            connection,
            LAKE_FILE_SOURCES,
            ({"path": file.path, "source_id": source_id} for file in files for source_id in file.source_ids),
        )

    def table(self, name: str) -> pl.DataFrame:
        """Return a whole table of the ledger as a frame, for ops.* in the catalog."""
        table = METADATA.tables[name]
        with self.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
        return pl.DataFrame(rows, schema=self.schema(name))

    @staticmethod
    def schema(name: str) -> pl.Schema:
        """Return the schema of a ledger table as a frame."""
        types: dict[type, pl.DataType] = {
            sa.String: pl.String(),
            sa.BigInteger: pl.Int64(),
            sa.Date: pl.Date(),
            UtcDateTime: pl.Datetime("us", "UTC"),
        }
        columns = METADATA.tables[name].columns
        return pl.Schema({column.name: types[type(column.type)] for column in columns})


def paths_by_table(files: Iterable[LakeFile]) -> dict[str, list[str]]:
    """Return the paths of files by the names of their tables."""
    paths: dict[str, list[str]] = {}
    for file in files:
        paths.setdefault(file.table_name, []).append(file.path)
    return paths


def _record_growth(connection: sa.Connection, source_ids: Iterable[str], grown_ids: Collection[str]) -> None:
    """Note what sources were before they grew, unless that is noted; what changed otherwise is not noted."""
    noted = set(connection.execute(sa.select(GROWN_SOURCES.c.source_id)).scalars())
    _delete(connection, GROWN_SOURCES.c.source_id, [one for one in source_ids if one not in grown_ids])
    hashes = sa.select(SOURCE_FILES.c.source_id, SOURCE_FILES.c.content_hash)
    before = dict(connection.execute(hashes).tuples().all())
    _insert(
        connection,
        GROWN_SOURCES,
        (
            {"source_id": source_id, "content_hash_before": before[source_id]}
            for source_id in grown_ids
            if source_id not in noted
        ),
    )


def _drop_files(connection: sa.Connection, paths: Iterable[str]) -> None:
    """Take files out of the lists."""
    paths = list(paths)
    for table in (LAKE_FILES, LAKE_FILE_SOURCES, DROPPED_FILES):
        _delete(connection, table.c.path, paths)
    now = datetime.now(UTC)
    _insert(connection, DROPPED_FILES, ({"path": path, "dropped_at": now} for path in paths))


def _insert_findings(connection: sa.Connection, rows: Iterable[QuarantineRow]) -> None:
    """Insert findings; those that were acknowledged are warnings, and say so."""
    known = {tuple(row[:4]): row[4] for row in connection.execute(sa.select(ACKNOWLEDGED))}
    found = []
    for row in rows:
        if at := known.get((row.place, row.stage, row.rule, row.what)):
            row = replace(row, severity="warning", remedy=f"Acknowledged on {at:%Y-%m-%d}. {row.remedy}")
        found.append(asdict(row))
    _insert(connection, QUARANTINE, found)


def _insert(connection: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        connection.execute(sa.insert(table), some)


def _delete(connection: sa.Connection, column: sa.Column[Any], values: Iterable[str]) -> None:
    """Delete the rows with any of these values, however many."""
    table, name = column.table, column.name
    if parameters := [{"value": value} for value in values]:
        connection.execute(sa.delete(table).where(table.c[name] == sa.bindparam("value")), parameters)
