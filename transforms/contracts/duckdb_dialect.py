"""A read-only SQLAlchemy dialect for DuckDB, with as much as Great Expectations needs.

duckdb-engine uses one DuckDB connection as its only cursor; Great Expectations reads results after it has
returned the connection, and by then the rows are gone. Here each cursor is a separate DuckDB cursor.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import duckdb
from sqlalchemy import Connection, pool
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import registry
from sqlalchemy.engine import URL
from sqlalchemy.engine.default import DefaultDialect

COLUMN_TYPES: dict[str, sqltypes.TypeEngine[Any]] = {
    "BOOLEAN": sqltypes.BOOLEAN(),
    "INTEGER": sqltypes.INTEGER(),
    "BIGINT": sqltypes.BIGINT(),
    "DOUBLE": sqltypes.DOUBLE(),
    "VARCHAR": sqltypes.VARCHAR(),
    "DATE": sqltypes.DATE(),
    "TIMESTAMP": sqltypes.TIMESTAMP(),
    "TIMESTAMP WITH TIME ZONE": sqltypes.TIMESTAMP(timezone=True),
}


class OtherType(sqltypes.UserDefinedType[Any]):
    """Any type that SQLAlchemy has no name for, such as a LIST."""

    cache_ok = True

    def __init__(self, name: str = "VARCHAR") -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


class DuckDBCursor:
    """A DB-API cursor over a separate DuckDB cursor."""

    rowcount = -1
    lastrowid = None
    arraysize = 1

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._cursor = connection.cursor()

    @property
    def description(self) -> Any:
        return self._cursor.description

    def execute(self, sql: str, parameters: Sequence[Any] | None = None) -> None:
        self._cursor.execute(sql, list(parameters) if parameters else None)

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchmany(self, size: int = 1) -> Any:
        return self._cursor.fetchmany(size)

    def fetchall(self) -> Any:
        return self._cursor.fetchall()

    def close(self) -> None:
        """Leave the cursor to its last result."""


class DuckDBConnection:
    """A DB-API connection; DuckDB commits each statement, and nothing here writes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def cursor(self) -> DuckDBCursor:
        return DuckDBCursor(self._connection)

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None:
        """Close the connection; the pool does so only when its engine is disposed."""
        self._connection.close()


class DBAPI:
    """The DB-API module that SQLAlchemy expects."""

    paramstyle = "qmark"
    apilevel = "2.0"
    threadsafety = 1
    Error = duckdb.Error
    Binary = bytes


class DuckDBDialect(DefaultDialect):
    """Reflects tables and views and runs SELECTs."""

    name = driver = "duckdb"
    default_paramstyle = "qmark"
    default_schema_name = "main"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_sane_rowcount = False
    # With it Great Expectations writes a regex as REGEXP_MATCHES(column, pattern), as DuckDB reads it.
    DremioDialect = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return DBAPI

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        return pool.StaticPool

    def create_connect_args(self, url: URL) -> tuple[list[str], dict[str, Any]]:
        return [], {"database": unquote(url.database or ":memory:")}

    def connect(self, *_: Any, **arguments: Any) -> Any:
        return DuckDBConnection(duckdb.connect(arguments["database"], read_only=True))

    def initialize(self, connection: Connection) -> None: ...

    def do_rollback(self, dbapi_connection: Any) -> None: ...

    def do_commit(self, dbapi_connection: Any) -> None: ...

    def get_schema_names(self, connection: Connection, **_: Any) -> list[str]:
        return _names(connection, "select distinct schema_name from duckdb_schemas()")

    def get_table_names(self, connection: Connection, schema: str | None = None, **_: Any) -> list[str]:
        sql = "select table_name from duckdb_tables() where schema_name = ?"
        return _names(connection, sql, schema or "main")

    def get_view_names(self, connection: Connection, schema: str | None = None, **_: Any) -> list[str]:
        sql = "select view_name from duckdb_views() where not internal and schema_name = ?"
        return _names(connection, sql, schema or "main")

    def has_table(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> bool:
        tables = self.get_table_names(connection, schema)
        return table_name in tables or table_name in self.get_view_names(connection, schema)

    def get_columns(
        self, connection: Connection, table_name: str, schema: str | None = None, **_: Any
    ) -> Any:
        sql = (
            "select column_name, data_type, is_nullable from duckdb_columns() "
            "where table_name = ? and schema_name = ? order by column_index"
        )
        rows = connection.exec_driver_sql(sql, (table_name, schema or "main"))
        return [
            {
                "name": name,
                "type": COLUMN_TYPES.get(data_type, OtherType(data_type)),
                "nullable": bool(is_nullable),
                "default": None,
            }
            for name, data_type, is_nullable in rows
        ]

    def get_pk_constraint(self, *_: Any, **__: Any) -> Any:
        return {"constrained_columns": [], "name": None}

    def get_foreign_keys(self, *_: Any, **__: Any) -> Any:
        return []

    def get_indexes(self, *_: Any, **__: Any) -> Any:
        return []

    def get_unique_constraints(self, *_: Any, **__: Any) -> Any:
        return []


def _names(connection: Connection, sql: str, *parameters: str) -> list[str]:
    return [row[0] for row in connection.exec_driver_sql(sql, parameters)]


def register() -> None:
    """Make `duckdb://` known to SQLAlchemy."""
    registry.register("duckdb", __name__, "DuckDBDialect")
