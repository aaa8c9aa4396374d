"""Turns held mail, what the log tells and a scenario into the release of each message."""

import numpy as np

from transforms.marts.retries.deaths import dead_until, failures_until_dead
from transforms.marts.retries.given import (
    STAMP_ERROR_SECONDS,
    Conditions,
    Floats,
    Messages,
    Releases,
    Scenario,
    rules_of,
)
from transforms.marts.retries.waits import Queue


def simulate(
    messages: Messages,
    conditions: Conditions,
    scenario: Scenario,
    *,
    stamp_error_seconds: float = STAMP_ERROR_SECONDS,
) -> Releases:
    """Return what would have become of each message under a scenario.

    A message is released by the first try that begins when the service is up and the destination is not dead.
    Where retry settings are not known, that may be at any time from the end of the outage on.
    """
    queue = Queue(messages, conditions, rules_of(conditions, scenario), stamp_error_seconds)
    blocked = (conditions.up_earliest, conditions.up_latest)
    if scenario.is_throttled:
        blocked = dead_until(queue, failures_until_dead(scenario.initial_destination_concurrency))
    return _released(queue, *blocked)


def _released(queue: Queue, blocked_earliest: Floats, blocked_latest: Floats) -> Releases:
    """Let each message wait until a try is not blocked, or a flush comes."""
    messages, conditions, rules = queue.messages, queue.conditions, queue.rules
    of, deferred_at = messages.condition, messages.deferred_at
    waited = queue.wait(blocked_earliest, blocked_latest)
    is_unknown = ~rules.is_known[of]
    earliest = np.where(is_unknown, np.maximum(deferred_at, conditions.up_earliest[of]), waited.earliest)
    latest = np.where(is_unknown, np.inf, waited.latest)
    flushed_latest = np.maximum(rules.flush_latest[of], deferred_at)
    is_flushed = flushed_latest < earliest
    earliest = np.minimum(earliest, np.maximum(rules.flush_earliest[of], deferred_at))
    latest = np.minimum(latest, flushed_latest)
    # What was suspended is tried at once if the destination is not dead, or not any more after the flush.
    alive_earliest = np.minimum(blocked_earliest, rules.flush_earliest)
    alive_latest = np.minimum(blocked_latest, rules.flush_latest)
    is_not_held = messages.is_never_tried & (deferred_at >= alive_latest[of])
    is_maybe_held = messages.is_never_tried & (deferred_at >= alive_earliest[of])
    is_expired = waited.is_expired & ~is_maybe_held
    earliest = np.where(is_maybe_held, deferred_at, earliest)
    # What expires unless it is tried at once is released at once or never.
    latest = np.where(is_not_held | (waited.is_expired & is_maybe_held), deferred_at, latest)
    earliest[is_expired] = latest[is_expired] = np.nan
    return Releases(
        earliest,
        latest,
        is_expired,
        waited.is_maybe_expired & ~is_not_held,
        is_flushed & ~is_expired & ~is_maybe_held,
        is_not_held,
    )
