"""Files for spreadsheets and programs hold the rows of the catalog, and nothing that a log wrote is run."""

import csv
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from flows import export
from flows.catalog import fetch
from flows.export import export_rows
from flows.export_chart import export_chart
from flows.language import Language
from flows.sandbox import Sandbox, open_sandbox
from transforms.problems import MaillagError

MAILLAG = Path(sys.executable).with_name("maillag")
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
HOSTILE = """
select '=1+1' as formula, '@SUM(A1)' as old_formula, 'http://example.com' as link, chr(27) || '[2J' as escape,
    12345678901234567 as long_number, 'NaN'::double as no_number, true as truth, 1.5 as number,
    ['a', 'b'] as list, date '1066-10-14' as old_date, date '2026-11-24' as day, null as nothing
"""


@pytest.fixture
def sandbox(sample_lake: Path) -> Iterator[Sandbox]:
    with open_sandbox(sample_lake, timeout_seconds=60, memory_mib=1024) as opened:
        yield opened


def cells(path: Path) -> list[list[tuple[str, str]]]:
    """Return the cells of a sheet by row: each with its kind (`n`, `b`, `inlineStr`) and its text."""
    with zipfile.ZipFile(path) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - our own file
    return [
        [(cell.get("t", "n"), "".join(cell.itertext())) for cell in row.iter(f"{SHEET}c")]
        for row in sheet.iter(f"{SHEET}row")
    ]


def read_csv(path: Path, encoding: str = "utf-8") -> list[dict[str, str]]:
    with path.open(encoding=encoding, newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_format_has_all_rows_of_a_table(sandbox: Sandbox, tmp_path: Path) -> None:
    query = "from marts.held_messages order by all"
    rows = fetch(sandbox.connection, query)
    for name in ("a.csv", "a.CSV", "a.xlsx", "a.parquet"):
        assert export_rows(sandbox, query, tmp_path / name) == len(rows) > 800
    assert pl.read_parquet(tmp_path / "a.parquet").to_dicts() == rows
    of_csv = read_csv(tmp_path / "a.csv")
    assert [row["queue_id"] for row in of_csv] == [row["queue_id"] for row in rows]
    sizes = [row["size_bytes"] for row in rows]
    assert [int(row["size_bytes"]) if row["size_bytes"] else None for row in of_csv] == sizes
    head, *body = cells(tmp_path / "a.xlsx")
    assert len(body) == len(rows)
    assert ("inlineStr", "released_at (host time)") in head


def test_spreadsheets_have_the_time_of_utc_and_of_the_host(sandbox: Sandbox, tmp_path: Path) -> None:
    query = "select host, down_at from marts.restarts where host = 'imsva11' order by down_at limit 1"
    export_rows(sandbox, query, tmp_path / "a.csv", for_spreadsheet=True)
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbfhost,")
    assert (tmp_path / "a.csv").read_bytes().count(b"\r\n") == 2
    assert read_csv(tmp_path / "a.csv", "utf-8-sig") == [
        {
            "host": "imsva11",
            "down_at (UTC)": "2026-11-24 03:07:08",
            "down_at (host time)": "2026-11-24 12:07:08",
        }
    ]
    export_rows(sandbox, query, tmp_path / "a.xlsx")
    (_, row) = cells(tmp_path / "a.xlsx")
    assert row[0] == ("inlineStr", "imsva11")
    days = [float(text) for _, text in row[1:]]
    assert [round((day % 1) * 86400) for day in days] == [3 * 3600 + 428, 12 * 3600 + 428]


def test_the_zone_of_a_row_goes_before_that_of_its_host(sandbox: Sandbox, tmp_path: Path) -> None:
    instant = "timestamptz '2026-11-24 03:00:00+00' as at_utc, null::timestamptz as never"
    known = f"select 'imsva11' as host, 'America/Lima' as time_zone, {instant}"
    rows = f"{known} union all select null, null, null, null"
    export_rows(sandbox, rows, tmp_path / "a.csv", for_spreadsheet=True)
    first, second = read_csv(tmp_path / "a.csv", "utf-8-sig")
    assert first["at_utc (host time)"] == "2026-11-23 22:00:00"
    assert first["never (host time)"] == second["at_utc (UTC)"] == ""


def test_without_a_host_there_is_only_utc(sandbox: Sandbox, tmp_path: Path) -> None:
    export_rows(
        sandbox,
        "select timestamptz '2026-11-24 03:00:00+00' as seen_at",
        tmp_path / "a.csv",
        for_spreadsheet=True,
    )
    assert read_csv(tmp_path / "a.csv", "utf-8-sig") == [{"seen_at (UTC)": "2026-11-24 03:00:00"}]


def test_what_a_log_wrote_is_neither_a_formula_nor_a_link(sandbox: Sandbox, tmp_path: Path) -> None:
    export_rows(sandbox, HOSTILE, tmp_path / "a.xlsx")
    _, row = cells(tmp_path / "a.xlsx")
    assert row == [
        ("inlineStr", "=1+1"),
        ("inlineStr", "@SUM(A1)"),
        ("inlineStr", "http://example.com"),
        ("inlineStr", r"\x1b[2J"),
        ("inlineStr", "12345678901234567"),
        ("b", "1"),
        ("n", "1.5"),
        ("inlineStr", '["a", "b"]'),
        ("inlineStr", "1066-10-14"),
        ("n", "46350"),
    ]
    with zipfile.ZipFile(tmp_path / "a.xlsx") as book:
        assert not any(
            b"<f>" in book.read(name) or b"hyperlink" in book.read(name) for name in book.namelist()
        )
    export_rows(sandbox, HOSTILE, tmp_path / "a.csv", for_spreadsheet=True)
    (of_csv,) = read_csv(tmp_path / "a.csv", "utf-8-sig")
    assert (of_csv["formula"], of_csv["old_formula"]) == ("'=1+1", "'@SUM(A1)")


def test_a_text_that_no_cell_holds_is_visibly_cut(sandbox: Sandbox, tmp_path: Path) -> None:
    export_rows(sandbox, "select repeat('x', 40000) as long", tmp_path / "a.xlsx")
    ((_, text),) = cells(tmp_path / "a.xlsx")[1]
    assert text == "x" * 32_766 + "…"


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx", "a.parquet"])
def test_a_query_that_fails_leaves_the_older_file(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")
    with pytest.raises(MaillagError, match=r"^query: "):
        export_rows(sandbox, "select 1 / (range - 700) as x, error('no') from range(1000)", tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "before")]


def test_more_rows_than_a_sheet_has_are_refused(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "SHEET_ROWS", 8)
    assert export_rows(sandbox, "from range(7)", tmp_path / "a.xlsx") == 7
    with pytest.raises(MaillagError, match=r"b\.xlsx: a sheet holds 7 rows, and there are more"):
        export_rows(sandbox, "from range(8)", tmp_path / "b.xlsx")
    assert not (tmp_path / "b.xlsx").exists()


@pytest.mark.parametrize("query", ["select 1 as a where false", "from marts.restarts where false"])
@pytest.mark.parametrize("name", ["a.csv", "a.xlsx", "a.parquet"])
def test_without_rows_there_are_headings(sandbox: Sandbox, tmp_path: Path, name: str, query: str) -> None:
    assert export_rows(sandbox, query, tmp_path / name) == 0
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("query", "name", "message"),
    [
        ("select 1 as a", "a.txt", "ends in neither .csv, .xlsx nor .parquet, nor .png or .svg for a chart"),
        ("select 1 as a", "nowhere/a.csv", "cannot be written (No such file or directory)"),
        ("select 1 as a, 2 as a", "a.xlsx", "two columns are called a"),
        ("select 1 as a, 2 as a", "a.parquet", "two columns are called a"),
        ("copy (select 1) to 'x'", "a.csv", "is not a single SELECT"),
        ("copy (select 1) to 'x'", "a.parquet", "is not a single SELECT"),
        ("select * from read_csv('/etc/passwd')", "a.parquet", "read_csv() cannot be used here"),
    ],
)
def test_what_cannot_be_exported_says_why(
    sandbox: Sandbox, tmp_path: Path, query: str, name: str, message: str
) -> None:
    with pytest.raises(MaillagError) as raised:
        export_rows(sandbox, query, tmp_path / name)
    assert message in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_a_table_by_its_name(sample_lake: Path, tmp_path: Path) -> None:
    out = tmp_path / "restarts.csv"
    command = [str(MAILLAG), "export", "marts.restarts", "--lake", str(sample_lake), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", f"7 rows written to {out}\n")
    assert {datetime.fromisoformat(row["down_at"]).year for row in read_csv(out)} == {2020, 2026}


@pytest.mark.parametrize("what", ["waits", "hours", "changes", "what_if", "burst14-20261124T032623Z"])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_chart_is_a_picture_in_either_format(
    sample_lake: Path, tmp_path: Path, what: str, language: Language
) -> None:
    for name in ("a.svg", "a.png"):
        export_chart(sample_lake, what, tmp_path / name, days=30, language=language)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    picture = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(picture).tag.endswith("svg")  # noqa: S314 - our own file
    assert "var(--" not in picture


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("weights", "weights: is no chart. Choose waits, hours, changes, what_if or the id of a restart"),
        ("imss12-20200101T000000Z", "lies in no restart. The nearest: imss12-20261124T031333Z"),
    ],
)
def test_a_chart_that_there_is_not_is_told_from_those_that_there_are(
    sample_lake: Path, tmp_path: Path, what: str, message: str
) -> None:
    with pytest.raises(MaillagError) as raised:
        export_chart(sample_lake, what, tmp_path / "a.png", days=30, language="en")
    assert message in str(raised.value)
