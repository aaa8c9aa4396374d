"""Turns problems with files, marts and hosts, and violated contracts, into rows of the ledger."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import polars as pl

from transforms.contracts.contracts import Check, Contract, Finding, load_contracts
from transforms.contracts.screening import breaking_rows, screening_query
from transforms.ingest.batch import NewSource
from transforms.ingest.read import Reads
from transforms.lake.catalog import create_database, create_tables, create_views
from transforms.lake.ledger import Ledger
from transforms.lake.records import (
    BATCH_HOSTS,
    QuarantineRow,
    Rows,
    SourceRecord,
    files_by_host,
    rows_of,
)
from transforms.marts.batch import MEMORY_LIMIT, Batch, Built
from transforms.marts.database import execute, open_database
from transforms.marts.mart_files import marts
from transforms.marts.silences import contradicted_settings, mixed_hosts, witnesses_apart
from transforms.problems import Problem

LOOK = "To see the rows: maillag status --json"
# What to do about a violated rule, by stage and by whether it is critical.
REMEDIES = {
    ("source", True): f"The file is kept out until its lines are corrected and read again. {LOOK}",
    ("source", False): f"The file was read nevertheless. {LOOK}",
    (
        "marts",
        True,
    ): f"The host keeps its old marts, all others have new ones. Report this as a defect. {LOOK}",
    ("marts", False): f"The marts were published nevertheless. {LOOK}",
}


def check_events(lake: Path, reads: Reads, check: Check) -> list[Finding]:
    """Check only what is new, some hosts at a time, before readers see it."""
    contracts = load_contracts()
    by_host = files_by_host(reads.files)
    schema = Ledger.schema("source_files")
    records: dict[str, list[SourceRecord]] = defaultdict(list)
    for new in reads.new_sources:
        records[new.record.host].append(new.record)
    findings: list[Finding] = []
    for hosts in _some_at_a_time(records):
        files = {file.path: file for host in hosts for file in by_host.get(host, ())}
        rows = rows_of(files.values(), hosts)
        checked = [contracts[table] for table in rows.paths]
        chosen = [record for host in hosts for record in records[host]]
        # Column by column: a dictionary for each of a hundred thousand records would take 150 MiB.
        sources = pl.DataFrame(
            {name: [getattr(record, name) for record in chosen] for name in schema}, schema=schema
        )
        frames = {"ops.source_files": sources}
        findings += _check(lake, [*checked, contracts["ops.source_files"]], rows, frames, check)
    return findings


def check_marts(
    batch: Batch,
    made: Built,
    *,
    lake: Path,
    contracts: Mapping[str, Contract],
    thresholds: pl.DataFrame,
    check: Check,
) -> list[Finding]:
    """Check a batch's marts before readers see them; of message_trace, which is large, only new files."""
    old = [file for file in batch.files if file.table_name != "marts.message_trace"]
    table = "config.thresholds"
    checked = [contracts[table], *(contracts[table] for table in marts())]
    return _check(lake, checked, made.rows_after(old, batch.hosts), {table: thresholds}, check)


def doubts(
    lake: Path, rows: Rows, contracts: Mapping[str, Contract], zones: Mapping[str, str]
) -> list[Problem]:
    """Return problems with hosts' logs or settings that their new marts reveal.

    `rows` are those of these hosts, `zones` has the name of each one's time zone.
    """
    return [
        *witnesses_apart(lake, contracts["marts.restarts"], rows, zones),
        *mixed_hosts(lake, contracts, rows),
        *contradicted_settings(lake, contracts["staging.refuted_settings"], rows),
    ]


def _some_at_a_time(hosts: Iterable[str]) -> Iterator[list[str]]:
    """Yield hosts in name order, some at a time, because each file that DuckDB opens takes memory."""
    names = sorted(hosts)
    for start in range(0, len(names), BATCH_HOSTS):
        yield names[start : start + BATCH_HOSTS]


def _check(
    lake: Path,
    contracts: Iterable[Contract],
    rows: Rows,
    frames: Mapping[str, pl.DataFrame],
    check: Check,
) -> list[Finding]:
    """Check rows of the lake, and frames; `check` is given only the rules that these may break."""
    in_lake = [contract for contract in contracts if contract.table not in frames]

    def show(connection: duckdb.DuckDBPyConnection) -> None:
        create_views(connection, lake, contracts=in_lake, files=rows.paths, only=rows.only)
        create_tables(connection, frames)

    with TemporaryDirectory(prefix="maillag-") as folder:
        with open_database(Path(folder, "spill"), memory_limit=MEMORY_LIMIT) as connection:
            show(connection)
            suspected = [
                replace(contract, expectations=rules)
                for contract in contracts
                if (rules := _suspects(connection, contract))
            ]
        if not suspected:
            return []
        database = Path(folder, "check.duckdb")
        with create_database(database) as connection:
            show(connection)
        return check(database, suspected)


def _suspects(connection: duckdb.DuckDBPyConnection, contract: Contract) -> tuple[Mapping[str, Any], ...]:
    """Return the rules that rows may break: those that one query finds broken, and those not in it.

    If that query fails, these are all rules, so that the one that makes it fail is found.
    """
    rules = contract.expectations
    broken: Collection[int] = ()
    if query := screening_query(rules):
        try:
            broken = {
                position for (position,) in execute(connection, query.replace("{batch}", contract.table))
            }
        except duckdb.Error:
            broken = range(len(rules))
    return tuple(
        rule for position, rule in enumerate(rules) if position in broken or breaking_rows(rule) is None
    )


def rows_of_problems(problems: Iterable[Problem], stage: str, run_id: str) -> list[QuarantineRow]:
    """Return one row per place and rule; several problems there are combined."""
    together: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        if not problem.is_note:
            together.setdefault((problem.where, problem.rule), []).append(problem)
    return [
        QuarantineRow(
            place=place,
            stage=stage,
            rule=rule,
            severity=min(problem.severity for problem in same),
            what="; ".join(dict.fromkeys(problem.what for problem in same)),
            remedy=" ".join(dict.fromkeys(problem.remedy for problem in same)),
            row_count=None,
            example_rows=None,
            source_id=None,
            run_id=run_id,
        )
        for (place, rule), same in together.items()
    ]


def rows_of_sources(new_sources: list[NewSource], run_id: str) -> list[QuarantineRow]:
    """Return the problems of new source files as rows of the ledger."""
    return [
        replace(row, source_id=new.record.source_id)
        for new in new_sources
        for row in rows_of_problems(new.problems, "source", run_id)
    ]


def rows_of_contracts(broken: list[Finding], records: list[SourceRecord], run_id: str) -> list[QuarantineRow]:
    """Return the findings of new source files, or of the hosts' marts, as rows of the ledger."""
    files = Counter(record.path for record in records)
    paths = {
        record.source_id: record.path if files[record.path] == 1 else f"{record.path} ({record.host})"
        for record in records
    }
    rows = []
    for finding in broken:
        stage = "source" if finding.source_id else "marts"
        rows.append(
            QuarantineRow(
                place=paths[finding.source_id] if finding.source_id else finding.host or finding.table,
                stage=stage,
                rule=f"{finding.table}: {finding.rule}",
                severity=finding.severity,
                what=f"breaks a rule of {finding.table} in {finding.row_count} rows: "
                + finding.rule.rstrip("."),
                remedy=REMEDIES[stage, finding.severity == "critical"],
                row_count=finding.row_count,
                example_rows=finding.rows,
                source_id=finding.source_id,
                run_id=run_id,
            )
        )
    return rows
