"""The published catalog after a night to its summary in Prefect and to the one notification about it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from prefect.events import emit_event

from flows.catalog import Row, fetch, open_catalog
from flows.findings_in_words import finding_in_words
from flows.language import Language, Seconds, say
from flows.report.content import headline
from flows.report.rows import REPORT_NAME, choose_restarts
from flows.tables import for_logs, for_pages, plain
from flows.words import counted, local_time, named, waited
from transforms.lake.catalog import CATALOG_NAME
from transforms.marts.advice import advice_titles
from transforms.queries import read_query

EVENT = "maillag.flush.missing"
# As many as a page shows well; the catalog has the rest.
ROWS_SHOWN = 200
FINDINGS_SHOWN = 50
# As many as somebody reads in a notification, and hosts that Prefect relates to one event.
ROWS_TOLD = 10
HOSTS_RELATED = 50


def fetch_missing_flushes(lake: Path) -> list[Row]:
    """Return the published missing flushes, newest first; none before the first catalog."""
    if not (lake / CATALOG_NAME).is_file():
        return []
    with open_catalog(lake) as catalog:
        return fetch(catalog, read_query("answers.missing_flushes"), {"newest": None})


def find_new(before: Iterable[Row], after: Iterable[Row]) -> list[Row]:
    """Return the rows of restarts that had no missing flush before.

    Late data may move the bounds of an outage, and with them its id: outages that overlap are one restart.
    """
    known_ids = set()
    known_outages = defaultdict(list)
    for row in before:
        known_ids.add(row["restart_id"])
        known_outages[row["host"]].append((row["down_at"], row["up_at"] or row["down_at"]))
    return [
        row
        for row in after
        if row["restart_id"] not in known_ids
        and not any(
            down_at <= (row["up_at"] or row["down_at"]) and row["down_at"] <= up_at
            for down_at, up_at in known_outages[row["host"]]
        )
    ]


def summary(
    lake: Path,
    missing: Sequence[Row],
    new: Sequence[Row],
    findings: Sequence[Row],
    *,
    language: Language,
    report_url: str | None = None,
) -> str:
    """Return a night in Markdown: the sentence that matters, missing flushes with what to do, and findings.

    `missing` and `new` are rows of `fetch_missing_flushes`, `findings` those of ops.quarantine. Nothing that
    a log holds is Markdown or HTML in it, and no address of mail is shown.
    """
    with choose_restarts(lake) as catalog:
        (figures,) = fetch(catalog, read_query("report.figures"))
        (counts,) = fetch(catalog, read_query("answers.counts"))
        (period,) = fetch(catalog, "select min(date) as first, max(date) as last from report.days")
    key, of_sentence = headline(figures)
    pieces = [f"# {for_pages(say(language, f'page.{key}', **of_sentence))}"]
    if period["first"]:
        pieces.append(
            for_pages(say(language, "night.period", **{"from": period["first"], "until": period["last"]}))
        )
    pieces.append(for_pages(say(language, "night.new", n=len(new))))
    place = report_url or str(lake / REPORT_NAME)
    link = f"[{say(language, 'night.report')}]({report_url})" if report_url else for_pages(place)
    pieces.append(f"{for_pages(say(language, 'night.details'))} {link}")
    if missing:
        pieces += [f"## {say(language, 'night.missing')}", _table_of(missing, new, language)]
        if len(missing) > ROWS_SHOWN:
            pieces.append(for_pages(say(language, "night.more_missing", n=len(missing) - ROWS_SHOWN)))
    if findings:
        pieces.append(f"## {say(language, 'night.findings', n=len(findings))}")
        pieces.append("\n".join(_finding_line(row, language) for row in findings[:FINDINGS_SHOWN]))
        if len(findings) > FINDINGS_SHOWN:
            pieces.append(for_pages(say(language, "night.more_findings", n=len(findings) - FINDINGS_SHOWN)))
    pieces.append(
        for_pages(
            say(
                language,
                "night.counts",
                hosts=counted(counts["host_count"], "host", language),
                files=counted(counts["source_file_count"], "log_file", language),
                lines=counted(counts["line_count"], "line", language),
                unparsed=counts["unparsed_line_count"],
            )
        )
    )
    return "\n\n".join(pieces)


def _table_of(missing: Sequence[Row], new: Sequence[Row], language: Language) -> str:
    """Return a table of the newest missing flushes: what to do stands first."""
    new_ids = {row["restart_id"] for row in new}
    titles = advice_titles(language)
    columns = ("to_do", "host", "down", "why", "held", "longest")
    head = " | ".join(say(language, f"night.{column}") for column in columns)
    new_word = say(language, "night.is_new")
    lines = [f"| {head} |", f"|{'---|' * len(columns)}"]
    for row in missing[:ROWS_SHOWN]:
        is_new = row["restart_id"] in new_ids
        verdict = say(language, f"words.verdict_{row['flush_verdict']}")
        why = named("words.why_", row["missing_reason"] or "unknown", language)
        cells = (
            titles[row["advice"]],
            say(language, "terminal.in_brackets", text=row["host"], more=new_word) if is_new else row["host"],
            _down_at(row),
            say(language, "terminal.in_brackets", text=verdict, more=why),
            f"{row['held_message_count']:,}",
            waited(row["restart_delay_max_seconds"], language),
        )
        lines.append(f"| {' | '.join(map(for_pages, cells))} |")
    return "\n".join(lines)


def _down_at(row: Row) -> str:
    zone = row["time_zone"] or "UTC"
    return f"{local_time(row['down_at'], zone)} ({zone})"


def _finding_line(row: Row, language: Language) -> str:
    severity = named("terminal.severity_", row["severity"], language)
    said = finding_in_words(row["what"], row["remedy"], language)
    return f"- **{severity}** {for_pages(row['place'])}: {for_pages(said)}"


def announce(day: date, new: Sequence[Row], *, language: Language, report_url: str | None = None) -> None:
    """Emit one event about all missing flushes that are new in a night; none if there are none."""
    if not new:
        return
    titles = advice_titles(language)
    costliest = sorted(new, key=lambda row: -(row["avoidable_delay_total_seconds"] or 0))
    lines = [
        say(
            language,
            "night.told",
            host=row["host"],
            down=_down_at(row),
            held=row["held_message_count"],
            longest=Seconds(row["restart_delay_max_seconds"] or 0),
            to_do=titles[row["advice"]],
        )
        for row in costliest[:ROWS_TOLD]
    ]
    if len(new) > ROWS_TOLD:
        lines.append(say(language, "night.more_told", n=len(new) - ROWS_TOLD))
    hosts = sorted({row["host"] for row in new})
    of_hosts = counted(len(hosts), "host", language)
    emit_event(
        event=EVENT,
        resource={"prefect.resource.id": f"maillag.night.{day}", "prefect.resource.name": f"{day}"},
        related=[
            {
                "prefect.resource.id": f"maillag.host.{plain(host)}",
                "prefect.resource.role": "host",
                "prefect.resource.name": plain(host),
            }
            for host in hosts[:HOSTS_RELATED]
        ],
        payload={
            "missing_flush_count": len(new),
            "host_count": len(hosts),
            "held_message_count": sum(row["held_message_count"] for row in new),
            "restart_ids": [plain(row["restart_id"]) for row in costliest[:ROWS_SHOWN]],
            "subject": say(language, "night.subject", n=len(new), hosts=of_hosts),
            "text": "\n".join(map(for_logs, lines)),
            "report": report_url or "",
        },
    )
