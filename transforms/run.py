"""One run: its input, its lock, and how its end is recorded in the ledger."""

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import Protocol

import duckdb
import polars as pl
import pyarrow as pa
from sqlalchemy.exc import SQLAlchemyError

from transforms.bounds import DEFAULT_LIMITS, Limits
from transforms.lake.heal import damaged_files
from transforms.lake.ledger import Ledger
from transforms.lake.lock import hold_lake
from transforms.lake.opening import open_ledger
from transforms.lake.records import LakeFile
from transforms.log_rules import LogRules
from transforms.problems import MaillagError
from transforms.rights import LAKE_MODE, mend_rights, writing
from transforms.thresholds import Thresholds

# As open_run makes it, in the name of a file.
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}(?=\.|$)")


class Progress(Protocol):
    """Receives how far a run is."""

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` units."""

    def advance(self, amount: float) -> None:
        """Finish that many units of the current stage."""


class NoProgress:
    """Ignores how far a run is."""

    def start(self, stage: str, total: int) -> None:
        """Do nothing."""

    def advance(self, amount: float) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Job:
    """What to read, where the lake is, and the rules. Empty `hosts` means all hosts."""

    archive: Path
    lake: Path
    fleet_file: Path | None = None
    ledger_url: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    default_time_zone: str = "UTC"
    log_rules: LogRules = field(default_factory=LogRules)
    imss_ini_keys: Mapping[str, str] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    limits: Limits = DEFAULT_LIMITS
    lake_mode: int = LAKE_MODE
    reader_grace: timedelta = timedelta(days=1)
    """How long replaced files stay, for readers of an older catalog."""
    is_deep: bool = False
    """Hash all lake files first, not only those whose size or time has changed."""

    def open_ledger(self) -> Ledger:
        """Open the ledger of the lake; raises MaillagError."""
        with writing(self.lake_mode):
            return open_ledger(self.lake, self.ledger_url)


@contextmanager
def open_run(job: Job, ledger: Ledger) -> Iterator[str]:
    """Lock the lake, start a run in the ledger and yield its id; record how the run ends.

    Removes files that killed or failed runs left behind, and replaced files after the grace period for
    readers of an older catalog. Raises MaillagError if another run holds the lake, or if the lake cannot be
    written to.
    """
    with writing(job.lake_mode), hold_lake(job.lake, ledger):
        mend_rights(job.lake, job.lake_mode)
        lost = ledger.end_lost_runs()
        if lost:
            sweep(job.lake, ledger)
        # A run that was killed while it published had nothing else to do, and counts as done.
        for path in job.lake.iterdir():
            if RUN_ID.search(path.name) and path.is_file():
                path.unlink()
        started_at = datetime.now(UTC)
        run_id = f"{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        ledger.start_run(run_id, started_at)
        try:
            yield run_id
        except BaseException as error:
            # If even this cannot be written, the next run does it.
            with suppress(OSError, SQLAlchemyError):
                close_run(ledger, run_id, "failed")
                sweep(job.lake, ledger)
            if explained := _explained(job, ledger, error):
                raise explained from error
            raise
        close_run(ledger, run_id, "done")
        if lost:
            # Dask workers go on for a while when their driver has died.
            sweep(job.lake, ledger)
        _remove_dropped(job.lake, ledger, datetime.now(UTC) - job.reader_grace)


def _explained(job: Job, ledger: Ledger, error: BaseException) -> MaillagError | None:
    """Return the error that ended a run in words for the user; None if it is a defect of maillag."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, SQLAlchemyError):
        return MaillagError(
            f"{job.lake}: its ledger cannot be written to ({reason}). Check that the database is running and "
            "has room, and run again: what was published stays, and nothing is lost."
        )
    if not isinstance(error, (OSError, duckdb.Error, pa.ArrowException, pl.exceptions.PolarsError)):
        return None
    try:
        damaged = damaged_files(job.lake, ledger.files(), is_deep=True)
        ledger.suspect(damaged)
    except (OSError, SQLAlchemyError):
        damaged = {}
    if damaged:
        return _damaged(job.lake, damaged)
    if isinstance(error, (OSError, duckdb.IOException)):
        return MaillagError(
            f"{job.lake}: cannot be written to ({reason}). Make room or correct the cause, and run again: "
            "what was published stays, and nothing is lost."
        )
    return None


def _damaged(lake: Path, damaged: Mapping[LakeFile, str]) -> MaillagError:
    (file, trouble), *others = damaged.items()
    more = f", and {len(others)} other files are damaged or missing" if others else ""
    return MaillagError(
        f"{lake / file.path}: {trouble}{more}. To rebuild what is damaged: "
        f"maillag run ARCHIVE --lake {quote(str(lake))}"
    )


def refuse_damaged(job: Job, ledger: Ledger, files: Iterable[LakeFile]) -> None:
    """Raise MaillagError if one of these files is damaged: its rows must not be used."""
    if damaged := damaged_files(job.lake, files, is_deep=True):
        ledger.suspect(damaged)
        raise _damaged(job.lake, damaged)


def sweep(lake: Path, ledger: Ledger) -> None:
    """Remove the files of all runs that the ledger does not list."""
    listed = {path for paths in ledger.lake_files().values() for path in paths}
    listed |= ledger.dropped_files().keys()
    run_ids = ledger.run_ids()

    def is_of_run(name: str) -> bool:
        found = RUN_ID.search(name)
        return found is not None and found[0] in run_ids

    for folder, folders, names in os.walk(lake):
        for name in filter(is_of_run, folders):
            shutil.rmtree(Path(folder, name), ignore_errors=True)
        for name in filter(is_of_run, names):
            path = Path(folder, name)
            if path.relative_to(lake).as_posix() not in listed:
                path.unlink(missing_ok=True)


def _remove_dropped(lake: Path, ledger: Ledger, before: datetime) -> None:
    paths = [path for path, dropped_at in ledger.dropped_files().items() if dropped_at < before]
    for path in paths:
        (lake / path).unlink(missing_ok=True)
    ledger.forget_dropped(paths)


def close_run(ledger: Ledger, run_id: str, status: str) -> None:
    """Record that a run has ended, and how: `done` or `failed`."""
    ledger.update_run(
        run_id, status=status, finding_count=len(ledger.findings()), finished_at=datetime.now(UTC)
    )
