"""Checks tables against contracts (expectations/*.yaml): which rows of which source break which rule."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb

from transforms.cores import thread_count
from transforms.problems import MaillagError
from transforms.worker import Worker, WorkerDiedError
from transforms.yaml_file import read_yaml

CONTRACT_FOLDER = Path(__file__).parents[2] / "expectations"
SEVERITIES = ("critical", "warning", "info")
# A finding names this many rows; the contract's query finds the others.
ROWS_SHOWN = 5


@dataclass(frozen=True)
class Column:
    """What a column holds: its DuckDB type, and its meaning with unit and what NULL means."""

    data_type: str
    description: str


@dataclass(frozen=True)
class Kept:
    """How a host's rows of a table are kept in the lake from night to night."""

    settled_by: tuple[str, ...] = ()
    """The columns that place a row in time; the first that is not NULL counts. A night carries over the rows
    before the host's first changed day. A column is a time, a date, or an id that contains the second
    (restart_id, trace_id). Without any, all rows are made again each time."""
    is_by_day: bool = False
    """A file has a host's rows of one UTC day, and `maillag compact` merges those of a month. Otherwise it
    has all rows of a host, since a query opens every file."""
    is_of_all_days: bool = False
    """The model reads the marts of all days, those that were carried over included."""

    @property
    def instant(self) -> str | None:
        """The instant of a row, as SQL; None without `settled_by`."""
        if not self.settled_by:
            return None
        instants = [instant_in(name) if name.endswith("_id") else name for name in self.settled_by]
        return instants[0] if len(instants) == 1 else f"coalesce({', '.join(instants)})"


def instant_in(column: str) -> str:
    """Return SQL for the instant in a restart_id or trace_id: the second of going down, or of arrival."""
    second = f"regexp_extract({column}, '-([0-9]{{8}}T[0-9]{{6}})Z(-[0-9]+)?$', 1)"
    return f"timezone('UTC', strptime({second}, '%Y%m%dT%H%M%S'))"


@dataclass(frozen=True)
class Contract:
    """What a table promises. `expectations` is in Great Expectations' own form: type, kwargs, severity.

    `kept` is None if no model builds the table.
    """

    table: str
    grain: str
    description: str
    columns: Mapping[str, Column]
    expectations: tuple[Mapping[str, Any], ...]
    kept: Kept | None = None

    @property
    def is_public(self) -> bool:
        """Whether the catalog shows the table; staging tables are only handed on to the next night."""
        return not self.table.startswith("staging.")

    @property
    def comment(self) -> str:
        """The catalog's comment on the table."""
        return " ".join(filter(None, (self.grain, self.description)))


@dataclass(frozen=True)
class Finding:
    """An expectation that rows of one host and source file break; both are None if the rows name none.

    `rows` shows a few of them, as JSON.
    """

    table: str
    rule: str
    severity: str
    host: str | None
    source_id: str | None
    row_count: int
    rows: str


# What check_here does, here or in another process.
Check = Callable[[Path, Iterable[Contract]], list[Finding]]


@cache
def load_contracts(folder: Path = CONTRACT_FOLDER) -> Mapping[str, Contract]:
    """Return all contracts by table name.

    A column's type and meaning come from fields.yaml, unless the table defines them itself. Raises
    MaillagError for a column without a meaning, or an unknown severity.
    """
    fields = _columns(read_yaml(folder / "fields.yaml"))
    contracts = {}
    for path in sorted(folder.glob("*.*.yaml")):
        document = read_yaml(path)
        meta = document["meta"]
        special = _columns(meta.get("fields", {}))
        columns = {}
        for name in meta["columns"]:
            column = special.get(name) or fields.get(name)
            if column is None:
                raise MaillagError(
                    f"expectations/{path.name}: column {name} has no meaning. Describe it in "
                    "fields.yaml, or under meta.fields if it is special to this table."
                )
            columns[name] = column
        for expectation in document.get("expectations", []):
            if expectation.get("severity") not in SEVERITIES:
                raise MaillagError(
                    f"expectations/{path.name}: {expectation['type']} needs a severity, one of "
                    f"{', '.join(SEVERITIES)}."
                )
        contracts[document["name"]] = Contract(
            table=document["name"],
            grain=meta["grain"],
            description=meta.get("description", ""),
            columns=columns,
            expectations=tuple(document.get("expectations", [])),
            kept=_kept(path, meta),
        )
    return contracts


@cache
def kept_tables() -> Mapping[str, Kept]:
    """Return how the tables that models build are kept in the lake: marts, and tables that are handed on."""
    return {table: contract.kept for table, contract in load_contracts().items() if contract.kept}


def _kept(path: Path, meta: Mapping[str, Any]) -> Kept | None:
    if "kept" not in meta:
        return None
    kept = dict(meta["kept"])
    settled_by = tuple(kept.pop("settled_by", ()))
    file_per, is_of_all_days = kept.pop("file_per", "host"), kept.pop("of_all_days", False)
    if kept or file_per not in ("host", "day") or set(settled_by) - set(meta["columns"]):
        raise MaillagError(
            f"expectations/{path.name}: meta.kept is not understood. It has settled_by (a list of columns), "
            "file_per (host or day) and of_all_days (true or false)."
        )
    return Kept(settled_by, file_per == "day", is_of_all_days)


def rule_in_words(expectation: Mapping[str, Any]) -> str:
    """Return what should be true: the expectation's description, else its kind in words.

    Raises MaillagError for an expectation that needs a description and has none.
    """
    words = expectation.get("description")
    if not words:
        if (say := IN_WORDS.get(expectation["type"])) is None:
            raise MaillagError(
                f"expectations: {expectation['type']} needs a description, one sentence that says what "
                "should be true."
            )
        words = say(expectation["kwargs"])
    return " ".join(words.split())


def _listed(names: list[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _bounds(kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    bounds = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    return f"`{kwargs['column']}` is {' and '.join(bounds)}."


# Expectations that need no description, because their arguments say it all. NULL violates only the first.
IN_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "expect_column_values_to_not_be_null": lambda kwargs: f"`{kwargs['column']}` is never NULL.",
    "expect_column_values_to_be_unique": lambda kwargs: f"`{kwargs['column']}` is unique.",
    "expect_column_values_to_be_in_set": lambda kwargs: (
        f"`{kwargs['column']}` is one of {_listed(kwargs['value_set'])}."
    ),
    "expect_column_values_to_be_between": _bounds,
    "expect_compound_columns_to_be_unique": lambda kwargs: (
        f"{_listed(kwargs['column_list'])} are unique together."
    ),
}


class Checker:
    """A process of its own that checks contracts: it imports Great Expectations, and may take much memory."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def __enter__(self) -> "Checker":
        return self

    def __exit__(self, *_: object) -> None:
        if self.worker:
            self.worker.close()

    def check(self, database: Path, contracts: Iterable[Contract]) -> list[Finding]:
        """Check tables of a DuckDB file, which nobody may have open for writing.

        If the process is killed, as for lack of memory, another one tries. Raises WorkerDiedError if that is
        killed, too.
        """
        # That process may be in another folder.
        arguments = (database.resolve(), tuple(contracts))
        try:
            return self._check(*arguments)
        except WorkerDiedError:
            return self._check(*arguments)

    def _check(self, database: Path, contracts: tuple[Contract, ...]) -> list[Finding]:
        if self.worker is None or self.worker.is_closed:
            self.worker = Worker()
        self.worker.begin(check_here, database, contracts, thread_count=thread_count())
        findings: list[Finding] = self.worker.receive()
        return findings


def check_here(database: Path, contracts: Iterable[Contract]) -> list[Finding]:
    """Check in this process, including the slow import of Great Expectations."""
    from transforms.contracts import validation  # takes 3 to 4 seconds: only where a rule may be broken

    by_table = {contract.table: contract for contract in contracts}
    with duckdb.connect(str(database), read_only=True) as connection:
        # For Great Expectations' connection to this file, too.
        connection.execute(f"set threads = {thread_count()}")
        failures = validation.find_failures(
            database,
            rules={table: contract.expectations for table, contract in by_table.items()},
            row_keys={table: _row_key(contract) for table, contract in by_table.items()},
        )
        return [
            finding
            for table, result in failures
            for finding in _findings(by_table[table], result, connection)
        ]


def _row_key(contract: Contract) -> list[str]:
    """Return the columns that identify a row: source file, else the table's first column, and host."""
    first = "source_id" if "source_id" in contract.columns else next(iter(contract.columns))
    return [first, *({"host"} & contract.columns.keys() - {first})]


def _findings(contract: Contract, result: Any, connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    config = result.expectation_config
    rule = rule_in_words({"type": config.type, "kwargs": config.kwargs, "description": config.description})
    query = result.result.get("unexpected_index_query") or config.kwargs.get("unexpected_rows_query")
    if query is None or not result.result:
        raise MaillagError(
            f"expectations/{contract.table}.yaml: '{rule}' could not be checked "
            f"({_first_exception(result.exception_info)}). Correct that rule."
        )
    broken = connection.sql(query.replace("{batch}", contract.table).rstrip("; \n"))
    host, source_id = (name if name in broken.columns else "null" for name in ("host", "source_id"))
    rows = connection.sql(
        f"""
        select
            {host} as place_host,
            {source_id} as place_source_id,
            count(*) over one_place as row_count,
            broken as shown
        from broken
        window one_place as (partition by place_host, place_source_id)
        qualify row_number() over one_place <= {ROWS_SHOWN}
        order by place_host, place_source_id
        """
    ).fetchall()
    for (place_host, place_source_id, count), same in groupby(rows, itemgetter(0, 1, 2)):
        yield Finding(
            table=contract.table,
            rule=rule,
            severity=config.severity.value,
            host=place_host,
            source_id=place_source_id,
            row_count=count,
            rows=json.dumps([shown for *_, shown in same], default=str, ensure_ascii=False),
        )


def _first_exception(info: Mapping[str, Any]) -> str:
    """Return the first line of an expectation's exception; `info` has it directly or for each metric."""
    raised = info if "exception_message" in info else next(iter(info.values()), {})
    return next(iter(str(raised.get("exception_message")).splitlines()), "")


def _columns(document: Mapping[str, Any]) -> dict[str, Column]:
    return {name: Column(field["type"], field["is"]) for name, field in document.items()}
