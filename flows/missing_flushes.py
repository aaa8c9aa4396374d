"""Missing flushes before and after a run to Prefect events about the new ones."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from prefect.events import emit_event

from flows.catalog import EVERYTHING, MISSING_FLUSHES, Row, fetch, open_catalog
from flows.machine import json_value
from flows.tables import plain
from transforms.lake.catalog import CATALOG_NAME
from transforms.marts.advice import load_advice

EVENT = "maillag.flush.missing"
PAYLOAD = ("host", "down_at", "held_message_count", "flush_verdict", "missing_reason", "advice")
PUBLISHED = f"select restart_id, up_at, {', '.join(PAYLOAD)} from ({MISSING_FLUSHES})"


def fetch_published(lake: Path) -> list[Row]:
    """Return the published missing flushes, with what their events hold; none before the first catalog."""
    if not (lake / CATALOG_NAME).is_file():
        return []
    with open_catalog(lake) as catalog:
        return fetch(catalog, PUBLISHED, EVERYTHING)


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


def emit(row: Row) -> None:
    """Emit the event of a missing flush, with control characters from the logs escaped."""
    titles = {advice.code: advice.title_en for advice in load_advice()}
    restart_id, host = plain(row["restart_id"]), plain(row["host"])
    emit_event(
        event=EVENT,
        resource={
            "prefect.resource.id": f"maillag.restart.{restart_id}",
            "prefect.resource.name": restart_id,
        },
        related=[
            {
                "prefect.resource.id": f"maillag.host.{host}",
                "prefect.resource.role": "host",
                "prefect.resource.name": host,
            }
        ],
        payload={name: _plain_value(row[name]) for name in PAYLOAD} | {"advice_title": titles[row["advice"]]},
    )


def _plain_value(value: object) -> object:
    document = json_value(value)
    return plain(document) if isinstance(document, str) else document
