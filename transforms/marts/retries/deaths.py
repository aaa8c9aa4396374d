"""Finds until when Postfix takes the scan service for dead, so that it tries no mail."""

from dataclasses import dataclass

import numpy as np

from transforms.marts.retries.given import Bools, Floats, Ints
from transforms.marts.retries.waits import Attempts, Queue

# This many times the failures that make a destination dead, at one queue run, do so for sure: fewer may come
# one after another, with no mail in the active queue in between.
SURE_KILL = 4


# Mail that fails within so many seconds may have been in the active queue together.
BURST_SECONDS = 2


@dataclass(frozen=True)
class _Runs:
    """Queue runs during an outage: their number within it, and bounds of their time and of the mail tried."""

    condition: Ints
    number: Ints
    earliest: Floats
    latest: Floats
    least: Ints
    most: Ints


def failures_until_dead(concurrency: int, *, cohort_limit: float = 1.0) -> int:
    """Return after how many failures in a row a destination is dead (qmgr_queue.c: qmgr_queue_throttle).

    Each failure counts 1/window, and the window shrinks by the default negative feedback of 1.
    """
    window, credit, cohorts, failures = concurrency, 0.0, 0.0, 0
    while True:
        failures += 1
        cohorts += 1 / window
        # The sum of fractions such as 1/3 may miss a whole number by its last bits.
        if cohorts >= cohort_limit - 1e-9:
            return failures
        credit -= 1
        while credit < 0.5:
            window, credit = window - 1, credit + 1
        window = max(window, 1)


def dead_until(queue: Queue, kill_count: int) -> tuple[Floats, Floats]:
    """Return bounds of the time until which tries fail: the end of the outage, or of the last death.

    Tries before the end of the outage fail whether the destination is dead or not, and at the same time.
    `kill_count`: after how many failures in a row a destination is dead.
    """
    conditions, rules, error = queue.conditions, queue.rules, queue.stamp_error
    has_died = ~np.isnan(conditions.death_earliest)
    first = np.full(len(has_died), np.inf)
    np.minimum.at(first, queue.messages.condition, queue.messages.deferred_at)
    # Where mail is retried before, that may bring about another death instead.
    is_first = has_died & (conditions.death_latest < first + rules.backoff - 1)
    alive = _Alive(
        np.where(is_first, conditions.death_earliest + rules.backoff, -np.inf),
        np.where(has_died, conditions.death_latest + rules.backoff + error, -np.inf),
    )
    _forget(alive, queue)
    # What is tried during the outage when the first death is over, or without one, may bring about another.
    may_die = rules.is_known & (alive.earliest < conditions.up_latest)
    if np.any(may_die):
        chosen = may_die[queue.messages.condition]
        # Where no mail was suspended, new mail that is followed by none may have done it.
        has_died[queue.messages.condition[queue.messages.is_never_tried]] = True
        _add_new_mail(alive, queue, chosen & has_died[queue.messages.condition], kill_count)
        _add_unseen(alive, queue, chosen & ~has_died[queue.messages.condition], kill_count)
        _add_queue_runs(alive, queue, chosen, kill_count)
        _forget(alive, queue)
    return (
        np.where(rules.is_known, np.maximum(conditions.up_earliest, alive.earliest), conditions.up_earliest),
        np.where(rules.is_known, np.maximum(conditions.up_latest, alive.latest), np.inf),
    )


@dataclass
class _Alive:
    """Bounds of when the last death of each destination is over; -inf without one."""

    earliest: Floats
    latest: Floats


def _forget(alive: _Alive, queue: Queue) -> None:
    """End deaths at the next start of the qmgr."""
    backoff, error = queue.rules.backoff, queue.stamp_error
    for start in queue.conditions.starts.T:
        is_after = start > alive.latest - backoff
        alive.latest = np.where(is_after, np.minimum(alive.latest, start + error), alive.latest)
        is_after = start + error > alive.earliest - backoff
        alive.earliest = np.where(is_after, np.minimum(alive.earliest, start), alive.earliest)


def _add_new_mail(alive: _Alive, queue: Queue, chosen: Bools, kill_count: int) -> None:
    """Add deaths that new mail may bring about after the first one, for chosen messages.

    Nothing tells whether it comes one by one.
    """
    of, at = queue.messages.condition, queue.messages.deferred_at
    rows = np.flatnonzero(chosen & (at >= alive.earliest[of]) & (at < queue.conditions.up_latest[of]))
    _add_possible(alive, queue, of[rows], at[rows], kill_count)


def _add_unseen(alive: _Alive, queue: Queue, chosen: Bools, kill_count: int) -> None:
    """Add deaths that bursts of new mail may have brought about, though no mail was suspended.

    Nothing else was tried in such a case until the death was over. The first answer counts as a try.
    """
    conditions, messages = queue.conditions, queue.messages
    rows = np.flatnonzero(chosen)
    rows = rows[np.lexsort((messages.deferred_at[rows], messages.condition[rows]))]
    of, at = messages.condition[rows], messages.deferred_at[rows]
    next_at = np.append(at[1:], np.inf)
    is_last = np.append(of[1:] != of[:-1], True)
    next_at = np.where(is_last, conditions.answered_at[of], next_at)
    is_alive = next_at - at < conditions.minimal_backoff_seconds[of]
    number = np.arange(len(rows))
    before = np.maximum(number - (kill_count - 1), 0)
    is_burst = (number >= kill_count - 1) & (of[before] == of) & (at[before] >= at - BURST_SECONDS)
    is_possible = is_burst & ~is_alive
    _add_possible(alive, queue, of[is_possible], at[is_possible], kill_count=1)


def _add_queue_runs(alive: _Alive, queue: Queue, chosen: Bools, kill_count: int) -> None:
    """Add deaths that queue runs during the outage bring about, for chosen messages."""
    up_earliest, up_latest = queue.conditions.up_earliest, queue.conditions.up_latest
    attempts = Attempts()
    queue.wait(up_earliest, up_latest, only=chosen, attempts=attempts)
    of = attempts.condition
    is_vague = np.isnan(queue.rules.phase_at[of])
    last = np.minimum(attempts.latest[is_vague], up_latest[of[is_vague]])
    _add_possible(alive, queue, of[is_vague], last, kill_count)
    runs = _queue_runs(attempts, queue)
    for number in range(int(runs.number.max(initial=-1)) + 1):
        is_next = runs.number == number
        _forget(alive, queue)
        of, earliest, latest = runs.condition[is_next], runs.earliest[is_next], runs.latest[is_next]
        can_kill = (runs.most[is_next] >= kill_count) & (latest >= alive.earliest[of])
        is_sure = (
            (runs.least[is_next] >= SURE_KILL * kill_count)
            & (earliest >= alive.latest[of])
            & (latest < up_earliest[of])
        )
        backoff = queue.rules.backoff[of]
        until = np.minimum(latest, up_latest[of]) + backoff + queue.stamp_error
        alive.latest[of] = np.where(can_kill, np.maximum(alive.latest[of], until), alive.latest[of])
        alive.earliest[of] = np.where(is_sure, earliest + backoff, alive.earliest[of])


def _add_possible(alive: _Alive, queue: Queue, of: Ints, at: Floats, kill_count: int) -> None:
    """Add a possible death at the last of some tries, if they are enough for one."""
    count = len(alive.latest)
    last = np.full(count, -np.inf)
    np.maximum.at(last, of, at)
    is_enough = np.bincount(of, minlength=count) >= kill_count
    until = last + queue.rules.backoff + queue.stamp_error
    alive.latest = np.where(is_enough, np.maximum(alive.latest, until), alive.latest)


def _queue_runs(attempts: Attempts, queue: Queue) -> _Runs:
    """Return the queue runs of known time during an outage, and how much mail each tried."""
    rules = queue.rules
    is_known = ~np.isnan(rules.phase_at[attempts.condition])
    is_vague = attempts.latest - attempts.earliest >= rules.run_delay[attempts.condition] / 2
    # Mail of two possible runs may have been part of any.
    vague = np.bincount(attempts.condition[is_known & is_vague], minlength=len(rules.phase_at))
    kept = np.flatnonzero(is_known & ~is_vague)
    order = kept[np.lexsort((attempts.latest[kept], attempts.condition[kept]))]
    of, earliest, latest = attempts.condition[order], attempts.earliest[order], attempts.latest[order]
    is_new = np.ones(len(of), bool)
    is_new[1:] = (np.diff(of) != 0) | (np.diff(latest) != 0)
    first = np.flatnonzero(is_new)
    least = np.diff(np.append(first, len(of)))
    condition = of[first]
    run_earliest = np.minimum.reduceat(earliest, first) if len(first) else earliest
    new = _new_mail_about(queue, condition, run_earliest, latest[first])
    return _Runs(
        condition,
        np.arange(len(first)) - np.searchsorted(condition, condition),
        run_earliest,
        latest[first],
        least,
        least + vague[condition] + new,
    )


def _new_mail_about(queue: Queue, of: Ints, earliest: Floats, latest: Floats) -> Ints:
    """Return how much new mail may have been in the active queue together with that of queue runs."""
    at, condition = queue.messages.deferred_at, queue.messages.condition
    begin = min(at.min(initial=0), earliest.min(initial=0))
    span = max(at.max(initial=0), latest.max(initial=0)) - begin + 4 * BURST_SECONDS
    places = np.sort(condition * span + (at - begin))
    until = np.searchsorted(places, of * span + (latest - begin + BURST_SECONDS), side="right")
    since = np.searchsorted(places, of * span + (earliest - begin - BURST_SECONDS))
    return np.asarray(until - since, np.int64)
