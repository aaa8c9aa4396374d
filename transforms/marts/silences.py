"""Turns events and marts into warnings: logs that cannot show restarts, or contradict a zone or a setting."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import duckdb

from transforms.contracts.contracts import Contract
from transforms.fleet.fleet import Fleet
from transforms.lake.catalog import create_views
from transforms.lake.records import LakeFile, Rows, SourceRecord, rows_of
from transforms.problems import HAS_MAIL_LINES, Problem
from transforms.queries import read_query

ONE_QUEUE = "the lines of a host's folder are those of one host"
SETTING_FITS = "the log agrees with the known retry settings"
WITNESSES_AGREE = "the witnesses of an outage agree about its time"
# Every mail leaves a line in one of these.
MAIL_TABLES = (
    "clients",
    "delivery_attempts",
    "message_ids",
    "other_lines",
    "queue_activations",
    "queue_removals",
)
ZONE_STEP_SECONDS = 1800
# The manager checks once a minute, and a restart takes up to a minute.
WITNESS_MARGIN_SECONDS = 120
# Two outages may be whole half hours apart by chance, but not this many pairs by the same distance.
FEWEST_APART = 3


def silent_hosts(
    fleet: Fleet,
    lake: Path,
    line_counts: Contract,
    files: Collection[LakeFile],
    records: Iterable[SourceRecord],
    expired_hosts: Collection[str],
) -> list[Problem]:
    """Return a warning for each host with lines but none about mail.

    `files` are those of ops.line_counts. Hosts with expired events had lines about mail.
    """
    counts = Counter[str]()
    for record in records:
        if record.log_kind != "inventory":
            counts[record.host] += record.line_count
    try:
        with_mail = _hosts_with_mail(lake, line_counts, files)
    except duckdb.Error:
        with_mail = set[str]()
        for file in files:
            try:
                with_mail |= _hosts_with_mail(lake, line_counts, [file])
            except duckdb.Error:
                # What is damaged says nothing; the marts of its hosts will fail.
                with_mail |= set(file.hosts)
    return [
        Problem(
            host.name,
            f"none of the {counts[host.name]:,} lines read is about mail, so no restart can be seen",
            "Check where the mail program logs (rsyslog's rule for mail.*, `postconf maillog_file`), and add "
            "these files under their own names, such as maillog.",
            rule=HAS_MAIL_LINES,
            is_warning=True,
        )
        for host in fleet.gateways
        if host.name in counts and host.name not in with_mail and host.name not in expired_hosts
    ]


def _hosts_with_mail(lake: Path, line_counts: Contract, files: Iterable[LakeFile]) -> set[str]:
    with duckdb.connect() as connection:
        create_views(connection, lake, contracts=[line_counts], files=rows_of(files).paths)
        rows = connection.execute(read_query("findings.hosts_with_mail"), {"tables": list(MAIL_TABLES)})
        return {host for (host,) in rows.fetchall()}


def witnesses_apart(lake: Path, restarts: Contract, rows: Rows, zones: Mapping[str, str]) -> list[Problem]:
    """Return a warning for each host whose maillog shows outages whole half hours away from other witnesses.

    `zones` has the name of each host's time zone.
    """
    with duckdb.connect() as connection:
        create_views(connection, lake, contracts=[restarts], files=rows.paths, only=rows.only)
        parameters = {
            "step_seconds": ZONE_STEP_SECONDS,
            "margin_seconds": WITNESS_MARGIN_SECONDS,
            "fewest_apart": FEWEST_APART,
        }
        found = connection.execute(read_query("findings.witnesses_apart"), parameters).fetchall()
    return [
        Problem(
            host,
            f"{count} outages in the maillog are {_hours(half_hours)} h from those in the other logs: the "
            f"time zone, {zones.get(host, 'unknown')}, looks wrong by {_hours(half_hours)} h",
            "Correct the host's time_zone in the fleet file; its lines are then read again.",
            rule=WITNESSES_AGREE,
            is_warning=True,
        )
        for host, half_hours, count in found
    ]


def mixed_hosts(lake: Path, contracts: Mapping[str, Contract], rows: Rows) -> list[Problem]:
    """Return a warning for each host whose lines are from several mail queues (marts.coverage)."""
    shown = [contracts[table] for table in ("marts.coverage", "ops.line_counts")]
    with duckdb.connect() as connection:
        create_views(connection, lake, contracts=shown, files=rows.paths, only=rows.only)
        found = connection.execute(read_query("findings.mixed_hosts")).fetchall()
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
        for host, names in found
    ]


def contradicted_settings(lake: Path, refuted_settings: Contract, rows: Rows) -> list[Problem]:
    """Return a warning for each host whose log contradicts the configured minimal_backoff_time."""
    with duckdb.connect() as connection:
        create_views(connection, lake, contracts=[refuted_settings], files=rows.paths, only=rows.only)
        hosts = connection.execute(
            "select distinct host from staging.refuted_settings where is_backoff_known order by host"
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
