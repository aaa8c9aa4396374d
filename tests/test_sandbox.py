"""SQL of users: it reads the tables of the catalog alone, writes nothing, and ends in its bounds."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from flows.catalog import open_catalog
from flows.sandbox import Sandbox, open_sandbox
from transforms.problems import MaillagError

MAILLAG = Path(sys.executable).with_name("maillag")
ENDLESS = "select * from range(1000000000)"
SLOW = "select count(*) from range(1000000) as a, range(1000000) as b where a.range + b.range = 7.5"


@pytest.fixture
def sandbox(sample_lake: Path) -> Iterator[Sandbox]:
    with open_sandbox(sample_lake, timeout_seconds=60, memory_mib=512) as opened:
        yield opened


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_file(lake: Path, schema: str) -> Path:
    return next(path for path in (lake / schema).rglob("*.parquet"))


@pytest.mark.parametrize(
    "sql",
    [
        "from marts.restarts",
        "with held as (select * from marts.held_messages) select host, count(*) from held group by host",
        "explain select * from marts.restarts",
        "EXPLAIN ANALYZE select count(*) from marts.restarts; -- behind it",
        "-- before it\nselect 1",
        "\n\t explain select 1",
        "describe marts.restarts",
        "summarize marts.restarts",
        "show tables",
        "values (1)",
        "select * from information_schema.columns",
        "from duckdb_columns()",
        "from pragma_table_info('marts.restarts')",
        "select * from range(3), unnest([1, 2])",
        "select local_time(down_at, 'Asia/Tokyo') from marts.restarts",
        "from restarts_between((select max(down_at) from marts.restarts), null)",
        "from RESTARTS_BETWEEN(timestamptz '2026-11-24 00:00:00Z', now())",
        "select count(*) from main.waiting_at('2026-11-24 03:20:00Z')",
        "select unnest(delay_percentiles(restart_delay_seconds)) from marts.held_messages group by host",
        "select unnest(evidence) from marts.restarts",
        "from (pivot marts.restarts on flush_verdict in ('missing') using count(*) group by host)",
        "with recursive n as (select 1 as a union all select a + 1 from n where a < 3) from n",
    ],
)
def test_tables_can_be_asked_in_any_way(sql: str, sandbox: Sandbox) -> None:
    columns, rows = sandbox.select(sql)
    assert columns
    list(rows)


@pytest.mark.parametrize(
    "sql",
    [
        "copy (select 1) to '{lake}/ledger.sqlite'",
        "explain copy (select 1) to '{lake}/ledger.sqlite'",
        "explain analyze copy (select 1) to '{lake}/ledger.sqlite'",
        "EXPLAIN\nANALYZE copy (select 1) to '{lake}/maillag.duckdb.wal'",
        "/**/explain/**/analyze copy (select 1) to '{lake}/ledger.sqlite'",
        "explain (analyze, format json) copy (select 1) to '{lake}/ledger.sqlite'",
        "explain (format ')select 1 --') copy (select 1) to '{lake}/ledger.sqlite'",
        "explain explain analyze copy (select 1) to '{lake}/ledger.sqlite'",
        "explain analyze copy (select 1) to '{mart}' (format parquet, use_tmp_file false)",
        "explain analyze with x as (delete from ops.runs returning *) from x",
        "with x as (insert into ops.runs values (1) returning *) from x",
        "with x as (update ops.runs set status = 'done' returning *) from x",
        "update ops.runs set status = 'done'",
        "drop view marts.restarts",
        "comment on table ops.runs is 'x'",
        "create table t as select 1",
        "create temp table t as select 1",
        "create temp macro m() as 1",
        "create secret s (type s3)",
        "export database '{lake}/copy'",
        "import database '{lake}'",
        "attach '{lake}/new.duckdb'",
        "attach ':memory:' as m",
        "detach maillag",
        "use marts",
        "install httpfs",
        "load json",
        "load '/tmp/x.so'",
        "set memory_limit = '9 GB'",
        "reset threads",
        "set variable a = 1",
        "pragma version",
        "call pragma_version()",
        "prepare p as select 1",
        "execute p",
        "begin",
        "checkpoint",
        "vacuum",
        "select 1; select 2",
        "select 1; drop view marts.restarts",
        "",
        "-- nothing",
    ],
)
def test_nothing_but_one_select_is_run(sql: str, sandbox: Sandbox, sample_lake: Path) -> None:
    before = contents(sample_lake)
    with pytest.raises(MaillagError, match=r"query: (is not a single SELECT|Parser Error)"):
        sandbox.select(sql.format(lake=sample_lake, mart=one_file(sample_lake, "marts")))
    assert contents(sample_lake) == before


@pytest.mark.parametrize(
    "sql",
    [
        "from '{unpublished}'",
        "from '{mart}'",
        "from '/etc/passwd'",
        "from 'x.csv'",
        'from "x.parquet"',
        "from 'https://example.com/x.parquet'",
        "from 's3://bucket/x.parquet'",
        "describe 'x.csv'",
        "summarize '{unpublished}'",
        "from read_parquet('{unpublished}')",
        "from parquet_metadata('{mart}')",
        "from read_csv('/etc/passwd')",
        "from READ_CSV('/etc/passwd')",
        "from main.\"read_csv\"('/etc/passwd')",
        "from read_text('/proc/self/environ')",
        "from read_blob('{lake}/ledger.sqlite')",
        "from read_json('/etc/passwd')",
        "from read_duckdb('{lake}/maillag.duckdb', table_name = 'runs')",
        "from sniff_csv('/etc/passwd')",
        "from glob('/*')",
        "select (select content from read_text('/etc/passwd'))",
        "from marts.restarts where exists (from read_text('/etc/passwd'))",
        "from marts.restarts, lateral (from read_text(host))",
        "from restarts_between((select content from read_text('/etc/passwd')), null)",
        "from waiting_at((from '/etc/passwd'))",
        "from local_time(now(), 'UTC')",
        "describe select * from glob('/*')",
        "explain analyze select * from read_text('/etc/passwd')",
        "from query('select 1')",
        "from query_table('marts.restarts')",
        "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
        "from duckdb_secrets()",
        "from duckdb_settings()",
        "from duckdb_extensions()",
        "from enable_logging(storage = 'file', storage_path = '{lake}/log')",
        "from enable_profiling(save_location = '{lake}/profile')",
        "from checkpoint()",
        "from arrow_scan(1, 2, 3)",
    ],
)
def test_no_file_and_no_function_with_an_effect_is_within_reach(
    sql: str, sandbox: Sandbox, sample_lake: Path
) -> None:
    before = contents(sample_lake)
    places = {"lake": sample_lake, "mart": one_file(sample_lake, "marts")}
    with pytest.raises(MaillagError, match=r"query: .*(cannot be used here|is a file)"):
        sandbox.select(sql.format(**places, unpublished=one_file(sample_lake, "staging")))
    assert contents(sample_lake) == before


@pytest.mark.parametrize("name", ["sandbox", "sql", "self", "connection"])
def test_variables_of_the_program_are_no_tables(name: str, sandbox: Sandbox) -> None:
    with pytest.raises(MaillagError, match="does not exist"):
        sandbox.select(f"from {name}")


def test_the_environment_cannot_be_read(sandbox: Sandbox) -> None:
    with pytest.raises(MaillagError, match="getenv does not exist"):
        sandbox.select("select getenv('HOME')")


def test_what_is_nested_too_deeply_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(MaillagError, match="nested too deeply"):
        sandbox.select("from (" * 700 + "from marts.restarts" + ")" * 700)


@pytest.mark.parametrize("place", ["ledger.sqlite", "staging", "maillag.duckdb"])
def test_a_connection_to_the_catalog_reaches_the_folders_of_its_tables_alone(
    place: str, sample_lake: Path
) -> None:
    path = one_file(sample_lake, place) if place == "staging" else sample_lake / place
    with open_catalog(sample_lake) as catalog:
        reached = catalog.execute("select count(*) from read_blob(?)", [str(one_file(sample_lake, "marts"))])
        assert reached.fetchall() == [(1,)]
        if place != "maillag.duckdb":
            with pytest.raises(Exception, match="disabled by configuration"):
                catalog.execute("from read_blob(?)", [str(path)])
        for change in ("set enable_external_access = true", "set allowed_directories = ['/']"):
            with pytest.raises(Exception, match=r"locked|[Cc]annot"):
                catalog.execute(change)


def test_rows_come_as_they_are_made(sandbox: Sandbox) -> None:
    columns, rows = sandbox.select(ENDLESS)
    assert columns == ["range"]
    assert list(islice(rows, 3)) == [(0,), (1,), (2,)]


@pytest.mark.parametrize(
    "sql", [SLOW, f"select sum(hash(range)) from ({ENDLESS.replace('1000', '1000000')})"]
)
def test_a_query_ends_with_its_time(sql: str, sample_lake: Path) -> None:
    with (
        open_sandbox(sample_lake, timeout_seconds=0.2, memory_mib=512) as sandbox,
        pytest.raises(MaillagError, match=r"took longer than 0\.2 s.* --timeout"),
    ):
        sandbox.select(sql)


def test_a_query_whose_rows_do_not_end_ends_with_its_time(sample_lake: Path) -> None:
    with open_sandbox(sample_lake, timeout_seconds=0.2, memory_mib=512) as sandbox:
        _, rows = sandbox.select(ENDLESS)
        with pytest.raises(MaillagError, match="took longer"):
            for _ in rows:
                pass


@pytest.mark.parametrize(
    "sql",
    [
        "select list(range) from range(1000000000)",
        "select list_transform(range(100000000), lambda x: x * 2)",
        "select repeat('x', 1500000000)",
        "select repeat('x', 1000000) from range(100000)",
    ],
)
def test_a_query_ends_with_its_memory(sql: str, sample_lake: Path) -> None:
    with (
        open_sandbox(sample_lake, timeout_seconds=60, memory_mib=256) as sandbox,
        pytest.raises(MaillagError, match=r"needs more than 256 MiB of memory.* --memory"),
    ):
        sandbox.select(sql)
    with open_sandbox(sample_lake, timeout_seconds=60, memory_mib=256) as sandbox:
        assert list(sandbox.select("select count(*) from marts.restarts")[1]) == [(7,)]


def test_what_does_not_fit_goes_to_a_folder_that_ends_with_the_query(
    sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(sample_lake.rglob("*"))
    with open_sandbox(sample_lake, timeout_seconds=60, memory_mib=256) as sandbox:
        _, rows = sandbox.select("select repeat('x', 100), range from range(2000000) order by hash(range)")
        next(rows)
        (spill,) = tmp_path.iterdir()
        assert spill.stat().st_mode & 0o777 == 0o700
        assert list(spill.iterdir()), "it did not fit"
        assert set(sample_lake.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def maillag(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAILLAG_")}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": kept} | options
    return subprocess.run([MAILLAG, *arguments], text=True, timeout=240, check=False, **streams)  # type: ignore[call-overload, no-any-return]


@pytest.mark.slow
def test_a_query_cannot_overwrite_the_ledger(sample_lake: Path) -> None:
    before = (sample_lake / "ledger.sqlite").read_bytes()
    sql = f"explain analyze copy (select 1) to '{sample_lake}/ledger.sqlite'"
    done = maillag("query", sql, "--lake", sample_lake)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("maillag: query: is not a single SELECT")
    assert (sample_lake / "ledger.sqlite").read_bytes() == before


@pytest.mark.slow
def test_a_table_shows_the_first_rows_and_says_so(sample_lake: Path) -> None:
    done = maillag("query", ENDLESS, "--lake", sample_lake)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1 + 1000
    assert done.stderr == "Only the first 1,000 rows are shown. For all: --csv or --json\n"
    done = maillag("query", "select * from range(1000)", "--lake", sample_lake)
    assert len(done.stdout.splitlines()) == 1 + 1000
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_endless_rows_end_with_their_time_and_are_an_error(form: str, sample_lake: Path) -> None:
    done = maillag("query", ENDLESS, form, "--timeout", "1", "--lake", sample_lake)
    assert done.returncode == 2
    assert len(done.stdout) > 1000
    assert done.stderr == (
        "maillag: query: took longer than 1 s. Ask for less, or allow more with --timeout SECONDS "
        "(0 is no limit).\n"
    )


@pytest.mark.slow
def test_a_call_that_cannot_be_interrupted_ends_with_its_process(sample_lake: Path) -> None:
    done = maillag("query", "select sleep_ms(60000)", "--timeout", "0.1", "--lake", sample_lake)
    assert done.returncode == 2
    assert "took longer than 0.1 s" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "{archive}"],
        ["restarts"],
        ["restarts", "--json"],
        ["restarts", "--csv"],
        ["status"],
        ["status", "--json"],
        ["fleet"],
        ["fleet", "--changes"],
        ["trace", "35611196089"],
        ["explain", "imss12-20261124T031333Z"],
        ["compact"],
        ["expire", "--before", "2020-01-01"],
        ["query", ENDLESS],
        ["query", ENDLESS, "--json"],
        ["query", ENDLESS, "--csv"],
    ],
)
def test_a_reader_who_closes_the_pipe_ends_a_command_without_a_word(
    arguments: list[str], sample_lake: Path, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    lake = sample_lake
    if arguments[0] in {"run", "compact", "expire"}:
        (tmp_path / "archive" / "gw1").mkdir(parents=True)
        lake = tmp_path / "lake"
        maillag("run", tmp_path / "archive", "--lake", lake)
    called = [argument.format(archive=tmp_path / "archive") for argument in arguments]
    done = maillag(*called, "--lake", lake, stdout=writer)
    os.close(writer)
    assert done.returncode == 141
    assert [line for line in done.stderr.splitlines() if not line.startswith("critical: gw1/")] == []
