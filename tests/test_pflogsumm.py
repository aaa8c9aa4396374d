"""Counts of events are those of tools that know nothing of maillag: pflogsumm, and lines grouped by queue id.

docs/pflogsumm.md says what pflogsumm counts and where it differs.
"""

import gzip
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.conftest import RECORDING, SAMPLE, Run, install_debian_package
from transforms.lake.catalog import CATALOG_NAME

LINES = Path(__file__).parent / "lines" / "maillog" / "delivery_attempts.yaml"
DOCUMENT = Path(__file__).parents[1] / "docs" / "pflogsumm.md"
# pflogsumm knows one syslog_name besides `postfix`.
SECOND_INSTANCE = "postfix-b"
TOTAL = re.compile(
    r"^ +(\d+) +(received|delivered|deferred|bounced)\b(?: +\((\d+) +deferrals\))?$", re.MULTILINE
)
# How the status of one line shows in pflogsumm's totals.
TOTALS = {"sent": "delivered", "deferred": "deferrals", "bounced": "bounced"}
pytestmark = pytest.mark.slow

Day = tuple[str, str]
"""Host, and the day as its lines write it: `Nov 24`."""

# By host and day of the stamps: each row of the first is a status= line.
ATTEMPTS = """
select
    attempts.host,
    strftime(timezone(hosts.time_zone, logged_at), '%b %-d') as day,
    count(*) filter (where status = 'sent') as delivered,
    count(distinct queue_id) filter (where status = 'deferred') as deferred,
    count(*) filter (where status = 'deferred') as deferrals,
    count(*) filter (where status = 'bounced') as bounced
from events.delivery_attempts as attempts
inner join fleet.hosts as hosts on attempts.host = hosts.host
where {condition}
group by all
"""
RECEIVED = """
select clients.host, strftime(timezone(hosts.time_zone, logged_at), '%b %-d') as day, count(*) as received
from events.clients as clients
inner join fleet.hosts as hosts on clients.host = hosts.host
where queue_id is not null
group by all
"""

# Every table with a row for a line that names a queue id.
LINES_BY_QUEUE_ID = """
with lines as (
    select host, instance, queue_id, status from events.delivery_attempts
    union all by name
    select host, instance, queue_id from events.queue_activations
    union all by name
    select host, instance, queue_id from events.queue_removals
    union all by name
    select host, instance, queue_id from events.clients
    union all by name
    select host, instance, queue_id from events.message_ids
    union all by name
    select host, instance, queue_id from events.other_lines
)

select host, instance, queue_id, count(*), count(*) filter (where status = 'sent')
from lines
where queue_id is not null
group by all
"""


@pytest.fixture(scope="module", params=[SAMPLE, RECORDING], ids=["sample", "rig"])
def archive(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(scope="module")
def catalog(archive: Path, sample_lake: Path, rig_run: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    lake = sample_lake if archive == SAMPLE else rig_run.job.lake
    with duckdb.connect(str(lake / CATALOG_NAME), read_only=True) as connection:
        yield connection


def lines_by_day(archive: Path) -> dict[Day, list[str]]:
    """Return the lines of all maillogs, read without maillag."""
    found = defaultdict(list)
    for path in sorted(archive.glob("*/maillog*")):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for line in content.decode("latin-1").splitlines():
            month, number = line.split()[:2]
            found[path.parent.name, f"{month} {number}"].append(line)
    assert found
    return found


def summarize(lines: list[str]) -> Counter[str]:
    """Return pflogsumm's grand totals of messages."""
    command = ["pflogsumm", f"--syslog-name={SECOND_INSTANCE}", "--detail=0"]
    text = "\n".join([*lines, ""]).encode("latin-1")
    report = subprocess.run(command, input=text, capture_output=True, check=True).stdout.decode("latin-1")
    totals = Counter[str]()
    for number, name, deferrals in TOTAL.findall(report):
        totals[name] += int(number)
        totals["deferrals"] += int(deferrals or 0)
    return totals


def table(first_column: str) -> list[list[str]]:
    """Return the rows of the document's table whose heading begins so."""
    lines = iter(DOCUMENT.read_text("utf-8").splitlines())
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith(f"| {first_column} |"):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    return rows
                rows.append([cell.strip() for cell in row.strip("|").split("|")])
    return rows


def count(catalog: duckdb.DuckDBPyConnection, sql: str) -> dict[Day, Counter[str]]:
    """Return what the lake says, by host and day."""
    cursor = catalog.sql(sql)
    rows = [dict(zip(cursor.columns, row, strict=True)) for row in cursor.fetchall()]
    return {(row.pop("host"), row.pop("day")): Counter(row) for row in rows}


def test_pflogsumm_counts_the_same(archive: Path, catalog: duckdb.DuckDBPyConnection) -> None:
    install_debian_package("pflogsumm")
    ours = count(catalog, ATTEMPTS.format(condition="recipient is not null"))
    received = count(catalog, RECEIVED)
    for day, lines in lines_by_day(archive).items():
        expected = ours.get(day, Counter()) + received.get(day, Counter())
        assert +summarize(lines) == +expected, day
    assert ours.keys() | received.keys() <= lines_by_day(archive).keys()


def test_what_pflogsumm_reads_otherwise_is_documented() -> None:
    install_debian_package("pflogsumm")
    otherwise = set()
    for case in yaml.safe_load(LINES.read_text("utf-8")):
        theirs = summarize([case["line"]])
        if +Counter({name: theirs[name] for name in TOTALS.values()}) != {
            TOTALS.get(case["record"]["status"]): 1
        }:
            otherwise.add(case["name"])
    assert otherwise == {name for name, *_ in table("line")}


def test_counts_of_the_sample_are_as_documented(sample_lake: Path) -> None:
    install_debian_package("pflogsumm")
    with duckdb.connect(str(sample_lake / CATALOG_NAME), read_only=True) as catalog:
        ours = count(catalog, ATTEMPTS.format(condition="true"))
        received = count(catalog, RECEIVED)
    names = ("received", "delivered", "deferred", "deferrals", "bounced")
    assert table("host") == [
        [
            *day,
            *(
                f"{summarize(lines)[name]}/{(ours[day] + received.get(day, Counter()))[name]}"
                for name in names
            ),
        ]
        for day, lines in sorted(lines_by_day(SAMPLE).items())
    ]


def test_lines_grouped_by_queue_id_are_its_events(archive: Path, catalog: duckdb.DuckDBPyConnection) -> None:
    lines, deliveries = Counter[Any](), Counter[Any]()
    for (host, _), days_lines in lines_by_day(archive).items():
        for line in days_lines:
            # The queue id of a line is what follows the tag: 5 or more hexadecimal digits, or a long one.
            tag = re.match(r"\S+ +\d+ \S+ \S+ (postfix[^/\[]*)/\S+\[\d+\]: (\w{6,}): ", line)
            if tag and tag[2] not in ("warning", "statistics"):
                lines[host, tag[1], tag[2]] += 1
                deliveries[host, tag[1], tag[2]] += " status=sent " in line
    found = catalog.sql(LINES_BY_QUEUE_ID).fetchall()
    assert {tuple(row[:3]): row[3] for row in found} == lines
    assert +Counter({tuple(row[:3]): row[4] for row in found}) == +deliveries
