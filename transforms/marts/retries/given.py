"""What is simulated: settings, what the log tells about restarts and mail, and what becomes of the mail."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# A log's stamp may be that much earlier than the qmgr's clock when it hears of the failure.
STAMP_ERROR_SECONDS = 1.0


@dataclass(frozen=True)
class Scenario:
    """How Postfix retries: a setting that is None is the host's own.

    `flush_after_seconds`: when after the end of the outage the queue is flushed; None is never.
    `is_throttled`: false is `default_destination_concurrency_failed_cohort_limit = 0`.
    """

    name: str
    queue_run_delay_seconds: float | None = None
    minimal_backoff_seconds: float | None = None
    maximal_backoff_seconds: float | None = None
    maximal_queue_lifetime_seconds: float | None = None
    bounce_queue_lifetime_seconds: float | None = None
    flush_after_seconds: float | None = None
    is_throttled: bool = True
    initial_destination_concurrency: int = 5


@dataclass(frozen=True)
class Conditions:
    """What the log tells about restarts, an element for each restart and queue."""

    up_earliest: Floats
    up_latest: Floats
    answered_at: Floats
    """The first answer after the last failure, to any mail; NaN: none is known."""
    death_earliest: Floats
    """When new mail had made the destination dead for the first time; NaN: it did not."""
    death_latest: Floats
    phase_at: Floats
    """A queue run, or the start of the qmgr, before all else; NaN: the log shows none."""
    phase_error_seconds: Floats
    """How much later than in the rhythm of phase_at a queue run may come."""
    is_phase_of_start: Bools
    """Whether phase_at is the start of the qmgr, from which queue runs count under any setting."""
    starts: Floats
    """Later starts of the qmgr, a row for each restart, ascending, filled up with inf."""
    queue_run_delay_seconds: Floats
    minimal_backoff_seconds: Floats
    maximal_backoff_seconds: Floats
    maximal_queue_lifetime_seconds: Floats
    bounce_queue_lifetime_seconds: Floats


@dataclass(frozen=True)
class Messages:
    """Held mail: the element of Conditions that it belongs to, and what is known of it."""

    condition: Ints
    deferred_at: Floats
    created_earliest: Floats
    created_latest: Floats
    is_never_tried: Bools
    """Whether the first deferral was a suspension: without a dead destination, it would have been tried."""
    is_null_sender: Bools


@dataclass(frozen=True)
class Releases:
    """What became of each message: bounds of the instant at which the queue let it go, and how it ended."""

    earliest: Floats
    latest: Floats
    """inf: no bound is known. Of a message that expires for sure, both are NaN."""
    is_expired: Bools
    is_maybe_expired: Bools
    """Includes those that expire for sure."""
    is_flushed: Bools
    is_not_held: Bools
    """The service is up and not taken for dead when the message is first tried: it is not deferred."""


@dataclass(frozen=True)
class Rules:
    """The settings of a scenario, an element for each restart and queue."""

    run_delay: Floats
    backoff: Floats
    longest_backoff_least: Floats
    longest_backoff_most: Floats
    lifetime: Floats
    bounce_lifetime: Floats
    phase_at: Floats
    flush_earliest: Floats
    flush_latest: Floats
    is_known: Bools


def rules_of(conditions: Conditions, scenario: Scenario) -> Rules:
    """Return the settings of a scenario for each restart and queue."""

    def chosen(name: str) -> Floats:
        own: Floats = getattr(conditions, name)
        value = getattr(scenario, name)
        return own if value is None else np.full(len(own), float(value))

    run_delay, backoff = chosen("queue_run_delay_seconds"), chosen("minimal_backoff_seconds")
    longest = chosen("maximal_backoff_seconds")
    is_same_rhythm = conditions.is_phase_of_start | (run_delay == conditions.queue_run_delay_seconds)
    after = np.inf if scenario.flush_after_seconds is None else scenario.flush_after_seconds
    return Rules(
        run_delay,
        backoff,
        np.where(np.isnan(longest), backoff, longest),
        np.where(np.isnan(longest), np.inf, longest),
        chosen("maximal_queue_lifetime_seconds"),
        chosen("bounce_queue_lifetime_seconds"),
        # A wide error tells nothing more than that queue runs come once in queue_run_delay.
        np.where(
            is_same_rhythm & (4 * conditions.phase_error_seconds < run_delay), conditions.phase_at, np.nan
        ),
        conditions.up_earliest + after,
        conditions.up_latest + after,
        ~np.isnan(run_delay) & ~np.isnan(backoff),
    )
