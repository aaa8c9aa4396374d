"""The tables of the ledger, which SQLAlchemy creates in SQLite or PostgreSQL."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

# Raise when a table changes, and migrate older ledgers in opening.py. Ledgers of version 0 have no version
# table.
VERSION = 2


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware UTC datetime, stored without the zone, because SQLite has no zones."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Drop the zone, which is UTC."""
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Put the zone back."""
        return value and value.replace(tzinfo=UTC)


METADATA = sa.MetaData()

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
# Sources that have only grown since the marts were last built, with their hash at that time.
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
    # NULL until the next run if a ledger of version 0 listed the file.
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("modified_at_ns", sa.BigInteger),
    sa.Column("content_hash", sa.String),
    # Files of the same sources or hosts list them once, under this name; NULL: under the path.
    sa.Column("listed_as", sa.String),
)
# The columns of each table's files, as its contract gave them when the last run began.
TABLE_COLUMNS = sa.Table(
    "table_columns",
    METADATA,
    sa.Column("table_name", sa.String, primary_key=True),
    sa.Column("columns", sa.String, nullable=False),
)
# A file of events has the rows of several sources; a table that is written as a whole has no sources.
LAKE_FILE_SOURCES = sa.Table(
    "parquet_file_sources",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("source_id", sa.String, primary_key=True, index=True),
)
# The hosts that share a file of a mart. Those that share a file of events are the hosts of its sources.
LAKE_FILE_HOSTS = sa.Table(
    "parquet_file_hosts",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("host", sa.String, primary_key=True),
)
# Files that readers of an older catalog may still have open.
DROPPED_FILES = sa.Table(
    "dropped_files",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("dropped_at", UtcDateTime, nullable=False),
)
# Mart rows of frozen days that were lost with a lake file.
LOST_MARTS = sa.Table(
    "lost_marts",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("table_name", sa.String, nullable=False),
)
# Rows of source files that were lost with a lake file, until the source file is read again; a ledger of
# version 1 has mart rows here, too, with '' as source_id.
LOST_ROWS = sa.Table(
    "lost_rows",
    METADATA,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("source_id", sa.String, primary_key=True),
    sa.Column("table_name", sa.String, nullable=False),
    sa.Column("host", sa.String, nullable=False),
)
# The hosts whose marts have lost a file.
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


def _finding() -> list[sa.Column[str]]:
    """Return the columns that identify a finding."""
    return [sa.Column(name, sa.String, primary_key=True) for name in ("place", "stage", "rule")]


QUARANTINE = sa.Table(
    "quarantine",
    METADATA,
    *_finding(),
    sa.Column("severity", sa.String, nullable=False),
    sa.Column("what", sa.String, nullable=False),
    sa.Column("remedy", sa.String, nullable=False),
    sa.Column("row_count", sa.BigInteger),
    sa.Column("example_rows", sa.String),
    sa.Column("source_id", sa.String),
    sa.Column("run_id", sa.String, nullable=False),
)
# Findings that a user has accepted.
ACKNOWLEDGED = sa.Table(
    "acknowledged",
    METADATA,
    *_finding(),
    sa.Column("what", sa.String, primary_key=True),
    sa.Column("acknowledged_at", UtcDateTime, nullable=False),
)
