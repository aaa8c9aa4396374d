"""Sources and kinds to variants, and batches of variants to what the models say of each."""

import random
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from tests.conftest import create_event_tables
from tests.losses.kinds import KINDS, MAILLOG, Kind, Log, Maillogs, Parameters
from tests.losses.recordings import Source
from tests.oracle.history import History, write_archive
from transforms.fleet.fleet import read_fleet
from transforms.lake.catalog import create_tables
from transforms.marts.build import config_tables
from transforms.marts.models import load_models, needed_models, run_models
from transforms.thresholds import Thresholds

Row = dict[str, Any]

# A batch of hosts has this many lines at most: one run of the models has costs of its own.
BATCH_LINES = 300_000
BATCH_HOSTS = 400
# What is near a restart: from this long before its first bound until this long after its last message.
NEAR = timedelta(seconds=40)
# A log longer than this is drawn less often: 1 / (its lines + this).
USUAL_LINES = 2000
QUERIES = {
    "restarts": "select * from marts.restarts order by down_at",
    "gaps": "select * from marts.coverage where log_kind = 'maillog'",
    "held": "select host, restart_id, queue_id, released_at from marts.held_messages",
}


@dataclass(frozen=True)
class Told:
    """What the models say of one host: its restarts, the gaps of its maillog and the messages held.

    `error` is what went wrong instead.
    """

    restarts: list[Row] = field(default_factory=list)
    gaps: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    error: str = ""


@dataclass(frozen=True)
class Whole:
    """A source, and what the models say of it as it was recorded."""

    source: Source
    told: Told

    @cached_property
    def log(self) -> Log:
        """Its maillog, with what of it matters."""
        spans = []
        for row in self.told.restarts:
            times = [row[name] for name in ("down_at", "down_at_latest", "up_at_latest", "last_released_at")]
            known = [time for time in times if time]
            spans.append((min(known) - NEAR, max(known) + NEAR))
        return Log(self.source.maillog, frozenset(row["queue_id"] for row in self.told.held), tuple(spans))


@dataclass(frozen=True)
class Variant:
    """One way to lose or double lines of one source."""

    whole: Whole
    kind: Kind
    parameters: Parameters

    def __str__(self) -> str:
        told = " ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.whole.source.name} {self.kind.name} {told}".rstrip()

    def maillogs(self) -> Maillogs:
        """Return its maillogs by name."""
        return self.kind.make(self.whole.source.maillog, **self.parameters)

    def history(self, host: str) -> History:
        """Return it as a host of an archive."""
        return self.whole.source.history(host, self.maillogs())


def whole_history(source: Source, host: str) -> History:
    """Return a source as it was recorded, as a host of an archive."""
    return source.history(host, {MAILLOG: [line.text for line in source.maillog]})


def judge_sources(sources: Sequence[Source], folder: Path) -> list[Whole]:
    """Run the models over whole logs."""
    told = judge((whole_history(source, f"host{number}") for number, source in enumerate(sources)), folder)
    return [Whole(source, its) for source, its in zip(sources, told, strict=True)]


def draw_variants(
    wholes: Sequence[Whole], count: int, seed: int, kinds: Collection[str] = tuple(KINDS)
) -> list[Variant]:
    """Return so many variants, spread over kinds by their weights and over sources by their length.

    There are fewer where the kinds have no more.
    """
    left = count
    drawn: list[Variant] = []
    # Kinds of few variants first: what they lack is the others'.
    chosen = sorted((KINDS[name] for name in kinds), key=lambda kind: kind.weight)
    for number, kind in enumerate(chosen):
        share = kind.weight / sum(other.weight for other in chosen[number:])
        own = list(_draw(wholes, kind, round(left * share), seed))
        left -= len(own)
        drawn += own
    return drawn


def _draw(wholes: Sequence[Whole], kind: Kind, count: int, seed: int) -> Iterator[Variant]:
    """Yield variants of one kind, no two alike; the same ones for the same seed."""
    chance = random.Random(f"{seed} {kind.name}")
    options = {
        whole.source.name: kind.options(whole.log, random.Random(f"{seed} {kind.name} {whole.source.name}"))
        for whole in wholes
    }
    open_wholes = list(wholes)
    seen: set[str] = set()
    while len(seen) < count and open_wholes:
        weights = [1 / (USUAL_LINES + len(whole.source.maillog)) for whole in open_wholes]
        (whole,) = chance.choices(open_wholes, weights)
        parameters = next(options[whole.source.name], None)
        if parameters is None:
            open_wholes.remove(whole)
            continue
        variant = Variant(whole, kind, parameters)
        if str(variant) not in seen:
            seen.add(str(variant))
            yield variant


def judge_variants(variants: Iterable[Variant], folder: Path) -> Iterator[tuple[Variant, Told]]:
    """Yield each variant with what the models say of it, batch by batch."""
    for batch in _batches(variants):
        told = judge((variant.history(f"host{number}") for number, variant in enumerate(batch)), folder)
        yield from zip(batch, told, strict=True)


def _batches(variants: Iterable[Variant]) -> Iterator[list[Variant]]:
    batch: list[Variant] = []
    line_count = 0
    for variant in variants:
        if batch and (line_count > BATCH_LINES or len(batch) >= BATCH_HOSTS):
            yield batch
            batch, line_count = [], 0
        batch.append(variant)
        line_count += len(variant.whole.source.maillog)
    if batch:
        yield batch


def judge(histories: Iterable[History], folder: Path) -> list[Told]:
    """Read histories as one archive, run the models, and return what they say of each.

    If that fails, each half is tried by itself, so that the error is that of one history alone.
    """
    hosts = list(histories)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        write_archive(hosts, folder / "archive")
        return _run(hosts, folder)
    except Exception as error:  # whatever fails is what is looked for
        if len(hosts) == 1:
            return [Told(error=f"{type(error).__name__}: {error}")]
        half = len(hosts) // 2
        return [*judge(hosts[:half], folder), *judge(hosts[half:], folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(hosts: list[History], folder: Path) -> list[Told]:
    with duckdb.connect(":memory:", config={"preserve_insertion_order": "false"}) as connection:
        connection.execute("set timezone = 'UTC'")
        create_event_tables(connection, folder / "archive", folder / "lake", read_fleet(folder / "archive"))
        create_tables(connection, config_tables(Thresholds()))
        run_models(connection, needed_models(load_models(), ("marts.restarts", "marts.coverage")))
        found: dict[str, Told] = {history.host: Told() for history in hosts}
        for name, query in QUERIES.items():
            cursor = connection.execute(query)
            columns = [column[0] for column in cursor.description or []]
            for values in cursor.fetchall():
                row = dict(zip(columns, map(_in_utc, values), strict=True))
                getattr(found[str(row["host"])], name).append(row)
    return [found[history.host] for history in hosts]


def _in_utc(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
