"""Finds the rules that rows of tables break, with Great Expectations, whose import takes 3 to 4 seconds."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import great_expectations as gx
from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation

from transforms.contracts import duckdb_dialect
from transforms.contracts.screening import breaking_rows, screening_query

duckdb_dialect.register()

Expectations = Sequence[Mapping[str, Any]]


class NoRuleIsBroken(UnexpectedRowsExpectation):
    """The query finds no broken rule. It runs once: no second query counts what the first one found."""

    metric_dependencies = ("unexpected_rows_query.table",)

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        broken = metrics["unexpected_rows_query.table"]
        return {"success": not broken, "result": {"observed_value": [row["rule"] for row in broken]}}


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
            suite = gx.ExpectationSuite(name=table, expectations=_suspects(batch, expectations))
            if suite.expectations:
                for result in batch.validate(suite, result_format=_result_format(row_keys[table])).results:
                    if not result.success:
                        yield table, result
    finally:
        source.get_engine().dispose()


def _asset(table: str) -> dict[str, str]:
    """Describe a table asset: a query asset would run its query four times to learn the columns."""
    schema, name = table.split(".")
    return {"type": "table", "name": table, "schema_name": schema, "table_name": name}


def _suspects(batch: Any, expectations: Expectations) -> list[dict[str, Any]]:
    """Return the rules to validate one by one: those found broken by one query for all, or not in it.

    If that query fails, these are all rules, so that the one that makes it fail is found.
    """
    suspects = {position for position, rule in enumerate(expectations) if breaking_rows(rule) is None}
    if query := screening_query(expectations):
        screened = batch.validate(NoRuleIsBroken(unexpected_rows_query=query))
        if not screened.success:
            suspects.update(screened.result.get("observed_value", range(len(expectations))))
    return [dict(expectations[position]) for position in sorted(suspects)]


def _result_format(row_key: list[str]) -> dict[str, Any]:
    """Request the query for the rows that break a rule, not the rows themselves."""
    return {
        "result_format": "COMPLETE",
        "exclude_unexpected_values": True,
        "unexpected_index_column_names": row_key,
    }
