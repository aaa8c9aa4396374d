"""Traces of the rig's recorded mail, against what its maillogs say when read line by line."""

import gzip
import re
from collections import defaultdict
from pathlib import Path

import pytest

from flows.catalog import Row, open_catalog
from tests.conftest import RECORDING, Run, restarts_by_host

pytestmark = pytest.mark.slow
HOSTS = sorted(path.name for path in RECORDING.iterdir() if path.is_dir())
# The lone time-outs of its slow scanner are no restart, so that their duplicates are counted nowhere.
SLOW_SCANNER = "imsva43"
WITHOUT_MAIL = {"imsva49", "imsva56"}

MESSAGE_ID = re.compile(
    r"/cleanup\[\d+\]: (?P<queue_id>\w+): message-id=(?P<message_id><.*@client\.example\.com>)$"
)
# Behind the scan service all mail goes to the rig's sink, on a port of its own.
SUNK = re.compile(
    r": (?P<queue_id>\w+): to=<(?P<to>.*)>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, .* status=sent "
)
TRACES = """
select
    message_id,
    count(distinct trace_id) as trace_count,
    count(*) filter (where hop_number = 2 and status = 'delivered') as delivered_count,
    count(*) filter (where hop_number = 1) as first_hop_count,
    count(*) as hop_count
from marts.message_trace
where host = ? and message_id like '%@client.example.com>'
group by message_id
"""
COUNTED = ("received", "message", "delivered", "ended_at_scan", "not_seen_again", "returned", "pending")
COUNTS_OF_DAYS = f"""
select host, {", ".join(f"sum({name}_count)" for name in COUNTED)}
from marts.fleet_daily
group by host
having sum(received_count) > 0
order by host
"""
COUNTS_OF_TRACES = """
select
    host,
    count(*) filter (where hop_number = 1 and status <> 'abandoned'),
    count(*) filter (where is_counted),
    count(*) filter (where status = 'delivered'),
    count(*) filter (where status = 'ended_at_scan'),
    count(*) filter (where status = 'scanned'),
    count(*) filter (where status in ('bounced', 'expired')),
    count(*) filter (where status = 'pending')
from marts.message_trace
group by host
order by host
"""


@pytest.fixture(scope="module")
def restarts(rig_run: Run) -> dict[str, list[Row]]:
    return restarts_by_host(rig_run.job.lake)


@pytest.mark.parametrize("host", HOSTS)
def test_every_mail_is_one_trace_and_each_copy_that_came_out_ends_it_delivered(
    host: str, rig_run: Run
) -> None:
    with open_catalog(rig_run.job.lake) as catalog:
        rows = catalog.execute(TRACES, [host]).fetchall()
    assert {row[0]: row[1:] for row in rows} == {
        message_id: (1, len(copies), 1, 1 + len(copies))
        for message_id, copies in mail_that_came_out(host).items()
    }


def test_every_mail_counts_on_one_day(rig_run: Run, sample_lake: Path) -> None:
    for lake in (rig_run.job.lake, sample_lake):
        with open_catalog(lake) as catalog:
            counts = catalog.execute(COUNTS_OF_DAYS).fetchall()
            assert counts == catalog.execute(COUNTS_OF_TRACES).fetchall()
        assert counts


@pytest.mark.parametrize("host", [host for host in HOSTS if host != SLOW_SCANNER])
def test_what_was_interrupted_in_mid_scan_may_be_a_duplicate_just_where_it_came_out_twice(
    host: str, restarts: dict[str, list[Row]]
) -> None:
    came_out_twice = 0
    for copies in mail_that_came_out(host).values():
        recipients = [recipient for copy in copies.values() for recipient in copy]
        came_out_twice += len(recipients) > len(set(recipients))
    assert sum(row["possible_duplicate_count"] for row in restarts[host]) == came_out_twice


def mail_that_came_out(host: str) -> dict[str, dict[str, list[str]]]:
    """Return, by message id, the recipients of each copy (by its queue id) that reached the sink.

    Read line by line from the maillog, by nothing that maillag does.
    """
    message_ids: dict[str, str] = {}
    came_out: dict[str, dict[str, list[str]]] = {}
    (log,) = (RECORDING / host).glob("maillog*")
    for line in gzip.decompress(log.read_bytes()).decode().splitlines():
        if match := MESSAGE_ID.search(line):
            message_ids[match["queue_id"]] = match["message_id"]
            came_out.setdefault(match["message_id"], defaultdict(list))
        elif (match := SUNK.search(line)) and match["queue_id"] in message_ids:
            came_out[message_ids[match["queue_id"]]][match["queue_id"]].append(match["to"])
    assert bool(came_out) == (host not in WITHOUT_MAIL)
    return came_out
