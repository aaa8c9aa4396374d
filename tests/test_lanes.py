"""The fast lane takes nothing that the general lane reads otherwise, and the lake is the same without it."""

import gzip
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import lanes
from tests.bench import reading
from tests.conftest import SAMPLE
from tests.test_corpora import CORPORA, GROK_CASES, MAILLOGGER
from transforms.archive import lines
from transforms.archive.bundles import is_bundle
from transforms.archive.lines import read_blocks
from transforms.fast_lane import columns, lane
from transforms.fast_lane.kernels import load_kernels
from transforms.ingest import batch, read
from transforms.ingest.plan import Plan
from transforms.parse.clock import YearWindow
from transforms.parse.patterns import Pattern
from transforms.parse.postfix import POSTFIX_PATTERNS
from transforms.parse.tables import NOISE
from transforms.zone import Zone

REPOSITORY = Path(__file__).parents[1]
SHARED_ARCHIVES = REPOSITORY.parent / "shared" / "archives"
MAILLOGS = sorted(
    path
    for root in (SAMPLE, REPOSITORY / "tests" / "archives", SHARED_ARCHIVES)
    for path in root.rglob("maillog*")
    if path.is_file() and not is_bundle(path.name)
)
MANY_LINES = 1_000_000
STARTS = [
    (pattern, start)
    for pattern in POSTFIX_PATTERNS
    if pattern.fast_lane == "start"
    for start in pattern.starts
]


@pytest.mark.parametrize("path", MAILLOGS, ids=lambda path: "/".join(path.parts[-3:]))
def test_the_lanes_agree_on_every_line_of_an_archive(path: Path) -> None:
    with path.open("rb") as log:
        blocks = list(read_blocks(log))
    assert blocks
    for block in blocks:
        lanes.assert_lanes_agree(block)


@pytest.mark.skipif(not CORPORA.exists(), reason=f"the corpora are not at {CORPORA}")
def test_the_lanes_agree_on_every_line_of_the_corpora() -> None:
    texts = [path for path in MAILLOGGER.rglob("*") if path.is_file()] + [GROK_CASES]
    for path in texts:
        content = path.read_bytes()
        # As lines of a log, and as the texts of lines of every program.
        bodies = [line.strip() for line in content.splitlines()]
        programs = (b"smtpd", b"smtp", b"qmgr", b"cleanup", b"postscreen", b"pickup")
        lanes.assert_lanes_agree(
            content.rstrip(b"\n")
            + b"\n"
            + b"".join(
                b"Nov 24 10:00:00 gw postfix/%s[1]: %s\n" % (program, body)
                for program in programs
                for body in bodies
            )
        )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_lanes_agree_on_a_million_lines_with_all_bounds_checked() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.lanes", str(MANY_LINES), "20261124"],
        env=os.environ | {"MAILLAG_CHECK_BOUNDS": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    taken = int(ran.stdout.split()[-1])
    assert taken > MANY_LINES / 4, ran.stdout


@given(
    st.lists(st.one_of(st.sampled_from(lanes.real_lines()), st.binary(max_size=80)), min_size=1, max_size=30)
)
def test_the_lanes_agree_among_any_bytes(some_lines: list[bytes]) -> None:
    lanes.assert_lanes_agree(b"".join(line.replace(b"\n", b"") + b"\n" for line in some_lines))


@pytest.mark.parametrize(("pattern", "start"), STARTS, ids=lambda part: part if isinstance(part, str) else "")
def test_a_start_that_tells_a_pattern_alone_fits_no_earlier_pattern(pattern: Pattern, start: str) -> None:
    for earlier in POSTFIX_PATTERNS[: POSTFIX_PATTERNS.index(pattern)]:
        # Noise is only counted, whichever takes it; fields are looked for before starts in both lanes.
        if earlier.table == pattern.table == NOISE or earlier.fast_lane == "fields":
            continue
        may_meet = not earlier.daemons or not pattern.daemons or set(earlier.daemons) & set(pattern.daemons)
        if may_meet:
            assert earlier.starts, earlier.name
            # One that ends with its start, as "removed", takes no longer text.
            longer = [other for other in earlier.starts if earlier.regex != f"^{other}$"]
            assert not any(start.startswith(other) or other.startswith(start) for other in longer)


def test_every_pattern_of_the_fast_lane_is_met_by_it() -> None:
    """A pattern that says that the fast lane knows it has a sample that the fast lane takes."""
    for pattern in POSTFIX_PATTERNS:
        if pattern.fast_lane:
            daemon = pattern.daemons[0] if pattern.daemons else "smtpd"
            queue_id = (
                "892A0205B6: " if pattern.is_queued is not False and pattern.fast_lane == "fields" else ""
            )
            samples = [
                f"Nov 24 10:00:00 gw postfix/{daemon}[1]: {queue_id}{sample}\n".encode()
                for sample in pattern.samples
            ]
            assert sum(lanes.assert_lanes_agree(sample) for sample in samples), pattern.name


def test_a_day_on_which_the_clocks_change_is_left_to_the_general_lane() -> None:
    line = b"Oct 25 12:00:00 gw postfix/qmgr[1]: 892A0205B6: removed\n"
    assert lanes.assert_lanes_agree(line) == 0
    assert lanes.assert_lanes_agree(line.replace(b"Oct 25", b"Oct 26")) == 1


def test_a_tag_too_many_is_left_to_the_general_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "MOST_TAGS", 2)
    monkeypatch.setattr(lanes, "LANE", lane.FastLane())
    made = [b"Nov 24 10:00:00 gw postfix%d/qmgr[1]: 892A0205B6: removed\n" % n for n in range(5)]
    assert lanes.assert_lanes_agree(b"".join(made * 3)) == 2 * 3


def test_more_rows_than_there_is_room_for_are_read_in_several_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("ROW_ROOM", "COUNT_ROOM"):
        monkeypatch.setattr(lane, room, 7)
    monkeypatch.setattr(columns, "MOST_CATEGORIES", 3)
    monkeypatch.setattr(lanes, "LANE", lane.FastLane())
    with (SAMPLE / "imss12" / "maillog").open("rb") as log:
        lanes.assert_lanes_agree(b"".join(next(read_blocks(log)).splitlines(keepends=True)[:3000]))


@pytest.fixture(scope="module")
def sample_events(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """All events of the sample, read as they always are."""
    return events_of(SAMPLE, tmp_path_factory.mktemp("lake"))


def test_the_lake_is_the_same_without_the_fast_lane(
    sample_events: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(read, "_load_fast_lane", lambda plan: None)
    assert_same(events_of(SAMPLE, tmp_path), sample_events)


def test_the_fast_lane_is_not_compiled_for_a_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "is_compiled", lambda: False)
    assert read._load_fast_lane(Plan()) is None
    monkeypatch.setattr(read, "WORTH_COMPILING_BYTES", 0)
    assert isinstance(read._load_fast_lane(Plan()), lane.FastLane)


def test_what_was_compiled_is_loaded_without_numba(tmp_path: Path) -> None:
    load_kernels()
    script = (
        "import sys; from pathlib import Path; from tests.bench import reading; "
        "reading.read(Path(sys.argv[1]), Path(sys.argv[2])); print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, SAMPLE, tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "transforms.fast_lane.lane" in ran.stdout.split()
    assert {"numba", "scipy"}.isdisjoint(ran.stdout.split())


def test_without_numba_the_general_lane_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transforms.fast_lane.lane", None)
    assert read._load_fast_lane(Plan()) is None


def test_the_lake_is_the_same_whatever_the_size_of_blocks(
    sample_events: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for size in ("BLOCK_BYTES", "RAW_BYTES", "PIECE_BYTES"):
        monkeypatch.setattr(lines, size, 40_000)
    for size in ("GATHERED_LINES", "LEFT_OVER_LINES"):
        monkeypatch.setattr(batch, size, 100)
    assert_same(events_of(SAMPLE, tmp_path), sample_events)


def test_small_files_of_a_host_become_one_file_of_the_lake_for_each_table_and_day(tmp_path: Path) -> None:
    folder = tmp_path / "archive" / "gw"
    folder.mkdir(parents=True)
    content = gzip.decompress((SAMPLE / "burst14" / "maillog-20261124.gz").read_bytes()).splitlines(
        keepends=True
    )
    for number in range(20):
        part = b"".join(content[number * 100 : number * 100 + 100])
        (folder / f"maillog.{20 - number}").write_bytes(part)
    reads = reading.read(tmp_path / "archive", tmp_path / "lake")
    assert len(reads.new_sources) == 20
    tables = [file.table_name for file in reads.files]
    assert len(tables) == len(set(tables))
    assert {len(file.source_ids) for file in reads.files if file.table_name == "ops.line_counts"} == {20}


def test_midnights_are_those_of_the_zone() -> None:
    midnights = lane._midnights(YearWindow(date(2026, 12, 1), "file_name"), Zone("Asia/Tokyo", "default"))
    assert midnights[11 * 32 + 24] == 1_795_446_000 * 1_000_000


def events_of(archive: Path, lake: Path) -> dict[str, pl.DataFrame]:
    """Return the rows of every table of events, in their order in the files."""
    reads = reading.read(archive, lake)
    rows: dict[str, list[str]] = {}
    for file in reads.files:
        rows.setdefault(file.table_name, []).append(str(lake / file.path))
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        return {
            table: connection.sql(f"select * from read_parquet({paths}) order by all").pl()
            for table, paths in rows.items()
        }


def assert_same(found: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> None:
    assert found.keys() == expected.keys() != set()
    for table, rows in expected.items():
        assert found[table].equals(rows), table
