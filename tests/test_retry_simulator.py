"""The simulator of the deferred queue: exact where the log tells all, and otherwise bounds that hold."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from transforms.marts.retries.deaths import failures_until_dead
from transforms.marts.retries.given import Conditions, Messages, Releases, Scenario
from transforms.marts.retries.simulate import simulate

IMSVA = Scenario(
    "imsva",
    queue_run_delay_seconds=900,
    minimal_backoff_seconds=900,
    maximal_backoff_seconds=3600,
    maximal_queue_lifetime_seconds=86400,
    bounce_queue_lifetime_seconds=86400,
)
UP_AT = 40.0


def conditions(**changed: Any) -> Conditions:
    """Return one restart that is up after 40 s; a queue run takes place at 0, and no more is known."""
    values = {field.name: np.array([np.nan]) for field in fields(Conditions)}
    values |= {"phase_at": np.array([0.0]), "phase_error_seconds": np.array([0.0])}
    values |= {"is_phase_of_start": np.array([True]), "starts": np.empty((1, 0))}
    values |= {"up_earliest": np.array([UP_AT]), "up_latest": np.array([UP_AT])}
    return Conditions(**(values | {name: np.atleast_1d(value) for name, value in changed.items()}))


def mail(*deferred_at: float, created_at: float | None = None, **changed: Any) -> Messages:
    """Return messages of the first restart, created when they are deferred."""
    at = np.array(deferred_at, float)
    created = at if created_at is None else np.full(len(at), created_at)
    nothing = np.zeros(len(at), bool)
    made = Messages(np.zeros(len(at), np.int64), at, created, created, nothing, nothing)
    return replace(made, **{name: np.full(len(at), value) for name, value in changed.items()})


def exactly(messages: Messages, given: Conditions, scenario: Scenario) -> list[float]:
    """Return when messages are released, where nothing is in doubt."""
    found = simulate(messages, given, scenario, stamp_error_seconds=0)
    assert_array_equal(found.earliest, found.latest)
    return list(found.latest)


@pytest.mark.parametrize(("concurrency", "failures"), [(1, 1), (2, 2), (5, 3), (10, 7), (20, 13)])
def test_a_destination_is_dead_after_as_many_failures_as_in_postfix(concurrency: int, failures: int) -> None:
    assert failures_until_dead(concurrency) == failures


def test_a_message_is_retried_at_the_first_queue_run_a_second_before_it_is_due() -> None:
    # Due at 901, 902 and 1801, of which a second is forgiven.
    assert exactly(mail(1, 2), conditions(), IMSVA) == [900, 1800]


def test_a_message_that_fails_again_waits_for_its_age_up_to_the_longest_backoff() -> None:
    given = conditions(up_earliest=20_000, up_latest=20_000)
    # Tries at 900, 1800, 3600, 7200, 10800, 14400, 18000, then 21600.
    assert exactly(mail(0.0), given, IMSVA) == [21_600]
    assert exactly(mail(0.0), given, replace(IMSVA, maximal_backoff_seconds=900)) == [20_700]


def test_a_flush_takes_all_mail_at_once() -> None:
    assert exactly(mail(1, 30), conditions(), replace(IMSVA, flush_after_seconds=60)) == [100, 100]


def test_mail_expires_when_it_is_deferred_past_its_lifetime() -> None:
    given = conditions(up_earliest=20_000, up_latest=20_000)
    short = replace(IMSVA, maximal_queue_lifetime_seconds=7200)
    found = simulate(mail(0.0), given, short, stamp_error_seconds=0)
    assert found.is_expired.all()
    assert np.isnan(found.latest).all()
    # At 3600 it is not old enough, and at 7200 the service is up.
    given = conditions(up_earliest=7200, up_latest=7200)
    assert exactly(mail(0.0), given, short) == [7200]


def test_a_bounce_without_a_lifetime_expires_at_once_unless_it_is_not_deferred_at_all() -> None:
    none = replace(IMSVA, bounce_queue_lifetime_seconds=0)
    assert simulate(mail(1, is_null_sender=True), conditions(), none).is_expired.all()
    late = mail(60, is_null_sender=True, is_never_tried=True)
    found = simulate(late, conditions(death_earliest=1, death_latest=1), replace(none, is_throttled=False))
    assert found.is_not_held.all()
    assert not found.is_expired.any()


def test_mail_for_a_dead_destination_is_deferred_again_without_a_try() -> None:
    # Dead from 35 to 935: the queue run at 900 is in vain for what is due then, but it does not prolong it.
    given = conditions(death_earliest=35, death_latest=35)
    assert exactly(mail(1, 100, is_never_tried=True), given, IMSVA) == [1800, 1800]
    assert exactly(mail(1), given, replace(IMSVA, is_throttled=False)) == [900]


def test_mail_that_comes_after_the_outage_is_not_held_unless_the_destination_is_dead() -> None:
    given = conditions(death_earliest=35, death_latest=35)
    late = mail(50, is_never_tried=True)
    assert not simulate(late, given, IMSVA).is_not_held.any()
    for scenario in (
        replace(IMSVA, is_throttled=False),
        replace(IMSVA, minimal_backoff_seconds=10),
        replace(IMSVA, flush_after_seconds=5),
    ):
        found = simulate(late, given, scenario, stamp_error_seconds=0)
        assert found.is_not_held.all()
        assert list(found.latest) == [50]


def test_enough_mail_at_one_queue_run_during_the_outage_makes_the_destination_dead() -> None:
    given = conditions(up_earliest=950, up_latest=950)
    few, many = mail(0.0), mail(*[0.0] * 12)
    late = mail(960, is_never_tried=True)
    assert exactly(few, given, IMSVA) == [1800]
    together = Messages(
        *(
            np.concatenate([getattr(messages, field.name) for messages in (many, late)])
            for field in fields(Messages)
        )
    )
    # Dead from 900 to 1800, when it is tried.
    assert exactly(together, given, IMSVA)[-1] == 2700
    assert simulate(late, given, IMSVA, stamp_error_seconds=0).is_not_held.all()


def test_a_start_of_the_qmgr_begins_a_new_rhythm_and_ends_a_suspension() -> None:
    given = conditions(death_earliest=35, death_latest=35, starts=[[910.0]])
    assert exactly(mail(1), given, IMSVA) == [910 + 900]
    assert exactly(mail(20), given, IMSVA) == [910 + 900]
    given = conditions(starts=[[950.0]])
    assert exactly(mail(20), given, IMSVA) == [950]


def test_where_settings_are_not_known_only_a_flush_bounds_the_release() -> None:
    found = simulate(mail(1), conditions(), Scenario("own"))
    assert (found.earliest.item(), found.latest.item()) == (UP_AT, np.inf)
    found = simulate(mail(1), conditions(), Scenario("own", flush_after_seconds=60))
    assert (found.earliest.item(), found.latest.item()) == (UP_AT, UP_AT + 60)


def test_the_rhythm_of_another_setting_says_nothing_unless_it_counts_from_a_start() -> None:
    own = {"queue_run_delay_seconds": 900.0, "is_phase_of_start": False}
    assert exactly(mail(1), conditions(**own), IMSVA) == [900]
    found = simulate(mail(1), conditions(**own), replace(IMSVA, queue_run_delay_seconds=300))
    assert found.latest.item() - found.earliest.item() >= 300
    assert exactly(mail(1), conditions(), replace(IMSVA, queue_run_delay_seconds=300)) == [900]


scenarios = st.builds(
    Scenario,
    name=st.just("any"),
    queue_run_delay_seconds=st.integers(10, 400),
    minimal_backoff_seconds=st.integers(5, 500),
    maximal_backoff_seconds=st.integers(5, 2000),
    maximal_queue_lifetime_seconds=st.integers(1000, 5000),
    bounce_queue_lifetime_seconds=st.sampled_from([0, 2000]),
    flush_after_seconds=st.none() | st.integers(0, 900),
    is_throttled=st.booleans(),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Messages, Conditions]:
    """Draw a restart of which everything is known, with its mail."""
    up_at = draw(st.integers(1, 3000))
    death = draw(st.none() | st.integers(0, up_at))
    tried = draw(st.lists(st.integers(0, up_at - 1), min_size=1, max_size=30))
    late = draw(st.lists(st.integers(death, death + 400), max_size=5)) if death is not None else []
    at = np.array([*tried, *late], float)
    created = at - draw(st.integers(0, 1500))
    starts = sorted(draw(st.sets(st.integers(1, 4000), max_size=2)))
    messages = Messages(
        np.zeros(len(at), np.int64),
        at,
        created,
        created,
        np.array([False] * len(tried) + [True] * len(late)),
        np.array(draw(st.lists(st.booleans(), min_size=len(at), max_size=len(at)))),
    )
    given = conditions(
        up_earliest=up_at,
        up_latest=up_at,
        phase_at=-draw(st.integers(0, 1000)),
        starts=np.array(starts, float).reshape(1, -1),
        **({} if death is None else {"death_earliest": death, "death_latest": death}),
    )
    return messages, given


def assert_within(truth: Releases, bounds: Releases) -> None:
    """Compare what happens with bounds of it."""
    is_released = ~truth.is_expired
    assert (bounds.is_maybe_expired | ~truth.is_expired).all()
    assert (truth.is_maybe_expired | ~bounds.is_expired).all()
    assert (bounds.earliest <= truth.earliest)[is_released & ~bounds.is_expired].all()
    assert (bounds.latest >= truth.latest)[is_released & ~bounds.is_expired].all()


@settings(max_examples=400, deadline=None)
@given(cases(), scenarios)
def test_no_message_is_released_before_it_was_deferred_or_while_the_service_is_down(
    case: tuple[Messages, Conditions], scenario: Scenario
) -> None:
    messages, given = case
    for error in (0.0, 1.0):
        found = simulate(messages, given, scenario, stamp_error_seconds=error)
        known = ~found.is_expired
        assert (found.earliest >= messages.deferred_at)[known].all()
        assert (found.latest >= found.earliest)[known].all()
        assert (found.earliest >= np.maximum(given.up_earliest, messages.deferred_at))[known].all()


@settings(max_examples=400, deadline=None)
@given(cases(), scenarios, st.integers(0, 1000))
def test_a_flush_never_makes_a_release_later(
    case: tuple[Messages, Conditions], scenario: Scenario, after: int
) -> None:
    without = simulate(*case, replace(scenario, flush_after_seconds=None))
    flushed = simulate(*case, replace(scenario, flush_after_seconds=after))
    assert not (flushed.is_expired & ~without.is_expired).any()
    known = ~without.is_expired
    assert (flushed.earliest <= without.earliest)[known].all()
    assert (flushed.latest <= without.latest)[known].all()


@settings(max_examples=400, deadline=None)
@given(cases(), scenarios)
def test_the_bounds_of_an_unknown_rhythm_hold_for_every_rhythm(
    case: tuple[Messages, Conditions], scenario: Scenario
) -> None:
    messages, given = case
    bounds = simulate(messages, replace(given, phase_at=np.array([np.nan])), scenario, stamp_error_seconds=0)
    for phase in range(0, int(scenario.queue_run_delay_seconds or 0), 7):
        known = replace(given, phase_at=np.array([-2000.0 - phase]))
        assert_within(simulate(messages, known, scenario, stamp_error_seconds=0), bounds)


@settings(max_examples=400, deadline=None)
@given(cases(), scenarios, st.integers(0, 3), st.integers(0, 30), st.integers(0, 30))
def test_bounds_hold_for_whatever_is_within_the_bounds_of_what_is_given(
    case: tuple[Messages, Conditions], scenario: Scenario, off: int, earlier: int, later: int
) -> None:
    messages, given = case
    truth = simulate(messages, given, scenario, stamp_error_seconds=0)
    vague = replace(
        given,
        phase_at=given.phase_at - off,
        phase_error_seconds=np.array([3.0]),
        up_earliest=given.up_earliest - earlier,
        up_latest=given.up_latest + later,
        death_latest=given.death_latest + later,
    )
    old = replace(messages, created_earliest=messages.created_earliest - earlier)
    assert_within(truth, simulate(old, vague, scenario))


@settings(max_examples=200, deadline=None)
@given(cases(), scenarios)
def test_without_throttling_a_release_is_never_later(
    case: tuple[Messages, Conditions], scenario: Scenario
) -> None:
    throttled = simulate(*case, replace(scenario, is_throttled=True))
    free = simulate(*case, replace(scenario, is_throttled=False))
    known = ~throttled.is_expired
    assert (free.latest <= throttled.latest)[known].all()
