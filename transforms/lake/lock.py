"""Keeps two runs off one lake, by a lock on a file, or in the database of a ledger that is in PostgreSQL.

The latter also holds between machines whose shared file system has no locks.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from transforms.lake.ledger import Ledger
from transforms.problems import MaillagError

LOCK_NAME = "lock"
# Of the ledger's database: it is the ledger of one lake. The bytes of "maillag".
ADVISORY_LOCK = int.from_bytes(b"maillag")


@contextmanager
def hold_lake(lake: Path, ledger: Ledger) -> Iterator[None]:
    """Hold the lake exclusively, at most until the process ends; raises MaillagError that says who has it."""
    place = lake / LOCK_NAME
    with place.open("a+") as holder, meet_no_run(lake, ledger):
        holder.truncate(0)
        holder.write(f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now(UTC):%F %T} UTC")
        holder.flush()
        yield
        holder.truncate(0)


@contextmanager
def meet_no_run(lake: Path, ledger: Ledger) -> Iterator[None]:
    """Keep runs off the lake without writing anything; raises MaillagError that says who has it."""
    take = _take_in_database if ledger.engine.dialect.name == "postgresql" else _take_file
    with take(lake, ledger):
        yield


@contextmanager
def _take_in_database(lake: Path, ledger: Ledger) -> Iterator[None]:
    # The lock ends with the connection. Within a transaction, a server may end an idle one.
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Closed at the end, and not kept for others.
        connection.detach()
        if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(ADVISORY_LOCK))).scalar():
            raise _held(lake)
        yield


@contextmanager
def _take_file(lake: Path, ledger: Ledger) -> Iterator[None]:
    place = lake / LOCK_NAME
    try:
        # NFS locks only what is open for writing.
        lock = place.open("r+" if os.access(place, os.W_OK) else "r")
    except FileNotFoundError:
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(lake) from None
        yield


def _held(lake: Path) -> MaillagError:
    place = lake / LOCK_NAME
    holder = place.read_text(encoding="utf-8") if place.is_file() else ""
    return MaillagError(
        f"{lake}: is held by another run ({holder or 'which is just beginning'}). Wait until it has ended."
    )
