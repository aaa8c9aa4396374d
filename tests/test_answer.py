"""What the command line makes of rows: tables and records for people, JSON and CSV for machines."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

from flows.answer import problem_lines, show_counts, show_restarts, show_rows, verdict_in_words
from flows.catalog import (
    EVERYTHING,
    RESTARTS,
    SHOWN_RESTARTS,
    Row,
    check_hosts,
    count_rows,
    fetch,
    open_catalog,
)
from flows.machine import write_csv, write_json, write_records
from flows.sandbox import Sandbox
from flows.tables import Column, show_table, show_text
from transforms.problems import MaillagError


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("set timezone = 'UTC'")
        yield opened


@pytest.fixture
def sandbox(connection: duckdb.DuckDBPyConnection) -> Sandbox:
    return Sandbox(connection, timeout_seconds=0, memory_mib=1024)


def printed_records(columns: list[str], rows: Iterable[tuple[Any, ...]]) -> str:
    stream = io.StringIO()
    write_records(columns, rows, stream)
    return stream.getvalue()


def printed_json(document: Any) -> str:
    stream = io.StringIO()
    write_json(document, stream)
    return stream.getvalue()


def printed_csv(columns: list[str], rows: list[tuple[Any, ...]]) -> str:
    stream = io.StringIO()
    write_csv(columns, rows, stream)
    return stream.getvalue()


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width)


def printed(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("1.5", 1.5),
        ("0.1", 0.1),
        ("12345678901234567890123456789.123", "12345678901234567890123456789.123"),
        ("interval '1 day 3 hours'", 97200.0),
        ("'ab'::blob", "6162"),
        ("'5c1f0d45-6995-46c8-addd-d422f8c835c7'::uuid", "5c1f0d45-6995-46c8-addd-d422f8c835c7"),
        ("time '10:00'", "10:00:00"),
        ("date '2026-11-24'", "2026-11-24"),
        ("timestamptz '2026-11-24 10:00:00+09'", "2026-11-24T01:00:00Z"),
        ("timestamp '2026-11-24 10:00:00'", "2026-11-24T10:00:00"),
        ("'nan'::double", None),
        ("'-infinity'::double", None),
        ("null", None),
        ("true", True),
        ("[1.5, 'nan'::double]", [1.5, None]),
        ("map([1], [interval '1 minute'])", {"1": 60.0}),
        ("{'a': {'b': date '2026-11-24'}}", {"a": {"b": "2026-11-24"}}),
    ],
)
def test_json_holds_a_value_of_every_type(sql: str, value: Any, sandbox: Sandbox) -> None:
    assert json.loads(printed_records(*sandbox.select(f"select {sql} as it"))) == [{"it": value}]


def test_columns_of_the_same_name_keep_their_values_and_json_refuses_them(sandbox: Sandbox) -> None:
    columns, rows = sandbox.select("select 1 as a, 2 as b, 3 as a")
    (row,) = rows
    assert printed_csv(columns, [row]) == "a,b,a\n1,2,3\n"
    console = terminal(80)
    show_rows(console, columns, [row])
    assert printed(console) == ["a  b  a", "1  2  3"]
    with pytest.raises(MaillagError, match="two columns are called a"):
        printed_records(columns, [row])


@pytest.mark.parametrize("rows", [[], [(1, "x")], [(1, "x\x7f"), (2, None)]])
def test_records_are_the_json_of_the_whole_list(rows: list[tuple[Any, ...]]) -> None:
    printed = printed_records(["a", "b"], rows)
    assert printed == printed_json([dict(zip("ab", row, strict=True)) for row in rows])
    assert printed.isascii()
    assert "\x7f" not in printed


def test_what_python_cannot_hold_is_an_error_of_the_query(sandbox: Sandbox) -> None:
    with pytest.raises(MaillagError, match="query: "):
        sandbox.select("select interval '10000000 years'")


def test_csv_holds_lists_as_json_lines_as_lines_and_no_control_character() -> None:
    text = printed_csv(["it"], [(["a", "b"],), ("one\n\ttwo",), ("\x1b[31m\r",), (True,), (None,)])
    assert text == 'it\n"[""a"", ""b""]"\n"one\n\ttwo"\n\\x1b[31m\\r\ntrue\n""\n'
    assert [row for row, *_ in list(csv.reader(io.StringIO(text)))[1:3]] == ['["a", "b"]', "one\n\ttwo"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum(a1)", "\t=1"])
def test_a_text_in_csv_is_no_formula(text: str) -> None:
    assert printed_csv(["it"], [(text,)]) == f"it\n'{text}\n"


def test_a_number_below_zero_is_no_text() -> None:
    assert printed_csv(["it"], [(-5,), (-0.5,)]) == "it\n-5\n-0.5\n"


def test_prose_is_folded_between_words_and_all_else_whole() -> None:
    console = terminal(36)
    columns = (Column("an id"), Column("what to do", is_prose=True), Column("held mail", is_right=True))
    show_table(console, columns, [("gw1-20261124T100000Z", "flush the queue", "1,234")])
    assert printed(console) == [
        "an id                 what to   held",
        "                      do        mail",
        "gw1-20261124T100000Z  flush    1,234",
        "                      the",
        "                      queue",
    ]


def test_a_table_that_is_too_wide_leaves_out_its_spare_columns_and_names_them() -> None:
    columns = (Column("a"), Column("b", is_spare=True), Column("c"), Column("d", is_spare=True))
    rows = [("12345", "12345", "12345", "12345")]
    for width, shown, left_out in [
        (26, ["a      b      c      d", "12345  12345  12345  12345"], []),
        (25, ["a      b      c", "12345  12345  12345"], ["Left out for lack of", "room: d."]),
        (18, ["a      c", "12345  12345"], ["Left out for lack", "of room: b, d."]),
    ]:
        console = terminal(width)
        show_table(console, columns, rows)
        assert printed(console) == shown + left_out
    console = terminal(11)
    show_table(console, columns, rows)
    assert printed(console) == [f"{name}  12345" for name in "abcd"], "nothing is left out of records"


def test_wide_text_is_folded_anywhere_but_before_a_closing_mark() -> None:
    console = terminal(14)
    show_table(console, (Column("判定", is_prose=True),), [("ログが、途中で終わっている (log_end)",)])
    assert printed(console) == ["判定", "ログが、途中で", "終わっている", "(log_end)"]


def test_what_fits_no_terminal_comes_as_records() -> None:
    console = terminal(30)
    columns = (Column("restart"), Column("flush", is_prose=True), Column("held", is_right=True))
    rows = [("gw1-20261124T100000Z", "not flushed at any time", "12"), ("gw2-20261124T100000Z", "", "3")]
    show_table(console, columns, rows)
    assert printed(console) == [
        "restart  gw1-20261124T100000Z",
        "flush    not flushed at any",
        "         time",
        "held     12",
        "",
        "restart  gw2-20261124T100000Z",
        "flush",
        "held     3",
    ]


def test_wide_characters_take_two_columns() -> None:
    console = terminal(80)
    show_table(console, (Column("a"), Column("b")), [("日本", "x"), ("abc", "y")])
    assert printed(console) == ["a     b", "日本  x", "abc   y"]


@pytest.mark.parametrize(
    ("hosts", "named"), [(5, "gw0, gw1, gw2, gw3, gw4."), (7, "gw0, gw1, gw2, gw3, gw4 and 2 more.")]
)
def test_of_many_hosts_a_few_are_named(hosts: int, named: str, connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create schema fleet")
    connection.execute(f"create table fleet.hosts as select 'gw' || range as host from range({hosts})")
    check_hosts(connection, ["gw0", "gw4"])
    with pytest.raises(MaillagError) as error:
        check_hosts(connection, ["gw0", "mx"])
    assert str(error.value) == f"mx: is no host of this lake. Its hosts: {named}"
    with pytest.raises(MaillagError, match=r"wg4: is no host of this lake\. Did you mean gw4\?"):
        check_hosts(connection, ["wg4"])


def problem(place: str, *, what: str = "has no zone", severity: str = "warning") -> Row:
    return {"severity": severity, "place": place, "rule": "a rule", "what": what, "remedy": "Write it."}


def test_hosts_with_the_very_same_problem_share_a_line_that_names_the_first_few() -> None:
    hosts = [f"gw{number:05}" for number in range(1000)]
    problems = [
        problem("gw1", severity="critical"),
        *map(problem, hosts),
        problem("gw1", what="is no mailer"),
    ]
    assert list(problem_lines(problems)) == [
        "critical: gw1: has no zone. Write it.",
        "warning: gw00000, gw00001, gw00002 and 997 more hosts: has no zone. Write it.",
        "warning: gw1: is no mailer. Write it.",
    ]


@pytest.mark.parametrize(
    ("count", "named"),
    [
        (1, "gw0"),
        (3, "gw0, gw1, gw2"),
        (4, "gw0, gw1, gw2 and 1 more host"),
    ],
)
def test_all_hosts_are_named_if_they_are_few(count: int, named: str) -> None:
    (line,) = problem_lines(problem(f"gw{number}") for number in range(count))
    assert line == f"warning: {named}: has no zone. Write it."


def test_each_file_with_a_problem_has_a_line() -> None:
    files = ["gw1/maillog", "gw2/maillog"]
    assert [line.split(":")[1] for line in problem_lines(map(problem, files))] == [
        f" {file}" for file in files
    ]


def test_a_line_about_a_problem_holds_no_address_and_no_control_character() -> None:
    (line,) = problem_lines([problem("gw\x1b1", what="a@example.com is no host")])
    assert line == r"warning: gw\x1b1: (address) is no host. Write it."


@pytest.mark.parametrize(
    ("observed_at", "words"),
    [(None, "Flushed without effect"), (datetime(2026, 11, 24, tzinfo=UTC), "Flushed incompletely")],
)
def test_a_flush_that_was_seen_had_some_effect(observed_at: datetime | None, words: str) -> None:
    assert verdict_in_words({"flush_verdict": "ineffective", "flush_observed_at": observed_at}) == words


def test_the_newest_restarts_are_shown_the_newest_last_and_that_there_are_more(sample_lake: Path) -> None:
    with open_catalog(sample_lake) as catalog:
        every = fetch(catalog, RESTARTS, EVERYTHING)
        newest = fetch(catalog, SHOWN_RESTARTS, EVERYTHING | {"newest": 2})
        count = count_rows(catalog, RESTARTS, EVERYTHING)
    assert [row["restart_id"] for row in newest] == [row["restart_id"] for row in every[-2:]]
    zones = {row["host"]: "Asia/Tokyo" for row in every}
    console = terminal(200)
    show_restarts(console, newest, zones, of_count=count)
    *_, older, newer, _, more = printed(console)
    assert older.startswith(every[-2]["restart_id"])
    assert newer.startswith(every[-1]["restart_id"])
    assert (
        more == f"Only the newest 2 of {len(every)} are shown. For the others: maillag restarts [--since DAY]"
    )
    console = terminal(200)
    show_restarts(console, every, zones, of_count=count)
    assert "Only the newest" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_counts_name_the_reasons_of_unparsed_lines_and_say_what_those_prove() -> None:
    counts = {
        "host_count": 1,
        "source_file_count": 2,
        "line_count": 1_808,
        "unparsed_line_count": 3,
        "quarantined_file_count": 0,
        "damaged_file_count": 0,
        "new_file_count": 2,
        "new_line_count": 1_808,
        "ignored_file_count": 0,
        "hosts_without_logs": [],
        "unparsed_reasons": [
            {"reason": "ambiguous", "line_count": 2},
            {"reason": "no_pattern", "line_count": 1},
        ],
    }
    console = terminal(400)
    show_counts(console, counts, Path("lake/maillag.duckdb"))
    text = "\n".join(printed(console))
    assert (
        "1,808 lines: 3 unparsed (2 that can be read in two ways, 1 of no known pattern), 0 files kept out"
        in text
    )
    assert "prove nothing. Look at them with: maillag status" in text
    counts["unparsed_reasons"] = [{"reason": "no_pattern", "line_count": 3}]
    console = terminal(400)
    show_counts(console, counts, Path("lake/maillag.duckdb"))
    assert "prove nothing" not in "\n".join(printed(console))


def test_text_is_folded_between_words_and_no_path_is_cut() -> None:
    console = terminal(12)
    show_text(console, "critical: gw1/maillog-20261124.gz: is damaged")
    assert printed(console) == ["critical:", "gw1/maillog-20261124.gz:", "is damaged"]
