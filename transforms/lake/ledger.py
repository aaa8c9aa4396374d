"""The ledger of what was read, when and with what result, in SQLite or PostgreSQL through SQLAlchemy."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import sqlalchemy as sa

from transforms.lake.ledger_rows import (
    delete,
    drop_files,
    insert,
    insert_files,
    insert_findings,
    make_again,
    record_growth,
    select_files,
)
from transforms.lake.ledger_tables import (
    ACKNOWLEDGED,
    DROPPED_FILES,
    FROZEN_DAYS,
    GROWN_SOURCES,
    LAKE_FILES,
    LOST_MARTS,
    LOST_ROWS,
    METADATA,
    QUARANTINE,
    RUNS,
    SEEN_FILES,
    SOURCE_FILES,
    STALE_HOSTS,
    TABLE_COLUMNS,
    UtcDateTime,
)
from transforms.lake.records import (
    Content,
    FrozenDays,
    LakeFile,
    LostRows,
    QuarantineRow,
    SeenFile,
    SourceRecord,
)


class Ledger:
    """The database of source files, lake files and runs. Each method is one transaction."""

    def __init__(self, url: str | sa.URL, lake: Path = Path()) -> None:
        address = sa.make_url(url)
        if address.drivername == "postgresql":
            # The usual spelling; SQLAlchemy's default is psycopg2, which is not installed.
            address = address.set(drivername="postgresql+psycopg")
        # Errors would otherwise show the rows: paths, hosts, mail addresses.
        self.engine = sa.create_engine(address, hide_parameters=True)
        self.lake = lake
        if address.database is None:
            # In memory, not shared.
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
        """Mark runs that are still recorded as running as interrupted; return their ids."""
        with self.engine.begin() as connection:
            lost = list(
                connection.execute(sa.select(RUNS.c.run_id).where(RUNS.c.status == "running")).scalars()
            )
            connection.execute(sa.update(RUNS).where(RUNS.c.status == "running").values(status="interrupted"))
        return lost

    def run_ids(self) -> set[str]:
        """Return the ids of all runs."""
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(RUNS.c.run_id)).scalars())

    def last_marts_fingerprint(self) -> str | None:
        """Return what the current marts were built from, None before the first build."""
        with self.engine.connect() as connection:
            known = sa.select(RUNS.c.marts_fingerprint).where(RUNS.c.marts_fingerprint.is_not(None))
            # A ledger of version 0 has a fingerprint for every run that built marts.
            return connection.execute(known.order_by(RUNS.c.started_at.desc()).limit(1)).scalar()

    def name_marts(self, run_id: str, fingerprint: str) -> None:
        """Record what the current marts were built from, and forget older ones: the clock may be set back."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(RUNS).values(marts_fingerprint=None))
            of_run = sa.update(RUNS).where(RUNS.c.run_id == run_id)
            connection.execute(of_run.values(marts_fingerprint=fingerprint))

    def findings(self) -> list[QuarantineRow]:
        """Return the open findings, critical ones first."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(QUARANTINE)).mappings()
            findings = [QuarantineRow(**row) for row in rows]
        return sorted(findings, key=lambda row: (row.severity, row.place, row.rule))

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
            delete(connection, SEEN_FILES.c.path, paths)

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
        with self.engine.connect() as connection:
            return select_files(connection)

    def files_of(self, source_ids: Iterable[str]) -> list[LakeFile]:
        """Return the lake files that hold rows of any of these sources."""
        with self.engine.connect() as connection:
            return select_files(connection, source_ids)

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
        """Record source files with all their lake files and findings, replacing their old ones.

        The sources in `grown_ids` begin with everything that was read of them before.
        """
        records, seen = list(records), list(seen)
        with self.engine.begin() as connection:
            source_ids = [record.source_id for record in records]
            record_growth(connection, source_ids, grown_ids)
            for table in (QUARANTINE, SOURCE_FILES, LOST_ROWS):
                delete(connection, table.c.source_id, source_ids)
            delete(connection, SEEN_FILES.c.path, [file.path for file in seen])
            drop_files(connection, [file.path for file in replaced])
            insert(connection, SOURCE_FILES, map(asdict, records))
            insert(connection, SEEN_FILES, map(asdict, seen))
            insert_files(connection, self.lake, files)
            insert_findings(connection, findings)

    def table_columns(self) -> dict[str, str]:
        """Return the columns that the files of each table have, as text."""
        with self.engine.connect() as connection:
            return dict(connection.execute(sa.select(TABLE_COLUMNS)).tuples().all())

    def take_columns(
        self, columns: Mapping[str, str], *, replaced: Iterable[LakeFile], files: Iterable[LakeFile]
    ) -> None:
        """Record which columns the files of all tables have, once those with others are replaced.

        What is replaced is made again: source files are read, and marts are built.
        """
        replaced = list(replaced)
        with self.engine.begin() as connection:
            drop_files(connection, [file.path for file in replaced])
            if replaced:
                of_marts = {host for file in replaced if not file.source_ids for host in file.hosts}
                make_again(connection, replaced, of_marts)
            insert_files(connection, self.lake, files)
            connection.execute(sa.delete(TABLE_COLUMNS))
            rows = ({"table_name": table, "columns": text} for table, text in columns.items())
            insert(connection, TABLE_COLUMNS, rows)

    def replace_tables(self, files: Iterable[LakeFile]) -> None:
        """Make these the current files of their tables, which are written as a whole."""
        files = list(files)
        names = {file.table_name for file in files}
        with self.engine.begin() as connection:
            before = sa.select(LAKE_FILES.c.path).where(LAKE_FILES.c.table_name.in_(names))
            drop_files(connection, connection.execute(before).scalars().all())
            insert_files(connection, self.lake, files)

    def replace_marts(self, files: Iterable[LakeFile], *, replaced: Iterable[str]) -> None:
        """Replace the files of the marts with these paths by new ones."""
        with self.engine.begin() as connection:
            drop_files(connection, replaced)
            insert_files(connection, self.lake, files)
            connection.execute(sa.delete(GROWN_SOURCES))
            connection.execute(sa.delete(STALE_HOSTS))

    def drop_damaged(
        self,
        dropped: Iterable[LakeFile],
        *,
        files: Iterable[LakeFile],
        lost: Iterable[LostRows],
        stale_hosts: Iterable[str],
    ) -> None:
        """Take damaged files off the lists, so that runs rebuild them; list what is left of others.

        Their source files are read again, and the marts of stale hosts are rebuilt as a whole.
        """
        dropped = list(dropped)
        with self.engine.begin() as connection:
            drop_files(connection, [file.path for file in dropped])
            insert_files(connection, self.lake, files)
            lost = list(lost)
            insert(connection, LOST_ROWS, (asdict(rows) for rows in lost if rows.source_id))
            of_marts = [asdict(rows) for rows in lost if not rows.source_id]
            insert(
                connection,
                LOST_MARTS,
                ({name: row[name] for name in ("path", "host", "table_name")} for row in of_marts),
            )
            make_again(connection, dropped, stale_hosts)

    def lost_rows(self) -> list[LostRows]:
        """Return the rows that were lost with damaged files and whose source file was not read since."""
        with self.engine.connect() as connection:
            of_sources = connection.execute(sa.select(LOST_ROWS)).mappings().all()
            of_marts = connection.execute(sa.select(LOST_MARTS)).mappings().all()
            return [LostRows(**row) for row in of_sources] + [
                LostRows(**row, source_id="") for row in of_marts
            ]

    def stale_hosts(self) -> set[str]:
        """Return the hosts whose marts have lost a file."""
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(STALE_HOSTS.c.host)).scalars())

    def note_contents(self, contents: Iterable[tuple[str, Content]]) -> None:
        """Note the contents of lake files, by path."""
        with self.engine.begin() as connection:
            for path, content in contents:
                where = LAKE_FILES.c.path == path
                connection.execute(sa.update(LAKE_FILES).where(where).values(asdict(content)))

    def suspect(self, files: Iterable[LakeFile]) -> None:
        """Make the next run read these files even if size and time are right."""
        with self.engine.begin() as connection:
            for file in files:
                where = LAKE_FILES.c.path == file.path
                connection.execute(sa.update(LAKE_FILES).where(where).values(modified_at_ns=None))

    def grown_sources(self) -> dict[str, str]:
        """Return the sources that have only grown since the marts were built, with their old hash."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(GROWN_SOURCES)).mappings()
            return {row["source_id"]: row["content_hash_before"] for row in rows}

    def dropped_files(self) -> dict[str, datetime]:
        """Return the files kept only for readers of an older catalog, with the time of their replacement."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(DROPPED_FILES)).mappings()
            return {row["path"]: row["dropped_at"] for row in rows}

    def forget_dropped(self, paths: Iterable[str]) -> None:
        """Forget files that were removed."""
        with self.engine.begin() as connection:
            delete(connection, DROPPED_FILES.c.path, paths)

    def frozen_days(self) -> dict[str, FrozenDays]:
        """Return, by host, which days have expired."""
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
        """Record expired days, and replace files of events and marts."""
        frozen = list(frozen)
        with self.engine.begin() as connection:
            delete(connection, FROZEN_DAYS.c.host, [days.host for days in frozen])
            insert(connection, FROZEN_DAYS, map(asdict, frozen))
            drop_files(connection, replaced)
            insert_files(connection, self.lake, files)

    def replace_findings(self, stages: Collection[str], rows: Iterable[QuarantineRow]) -> None:
        """Make these the open findings of some stages; other findings of these stages end."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(QUARANTINE).where(QUARANTINE.c.stage.in_(stages)))
            insert_findings(connection, rows)

    def end_findings(self, present_ids: Collection[str]) -> None:
        """End the findings about source files that are no longer in the archive.

        If such a file comes back, it is read again; if an acknowledged finding comes back, it is new.
        """
        with self.engine.begin() as connection:
            ids = sa.select(QUARANTINE.c.source_id).where(QUARANTINE.c.source_id.is_not(None)).distinct()
            gone = set(connection.execute(ids).scalars()) - set(present_ids)
            for table in (QUARANTINE, SEEN_FILES):
                delete(connection, table.c.source_id, gone)
            open_ = sa.exists().where(
                *(QUARANTINE.c[name] == ACKNOWLEDGED.c[name] for name in ("place", "stage", "rule", "what"))
            )
            connection.execute(sa.delete(ACKNOWLEDGED).where(~open_))

    def acknowledge(self, findings: Iterable[QuarantineRow]) -> None:
        """Turn these findings into warnings for as long as they do not change."""
        findings = list(findings)
        now = datetime.now(UTC)
        with self.engine.begin() as connection:
            for row in findings:
                key = {name: getattr(row, name) for name in ("place", "stage", "rule", "what")}
                insert(connection, ACKNOWLEDGED, [{**key, "acknowledged_at": now}])
            insert_findings(connection, findings)

    def table(self, name: str) -> pl.DataFrame:
        """Return a whole table of the ledger as a frame, for ops.* in the catalog."""
        table = METADATA.tables[name]
        with self.engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(sa.select(table))]
        return pl.DataFrame(rows, schema=self.schema(name), orient="row")

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
