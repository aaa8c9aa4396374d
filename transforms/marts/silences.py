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
SETTING_FITS = "the log agrees with the known retry settings"
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
# The manager checks once a minute, and a restart takes up to a minute.
WITNESS_MARGIN_SECONDS = 120
# Two outages may be whole half hours apart by chance, but not this many pairs by the same distance.
FEWEST_APART = 3


def silent_hosts(
    fleet: Fleet,
    files: Mapping[str, Iterable[str]],
    records: Iterable[SourceRecord],
    expired_hosts: Collection[str],
) -> list[Problem]:
    """Return a warning for each host with lines but none about mail.

    `files` are the lake's files of events by table. Hosts with expired events had lines about mail.
    """
    line_counts = Counter[str]()
    for record in records:
        if record.log_kind != "inventory":
            line_counts[record.host] += record.line_count
    with_mail = {host_of_file(path) for table in MAIL_TABLES for path in files.get(table, ())}
    return [
        Problem(
            host.name,
            f"none of the {line_counts[host.name]:,} lines read is about mail, so no restart can be seen",
            "Check where the mail program logs (rsyslog's rule for mail.*, `postconf maillog_file`), and add "
            "these files under their own names, such as maillog.",
            rule=HAS_MAIL_LINES,
            is_warning=True,
        )
        for host in fleet.gateways
        if host.name in line_counts and host.name not in with_mail and host.name not in expired_hosts
    ]


def witnesses_apart(
    lake: Path, restarts: Contract, files: Iterable[str], zones: Mapping[str, str]
) -> list[Problem]:
    """Return a warning for each host whose maillog shows outages whole half hours away from other witnesses.

    `files` are those of marts.restarts; `zones` has the name of each host's time zone.
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
            f"{count} outages in the maillog are {_hours(half_hours)} h from those in the other logs: the "
            f"time zone, {zones.get(host, 'unknown')}, looks wrong by {_hours(half_hours)} h",
            "Correct the host's time_zone in the fleet file; its lines are then read again.",
            rule=WITNESSES_AGREE,
            is_warning=True,
        )
        for host, half_hours, count in rows
    ]


def mixed_hosts(
    lake: Path, contracts: Mapping[str, Contract], files: Mapping[str, Iterable[str]]
) -> list[Problem]:
    """Return a warning for each host whose lines are from several mail queues (marts.coverage)."""
    tables = ("marts.coverage", "ops.line_counts")
    with duckdb.connect() as connection:
        create_views(connection, lake, contracts=[contracts[table] for table in tables], files=files)
        rows = connection.execute(read_query("findings.mixed_hosts")).fetchall()
    return [
        Problem(
            host,
            "the lines in the host's folder name several hosts, each with its own mail queue "
            f"({', '.join(names)}): verdicts on restarts of that time are unknown",
            'If a log server collects them, set host_from = "line" in the entry of that folder in the '
            "fleet file; each line then goes to the host that it names.",
            rule=ONE_QUEUE,
            is_warning=True,
        )
        for host, names in rows
    ]


def contradicted_settings(lake: Path, files: Iterable[str]) -> list[Problem]:
    """Return a warning for each host whose log contradicts the configured minimal_backoff_time.

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
            "the log contradicts the configured minimal_backoff_time: mail was retried after a shorter wait "
            "while younger mail was left, as by a queue run. Verdicts that depend on the setting are unknown",
            "Check the values on the host (`postconf minimal_backoff_time queue_run_delay`), and correct the "
            "fleet file or the inventory file. Messages retried by hand may look the same.",
            rule=SETTING_FITS,
            is_warning=True,
        )
        for (host,) in hosts
    ]


def _hours(half_hours: int) -> str:
    return f"{half_hours / 2:+g}"
