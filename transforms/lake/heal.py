"""Finds missing or damaged lake files, and works out what must be rebuilt and what is lost."""

import errno
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shlex import quote

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.contracts.contracts import kept_tables
from transforms.lake.catalog import period_of_file
from transforms.lake.expire import FROZEN_BEYOND
from transforms.lake.files import without_hosts
from transforms.lake.ledger import Ledger
from transforms.lake.records import Content, FrozenDays, LakeFile, LostRows, SourceRecord, read_content
from transforms.problems import Problem

ROWS_ARE_KEPT = "the lake has all rows that were read"
# Errors of missing files, and of damaged ones.
_IS_GONE = (errno.ENOENT, errno.ENOTDIR)
_IS_BROKEN = (errno.EIO, errno.EISDIR)


def damaged_files(
    lake: Path, files: Iterable[LakeFile], *, is_deep: bool = False, ledger: Ledger | None = None
) -> dict[LakeFile, str]:
    """Return which of the lake's files are not as they were written, each with what is wrong.

    A file is read only if its size is right and its time is not; with `is_deep` all files are read. What was
    read of sound files is noted in `ledger`, if given. Raises OSError if a file cannot be examined.
    """
    damaged: dict[LakeFile, str] = {}
    noted: list[tuple[str, Content]] = []
    for file in files:
        try:
            trouble, content = _look(lake / file.path, file, is_deep=is_deep)
        except OSError as error:
            if error.errno not in (*_IS_GONE, *_IS_BROKEN):
                raise
            trouble, content = "is missing" if error.errno in _IS_GONE else "cannot be read", None
        if trouble:
            damaged[file] = trouble
        elif content and content != file.content:
            noted.append((file.path, content))
    if ledger and noted:
        ledger.note_contents(noted)
    return damaged


def _look(path: Path, file: LakeFile, *, is_deep: bool) -> tuple[str | None, Content | None]:
    """Return what is wrong with a file, and its content if it was read."""
    stat = path.stat()
    before = file.content
    if before is None:
        # Listed by an older ledger, which did not note contents.
        try:
            row_count = pq.read_metadata(path).num_rows
        except (pa.ArrowException, OSError) as error:
            return f"cannot be read ({str(error).splitlines()[0]})", None
        if row_count != file.row_count:
            return f"has {row_count} rows, and the ledger says {file.row_count}", None
        return None, read_content(path)
    if stat.st_size != before.size_bytes:
        return f"has {stat.st_size} bytes, and {before.size_bytes} were written", None
    if stat.st_mtime_ns == before.modified_at_ns and not is_deep:
        return None, None
    content = read_content(path)
    if content.content_hash != before.content_hash:
        return "has different bytes from those written", None
    return None, content


def heal(lake: Path, ledger: Ledger, run_id: str, *, is_deep: bool = False) -> list[Problem]:
    """Take damaged files off the ledger's lists, so that this run and the next rebuild them.

    Source files with rows in them are read again, and marts are rebuilt. If one of the files has mart rows of
    frozen days, all mart rows of that host are dropped. Returns a note for each file.
    """
    files = ledger.files()
    damaged = damaged_files(lake, files, is_deep=is_deep, ledger=ledger)
    if not damaged:
        return []
    records = ledger.source_records()
    frozen = frozen_days(ledger)
    lost: list[LostRows] = []
    stale_hosts = set()
    frozen_lost = set[str]()
    for file in damaged:
        lost += [
            LostRows(file.path, source_id, file.table_name, records[source_id].host)
            for source_id in file.source_ids
            if source_id in records
        ]
        if file.source_ids:
            continue
        stale_hosts |= set(file.hosts)
        for host in file.hosts:
            if host in frozen and _holds_days_before(file, frozen[host].frozen_before):
                lost.append(LostRows(file.path, "", file.table_name, host))
                frozen_lost.add(host)
    # The rows of one mart are useless without those of the others.
    of_lost = [
        file
        for file in files
        if file not in damaged
        and file.table_name.startswith("marts.")
        and not frozen_lost.isdisjoint(file.hosts)
    ]
    ledger.drop_damaged(
        [*damaged, *of_lost],
        files=without_hosts(lake, of_lost, frozen_lost, run_id),
        lost=lost,
        stale_hosts=stale_hosts,
    )
    return [
        Problem(
            file.path,
            f"{trouble}, and is being rebuilt"
            + (f" from {len(file.source_ids)} source files of the archive" if file.source_ids else ""),
            "Nothing needs to be done here; check that the disk of the lake is sound.",
            is_note=True,
        )
        for file, trouble in damaged.items()
    ]


def _holds_days_before(file: LakeFile, day: date) -> bool:
    kept = kept_tables().get(file.table_name)
    if kept is None or not kept.settled_by or not file.table_name.startswith("marts."):
        return False
    period = period_of_file(file.path)
    return period is None or period < f"{day}"[: len(period)]


def frozen_days(ledger: Ledger) -> dict[str, FrozenDays]:
    """Return, by host, the days whose mart rows stay as they are, because events have expired or are lost."""
    frozen = ledger.frozen_days()
    records = ledger.source_records()
    now = datetime.now(UTC)
    for rows in ledger.lost_rows():
        last = _days(rows, records.get(rows.source_id))[-1:] if rows.source_id else ()
        for day in last:
            before = day + timedelta(days=1)
            known = frozen.get(rows.host)
            if known is None or known.expired_before < before:
                frozen[rows.host] = FrozenDays(rows.host, before, before + FROZEN_BEYOND, now)
    return frozen


def lost_rows(ledger: Ledger) -> Iterator[Problem]:
    """Yield a problem for each source file whose rows are lost, and for each host with lost mart rows."""
    records = ledger.source_records()
    frozen = frozen_days(ledger)
    by_source: dict[tuple[str, str], list[LostRows]] = {}
    for rows in ledger.lost_rows():
        by_source.setdefault((rows.host, rows.source_id), []).append(rows)
    expired = ledger.frozen_days()
    for (host, source_id), of_source in sorted(by_source.items()):
        tables = ", ".join(sorted({rows.table_name for rows in of_source}))
        until = f" up to {frozen[host].frozen_before}" if host in frozen else ""
        if not source_id:
            yield Problem(
                host,
                f"the mart rows of old days{until} are lost: a file of {tables} was missing or damaged, and "
                "the events for rebuilding it no longer exist",
                "Restore lake and ledger from one backup, or accept the loss with: "
                f"maillag acknowledge {quote(host)}",
                rule=ROWS_ARE_KEPT,
            )
            continue
        record = records.get(source_id)
        days = sorted({day for rows in of_source for day in _days(rows, record)})
        if host in expired and days and days[-1] < expired[host].expired_before:
            continue
        place = record.path if record else host
        yield Problem(
            place,
            f"rows of {tables} of host {host} are lost{_span(days)}: a file of the lake was missing or "
            "damaged, and the source file was not read again",
            "Put the source file back into the archive if it is not there, and run for all hosts: maillag "
            f"run ARCHIVE. Until then the marts of {host}{until} stay as they are; accept that with: "
            f"maillag acknowledge {quote(place)}",
            rule=ROWS_ARE_KEPT,
        )


def _span(days: list[date]) -> str:
    if not days:
        return ""
    return f" ({days[0]}, UTC)" if len(days) == 1 else f" ({days[0]} to {days[-1]}, UTC)"


def _days(rows: LostRows, record: SourceRecord | None) -> list[date]:
    """Return the first and the last day of lost rows: of the lake file, or of all lines of the source."""
    logged = [at.date() for at in (record.first_logged_at, record.last_logged_at) if at] if record else []
    period = period_of_file(rows.path)
    if period is None:
        return logged
    first = date.fromisoformat(f"{period}-01"[: len("2026-11-24")])
    if len(period) == len("2026-11-24"):
        return [first]
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    # A merged file of a month; the source has some of its days.
    return [max(first, logged[0]), min(last, logged[-1])] if logged else [first, last]
