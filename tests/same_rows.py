"""Two versions of maillag to the tables in which their lakes differ, for a change that should change no row.

`python -m tests.same_rows COMMIT [ARCHIVE ...]` reads each archive, by default the sample and all recordings,
with the working tree and with that commit, and compares all tables but findings and runs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from transforms.lake.catalog import CATALOG_NAME, literal

PROJECT = Path(__file__).parents[1]
ARCHIVES = (
    "data/sample",
    "tests/archives/rig",
    "tests/archives/rig-troubles",
    "tests/archives/sendmail",
    "tests/archives/log_server",
    "tests/archives/verdicts",
)
SCHEMAS = ("config", "events", "fleet", "marts", "ops")
# Findings are words, and runs have times of their own.
OTHER_TABLES = frozenset({"ops.quarantine", "ops.runs"})
OTHER_COLUMNS = frozenset({"run_id"})
RUN = "import sys; from flows.cli import main; sys.argv[0] = 'maillag'; main()"


def differences(catalog: Path, other: Path, *, but_of: str = "") -> Iterator[str]:
    """Yield a line for each table whose columns or rows differ between two catalogs, but for one host's."""
    with duckdb.connect(":memory:") as connection:
        for name, path in (("one", catalog), ("two", other)):
            connection.execute(f"attach {literal(str(path))} as {name} (read_only)")
        one, two = (_columns(connection, name) for name in ("one", "two"))
        for table in sorted(one.keys() | two.keys()):
            if one.get(table) != two.get(table):
                yield f"{table}: has columns {two.get(table)}, and had {one.get(table)}"
                continue
            # Sums of parts of seconds depend on the order in which threads add them.
            columns = ", ".join(
                f'round("{column}", 3)' if kind == "DOUBLE" else f'"{column}"'
                for column, kind in one[table].items()
            )
            others = f"where host is distinct from '{but_of}'" if "host" in one[table] else ""
            rows = {name: f"select {columns} from {name}.{table} {others}" for name in ("one", "two")}
            for there, missing in (("one", "two"), ("two", "one")):
                query = f"select count(*) from ({rows[there]} except all {rows[missing]})"
                ((count,),) = connection.execute(query).fetchall()
                if count:
                    yield f"{table}: {count} rows only {'before' if there == 'one' else 'now'}"


def _columns(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, dict[str, str]]:
    """Return the columns that are compared and their types, by table."""
    rows = connection.execute(
        "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns() "
        "where database_name = $catalog and list_contains($schemas, schema_name) order by column_index",
        {"catalog": catalog, "schemas": list(SCHEMAS)},
    ).fetchall()
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        if table not in OTHER_TABLES and column not in OTHER_COLUMNS:
            columns.setdefault(table, {})[column] = kind
    return columns


def read(tree: Path, archive: Path, lake: Path) -> None:
    """Read an archive with the maillag of a tree. Raises CalledProcessError if that fails."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN, "run", archive, "--lake", lake],
        cwd=lake.parent,
        env=os.environ | {"PYTHONPATH": str(tree)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if not (lake / CATALOG_NAME).is_file():
        raise SystemExit(f"{tree}: {archive} could not be read\n{ran.stderr}")


def main() -> int:
    """Print the differences; return 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.same_rows", description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("archives", nargs="*", default=ARCHIVES, metavar="ARCHIVE")
    arguments = parser.parse_args()
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder, "before")
        git = ["git", "-C", str(PROJECT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", before, arguments.commit], check=True)
        try:
            for number, archive in enumerate(arguments.archives):
                lakes = [Path(folder, f"{number}.{side}") for side in ("before", "now")]
                for tree, lake in zip((before, PROJECT), lakes, strict=True):
                    read(tree, (PROJECT / archive).resolve(), lake)
                lines = list(differences(*(lake / CATALOG_NAME for lake in lakes)))
                found += len(lines)
                print(f"{archive}: {'; '.join(lines) or 'same rows'}", flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", before], check=True)
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
