"""Turns the lake's events into marts, batch by batch of hosts, and limits a failure to its host."""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import duckdb
import polars as pl

from transforms.contracts.contracts import Contract, Finding, kept_tables
from transforms.lake.catalog import create_tables, create_views, files_by_host
from transforms.lake.files import write_table
from transforms.lake.records import FrozenDays
from transforms.marts.advice import load_advice
from transforms.marts.batch import Batch, Built, Recipe, build_batch, host_batches, merged_files
from transforms.marts.database import open_database
from transforms.marts.mart_files import of_all_days, refuse_unkept
from transforms.marts.models import Model, needed_models, run_models
from transforms.marts.news import LATE, News, settle
from transforms.marts.settled import Settled
from transforms.memory import release_memory
from transforms.problems import Problem, cause
from transforms.thresholds import Thresholds

# The only tables that the models of one host need of the others.
FLEET_TABLES = frozenset({"staging.log_dates"})
# What `settle` needs to find the settled days.
TABLES_TO_SETTLE = frozenset({"staging.log_gaps"})

Check = Callable[[Batch, Built], list[Finding]]


def config_tables(thresholds: Thresholds) -> dict[str, pl.DataFrame]:
    """Return the tables of configuration: thresholds in one row, and advice with its position."""
    advice = pl.DataFrame([asdict(entry) for entry in load_advice()]).with_row_index("position")
    return {"config.thresholds": pl.DataFrame([asdict(thresholds)]), "config.advice": advice}


def no_check(batch: Batch, built: Built) -> list[Finding]:
    """Find nothing."""
    return []


def build_marts(
    lake: Path,
    *,
    models: list[Model],
    contracts: Mapping[str, Contract],
    files: Mapping[str, list[str]],
    frames: Mapping[str, pl.DataFrame],
    thresholds: Thresholds,
    run_id: str,
    frozen: Mapping[str, FrozenDays] | None = None,
    news: Iterable[News] | None = None,
    log_dates: pl.DataFrame | None = None,
    check: Check = no_check,
    progress: Callable[[Model, float], None] = lambda model, share: None,
) -> Built:
    """Run the models over the lake's files and the ledger's tables, for the hosts with news.

    Without `news`, all hosts are rebuilt as a whole. `log_dates` are those of the last build.
    Rows of settled and frozen days are carried over from the marts in `files`; the thresholds are written
    beside the marts. `check(batch, built)` is called for each batch, `progress(model, share)` after each
    model of each batch.

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
    by_host = files_by_host(files)
    built = Built()
    fleet = _look_at_fleet(recipe, by_host, built, news if news is None else list(news), log_dates)
    built.hosts = fleet.hosts | built.failed.keys()
    built.log_dates = fleet.tables["staging.log_dates"]
    recipe = replace(recipe, models=_of_hosts(models), given=given | fleet.tables)
    hosts = fleet.hosts - built.failed.keys()
    _build_batches(recipe, by_host, hosts, fleet.settled, built, check, progress)
    table = "config.thresholds"
    built.files.append(write_table(lake, table, given[table], run_id))
    built.replaced += files.get(table, ())
    return built


def _of_hosts(models: list[Model]) -> list[Model]:
    """Return the models to run for each batch: first those of single days, then those of all days."""
    of_fleet = needed_models(models, FLEET_TABLES)
    of_hosts = [model for model in models if model not in of_fleet]
    of_days = needed_models(of_hosts, kept_tables().keys() - of_all_days())
    return [*of_days, *(model for model in of_hosts if model not in of_days)]


def _build_batches(
    recipe: Recipe,
    by_host: Mapping[str | None, Mapping[str, list[str]]],
    hosts: Iterable[str],
    settled: Mapping[str, Settled],
    built: Built,
    check: Check,
    progress: Callable[[Model, float], None],
) -> None:
    """Build the marts of hosts, batch by batch; add them, or why they could not be built, to `built`."""
    batches = deque(host_batches(recipe.lake, by_host, hosts, settled))
    as_a_whole: list[str] = []
    number, count = 0, len(batches)
    while batches:
        batch = batches.popleft()
        try:
            made, unproved = build_batch(recipe, batch, number, lambda model: progress(model, 1 / count))
            made.findings = check(batch, made)
        except Exception as error:
            _raise_if_of_machine(error)
            if len(batch.hosts) > 1:
                batches.extendleft(
                    alone
                    for host in reversed(batch.hosts)
                    for alone in host_batches(recipe.lake, by_host, [host], batch.settled)
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
            batches.extend(host_batches(recipe.lake, by_host, as_a_whole, {}))
            as_a_whole = []


@dataclass(frozen=True)
class _Fleet:
    """What the batches need: tables of all hosts, the hosts with news, and their settled days."""

    tables: dict[str, pl.DataFrame]
    hosts: set[str]
    settled: dict[str, Settled]


def _look_at_fleet(
    recipe: Recipe,
    by_host: Mapping[str | None, Mapping[str, list[str]]],
    built: Built,
    news: list[News] | None,
    log_dates: pl.DataFrame | None,
) -> _Fleet:
    """Look at all hosts' files at once; hosts whose files cannot be read are added to `built.failed`."""
    try:
        return _prepare(recipe, by_host, news, log_dates)
    except Exception as error:
        _raise_if_of_machine(error)
        for host in filter(None, by_host):
            try:
                _prepare(recipe, {None: by_host.get(None, {}), host: by_host[host]}, news, log_dates)
            except Exception as host_error:
                built.failed[host] = _failure(host, host_error)
        if not built.failed:
            raise
        sound = {host: files for host, files in by_host.items() if host not in built.failed}
        return _prepare(recipe, sound, news, log_dates)


def _prepare(
    recipe: Recipe,
    by_host: Mapping[str | None, Mapping[str, list[str]]],
    news: list[News] | None,
    log_dates: pl.DataFrame | None,
) -> _Fleet:
    """Build the tables of the whole fleet; with `news`, find the settled days of the hosts."""
    needed = needed_models(recipe.models, FLEET_TABLES | (frozenset() if news is None else TABLES_TO_SETTLE))
    read = frozenset().union(*(model.inputs for model in needed)) | {
        table for table in recipe.inputs if table.startswith("fleet.")
    }
    with open_database(recipe.lake / f"spill.{recipe.run_id}") as connection:
        create_views(
            connection,
            recipe.lake,
            contracts=[contract for table, contract in recipe.inputs.items() if table in read],
            files=merged_files(by_host.values()),
        )
        create_tables(connection, recipe.given)
        run_models(connection, needed)
        of_all = [*FLEET_TABLES, *(table for table in recipe.inputs if table.startswith("fleet."))]
        tables = {table: connection.table(table).pl() for table in of_all}
        hosts = {*tables["fleet.host_history"]["host"], *filter(None, by_host)}
        if news is None:
            return _Fleet(tables, hosts, {})
        news = [item for item in news if item.host in hosts]
        dates = tables["staging.log_dates"].sort("date")
        if log_dates is None or not dates.equals(log_dates.sort("date")):
            # Each host has a row for every day.
            news += [News(host, LATE) for host in sorted(hosts - {item.host for item in news})]
        settled = settle(connection, recipe.lake, news, files=by_host, contracts=recipe.contracts)
    return _Fleet(tables, {item.host for item in news}, settled)


def _failure(host: str, error: Exception) -> Problem:
    """Return why a host keeps its old marts."""
    model = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return Problem(
        host,
        f"its marts could not be built{model}: {cause(error)}",
        "The host keeps its old marts, and all other hosts have new ones. The next run rebuilds damaged "
        "files of the lake (maillag status --verify --deep); if none is damaged, report this as a defect.",
        rule="the marts can be built",
    )


def _raise_if_of_machine(error: Exception) -> None:
    """Raise errors that are not caused by a host: the disk is full or cannot be written to."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if getattr(error, "errno", None) in numbers or (
        isinstance(error, duckdb.Error) and any(os.strerror(number) in str(error) for number in numbers)
    ):
        raise error
