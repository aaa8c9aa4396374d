"""Turns the lake's events into marts, batch by batch of hosts, and limits a failure to its host.

A *task* is a batch as a worker gets it: small data, and the paths of files. The driver plans the tasks
(`plan_marts`), and adds up what the workers made of them (`add_jobs`).
"""

import errno
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import duckdb
import polars as pl

from transforms.contracts.contracts import Contract, Finding, kept_tables
from transforms.lake.catalog import create_tables, create_views
from transforms.lake.files import without_hosts, write_table
from transforms.lake.records import FrozenDays, LakeFile, files_by_host, rows_of, to_share
from transforms.marts.advice import load_advice
from transforms.marts.batch import (
    Batch,
    Built,
    Recipe,
    build_batch,
    event_bytes,
    host_batches,
    of_hosts,
)
from transforms.marts.database import open_database
from transforms.marts.mart_files import of_all_days, refuse_unkept
from transforms.marts.models import Model, needed_models, run_models
from transforms.marts.news import LATE, News, settle
from transforms.marts.settled import Settled
from transforms.memory import release_memory
from transforms.problems import MaillagError, Problem, cause
from transforms.progress import advance
from transforms.thresholds import Thresholds

# The only tables that the models of one host need of the others.
FLEET_TABLES = frozenset({"staging.log_dates"})
# What `settle` needs to find the settled days.
TABLES_TO_SETTLE = frozenset({"staging.log_gaps"})
MARTS_CAN_BE_BUILT = "the marts can be built"
# What DuckDB raises if queries that run at the same time leave none of them enough memory, not even to undo
# what it has begun.
OUT_OF_MEMORY = (duckdb.OutOfMemoryException, duckdb.TransactionException)

Check = Callable[[Batch, Built], list[Finding]]


@dataclass(frozen=True)
class MartTask:
    """Some hosts, the files with their rows, and what is new for them; without `news` they are rebuilt whole.

    `size_bytes`: how many bytes of events are read.
    """

    number: int
    hosts: tuple[str, ...]
    files: list[LakeFile]
    news: list[News] | None
    recipe: Recipe
    size_bytes: int
    is_suspect: bool = False
    """Whether it is a part of a task whose worker was killed."""

    @property
    def host_count(self) -> int:
        """The number of hosts."""
        return len(self.hosts)


RunTasks = Callable[[Sequence[MartTask]], Iterable[tuple[MartTask, Built | None]]]


def config_tables(thresholds: Thresholds) -> dict[str, pl.DataFrame]:
    """Return the tables of configuration: thresholds in one row, and advice with its position."""
    advice = pl.DataFrame([asdict(entry) for entry in load_advice()]).with_row_index("position")
    return {"config.thresholds": pl.DataFrame([asdict(thresholds)]), "config.advice": advice}


def run_here(tasks: Sequence[MartTask]) -> Iterator[tuple[MartTask, Built | None]]:
    """Build the marts of tasks one after another in this process, unchecked."""
    for task in tasks:
        yield task, build_hosts(task)


def build_marts(
    lake: Path,
    *,
    models: list[Model],
    contracts: Mapping[str, Contract],
    files: Sequence[LakeFile],
    frames: Mapping[str, pl.DataFrame],
    thresholds: Thresholds,
    run_id: str,
    frozen: Mapping[str, FrozenDays] | None = None,
    news: Iterable[News] | None = None,
    log_dates: pl.DataFrame | None = None,
    run: RunTasks = run_here,
) -> Built:
    """Run the models over the lake's files and the ledger's tables, for the hosts with news.

    Without `news`, all hosts are rebuilt as a whole. `log_dates` are those of the last build.
    Rows of settled and frozen days are carried over from the marts in `files`; the thresholds are written
    beside the marts. `run(tasks)` yields each task with what `build_hosts` made of it, in any order; None if
    its worker was killed.

    A failure is limited to its host: a batch that fails is rebuilt host by host, a host that fails is rebuilt
    as a whole, and if that fails too, or breaks a critical rule, the host keeps its old marts. Other errors,
    such as a full disk, are raised.
    """
    refuse_unkept(models)
    # What was read is not needed any more, and DuckDB is about to take its share.
    release_memory()
    given = {**frames, **config_tables(thresholds)}
    made = {model.name for model in models}
    read = frozenset().union(*(model.inputs for model in models)) - given.keys() - made
    inputs = {name: contract for name, contract in contracts.items() if name in read}
    recipe = Recipe(lake, models, contracts, inputs, given, frozen or {}, run_id)
    of_fleet = _tables_of_fleet(recipe, files)
    known = {*of_fleet["fleet.host_history"]["host"], *(host for file in files for host in file.hosts)}
    news = _with_new_days(news, known, of_fleet["staging.log_dates"], log_dates)
    recipe = replace(recipe, models=_of_hosts(models), given=given | of_fleet)
    built = Built(log_dates=of_fleet["staging.log_dates"])
    built.hosts = known if news is None else known & {item.host for item in news}
    _run_tasks(plan_tasks(recipe, files, built.hosts, news), run, built)
    _leave_out_failed(recipe, files, built)
    table = "config.thresholds"
    built.replaced |= {file.path: set[str]() for file in files if file.table_name == table}
    built.files.append(write_table(lake, table, given[table], run_id))
    return built


def _of_hosts(models: list[Model]) -> list[Model]:
    """Return the models to run for each batch: first those of single days, then those of all days."""
    of_fleet = needed_models(models, FLEET_TABLES)
    others = [model for model in models if model not in of_fleet]
    of_days = needed_models(others, kept_tables().keys() - of_all_days())
    return [*of_days, *(model for model in others if model not in of_days)]


def _tables_of_fleet(recipe: Recipe, files: Sequence[LakeFile]) -> dict[str, pl.DataFrame]:
    """Return the tables that are about the whole fleet. Files that cannot be read fail with their hosts."""
    needed = needed_models(recipe.models, FLEET_TABLES)
    read = frozenset().union(*(model.inputs for model in needed))
    read |= {table for table in recipe.inputs if table.startswith("fleet.")}
    chosen = [file for file in files if file.table_name in read]

    def make(chosen: list[LakeFile]) -> dict[str, pl.DataFrame]:
        with open_database(recipe.lake / f"spill.{recipe.run_id}.fleet") as connection:
            inputs = [contract for table, contract in recipe.inputs.items() if table in read]
            create_views(connection, recipe.lake, contracts=inputs, files=rows_of(chosen).paths)
            create_tables(connection, recipe.given)
            run_models(connection, needed)
            tables = [*FLEET_TABLES, *(table for table in recipe.inputs if table.startswith("fleet."))]
            return {table: connection.table(table).pl() for table in tables}

    try:
        return make(chosen)
    except Exception as error:
        _raise_if_of_machine(error)
        sound = [file for file in chosen if not file.hosts or _can_be_read(recipe.lake / file.path)]
        if sound == chosen:
            raise
        return make(sound)


def _can_be_read(path: Path) -> bool:
    try:
        pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError):
        return False
    return True


def _with_new_days(
    news: Iterable[News] | None, known: set[str], dates: pl.DataFrame, dates_before: pl.DataFrame | None
) -> list[News] | None:
    """Add all other known hosts to the news if the days on which any host logged have changed."""
    if news is None:
        return None
    news = list(news)
    if dates_before is None or not dates.sort("date").equals(dates_before.sort("date")):
        # Each host has a row for every day.
        news += [News(host, LATE) for host in sorted(known - {item.host for item in news})]
    return news


def plan_tasks(
    recipe: Recipe, files: Sequence[LakeFile], hosts: Iterable[str], news: list[News] | None
) -> list[MartTask]:
    """Return the tasks that build the marts of hosts, the largest first; hosts are together by name."""
    news_of = None if news is None else {item.host: item for item in news}
    since = {item.host: item.since.date() for item in news or () if item.since is not None}
    sizes = event_bytes(files, since)
    by_host = files_by_host(files)
    tasks = []
    for number, some in enumerate(to_share(sorted(hosts), sizes)):
        # Files that hosts share are listed once.
        listed = {file.path: file for host in some for file in by_host.get(host, ())}
        tasks.append(
            MartTask(
                number,
                tuple(some),
                list(listed.values()),
                None if news_of is None else [news_of[host] for host in some],
                replace(
                    recipe,
                    given={table: of_hosts(rows, some) for table, rows in recipe.given.items()},
                    frozen={host: recipe.frozen[host] for host in some if host in recipe.frozen},
                ),
                round(sum(sizes.get(host, 0) for host in some)),
            )
        )
    return sorted(tasks, key=lambda task: -task.size_bytes)


def _run_tasks(tasks: Sequence[MartTask], run: RunTasks, built: Built) -> None:
    """Run tasks and add up what they made. A task whose worker was killed is run again host by host."""
    lost: list[MartTask] = []
    for task, made in run(tasks):
        if made:
            built.add(made)
        elif len(task.hosts) > 1:
            lost += _alone(task)
        else:
            (host,) = task.hosts
            built.failed[host] = Problem(
                host,
                "its marts could not be built: the worker process was killed, perhaps because the memory of "
                "the machine was full",
                "The host keeps its old marts, and all other hosts have new ones. Make sure that the machine "
                "has memory, and run again.",
                rule=MARTS_CAN_BE_BUILT,
            )
    if lost:
        first = max(task.number for task in tasks) + 1
        _run_tasks(
            [replace(task, number=first + at, is_suspect=True) for at, task in enumerate(lost)], run, built
        )


def _alone(task: MartTask) -> Iterator[MartTask]:
    for host in task.hosts:
        yield replace(
            task,
            hosts=(host,),
            files=[file for file in task.files if host in file.hosts],
            news=task.news and [item for item in task.news if item.host == host],
            recipe=replace(
                task.recipe,
                given={table: of_hosts(rows, [host]) for table, rows in task.recipe.given.items()},
            ),
        )


def _leave_out_failed(recipe: Recipe, files: Sequence[LakeFile], built: Built) -> None:
    """Keep the old marts of hosts that failed, and write files anew that only some of their hosts leave.

    Raises MaillagError if a critical rule is broken by rows that name no host.
    """
    for finding in built.findings:
        if finding.severity == "critical" and finding.host is None:
            raise MaillagError(f"{finding.table}: breaks a critical rule: {finding.rule} {finding.rows}")
    old = {file.path: file for file in files}
    while True:
        built.leave_out(built.failed_hosts, recipe.lake, recipe.run_id)
        damaged = [
            path
            for path, hosts in built.replaced.items()
            if hosts != set(old[path].hosts) and not _can_be_read(recipe.lake / path)
        ]
        if not damaged:
            break
        for path in damaged:
            error = OSError(f"{path}, which it shares with other hosts, is damaged")
            built.failed |= {host: _failure(host, error) for host in built.replaced[path]}
    for path, hosts in built.replaced.items():
        others = set(old[path].hosts) - hosts
        if others:
            built.files += without_hosts(recipe.lake, [old[path]], hosts, recipe.run_id)
            hosts |= others


def build_hosts(task: MartTask, check: Check = lambda batch, built: []) -> Built:
    """Build the marts of a task's hosts, as a worker does. `check(batch, built)` is called for each batch."""
    settled = _settle(task)
    batches = deque(host_batches(task.files, task.hosts, settled))
    as_a_whole: list[str] = []
    built = Built()
    # An attempt at a task may be killed, and its files must not be taken for those of the next.
    attempt = secrets.token_hex(2)
    number, count = 0, len(batches)
    model_count = len(task.recipe.models)
    while batches:
        batch = batches.popleft()
        part = f"m{task.number}.{attempt}.{number}"
        try:
            made, unproved = build_batch(
                task.recipe, batch, part, lambda model: advance(task.size_bytes / count / model_count)
            )
            # Those that are rebuilt as a whole are checked then.
            made.findings = [found for found in check(batch, made) if found.host not in unproved]
        except Exception as error:
            _raise_if_of_machine(error)
            built.has_leftovers = True
            if batch.at_once > 1 and isinstance(error, OUT_OF_MEMORY):
                batches.appendleft(replace(batch, at_once=1))
            elif len(batch.hosts) > 1:
                batches.extendleft(
                    alone
                    for host in reversed(batch.hosts)
                    for alone in host_batches(batch.files, [host], batch.settled)
                )
            elif batch.settled:
                as_a_whole += batch.hosts
            else:
                (host,) = batch.hosts
                built.failed[host] = _failure(host, error)
        else:
            built.add(made)
            as_a_whole += unproved
        number += 1
        if not batches:
            batches.extend(host_batches(task.files, as_a_whole, {}))
            as_a_whole = []
    return built


def _settle(task: MartTask) -> dict[str, Settled]:
    """Return the settled days of a task's hosts; none of a host whose files cannot be read."""
    if task.news is None:
        return {}
    try:
        return _settle_hosts(task, task.news)
    except duckdb.Error:
        settled: dict[str, Settled] = {}
        for item in task.news:
            try:
                settled |= _settle_hosts(task, [item])
            except duckdb.Error:
                continue
        return settled


def _settle_hosts(task: MartTask, news: list[News]) -> dict[str, Settled]:
    recipe = task.recipe
    hosts = [item.host for item in news]
    needed = needed_models(recipe.models, TABLES_TO_SETTLE)
    read = frozenset().union(*(model.inputs for model in needed)) | {"ops.line_counts"}
    rows = rows_of(task.files, hosts)
    with open_database(recipe.lake / f"spill.{recipe.run_id}.{task.number}") as connection:
        inputs = [
            contract for table, contract in recipe.inputs.items() if table in read - recipe.given.keys()
        ]
        create_views(connection, recipe.lake, contracts=inputs, files=rows.paths, only=rows.only)
        create_tables(connection, recipe.given)
        run_models(connection, needed)
        return settle(connection, recipe.lake, news, rows, contracts=recipe.contracts)


def _failure(host: str, error: Exception) -> Problem:
    """Return why a host keeps its old marts."""
    model = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return Problem(
        host,
        f"its marts could not be built{model}: {cause(error)}",
        "The host keeps its old marts, and all other hosts have new ones. The next run rebuilds damaged "
        "files of the lake (maillag status --verify --deep); if none is damaged, report this as a defect.",
        rule=MARTS_CAN_BE_BUILT,
    )


def _raise_if_of_machine(error: Exception) -> None:
    """Raise errors that are not caused by a host: the disk is full or cannot be written to."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if getattr(error, "errno", None) in numbers or (
        isinstance(error, duckdb.Error) and any(os.strerror(number) in str(error) for number in numbers)
    ):
        raise error
