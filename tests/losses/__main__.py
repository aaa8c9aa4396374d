"""The long form: many variants, a table of what became of their restarts, and every failure.

`python -m tests.losses [--variants N] [--seed S] [--kinds KIND ...] [--only SOURCE ...] [--write FILE]`
`python -m tests.losses show SOURCE KIND [NAME=VALUE ...] --out DIR` writes the archive of one variant, beside
the whole log, for `maillag run DIR` and `maillag explain`.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.losses.compare import Outcome, compare, compare_with_truth
from tests.losses.kinds import KINDS
from tests.losses.recordings import find_source, read_sources
from tests.losses.report import render_document, render_failures, render_reasons, render_table, tally
from tests.losses.variants import (
    Told,
    Variant,
    Whole,
    draw_variants,
    judge_sources,
    judge_variants,
    whole_history,
)
from tests.oracle.history import write_archive

COUNT = 20_000
WHOLE = "none: whole logs, beside what is known to be true"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.losses", description=__doc__)
    parser.add_argument("--variants", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--only", nargs="+", metavar="SOURCE", help="such as rig/imsva21 or sample")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table as a document")
    commands = parser.add_subparsers(dest="command")
    shown = commands.add_parser("show", help="write the archive of one variant")
    shown.add_argument("source")
    shown.add_argument("kind", choices=list(KINDS))
    shown.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    shown.add_argument("--out", type=Path, required=True)
    told = parser.parse_args(arguments)
    if told.command == "show":
        return show(told.source, told.kind, told.parameters, told.out)
    return run(told.variants, told.seed, told.kinds, told.only, told.write)


def run(
    count: int, seed: int, kinds: Sequence[str], only: Sequence[str] | None, document: Path | None
) -> int:
    """Judge many variants and print what became of them."""
    began_at = time.monotonic()
    sources = [
        source
        for source in read_sources()
        if not only or any(f"{source.name}/".startswith(f"{name}/") for name in only)
    ]
    with tempfile.TemporaryDirectory() as folder:
        wholes = judge_sources(sources, Path(folder, "losses"))
        variants = draw_variants(wholes, count, seed, kinds)
        found: dict[str, dict[str, list[Outcome]]] = {
            WHOLE: {whole.source.name: compare_with_truth(whole) for whole in wholes},
            **{name: {} for name in KINDS if name in kinds},
        }
        for number, (variant, told) in enumerate(judge_variants(variants, Path(folder, "losses")), start=1):
            found[variant.kind.name][str(variant)] = compare(variant, told)
            if number % 100 == 0 or number == len(variants):
                seconds = time.monotonic() - began_at
                print(f"{number:,} of {len(variants):,} variants, {seconds:.0f} s", file=sys.stderr)
    failures = [
        outcome
        for its in found.values()
        for outcomes in its.values()
        for outcome in outcomes
        if outcome.is_failure
    ]
    tallies = {name: tally(its) for name, its in found.items()}
    tables = f"{render_table(tallies)}\n\n{render_reasons(tallies)}"
    print(f"{render_failures(failures)}\n\n{tables}")
    if document:
        command = f"python -m tests.losses --variants {count} --seed {seed}"
        counted = f"{len(variants):,} variants of {len(sources)} recorded logs"
        document.write_text(render_document(tables, command, counted, datetime.now(UTC).date()), "utf-8")
    return 1 if failures else 0


def show(name: str, kind: str, parameters: Sequence[str], folder: Path) -> int:
    """Write the archive of one variant beside the whole log's."""
    source = find_source(name)
    values = dict(parameter.split("=", 1) for parameter in parameters)
    variant = Variant(
        Whole(source, Told()), KINDS[kind], {key: _value(value) for key, value in values.items()}
    )
    write_archive([whole_history(source, "whole"), variant.history("variant")], folder)
    print(f"{folder}: hosts whole and variant. Next: maillag run {folder}")
    return 0


def _value(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


if __name__ == "__main__":
    sys.exit(main())
