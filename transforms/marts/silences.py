"""What was read to warnings: which hosts could have shown no restart, and whose zone cannot be right."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import duckdb

from transforms.contracts.contracts import Contract
from transforms.fleet.fleet import Fleet
from transforms.lake.catalog import create_views, host_of_file, literally
from transforms.lake.ledger import SourceRecord
from transforms.problems import HAS_MAIL_LINES, Problem

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
# By chance two outages are whole half hours apart, but not so often by the same.
FEWEST_APART = 3

# Outages that the maillog alone tells, beside those that it does not tell, of the same host.
APART = f"""
with alone as (
    select
        host,
        restart_id,
        down_at,
        evidence = ['maillog'] as is_by_maillog
    from marts.restarts
    where evidence = ['maillog'] or not list_contains(evidence, 'maillog')
),

pairs as (
    select
        by_maillog.host,
        by_maillog.restart_id,
        others.restart_id as other_id,
        epoch(by_maillog.down_at) - epoch(others.down_at) as apart_seconds,
        cast(round(apart_seconds / {ZONE_STEP_SECONDS}) as bigint) as half_hours
    from alone as by_maillog
    inner join alone as others
        on
            by_maillog.host = others.host
            and by_maillog.is_by_maillog
            and not others.is_by_maillog
            and others.down_at between by_maillog.down_at - interval 15 hours
            and by_maillog.down_at + interval 15 hours
    where
        half_hours <> 0
        and abs(apart_seconds - half_hours * {ZONE_STEP_SECONDS}) <= {WITNESS_MARGIN_SECONDS}
),

counts as (
    select
        host,
        least(count(*) filter (where is_by_maillog), count(*) filter (where not is_by_maillog)) as pair_count
    from alone
    group by host
)

select
    pairs.host,
    pairs.half_hours,
    least(count(distinct pairs.restart_id), count(distinct pairs.other_id)) as apart_count
from pairs
inner join counts on pairs.host = counts.host
group by pairs.host, pairs.half_hours, counts.pair_count
having apart_count >= {FEWEST_APART} and 2 * apart_count >= counts.pair_count
qualify row_number() over (partition by pairs.host order by apart_count desc, abs(pairs.half_hours)) = 1
order by pairs.host
"""

MIXED = """
select
    coverage.host,
    array_agg(distinct line_counts.logging_host order by line_counts.logging_host) as names
from marts.coverage as coverage
inner join ops.line_counts as line_counts
    on
        coverage.host = line_counts.host
        and line_counts.table_name in ('queue_activations', 'delivery_attempts')
        and line_counts.last_logged_at >= coverage.gap_from
        and line_counts.first_logged_at < coverage.gap_until
where coverage.reason = 'several_hosts' and line_counts.logging_host is not null
group by coverage.host
order by coverage.host
"""


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
        rows = connection.execute(APART).fetchall()
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
        rows = connection.execute(MIXED).fetchall()
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
