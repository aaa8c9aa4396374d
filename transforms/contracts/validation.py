"""Finds the rules that rows of tables break, with Great Expectations, whose import takes 3 to 4 seconds."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import great_expectations as gx

from transforms.contracts import duckdb_dialect

duckdb_dialect.register()

Expectations = Sequence[Mapping[str, Any]]


def find_failures(
    database: Path, rules: Mapping[str, Expectations], row_keys: Mapping[str, list[str]]
) -> Iterator[tuple[str, Any]]:
    """Yield table and validation result of each rule that rows break, or that could not be checked.

    `rules` and `row_keys` have the rules of each table, and the columns that identify its rows. A result has
    the query for the rows that break the rule.
    """
    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    source = context.data_sources.add_sql(
        "lake",
        connection_string=f"duckdb:///{quote(str(database))}",
        create_temp_table=False,
        # All at once, because the context is written out with each addition.
        assets=[_asset(table) for table in rules],
    )
    try:
        for table, expectations in rules.items():
            asset = source.get_asset(table)
            batch = asset.get_batch(asset.build_batch_request())
            suite = gx.ExpectationSuite(name=table, expectations=[*map(dict, expectations)])
            for result in batch.validate(suite, result_format=_result_format(row_keys[table])).results:
                if not result.success:
                    yield table, result
    finally:
        source.get_engine().dispose()


def _asset(table: str) -> dict[str, str]:
    """Describe a table asset: a query asset would run its query four times to learn the columns."""
    schema, name = table.split(".")
    return {"type": "table", "name": table, "schema_name": schema, "table_name": name}


def _result_format(row_key: list[str]) -> dict[str, Any]:
    """Request the query for the rows that break a rule, not the rows themselves."""
    return {
        "result_format": "COMPLETE",
        "exclude_unexpected_values": True,
        "unexpected_index_column_names": row_key,
    }
