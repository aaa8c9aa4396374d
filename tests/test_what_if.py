"""The simulator by arrays says what the plain loop does, and what a real Postfix did."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest

from flows.catalog import EVERYTHING, NOT_FLUSHED, open_catalog
from tests.conftest import run_job
from tests.oracle import retries as plain
from transforms.contracts.contracts import Checker
from transforms.marts.back_test import back_test, summary
from transforms.marts.retries.given import Conditions, Messages, Releases, Scenario
from transforms.marts.retries.simulate import simulate
from transforms.run import Job

ARCHIVES = Path(__file__).parent / "archives"
CHOICE = {name: value for name, value in EVERYTHING.items() if name != "newest"}
# Attempts overlap, as in life, and yet take so little that all happens in the second in which it begins.
PACE = plain.Pace(
    start_seconds=0,
    oversleep_seconds=0,
    feed_seconds=0.001,
    failure_seconds=0.005,
    answer_seconds=0.001,
    passing_seconds=0,
)
# How much of the mail of an archive is within bounds, and how far the middle half of it is off at most.
LEAST = {"rig": (0.98, 1.0), "rig-grid": (0.99, 1.0), "rig-troubles": (0.93, 1.0)}


@dataclass(frozen=True)
class Held:
    """Mail that the plain loop deferred under the settings of a host, and what the arrays are told of it."""

    arrivals: list[plain.Arrival]
    messages: Messages
    conditions: Conditions


def drawn_settings(chance: Random) -> plain.Settings:
    return plain.Settings(
        queue_run_delay=chance.choice([10, 20, 45, 60]),
        minimal_backoff_time=chance.choice([10, 30, 40, 45, 100, 300]),
        maximal_backoff_time=chance.choice([20, 160, 4000]),
        maximal_queue_lifetime=chance.choice([300, 86400]),
        bounce_queue_lifetime=chance.choice([0, 200, 86400]),
    )


def drawn_mail(chance: Random, down_at: int, up_at: int) -> list[plain.Arrival]:
    """Draw mail that comes one by one, in bursts, or both, during an outage and after it."""
    at = [float(chance.randint(down_at - 20, up_at + 300)) for _ in range(chance.randint(5, 40))]
    for _ in range(chance.randint(0, 2)):
        at += [float(chance.randint(down_at, up_at))] * chance.randint(4, 30)
    return [
        plain.Arrival(str(number), seconds, seconds, is_bounce=chance.random() < 0.2)
        for number, seconds in enumerate(sorted(at))
    ]


def held_mail(
    arrivals: list[plain.Arrival], world: plain.World, settings: plain.Settings, up_at: float
) -> Held:
    """Run the plain loop, and tell the arrays what the log of it would."""
    stories = plain.simulate(arrivals, world, settings, PACE)
    held = [story for story in stories.values() if story.attempts and story.attempts[0].kind != "answered"]
    answered = [
        attempt.at
        for story in stories.values()
        for attempt in story.attempts
        if attempt.kind == "answered" and attempt.at > up_at
    ]
    tries = [(attempt.at, attempt.kind) for story in held for attempt in story.attempts]
    suspended_at = min((at for at, kind in tries if kind == "suspended"), default=np.nan)
    failed_at = max((at for at, kind in tries if kind == "failed" and at <= suspended_at), default=np.nan)
    first = min((story.attempts[0].at for story in held), default=np.nan)
    # What is suspended later may be so because of a retry, which other settings would put elsewhere.
    if not suspended_at < first + settings.minimal_backoff_time - 1:
        suspended_at = failed_at = np.nan
    deferred_at = np.floor([story.attempts[0].at for story in held])
    created_at = np.array([story.arrival.created_at for story in held])
    values = {
        "up_earliest": up_at,
        "up_latest": up_at,
        "answered_at": min(answered, default=np.nan),
        "death_earliest": np.floor(failed_at),
        "death_latest": np.floor(suspended_at),
        "phase_at": world.queue_managers[0],
        "phase_error_seconds": 0.0,
        "is_phase_of_start": True,
        "starts": [*world.queue_managers[1:]],
        "queue_run_delay_seconds": float(settings.queue_run_delay),
        "minimal_backoff_seconds": float(settings.minimal_backoff_time),
        "maximal_backoff_seconds": float(settings.maximal_backoff_time),
        "maximal_queue_lifetime_seconds": float(settings.maximal_queue_lifetime),
        "bounce_queue_lifetime_seconds": float(settings.bounce_queue_lifetime),
    }
    return Held(
        [story.arrival for story in held],
        Messages(
            np.zeros(len(held), np.int64),
            deferred_at,
            created_at,
            created_at,
            np.array([story.attempts[0].kind == "suspended" for story in held], bool),
            np.array([story.arrival.is_bounce for story in held], bool),
        ),
        Conditions(**{name: np.array([value]) for name, value in values.items()}),
    )


def scenario_of(settings: plain.Settings, flush_after: int | None) -> Scenario:
    return Scenario(
        "drawn",
        queue_run_delay_seconds=settings.queue_run_delay,
        minimal_backoff_seconds=settings.minimal_backoff_time,
        maximal_backoff_seconds=settings.maximal_backoff_time,
        maximal_queue_lifetime_seconds=settings.maximal_queue_lifetime,
        bounce_queue_lifetime_seconds=settings.bounce_queue_lifetime,
        flush_after_seconds=flush_after,
        is_throttled=settings.failed_cohort_limit > 0,
    )


def drawn_cases(count: int) -> Iterator[tuple[Held, plain.World, plain.Settings, int | None]]:
    """Yield mail that a host held, and the settings and the flush under which it is simulated."""
    for seed in range(count):
        chance = Random(seed)
        down_at = 100
        up_at = down_at + chance.choice([10, 40, 60, 200, 700])
        starts = [0.0, *sorted(float(chance.randint(50, up_at + 200)) for _ in range(seed % 3 == 2))]
        world = plain.World(starts, [(down_at, up_at)])
        own = drawn_settings(chance)
        held = held_mail(drawn_mail(chance, down_at, up_at), world, own, up_at)
        other = own if seed % 2 else drawn_settings(chance)
        if seed % 5 == 4:
            other = replace(other, failed_cohort_limit=0)
        flush_after = chance.choice([None, None, 0, 30, 60])
        flushes = [] if flush_after is None else [float(up_at + flush_after)]
        yield held, replace(world, flushes=flushes), other, flush_after


def test_the_arrays_bound_what_the_plain_loop_says_and_mostly_say_the_same() -> None:
    equal = total = 0
    for seed, (held, world, settings, flush_after) in enumerate(drawn_cases(600)):
        stories = plain.simulate(held.arrivals, world, settings, PACE)
        found = simulate(
            held.messages, held.conditions, scenario_of(settings, flush_after), stamp_error_seconds=0
        )
        for row, arrival in enumerate(held.arrivals):
            story = stories[arrival.queue_id]
            assert_bounds(story, found, row, f"seed {seed}, message {arrival}")
            total += 1
            equal += found.earliest[row] == found.latest[row] or bool(found.is_expired[row])
    assert total > 10_000
    assert equal / total > 0.8, "where everything is known, bounds are the exception"


def assert_bounds(story: plain.Story, found: Releases, row: int, where: str) -> None:
    """Compare what became of a message with what the arrays say."""
    if story.released_at is None:
        assert found.is_maybe_expired[row], where
    else:
        assert not found.is_expired[row], where
        assert found.earliest[row] <= np.floor(story.released_at) <= found.latest[row], where


@pytest.fixture(scope="module", params=[*LEAST])
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    lake = tmp_path_factory.mktemp("back_test") / "lake"
    checker: Checker = request.getfixturevalue("checker")
    run_job(Job(ARCHIVES / request.param, lake), checker)
    with open_catalog(lake) as catalog:
        rows = back_test(catalog, catalog.sql(NOT_FLUSHED, params=CHOICE).pl())
    return rows.with_columns(archive=pl.lit(request.param))


@pytest.mark.slow
def test_what_a_real_postfix_did_lies_within_the_bounds(tried: pl.DataFrame) -> None:
    share, median_seconds = LEAST[tried["archive"][0]]
    *_, together = summary(tried.drop("archive")).rows(named=True)
    assert together["within_bounds_share"] >= share
    assert together["error_p50_seconds"] <= median_seconds


@pytest.mark.slow
def test_sendmail_has_another_rule_and_no_answer(tmp_path: Path, checker: Checker) -> None:
    run_job(Job(ARCHIVES / "sendmail", tmp_path / "lake"), checker)
    with open_catalog(tmp_path / "lake") as catalog:
        reasons = catalog.sql(
            "select distinct reason from marts.retry_what_if where scenario <> 'as_it_was'"
        ).fetchall()
    assert ("sendmail",) in reasons
    assert (None,) not in reasons
