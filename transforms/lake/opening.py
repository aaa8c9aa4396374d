"""Opens the ledger of a lake: a new one, an existing one, or an error that says why it cannot be used."""

from contextlib import ExitStack, suppress
from pathlib import Path
from shlex import quote
from typing import Any

import sqlalchemy as sa

from transforms.lake.ledger import Ledger
from transforms.lake.ledger_tables import LAKE_FILE_SOURCES, METADATA, SOURCE_FILES, VERSION, VERSIONS
from transforms.problems import MaillagError

LEDGER_NAME = "ledger.sqlite"
# The folders of a lake after a run has read something.
LAKE_FOLDERS = ("basis", "config", "events", "fleet", "marts", "ops", "staging")


def open_ledger(lake: Path, url: str | None = None, *, is_reading: bool = False) -> Ledger:
    """Open the ledger of a lake: the database given by URL, else SQLite in the lake.

    A new lake gets a new ledger, and an older ledger is brought up to date, unless `is_reading`. Raises
    MaillagError if the lake cannot be written to, if the database cannot be reached, or if the ledger is
    missing, damaged or of an unknown version.
    """
    if "\\" in str(lake.resolve()):
        raise MaillagError(f"{lake}: has a backslash in the path, which DuckDB takes for a slash. Rename it.")
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
            remedy = "Check that the database is running, or correct ledger_url"
        elif isinstance(error, sa.exc.DatabaseError) and not isinstance(error, sa.exc.OperationalError):
            remedy = f"It is damaged. {_RESTORE}"
        else:
            remedy = "Choose a folder that can be written to"
        raise MaillagError(f"{lake}: its ledger cannot be opened ({reason}). {remedy}.") from None


_RESTORE = (
    "Restore lake and ledger from one backup; without a backup, move the lake aside and create a new one "
    "with: maillag run ARCHIVE"
)


def _missing(lake: Path, why: str) -> MaillagError:
    if not lake.is_dir():
        return MaillagError(
            f"{lake}: does not exist. Create it with: maillag run ARCHIVE --lake {quote(str(lake))}"
        )
    return MaillagError(
        f"{lake}: its ledger, which lists the lake's files, is missing ({why}). Set ledger_url if the ledger "
        f"is kept elsewhere. {_RESTORE} --lake {quote(str(lake))}"
    )


def _bring_up_to_date(connection: sa.Connection, lake: Path, *, may_create: bool, may_change: bool) -> bool:
    """Create a missing ledger, or bring an older one up to date; return whether there is a ledger.

    Raises MaillagError if the ledger cannot be used.
    """
    inspector = sa.inspect(connection)
    known = METADATA.tables.keys() & set(inspector.get_table_names())
    if SOURCE_FILES.name not in known and not may_create:
        return False
    is_versioned = VERSIONS.name in known
    version = connection.execute(sa.select(VERSIONS.c.version)).scalar() or 0 if is_versioned else 0
    if version > VERSION:
        raise MaillagError(
            f"{lake}: its ledger has version {version}, but this maillag only knows versions up to "
            f"{VERSION}. Use the maillag that created it, or a newer one."
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
                raise _not_to_be_used(lake, f"has an unknown column {name}.{there['name']}")
    for column in lacking:
        if not column.nullable:
            raise _not_to_be_used(lake, f"has no column {column.table.name}.{column.name}")
    if known == METADATA.tables.keys() and version == VERSION and not lacking:
        return True
    if not may_change:
        raise MaillagError(
            f"{lake}: its ledger has an older version. Bring it up to date with: "
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
        f"{lake}: its ledger was created by another version of maillag and cannot be brought up to date (it "
        f"{why}). Use that version, or move the lake aside and create a new one with: maillag run ARCHIVE"
    )


def _address(url: str) -> sa.URL:
    """Return the parts of a database's URL. Raises MaillagError, without the URL, if they are ambiguous."""
    with suppress(sa.exc.ArgumentError, ValueError):
        address = sa.make_url(url)
        # The part of a password after an unescaped @ would become part of the host's name.
        if not (address.host and "@" in f"{address.host}{address.database}"):
            return address
    raise MaillagError(
        "ledger_url: is not an address such as postgresql://USER:PASSWORD@HOST:PORT/DATABASE. "
        "Write @ in a password as %40, : as %3A, / as %2F and % as %25."
    )


def _without_secrets(text: str, address: sa.URL) -> str:
    """Return an error's text without the passwords of a database's URL."""
    secrets = [address.password, *(value for name, value in address.query.items() if "pass" in name)]
    for secret in filter(None, secrets):
        text = text.replace(str(secret), "***")
    return text
