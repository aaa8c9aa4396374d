"""Lake files that are missing or damaged to what has to be made anew, and what of it is lost for good."""

import errno
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shlex import quote

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.contracts.contracts import kept_tables
from transforms.lake.catalog import host_of_file, period_of_file
from transforms.lake.expire import FROZEN_BEYOND
from transforms.lake.ledger import Ledger
from transforms.lake.records import Content, FrozenDays, LakeFile, LostRows, SourceRecord, read_content
from transforms.problems import Problem

ROWS_ARE_KEPT = "the lake has all rows that were read"
# As which a file shows itself damaged that is there.
_IS_GONE = (errno.ENOENT, errno.ENOTDIR)
_IS_BROKEN = (errno.EIO, errno.EISDIR)


def damaged_files(
    lake: Path, files: Iterable[LakeFile], *, is_deep: bool = False, ledger: Ledger | None = None
) -> dict[LakeFile, str]:
    """Return which of the lake's files are not what was written, each with what is wrong.

    A file is read only if its size is right and its time is not, or all are with `is_deep`. What is found of
    sound files goes to `ledger`, if given. Raises OSError if a file cannot be looked at.
    """
    damaged: dict[LakeFile, str] = {}
    found: list[tuple[str, Content]] = []
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
            found.append((file.path, content))
    if ledger and found:
        ledger.note_contents(found)
    return damaged


def _look(path: Path, file: LakeFile, *, is_deep: bool) -> tuple[str | None, Content | None]:
    """Return what is wrong with a file, and what it is if it was read."""
    stat = path.stat()
    before = file.content
    if before is None:
        # Listed by a ledger that did not know.
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
        return "has other bytes than were written", None
    return None, content


def heal(lake: Path, ledger: Ledger, *, is_deep: bool = False) -> list[Problem]:
    """Take damaged files out of the ledger's lists, so that this run and the next make them anew.

    Source files with rows in them are read again, and marts are made anew. Where marts of frozen days are
    among them, all marts of that host go. Returns a note for each file.
    """
    files = ledger.files()
    damaged = damaged_files(lake, files, is_deep=is_deep, ledger=ledger)
    if not damaged:
        return []
    records = ledger.source_records()
    frozen = frozen_days(ledger)
    lost: list[LostRows] = []
    stale_hosts = set()
    dropped = dict.fromkeys(damaged)
    for file in damaged:
        host = host_of_file(file.path)
        lost += [
            LostRows(file.path, source_id, file.table_name, records[source_id].host)
            for source_id in file.source_ids
            if source_id in records
        ]
        if file.source_ids or host is None:
            continue
        stale_hosts.add(host)
        if host in frozen and _holds_days_before(file, frozen[host].frozen_before):
            lost.append(LostRows(file.path, "", file.table_name, host))
            # The rows of one mart are nothing without those of the others.
            dropped |= dict.fromkeys(
                other
                for other in files
                if other.table_name.startswith("marts.") and host_of_file(other.path) == host
            )
    ledger.drop_damaged(dropped, lost=lost, stale_hosts=stale_hosts)
    return [
        Problem(
            file.path,
            f"{trouble}, and is made anew"
            + (f" from {len(file.source_ids)} source files of the archive" if file.source_ids else ""),
            "Nothing to do here; see that the disk of the lake is sound.",
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
    """Return, by host, the days of which the marts stay as they are: their events expired, or are lost."""
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
    """Yield a problem for each source file whose rows are lost, and for each host with lost rows of marts."""
    records = ledger.source_records()
    frozen = frozen_days(ledger)
    by_source: dict[tuple[str, str], list[LostRows]] = {}
    for rows in ledger.lost_rows():
        by_source.setdefault((rows.host, rows.source_id), []).append(rows)
    expired = ledger.frozen_days()
    for (host, source_id), its in sorted(by_source.items()):
        tables = ", ".join(sorted({rows.table_name for rows in its}))
        until = f" up to {frozen[host].frozen_before}" if host in frozen else ""
        if not source_id:
            yield Problem(
                host,
                f"what the marts said of its old days{until} is lost: a file of {tables} was missing or "
                "damaged, and the events that it was made of are not there any more",
                "Restore lake and ledger from one backup, or accept it with: "
                f"maillag acknowledge {quote(host)}",
                rule=ROWS_ARE_KEPT,
            )
            continue
        record = records.get(source_id)
        days = sorted({day for rows in its for day in _days(rows, record)})
        if host in expired and days and days[-1] < expired[host].expired_before:
            continue
        place = record.path if record else host
        yield Problem(
            place,
            f"rows of {tables} of host {host} are lost{_span(days)}: a file of the lake was missing or "
            "damaged, and the source file was not read again",
            "Put it back into the archive if it is not there, and run for all hosts: maillag run ARCHIVE. "
            f"The marts of {host}{until} stay as they are; accept that with: "
            f"maillag acknowledge {quote(place)}",
            rule=ROWS_ARE_KEPT,
        )


def _span(days: list[date]) -> str:
    if not days:
        return ""
    return f" ({days[0]}, UTC)" if len(days) == 1 else f" ({days[0]} to {days[-1]}, UTC)"


def _days(rows: LostRows, record: SourceRecord | None) -> list[date]:
    """Return the first and the last day of lost rows: those of the file, or of all lines of the source."""
    told = [at.date() for at in (record.first_logged_at, record.last_logged_at) if at] if record else []
    period = period_of_file(rows.path)
    if period is None:
        return told
    first = date.fromisoformat(f"{period}-01"[: len("2026-11-24")])
    if len(period) == len("2026-11-24"):
        return [first]
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    # A month of days that were put together, of which the source has some.
    return [max(first, told[0]), min(last, told[-1])] if told else [first, last]
