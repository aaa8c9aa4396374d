"""Turns events and marts into warnings: logs that cannot show restarts, or contradict a zone or a setting."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import duckdb

from transforms.contracts.contracts import Contract
from transforms.fleet.fleet import Fleet
from transforms.lake.catalog import create_views, host_of_file, literally
from transforms.lake.records import SourceRecord
from transforms.problems import HAS_MAIL_LINES, Problem
from transforms.queries import read_query

ONE_QUEUE = "the lines of a host's folder are those of one host"
SETTING_FITS = "the log agrees with the retry settings that are told"
WITNESSES_AGREE = "the witnesses of an outage agree about its time"
# Every mail leaves a line in one of these.
MAIL_TABLES = (
    "events.clients",
    "events.delivery_attempts",
    "events.message_ids",
    "events.other_lines",
    "events.queue_activations",
    "events.queue_removals",
)
ZONE_STEP_SECONDS = 1800
# The manager looks once a minute, and a restart takes up to one.
WITNESS_MARGIN_SECONDS = 120
# Two outages may lie whole half hours apart by chance, but not so many pairs by the same.
FEWEST_APART = 3


def silent_hosts(
    fleet: Fleet,
    files: Mapping[str, Iterable[str]],
    records: Iterable[SourceRecord],
    expired_hosts: Collection[str],
) -> list[Problem]:
    """Return a warning for each host of which lines were read, but none that tells of mail.

    `files` are the lake's files of events by table. A host whose old events expired has told of mail.
    """
    line_counts = Counter[str]()
    for record in records:
        if record.log_kind != "inventory":
            line_counts[record.host] += record.line_count
    tell_of_mail = {host_of_file(path) for table in MAIL_TABLES for path in files.get(table, ())}
    return [
        Problem(
            host.name,
            f"has no line of its mail program that tells of mail, in {line_counts[host.name]:,} lines read: "
            "no restart can be seen in them",
            "See where its mail program logs (rsyslog's rule for mail.*, `postconf maillog_file`), and add "
            "these files under their own names, such as maillog.",
            rule=HAS_MAIL_LINES,
            is_warning=True,
        )
        for host in fleet.gateways
        if host.name in line_counts and host.name not in tell_of_mail and host.name not in expired_hosts
    ]


def witnesses_apart(
    lake: Path, restarts: Contract, files: Iterable[str], zones: Mapping[str, str]
) -> list[Problem]:
    """Return a warning for each host whose maillog tells outages whole half hours from its other witnesses.

    `files` are those of marts.restarts, `zones` the names of the hosts' zones.
    """
    with duckdb.connect() as connection:
        create_views(connection, lake, contracts=[restarts], files={restarts.table: list(files)})
        parameters = {
            "step_seconds": ZONE_STEP_SECONDS,
            "margin_seconds": WITNESS_MARGIN_SECONDS,
            "fewest_apart": FEWEST_APART,
        }
        rows = connection.execute(read_query("findings.witnesses_apart"), parameters).fetchall()
    return [
        Problem(
            host,
            f"{count} outages of its maillog are {_hours(half_hours)} h from those that its other logs tell: "
            f"its zone, {zones.get(host, 'unknown')}, looks wrong by {_hours(half_hours)} h",
            "Correct its time_zone in the fleet file; its lines are then read again.",
            rule=WITNESSES_AGREE,
            is_warning=True,
        )
        for host, half_hours, count in rows
    ]


def mixed_hosts(
    lake: Path, contracts: Mapping[str, Contract], files: Mapping[str, Iterable[str]]
) -> list[Problem]:
    """Return a warning for each host under which lines of several mail queues were read (marts.coverage)."""
    tables = ("marts.coverage", "ops.line_counts")
    with duckdb.connect() as connection:
        create_views(connection, lake, contracts=[contracts[table] for table in tables], files=files)
        rows = connection.execute(read_query("findings.mixed_hosts")).fetchall()
    return [
        Problem(
            host,
            f"the lines in its folder name several hosts, each with a mail queue of its own "
            f"({', '.join(names)}): verdicts on restarts of that time are unknown",
            'If a log server collects them, write host_from = "line" into the entry of that folder in the '
            "fleet file; each line then goes to the host that it names.",
            rule=ONE_QUEUE,
            is_warning=True,
        )
        for host, names in rows
    ]


def contradicted_settings(lake: Path, files: Iterable[str]) -> list[Problem]:
    """Return a warning for each host whose log contradicts the minimal_backoff_time that is told of it.

    `files` are those of staging.refuted_settings.
    """
    paths = [literally(lake / path) for path in files]
    if not paths:
        return []
    hosts = duckdb.execute(
        "select distinct host from read_parquet($paths, hive_partitioning = false) "
        "where is_backoff_known order by host",
        {"paths": paths},
    ).fetchall()
    return [
        Problem(
            host,
            "its log contradicts the minimal_backoff_time that is told of it: mail that had waited for less "
            "was retried, and younger mail was left, as by a queue run. Verdicts that rest on it are unknown",
            "Ask the host (`postconf minimal_backoff_time queue_run_delay`), and correct its entry in the "
            "fleet file or the inventory file. Messages retried by hand may look the same.",
            rule=SETTING_FITS,
            is_warning=True,
        )
        for (host,) in hosts
    ]


def _hours(half_hours: int) -> str:
    return f"{half_hours / 2:+g}"
