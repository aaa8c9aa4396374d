"""What the bench measured becomes the tables of docs/performance.md."""

from pathlib import Path

import numpy as np
import pytest

from tests.bench.document import DOCUMENT, replace_section
from tests.bench.measure import Cost
from tests.bench.reading import STAGES
from tests.bench.results import TITLES, Results, render, targets
from tests.year_bench import marts_of
from transforms.contracts.contracts import load_contracts
from transforms.marts.mart_files import marts


def _results(**seconds: float) -> Results:
    """Return results in which every contender takes a second, but for those given."""
    costs = {
        name: [Cost(wall, 2 * wall, 100)] * 3
        for name in (*TITLES, *STAGES)
        for wall in [seconds.get(name, 1.0)]
    }
    sizes = dict.fromkeys(costs, 1_000_000)
    return Results(
        line_count=1000,
        input_bytes=sizes,
        output_bytes=sizes,
        costs=costs,
        debian_versions=["isal 2.30.0-5", "pflogsumm 1.1.5-8"],
    )


def test_a_target_is_met_up_to_its_bound() -> None:
    on_the_bound = _results(gz=3.5, plain=3.5, small=3.5, pflogsumm=3.5 * 25, duckdb_gz=16, duckdb_plain=16)
    assert all(target.is_met for target in targets(on_the_bound))


@pytest.mark.parametrize(
    "seconds",
    [
        {"gz": 3.6},
        {"plain": 3.6},
        {"pflogsumm": 87},
        {"duckdb_gz": 15},
        {"duckdb_plain": 15},
        {"small": 4.1},
    ],
    ids=str,
)
def test_a_target_is_missed_beyond_its_bound(seconds: dict[str, float]) -> None:
    within = {
        "gz": 3.5,
        "plain": 3.5,
        "small": 3.5,
        "pflogsumm": 88.0,
        "duckdb_gz": 16.0,
        "duckdb_plain": 16.0,
    }
    assert not all(target.is_met for target in targets(_results(**{**within, **seconds})))


def test_stages_are_told_by_what_each_adds() -> None:
    text = render(_results(**{"gz": 4.0, "start-up": 0.5, "inflate": 1.5, "scan": 3.0}))
    assert "Debian's isal 2.30.0-5, pflogsumm 1.1.5-8" in text
    assert "| start-up | 1.00 | 12% |" in text
    assert "| inflate | 2.00 | 25% |" in text
    assert "| scan | 3.00 | 38% |" in text
    assert "| general lane and write | 2.00 | 25% |" in text


def test_tables_replace_what_the_document_held_between_its_markers(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text(DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
    for text in ("old figures", "new figures"):
        replace_section(copy, "bench", text)
    lines = copy.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("<!-- bench: "))
    assert lines[start + 1 : start + 5] == ["", "new figures", "", "<!-- end of bench -->"]


def test_the_marts_of_the_year_have_the_columns_of_their_contracts() -> None:
    contracts = load_contracts()
    tables = dict(marts_of(1, np.random.default_rng(1)))
    assert tables.keys() == marts().keys()
    for table, rows in tables.items():
        assert contracts[table].columns.keys() <= set(rows.columns), table
