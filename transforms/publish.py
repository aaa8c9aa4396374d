"""Publishes the lake's tables in the catalog, and fingerprints everything that the marts are built from."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from transforms.contracts.contracts import Contract
from transforms.ingest.plan import PARSER_VERSION
from transforms.lake.catalog import publish
from transforms.lake.heal import frozen_days
from transforms.lake.ledger import Ledger
from transforms.marts.advice import load_advice
from transforms.marts.models import Model, settled_sql
from transforms.run import Job, close_run

# Tables of the ledger that are in the catalog, as ops.<name>.
PUBLISHED_OF_LEDGER = ("source_files", "runs", "quarantine")


def publish_lake(job: Job, ledger: Ledger, run_id: str, contracts: Mapping[str, Contract]) -> Path:
    """Put a new catalog in place; return its path."""
    # Only the publication itself can still fail, and it should show this run as done.
    close_run(ledger, run_id, "done")
    frozen = pl.DataFrame(
        [asdict(days) for days in frozen_days(ledger).values()], schema=Ledger.schema("frozen_days")
    )
    return publish(
        job.lake,
        files=ledger.lake_files(),
        frames={
            **{f"ops.{name}": ledger.table(name) for name in PUBLISHED_OF_LEDGER},
            "ops.frozen_days": frozen,
        },
        contracts=[contract for contract in contracts.values() if contract.is_public],
        run_id=run_id,
    )


def marts_fingerprint(
    job: Job, files: Mapping[str, list[str]], models: Iterable[Model], contracts: Mapping[str, Contract]
) -> str:
    """Return a fingerprint of all that the marts depend on: events, fleet, rules, SQL and contracts."""
    return _digest(
        {
            "files": {
                table: paths
                for table, paths in sorted(files.items())
                if table.startswith(("events.", "ops."))
            },
            "fleet": [
                hashlib.blake2b((job.lake / path).read_bytes()).hexdigest()
                for path in files.get("fleet.host_history", ())
            ],
            "rules": rules_fingerprint(job, models, contracts),
        }
    )


def rules_fingerprint(job: Job, models: Iterable[Model], contracts: Mapping[str, Contract]) -> str:
    """Return a fingerprint of all rules by which events become marts."""
    return _digest(
        {
            "parser": PARSER_VERSION,
            "log_rules": asdict(job.log_rules),
            "thresholds": asdict(job.thresholds),
            "advice": [asdict(advice) for advice in load_advice()],
            "models": {model.name: model.source for model in models},
            "sql": settled_sql(),
            "contracts": {name: asdict(contract) for name, contract in contracts.items()},
        }
    )


def _digest(inputs: Mapping[str, Any]) -> str:
    # The order of the models may differ from process to process.
    return hashlib.blake2b(json.dumps(inputs, sort_keys=True).encode(), digest_size=16).hexdigest()
