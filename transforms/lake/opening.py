"""A lake to its ledger: a new one, one that is there, or words about why it cannot be used."""

from contextlib import ExitStack, suppress
from pathlib import Path
from shlex import quote
from typing import Any

import sqlalchemy as sa

from transforms.lake.ledger import Ledger
from transforms.lake.ledger_tables import LAKE_FILE_SOURCES, METADATA, SOURCE_FILES, VERSION, VERSIONS
from transforms.problems import MaillagError

LEDGER_NAME = "ledger.sqlite"
# What a lake has once a run read something.
LAKE_FOLDERS = ("basis", "config", "events", "fleet", "marts", "ops", "staging")


def open_ledger(lake: Path, url: str | None = None, *, is_reading: bool = False) -> Ledger:
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
