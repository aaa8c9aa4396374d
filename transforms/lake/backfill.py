"""Turns a choice of hosts and days into the source files that the next run reads again."""

from collections.abc import Collection
from datetime import date, datetime

from transforms.lake.ledger import Ledger
from transforms.lake.records import SourceRecord
from transforms.names import given_host
from transforms.problems import MaillagError
from transforms.zone import Zone

# How many hosts an error names if the given one is unknown.
HOSTS_NAMED = 5


def forget_files(
    ledger: Ledger,
    *,
    hosts: Collection[str] = (),
    since: date | None = None,
    until: date | None = None,
) -> list[str]:
    """Forget that files were seen, and return their paths; their rows stay until they are read again.

    Selects the files with lines of these hosts (default: all) from `since` to `until`, days in host time, and
    files without any time. A copy is forgotten together with its original, because it would otherwise count
    as the original's successor. Raises MaillagError for a host without any file read so far.
    """
    records = ledger.source_records()
    known = sorted({record.host for record in records.values()})
    hosts = {given_host(host) for host in hosts}
    for host in hosts:
        if host not in known:
            named = ", ".join(known[:HOSTS_NAMED]) + (" ..." if len(known) > HOSTS_NAMED else "")
            raise MaillagError(
                f"{host}: no file of this host was read so far. Known hosts: {named or 'none'}."
            )
    chosen = {
        source_id
        for source_id, record in records.items()
        if (not hosts or record.host in hosts) and _is_within(record, since or date.min, until or date.max)
    }
    paths = sorted(
        path for path, seen in ledger.seen_files().items() if any(file.source_id in chosen for file in seen)
    )
    ledger.forget_seen(paths)
    return paths


def _is_within(record: SourceRecord, since: date, until: date) -> bool:
    if record.first_logged_at is None or record.last_logged_at is None:
        return True
    zone = Zone(record.time_zone, record.zone_source)
    return _day(record.first_logged_at, zone) <= until and _day(record.last_logged_at, zone) >= since


def _day(instant: datetime, zone: Zone) -> date:
    return zone.to_local(instant).date()
