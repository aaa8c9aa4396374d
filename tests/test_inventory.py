"""Inventory files to rows, and rows to the history of a host's settings.

inventory/<tool>.yaml holds lines with the rows that they become, as line, setting and value, and the
numbers of those that are noise or unparsed. inventory/history.yaml holds fleets with such files.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from transforms.fleet.fleet import Fleet, Host, read_fleet
from transforms.fleet.history import host_history, inventory_problems
from transforms.fleet.host_settings import SETTING_NAMES, HostSettings
from transforms.fleet.inventory_settings import inventory_settings
from transforms.parse.inventory import (
    INVENTORY,
    INVENTORY_NAMES,
    LINE_FORMS,
    LINE_FRAMES,
    NOISE,
    UNPARSED,
    inventory_file,
    parse_inventory,
)
from transforms.problems import MaillagError
from transforms.zone import Zone

FOLDER = Path(__file__).parent / "inventory"
ROWS = pl.Schema(
    {
        "host": pl.String(),
        "tool": pl.String(),
        "setting": pl.String(),
        "value": pl.String(),
        "logged_at": pl.Datetime("us", "UTC"),
        "path": pl.String(),
        "line_number": pl.Int64(),
    }
)


@dataclass(frozen=True)
class LinesCase:
    """Lines of a tool, and what becomes of each."""

    tool: str
    name: str
    lines: str
    rows: list[list[Any]] = field(default_factory=list)
    noise: list[int] = field(default_factory=list)
    unparsed: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.tool}: {self.name}"


@dataclass(frozen=True)
class HistoryCase:
    """A fleet file and inventory files, with the spans and problems that they make."""

    name: str
    fleet: str
    history: dict[str, list[dict[str, Any]]]
    files: dict[str, str] = field(default_factory=dict)
    imss_ini_keys: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return self.name


def cases(name: str) -> list[dict[str, Any]]:
    """Return the cases of a file."""
    loaded: list[dict[str, Any]] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


LINES_CASES = [LinesCase(tool, **case) for tool in INVENTORY_NAMES for case in cases(tool)]
HISTORY_CASES = [HistoryCase(**case) for case in cases("history")]


@pytest.mark.parametrize("case", LINES_CASES, ids=str)
def test_lines_become_these_rows(case: LinesCase) -> None:
    frames = parse_inventory(case.tool, numbered(case.lines))
    assert {name: frame.schema for name, frame in frames.items()} == LINE_FRAMES
    assert [list(row) for row in frames[INVENTORY].rows()] == case.rows
    assert frames[NOISE]["line_number"].to_list() == case.noise
    texts = dict(numbered(case.lines).iter_rows())
    assert frames[UNPARSED].rows() == [(number, texts[number], "no_pattern") for number in case.unparsed]


@pytest.mark.parametrize("tool", LINE_FORMS)
def test_form_takes_a_line_that_no_earlier_one_took(tool: str) -> None:
    lines = [line for case in LINES_CASES if case.tool == tool for line in case.lines.splitlines()]
    for position, (pattern, _) in enumerate(LINE_FORMS[tool]):
        earlier = [form for form, _ in LINE_FORMS[tool][:position]]
        taken = [line for line in lines if pattern.fullmatch(line)]
        assert any(not any(form.fullmatch(line) for form in earlier) for line in taken), pattern


@given(
    st.sampled_from(sorted(INVENTORY_NAMES)),
    st.lists(
        st.one_of(
            st.sampled_from([line for case in LINES_CASES for line in case.lines.splitlines()]),
            st.text(st.sampled_from("aB1 \t=#$[]{}-o/;.@>\x0b\u3000é"), max_size=20),
        ),
        max_size=20,
    ),
)
def test_every_line_comes_out_exactly_once(tool: str, lines: list[str]) -> None:
    frames = parse_inventory(tool, frame_of(lines))
    numbers = [number for frame in frames.values() for number in frame["line_number"].unique()]
    assert sorted(numbers) == list(range(1, len(lines) + 1))
    rows = frames[INVENTORY].with_columns(tool=pl.lit(tool), path=pl.lit("gw/file"))
    assert set(rows["setting"].is_null()) <= {False}
    assert inventory_settings(rows).problems.keys() <= set(SETTING_NAMES)


@given(st.integers(1, 3_000), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]))
def test_times_are_seconds_whatever_their_unit(number: int, unit: tuple[str, int]) -> None:
    letter, seconds = unit
    told = settings_of("main.cf", f"a = {number}\nqueue_run_delay = ${{a}}{letter}\n")
    assert told == HostSettings(queue_run_delay_seconds=number * seconds)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("postconf-n-20260901.txt", ("postconf", date(2026, 9, 1))),
        ("postconf-20260901-gw1.txt", ("postconf", date(2026, 9, 1))),
        ("postconf.20260901", ("postconf", date(2026, 9, 1))),
        ("postconf-2026-09-01.txt.gz", ("postconf", date(2026, 9, 1))),
        ("postconf-n.txt", ("postconf", None)),
        ("postconf -nf.txt", ("postconf", None)),
        ("postconf", ("postconf", None)),
        ("postconf-before-patch.txt", ("postconf", None)),
        ("postconf-20269999.txt", ("postconf", None)),
        ("postconf-d.txt", None),
        ("postconf-d-20260901.txt", None),
        ("postconf-n.bak", None),
        ("postconf-n.txt~", None),
        ("postconf-M.txt", ("master.cf", None)),
        ("postconf-M-20260901.txt", ("master.cf", date(2026, 9, 1))),
        ("main.cf", ("main.cf", None)),
        ("main.cf-20260901", ("main.cf", date(2026, 9, 1))),
        ("main.cf.2026-09-01.txt", ("main.cf", date(2026, 9, 1))),
        ("main.cf.org", None),
        ("master.cf", ("master.cf", None)),
        ("imss.ini", ("imss.ini", None)),
        ("imss.ini.20260901.xz", ("imss.ini", date(2026, 9, 1))),
        ("S99IMSS-version.txt", ("version", None)),
        ("S99IMSS version.txt", ("version", None)),
        ("S99IMSS_version-20260901.txt", ("version", date(2026, 9, 1))),
        ("S99IMSS", None),
        ("md5sum.txt", ("md5sum", None)),
        ("md5sum-20260901", ("md5sum", date(2026, 9, 1))),
        ("md5sum_wrapper-20260901.txt", ("md5sum", date(2026, 9, 1))),
        ("maillog", None),
        ("maillog-20260901", None),
    ],
)
def test_file_is_known_by_its_name(name: str, expected: tuple[str, date | None] | None) -> None:
    assert inventory_file(name) == expected


@pytest.mark.parametrize("case", HISTORY_CASES, ids=str)
def test_inventory_makes_this_history(case: HistoryCase, tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(case.fleet)
    fleet = read_fleet(tmp_path)
    inventory = inventory_of(case.files)
    frame = host_history(fleet, utc(fleet), inventory, imss_ini_keys=case.imss_ini_keys)
    rows = frame.rows(named=True)
    for host, spans in case.history.items():
        made = [row for row in rows if row["host"] == host]
        starts = [span["from"] and midnight(span["from"]) for span in spans]
        assert [row["valid_from"] for row in made] == starts
        assert [row["valid_until"] for row in made] == [*starts[1:], None]
        for row, span in zip(made, spans, strict=True):
            settings = {name: value for name, value in span.items() if name != "from"}
            assert {name: [row[name], row[f"{name}_source"]] for name in settings} == settings
    told = sorted(map(str, inventory_problems(fleet, inventory, imss_ini_keys=case.imss_ini_keys)))
    assert len(told) == len(case.problems), told
    for problem, expected in zip(told, case.problems, strict=True):
        assert problem.startswith(expected)


@given(
    st.lists(
        st.tuples(
            st.dates(date(2026, 1, 1), date(2026, 12, 31)),
            st.sampled_from(["postconf", "main.cf"]),
            st.integers(1, 3),
        ),
        max_size=8,
        unique_by=lambda told: (told[0], told[1]),
    )
)
def test_spans_follow_each_other_and_differ(told: list[tuple[date, str, int]]) -> None:
    names = {"postconf": "postconf-{}.txt", "main.cf": "main.cf-{}"}
    files = {f"gw/{names[tool].format(day)}": f"queue_run_delay = {seconds}\n" for day, tool, seconds in told}
    fleet = Fleet((Host("gw"),))
    rows = host_history(fleet, utc(fleet), inventory_of(files)).rows(named=True)
    assert (rows[0]["valid_from"], rows[-1]["valid_until"]) == (None, None)
    for earlier, later in pairwise(rows):
        assert earlier["valid_until"] == later["valid_from"]
        assert earlier["queue_run_delay_seconds"] != later["queue_run_delay_seconds"]
    by_day = {day: seconds for day, _, seconds in sorted(told)}  # postconf sorts after main.cf
    for day, seconds in by_day.items():
        at = midnight(day)
        (row,) = (
            row
            for row in rows
            if (row["valid_from"] is None or row["valid_from"] <= at)
            and (row["valid_until"] is None or at < row["valid_until"])
        )
        assert row["queue_run_delay_seconds"] == seconds


@pytest.mark.parametrize("name", ["time_zone", "colour"])
def test_key_of_imss_ini_must_be_mapped_to_a_setting(name: str) -> None:
    with pytest.raises(MaillagError, match=f"'key' is mapped to '{name}', which is not one of product"):
        inventory_settings(ROWS.to_frame(), {"key": name})


def test_long_value_is_shown_in_part() -> None:
    lines = numbered(f"queue_run_delay = {'x' * 500}\n")
    rows = parse_inventory("main.cf", lines)[INVENTORY]
    told = inventory_settings(rows.with_columns(tool=pl.lit("main.cf"), path=pl.lit("gw/main.cf")))
    assert len(str(told.problems["queue_run_delay_seconds"])) < 300


def settings_of(tool: str, text: str) -> HostSettings:
    """Return what a single file tells."""
    rows = parse_inventory(tool, numbered(text))[INVENTORY]
    told = inventory_settings(rows.with_columns(tool=pl.lit(tool), path=pl.lit("gw/file")))
    assert not told.problems
    return told.settings


def inventory_of(files: dict[str, str]) -> pl.DataFrame:
    """Return the rows of inventory files by path, `host/name-DATE`."""
    frames = [ROWS.to_frame()]
    for path, text in files.items():
        host_name, _, name = path.partition("/")
        found = inventory_file(name)
        assert found
        assert found[1], name
        rows = parse_inventory(found[0], numbered(text))[INVENTORY]
        frames.append(
            rows.with_columns(
                host=pl.lit(host_name),
                tool=pl.lit(found[0]),
                path=pl.lit(path),
                logged_at=pl.lit(midnight(found[1])).cast(ROWS["logged_at"]),
            ).select(ROWS.names())
        )
    return pl.concat(frames)


def numbered(text: str) -> pl.DataFrame:
    """Return the lines of a file as they are read."""
    return frame_of([line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")])


def frame_of(lines: list[str]) -> pl.DataFrame:
    """Return numbered lines."""
    schema = {"line_number": pl.Int64(), "line": pl.String()}
    return pl.DataFrame(list(enumerate(lines, 1)), schema, orient="row")


def utc(fleet: Fleet) -> dict[str, Zone]:
    """Return zones that make every day one of UTC."""
    return {host.name: Zone("UTC", "default") for host in fleet.hosts}


def midnight(day: date) -> datetime:
    """Return the UTC instant at which a day of UTC begins."""
    return datetime.combine(day, time(), UTC)
