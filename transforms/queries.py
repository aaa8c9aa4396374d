"""Reads the SELECT of a table from sql/."""

from pathlib import Path

SQL_FOLDER = Path(__file__).parents[1] / "sql"


def read_query(table: str) -> str:
    """Return the SELECT of `<schema>.<name>`, which is in sql/<schema>/<name>.sql."""
    schema, name = table.split(".")
    return (SQL_FOLDER / schema / f"{name}.sql").read_text(encoding="utf-8")
