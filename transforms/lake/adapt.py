"""Rewrites lake files that another version of maillag wrote, with the columns of this version's contracts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import duckdb

from transforms.contracts.contracts import load_contracts
from transforms.lake.catalog import literal, literally
from transforms.lake.files import ROW_GROUP_ROWS, path_of_rewritten
from transforms.lake.ledger import Ledger
from transforms.lake.records import LakeFile
from transforms.problems import Problem


def adapt(lake: Path, ledger: Ledger, run_id: str) -> list[Problem]:
    """Rewrite the files whose columns are not those of their table's contract; return a note for each table.

    A new column is NULL until its rows are made again: those of events when their source file is read again,
    those of marts by the models, except for frozen days. Files that cannot be read are left to `heal`. The
    cost is that of reading one ledger table, unless a contract has changed.
    """
    wanted = {
        table: {name: column.data_type for name, column in contract.columns.items()}
        for table, contract in load_contracts().items()
    }
    in_words = {
        table: ", ".join(f"{name} {data_type}" for name, data_type in columns.items())
        for table, columns in wanted.items()
    }
    known = ledger.table_columns()
    changed = {table for table, text in in_words.items() if known.get(table) != text}
    if not changed:
        return []
    replaced, rewritten = [], []
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'UTC'")
        for file in ledger.files():
            if file.table_name not in changed:
                continue
            columns = _columns_of(connection, lake / file.path)
            if columns and columns != wanted[file.table_name]:
                replaced.append(file)
                rewritten.append(_rewrite(connection, lake, file, columns, wanted[file.table_name], run_id))
    ledger.take_columns(in_words, replaced=replaced, files=rewritten)
    return [
        Problem(
            table,
            f"another version of maillag wrote {count} of its files, with other columns; they were rewritten",
            "Nothing needs to be done here. New columns are NULL for source files that have left the archive "
            "and for days whose events have expired.",
            is_note=True,
        )
        for table, count in Counter(file.table_name for file in replaced).items()
    ]


def _columns_of(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """Return a file's columns with their DuckDB types, in order; none if it cannot be read."""
    try:
        rows = connection.execute(
            "describe select * from read_parquet(?, hive_partitioning = false)", [literally(path)]
        ).fetchall()
    except duckdb.Error:
        return {}
    return {name: data_type for name, data_type, *_ in rows}


def _rewrite(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    file: LakeFile,
    columns: Mapping[str, str],
    wanted: Mapping[str, str],
    run_id: str,
) -> LakeFile:
    """Write a file's rows under a new name with the wanted columns; the file stays as it is."""
    path = path_of_rewritten(file, run_id)
    selected = ", ".join(_selected(name, columns.get(name), data_type) for name, data_type in wanted.items())
    source, target = literal(literally(lake / file.path)), literal(str(lake / path))
    connection.execute(
        f"copy (select {selected} from read_parquet({source}, hive_partitioning = false)) to {target} "
        f"(format parquet, compression zstd, compression_level 1, row_group_size {ROW_GROUP_ROWS})"
    )
    return replace(file, path=path, run_id=run_id, content=None)


def _selected(name: str, known_type: str | None, wanted_type: str) -> str:
    if known_type == wanted_type:
        return f'"{name}"'
    # Through text, because not every type can be cast to every other one.
    value = f'cast("{name}" as varchar)' if known_type else "null"
    return f'try_cast({value} as {wanted_type}) as "{name}"'
