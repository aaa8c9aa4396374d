"""Hosts with a forged mail through models or pipeline, and what differs from the sound hosts."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from tests.conftest import run_job
from tests.forgery.hosts import Forgery
from tests.oracle.compare import fetch_rows
from transforms.archive.files import discover
from transforms.contracts.contracts import Checker, load_contracts
from transforms.fleet.fleet import read_fleet
from transforms.fleet.history import host_history, latest_hosts
from transforms.ingest.plan import choose_zones, plan_reads
from transforms.ingest.read import read_sources
from transforms.lake.catalog import create_tables, create_views
from transforms.lake.ledger import Ledger
from transforms.log_rules import LogRules
from transforms.marts.build import config_tables
from transforms.marts.models import load_models, run_models
from transforms.run import Job
from transforms.thresholds import Thresholds

JUDGED = ("marts.restarts", "marts.held_messages")
IN_LAKE = [
    c for c in load_contracts().values() if c.table.startswith("events.") or c.table == "ops.line_counts"
]
# What tells one host from another.
OWN_COLUMNS = {"host", "restart_id", "source_id"}

Rows = dict[str, list[dict[str, Any]]]


def changes(forged: list[Forgery], folder: Path, checker: Checker | None = None) -> list[str]:
    """Run the bases and the forgeries as one archive; return what differs from the bases.

    With a checker that is the whole pipeline, contracts and publication included; else the models alone, over
    the events.
    """
    whole = {forgery.base.host: forgery.base for forgery in forged}
    every = [*forged, *(Forgery(base, host, base.maillog, "") for host, base in whole.items())]
    write_archive(every, folder / "archive")
    told, rows = made_by_pipeline(folder, checker) if checker else ([], made_by_models(folder))
    for forgery in forged:
        for by_host in rows:
            ours, theirs = (_plain(by_host.get(host, [])) for host in (forgery.host, forgery.base.host))
            if ours != theirs:
                told.append(f"{forgery.host}: {forgery.told}\n  {_difference(ours, theirs)}")
    return told


def write_archive(hosts: list[Forgery], archive: Path) -> None:
    """Write the logs of all hosts, and their fleet file."""
    fleet = []
    for forgery in hosts:
        folder = archive / forgery.host
        folder.mkdir(parents=True)
        text = "".join(line.format(host=forgery.host) + "\n" for line in forgery.lines)
        (folder / "maillog-20261124").write_text(text, encoding="utf-8")
        for name, other in forgery.base.others.items():
            (folder / name).write_text(other, encoding="utf-8")
        fleet.append(f'[hosts."{forgery.host}"]')
        fleet += [f"{key} = {json.dumps(value)}" for key, value in forgery.base.settings.items()]
    (archive / "fleet.toml").write_text("\n".join(fleet) + "\n", encoding="utf-8")


def made_by_pipeline(folder: Path, checker: Checker) -> tuple[list[str], list[Rows]]:
    """Return the critical findings of a run, and the rows of the restarts and of the mail they held."""
    run = run_job(Job(folder / "archive", folder / "lake"), checker)
    broken = [str(finding) for finding in run.findings if finding.severity == "critical"]
    return broken, [fetch_rows(folder / "lake", table) for table in JUDGED]


def made_by_models(folder: Path) -> list[Rows]:
    """Return the rows of the restarts and of the mail they held, by host, of the models in one database."""
    fleet = read_fleet(folder / "archive")
    sources = discover(folder / "archive", fleet).sources
    zones = choose_zones(fleet, sources, "UTC")
    ledger = Ledger("sqlite://")
    plan = plan_reads(sources, ledger, fleet=fleet, zones=zones, rules=LogRules())
    reads = read_sources(plan, folder / "lake", {}, run_id="forged", part="1")
    ledger.close()
    files: dict[str, list[str]] = {}
    for file in reads.files:
        files.setdefault(file.table_name, []).append(file.path)
    records = [asdict(new.record) for new in reads.new_sources]
    history = host_history(fleet, zones)
    with duckdb.connect(config={"preserve_insertion_order": "false"}) as connection:
        connection.execute("set timezone = 'UTC'")
        create_views(connection, folder / "lake", contracts=IN_LAKE, files=files)
        create_tables(
            connection,
            {
                "fleet.host_history": history,
                "fleet.hosts": latest_hosts(history),
                "ops.source_files": pl.DataFrame(records, schema=Ledger.schema("source_files")),
                **config_tables(Thresholds()),
            },
        )
        run_models(connection, load_models())
        made = []
        for table in JUDGED:
            by_host: Rows = {}
            for row in connection.sql(f"from {table}").pl().iter_rows(named=True):
                by_host.setdefault(row["host"], []).append(row)
            made.append(by_host)
        return made


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plain = [{name: value for name, value in row.items() if name not in OWN_COLUMNS} for row in rows]
    return sorted(plain, key=str)


def _difference(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    if len(ours) != len(theirs):
        return f"{len(ours)} rows instead of {len(theirs)}"
    return ", ".join(
        f"{name} {row[name]} instead of {other[name]}"
        for row, other in zip(ours, theirs, strict=True)
        for name in row
        if row[name] != other[name]
    )
