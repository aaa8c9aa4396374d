"""Lets mail wait in the deferred queue, round by round, until a try of it succeeds."""

from dataclasses import dataclass, field

import numpy as np

from transforms.marts.retries.given import Bools, Conditions, Floats, Ints, Messages, Rules


@dataclass
class Attempts:
    """Tries of mail during an outage, with bounds."""

    condition: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    earliest: Floats = field(default_factory=lambda: np.empty(0))
    latest: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Waited:
    """Bounds of when each message is released, and whether it expires, for sure or maybe.

    What is never released for sure has a latest of -inf.
    """

    earliest: Floats
    latest: Floats
    is_expired: Bools
    is_maybe_expired: Bools

    @classmethod
    def of(cls, count: int) -> "Waited":
        """Return messages to which nothing has happened yet."""
        return cls(
            np.full(count, np.inf), np.full(count, -np.inf), np.zeros(count, bool), np.zeros(count, bool)
        )


@dataclass(frozen=True)
class Queue:
    """Mail in the deferred queues of restarts, under the settings of a scenario."""

    messages: Messages
    conditions: Conditions
    rules: Rules
    stamp_error: float

    def wait(
        self,
        blocked_earliest: Floats,
        blocked_latest: Floats,
        *,
        only: Bools | None = None,
        attempts: Attempts | None = None,
    ) -> Waited:
        """Retry all messages round by round; collect tries that may fail in `attempts`.

        Each round ends with a deferral between two bounds. A try that may succeed or fail does both: it
        widens the bounds of the release, and goes on.
        """
        messages, rules = self.messages, self.rules
        waited = Waited.of(len(messages.condition))
        rows = np.flatnonzero(rules.is_known[messages.condition] & (True if only is None else only))
        deferred_earliest = np.floor(messages.deferred_at[rows])
        deferred_latest = deferred_earliest.copy()
        collected: list[tuple[Ints, Floats, Floats]] = []
        while len(rows):
            stay = ~self._expire(waited, rows, deferred_earliest, deferred_latest)
            rows = rows[stay]
            run_earliest, run_latest = self._next_runs(rows, deferred_earliest[stay], deferred_latest[stay])
            of = messages.condition[rows]
            can_succeed = run_latest >= blocked_earliest[of]
            done, free_from = rows[can_succeed], blocked_earliest[of[can_succeed]]
            waited.earliest[done] = np.minimum(
                waited.earliest[done], np.maximum(run_earliest[can_succeed], free_from)
            )
            waited.latest[done] = np.maximum(waited.latest[done], run_latest[can_succeed])
            can_fail = run_earliest < blocked_latest[of]
            is_flushed = can_fail & (run_earliest > rules.flush_latest[of])
            waited.latest[rows[is_flushed]] = np.inf
            again = can_fail & ~is_flushed
            rows, of = rows[again], of[again]
            run_earliest, run_latest = run_earliest[again], run_latest[again]
            collected.append((of, run_earliest, run_latest))
            deferred_earliest = np.floor(run_earliest)
            deferred_latest = np.floor(np.minimum(run_latest, blocked_latest[of])) + self.stamp_error
            if attempts is None:
                collected.clear()
        if attempts is not None and collected:
            attempts.condition, attempts.earliest, attempts.latest = (
                np.concatenate(parts) for parts in zip(*collected, strict=True)
            )
        return waited

    def _expire(
        self, waited: Waited, rows: Ints, deferred_earliest: Floats, deferred_latest: Floats
    ) -> Bools:
        """Note which messages expire at a deferral, or may; return which are past their lifetime for sure."""
        messages, rules = self.messages, self.rules
        of = messages.condition[rows]
        lifetime = np.where(messages.is_null_sender[rows], rules.bounce_lifetime[of], rules.lifetime[of])
        # With a lifetime of 0, the error of the creation does not matter.
        error = np.where(lifetime > 0, self.stamp_error, 0)
        is_old = deferred_earliest >= messages.created_latest[rows] + lifetime + error
        is_maybe_old = deferred_latest + error >= messages.created_earliest[rows] + lifetime
        is_before_flush = deferred_latest <= rules.flush_earliest[of]
        waited.is_maybe_expired[rows] |= is_maybe_old
        waited.is_expired[rows] |= is_old & is_before_flush & np.isneginf(waited.latest[rows])
        # The flush may have come first.
        waited.latest[rows[is_old & ~is_before_flush]] = np.inf
        return is_old

    def _next_runs(
        self, rows: Ints, deferred_earliest: Floats, deferred_latest: Floats
    ) -> tuple[Floats, Floats]:
        """Return bounds of the queue run that takes each message after a deferral."""
        messages, rules = self.messages, self.rules
        of = messages.condition[rows]
        backoff = rules.backoff[of]
        youngest = deferred_earliest - messages.created_latest[rows] - self.stamp_error
        oldest = deferred_latest - messages.created_earliest[rows] + self.stamp_error
        shortest = np.maximum(np.minimum(youngest, rules.longest_backoff_least[of]), backoff)
        longest = np.maximum(np.minimum(oldest, rules.longest_backoff_most[of]), backoff)
        # No scan takes a message twice.
        due_earliest = np.maximum(deferred_earliest + shortest - 1, deferred_earliest + 1)
        due_latest = np.maximum(deferred_latest + longest - 1, deferred_latest + 1) + self.stamp_error
        return self._run_from(due_earliest, of, -1), self._run_from(due_latest, of, 1)

    def _run_from(self, due: Floats, of: Ints, side: int) -> Floats:
        """Return the first queue run from an instant on: the earliest possible (side -1), or the latest.

        Queue runs slip, and so come later than their rhythm, but never earlier; the stamp of one that shows
        the rhythm is that of the first message that it took.
        """
        phase, delay = self.rules.phase_at[of], self.rules.run_delay[of]
        late = self.conditions.phase_error_seconds[of]
        early = np.where(self.conditions.is_phase_of_start[of], 0, self.stamp_error)
        next_start = np.full(len(due), np.inf)
        for start in self.conditions.starts[of].T if self.conditions.starts.size else ():
            is_over = start <= due + side * self.stamp_error
            phase = np.where(is_over, start, phase)
            late, early = np.where(is_over, self.stamp_error, late), np.where(is_over, 0, early)
            next_start = np.where(is_over, next_start, np.minimum(next_start, start))
        if side < 0:
            run = phase + np.ceil((due - late - phase) / delay) * delay - early
            run = np.maximum(np.minimum(np.where(np.isnan(phase), due, run), next_start), due)
        else:
            run = phase + np.ceil((due + early - phase) / delay) * delay + late
            run = np.minimum(np.where(np.isnan(phase), due + delay, run), next_start + self.stamp_error)
        return np.asarray(run, np.float64)
