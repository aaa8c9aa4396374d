"""Reads the SELECT of a table, and the functions of the published catalog, from sql/."""

import re
from dataclasses import dataclass
from pathlib import Path

SQL_FOLDER = Path(__file__).parents[1] / "sql"
_FUNCTION = re.compile(
    r"^(?P<comment>(?:-- .*\n)+)create macro (?P<name>\w+)\((?P<parameters>[^)]*)\) as (?P<kind>table )?",
    re.MULTILINE,
)


@dataclass(frozen=True)
class CatalogFunction:
    """A function of the published catalog: what analysts call, and the text that explains it."""

    name: str
    parameters: str
    gives_rows: bool
    comment: str


def read_query(table: str) -> str:
    """Return the SELECT of `<schema>.<name>`, which is in sql/<schema>/<name>.sql."""
    schema, name = table.split(".")
    return (SQL_FOLDER / schema / f"{name}.sql").read_text(encoding="utf-8")


def read_catalog_sql() -> str:
    """Return the SQL that creates the functions of the published catalog."""
    return (SQL_FOLDER / "catalog.sql").read_text(encoding="utf-8")


def catalog_functions() -> list[CatalogFunction]:
    """Return the functions of the published catalog, in the order of their file."""
    return [
        CatalogFunction(
            function["name"],
            function["parameters"],
            function["kind"] is not None,
            " ".join(function["comment"].replace("-- ", "").split()),
        )
        for function in _FUNCTION.finditer(read_catalog_sql())
    ]
