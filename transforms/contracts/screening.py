"""Turns the rules of a table into one query that names those which rows break, by their position."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

# What follows `where` is a condition on a row, unless a further clause such as `qualify` is part of it.
ROW_BY_ROW = re.compile(r"select \* from \{batch\}\s+where\s(.+)", re.DOTALL)


def screening_query(expectations: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a query whose column `rule` has the positions of the rules that rows of `{batch}` break.

    Rules about single rows share one scan. A rule whose kind has no query here is not in it; None if no rule
    is.
    """
    conditions, queries = {}, {}
    for position, expectation in enumerate(expectations):
        if (query := breaking_rows(expectation)) is None:
            continue
        if (condition := _condition(query)) is None:
            queries[position] = query
        else:
            conditions[position] = condition
    # Counted, without `exists` or `limit`: DuckDB 2.0 hangs where it may stop early in a query that joins a
    # common table expression twice.
    selects = [
        f"select {position} as rule from (\n{query}\n) as broken having count(*) > 0"
        for position, query in queries.items()
    ]
    if conditions:
        are_broken = ", ".join(f"bool_or(\n{condition}\n)" for condition in conditions.values())
        selects.append(
            f"select rule from (select unnest({[*conditions]}) as rule, unnest([{are_broken}]) as is_broken "
            "from {batch}) where is_broken"
        )
    return "\nunion all\n".join(selects) or None


def breaking_rows(expectation: Mapping[str, Any]) -> str | None:
    """Return a query for the rows of `{batch}`, or their keys, that break a rule; None for other kinds."""
    match expectation["type"], expectation["kwargs"]:
        case "unexpected_rows_expectation", {"unexpected_rows_query": str(query), **more} if not more:
            return query.rstrip("; \n")
        case "expect_column_values_to_be_unique", {"column": column, **more} if not more:
            return f'select "{column}" from {{batch}} group by "{column}" having count("{column}") > 1'
        case "expect_column_values_to_be_in_set", {"column": column, "value_set": values, **more} if not more:
            return f'select * from {{batch}} where "{column}" not in ({", ".join(map(_literal, values))})'
        case "expect_column_values_to_not_be_null", {"column": column, **more} if not more:
            return f'select * from {{batch}} where "{column}" is null'
    return None


def _literal(value: object) -> str:
    return str(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"


def _condition(query: str) -> str | None:
    """Return the condition of a query that does no more than select rows by it, else None."""
    if (found := ROW_BY_ROW.fullmatch(query)) is None:
        return None
    try:
        duckdb.extract_statements(f"select (\n{found[1]}\n)")
    except duckdb.ParserException:
        return None
    return found[1]
