"""Turns a recorded grid of retry settings into predictions beside what Postfix did: docs/retry-simulator.md.

`python -m tests.rig.grid` writes the tables of the document from the recorded archive. With `--record DIR` it
records a fresh grid first, in ten minutes, and prints the tables of that.
"""

import argparse
import gzip
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import ceil, inf
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.document import replace_section
from tests.oracle.retries import Arrival, Kind, Pace, Settings, Story, World, simulate

from .run import record
from .scenarios import GRID, read_scenarios

Truth = dict[str, Any]

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests" / "archives" / "rig-grid"
DOCUMENT = ROOT / "docs" / "retry-simulator.md"
CLOSE_SECONDS = 2.0
# A message is active before its client is answered.
_REPLY_SECONDS = 0.005
_WORST_COUNT = 10
_PARAMETERS = {
    "queue_run_delay": "queue_run_delay",
    "minimal_backoff_time": "minimal_backoff_time",
    "maximal_backoff_time": "maximal_backoff_time",
    "maximal_queue_lifetime": "maximal_queue_lifetime",
    "bounce_queue_lifetime": "bounce_queue_lifetime",
    "initial_destination_concurrency": "initial_concurrency",
    "imss_destination_concurrency_limit": "concurrency_limit",
    "default_destination_concurrency_failed_cohort_limit": "failed_cohort_limit",
    "imss_destination_concurrency_failed_cohort_limit": "failed_cohort_limit",
}
_RECIPIENT_LIMIT = ("imss_destination_recipient_limit", "50")
_UNIT_SECONDS = {"s": 1, "d": 86400}
_ACTIVE = re.compile(r"qmgr\[\d+\]: (\w+): from=<([^>]*)>, size=\d+, nrcpt=(\d+) \(queue active\)")
_TRIED = re.compile(r"postfix/(smtp|error)\[\d+\]: (\w+): to=.* status=(sent|deferred) ")
_SLOW_START = (
    "Deliveries that failed at 16.2 s told qmgr so a second later (`delays=0/1.1/0/0`). The destination "
    "died, and lived again, a second later than predicted, and the message came in between."
)
_AT_THE_TURN = (
    "The queue run of 70 s began 27 ms before a full second. Whether a file is due is asked when its turn "
    "comes: before that second or after it."
)
_SLIPPED = (
    "No other mail woke qmgr, and the queue runs slipped by a second sooner than predicted. The message was "
    "due in just that second."
)
# Of the worst predicted messages of the recorded archive, by queue id: why.
_EXPLANATIONS = {
    "4jdh4M0qmWzrNWs": _SLOW_START,
    "4jdh0S3GJfzZchp": _AT_THE_TURN,
    "4jdh0w1r5RzZcjN": _AT_THE_TURN,
    "4jdh0T0RY6zZchq": _AT_THE_TURN,
    "4jdh0t0Qq0zZcjJ": _AT_THE_TURN,
    "4jdh0r1NbCzYphx": _SLIPPED,
    "4jdh1Q33jgzrPSS": _SLIPPED,
    "4jdh0G1MpzzYpjK": _SLIPPED,
    "4jdh0G33LpzrPJC": _SLIPPED,
    "4jdh201ZSTzYpgp": _SLIPPED,
}
# The characters of the time in a long queue id (global/mail_queue.h, MAIL_QUEUE_..._BASE).
_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"


@dataclass(frozen=True)
class Setting:
    """A host of the grid: what the simulation is given, and what Postfix made of each message."""

    truth: Truth
    settings: Settings
    world: World
    arrivals: tuple[Arrival, ...]
    pace: Pace
    kinds: Mapping[str, tuple[Kind, ...]]
    """By queue id, from the log: what each round of deliveries was."""

    @property
    def name(self) -> str:
        """The name of its scenario."""
        return str(self.truth["scenario"])


@dataclass(frozen=True)
class Compared:
    """A held message as it was predicted and as it went (epoch; None where it was lost or still waits)."""

    setting: Setting
    story: Story
    released_at: float | None
    others: tuple[Story, ...]
    """As it was predicted with other choices of what the rule leaves to chance."""

    @property
    def queue_id(self) -> str:
        """The queue id, never used twice."""
        return self.story.arrival.queue_id

    @property
    def error_seconds(self) -> float:
        """How much too late the prediction is; infinite where only one of both saw a release."""
        predicted_at = self.story.released_at
        if self.released_at is None:
            return inf if self._is_released(self.story) else 0.0
        return inf if predicted_at is None else predicted_at - self.released_at

    @property
    def is_within_bounds(self) -> bool:
        """Whether it was released within the bounds of all chances, to CLOSE_SECONDS, if at all."""
        if self.released_at is None:
            return not all(map(self._is_released, self._stories))
        earliest, latest = self._bounds
        return earliest - CLOSE_SECONDS <= self.released_at <= latest + CLOSE_SECONDS

    @property
    def is_sure(self) -> bool:
        """Whether all chances agree, to CLOSE_SECONDS."""
        earliest, latest = self._bounds
        return earliest == latest or latest - earliest <= CLOSE_SECONDS

    @property
    def _stories(self) -> tuple[Story, ...]:
        return (self.story, *self.others)

    @property
    def _bounds(self) -> tuple[float, float]:
        """The first and the last predicted release; infinite where it is lost."""
        released = [inf if story.released_at is None else story.released_at for story in self._stories]
        return min(released), max(released)

    def _is_released(self, story: Story) -> bool:
        ended_at: float = self.setting.truth["ended_at"]
        return story.released_at is not None and story.released_at <= ended_at

    @property
    def suspended_counts(self) -> tuple[int, int]:
        """How many of its rounds of deliveries were predicted to be untried, and how many were."""
        predicted = [attempt.kind for attempt in self.story.attempts]
        return predicted.count("suspended"), self.setting.kinds[self.queue_id].count("suspended")


Grid = Mapping[str, Sequence[Compared]]
"""The held messages of each host, by its scenario."""


def read_grid(archive: Path = RECORDING) -> list[Setting]:
    """Return the archive's hosts in the order of its truth."""
    truths = json.loads((archive / "truth.json").read_text("utf-8"))
    return [_setting(truth, _read_log(archive / truth["host"])) for truth in truths]


def compare(setting: Setting, *, are_runs_known: bool = False) -> list[Compared]:
    """Simulate a host, and return every message that Postfix deferred or that should have been.

    The queue runs are predicted from the starts of qmgr, unless they are known.
    """
    world, started_at = setting.world, setting.truth["started_at"]
    if are_runs_known:
        world = replace(world, queue_runs=[started_at + run for run in setting.truth["queue_runs"]])
    stories = simulate(setting.arrivals, world, setting.settings, setting.pace)
    chances = [
        simulate(setting.arrivals, world, setting.settings, chance)
        for chance in (() if are_runs_known else _chances(setting.pace))
    ]
    return [
        Compared(
            setting,
            stories[queue_id],
            None if times[-1] is None else started_at + times[-1],
            tuple(others[queue_id] for others in chances),
        )
        for queue_id, times in setting.truth["rounds"].items()
        if len(times) > 2 or times[-1] is None or len(stories[queue_id].attempts) > 1
    ]


def _chances(pace: Pace) -> list[Pace]:
    """Return what the rule leaves to chance: how long things take, the order of files, a run that is late."""
    return [
        # A delivery process that has to be started may take a second.
        *(replace(pace, failure_seconds=seconds) for seconds in (0.0005, 0.001, 0.003, 0.015, 0.06, 1.1)),
        *(replace(pace, answer_seconds=pace.answer_seconds * factor) for factor in (0.7, 1.5, 3)),
        *(replace(pace, order=seed) for seed in range(1, 5)),
        *(replace(pace, oversleep_seconds=seconds) for seconds in (0.05, 0.1, 0.15, 0.2)),
        # The first queue run may come in the next second, and any may be a second late; later ones follow.
        *(replace(pace, start_seconds=pace.start_seconds + late) for late in (0.08, 1)),
    ]


def _setting(truth: Truth, log: str) -> Setting:
    settings = truth["settings"]
    envelopes = {active[1]: (active[2], int(active[3])) for active in reversed(list(_ACTIVE.finditer(log)))}
    recipient_limit = int(settings.get(*_RECIPIENT_LIMIT))
    arrivals = tuple(
        Arrival(
            queue_id,
            created_at=_created_at(queue_id),
            active_at=max(_created_at(queue_id), truth["started_at"] + times[0] - _REPLY_SECONDS),
            is_bounce=not envelopes[queue_id][0],
            delivery_count=-(-envelopes[queue_id][1] // recipient_limit),
        )
        for queue_id, times in truth["rounds"].items()
    )
    scan_seconds = [action["set"]["scan_seconds"] for action in truth["actions"] if action["do"] == "tune"]
    return Setting(
        truth,
        Settings(**{own: _number(settings[name]) for name, own in _PARAMETERS.items() if name in settings}),
        World(
            queue_managers=[start["at"] for start in truth["queue_managers"]],
            outages=[(restart["down_at"], restart["up_at"]) for restart in truth["restarts"]],
            flushes=[flush["at"] for flush in truth["flushes"]],
        ),
        arrivals,
        Pace(answer_seconds=scan_seconds[0] + 0.05) if scan_seconds else Pace(),
        _kinds(log),
    )


def _kinds(log: str) -> dict[str, tuple[Kind, ...]]:
    """Return what each round of each queue id was: answered in all parts, untried in all parts, or failed."""
    rounds: dict[str, list[set[Kind]]] = {}
    for line in log.splitlines():
        if active := _ACTIVE.search(line):
            rounds.setdefault(active[1], []).append(set())
        elif (tried := _TRIED.search(line)) and tried[2] in rounds:
            deferred: Kind = "suspended" if tried[1] == "error" else "failed"
            rounds[tried[2]][-1].add("answered" if tried[3] == "sent" else deferred)
    return {queue_id: tuple(map(_kind, its_rounds)) for queue_id, its_rounds in rounds.items()}


def _kind(parts: set[Kind]) -> Kind:
    return parts.pop() if len(parts) == 1 else "failed"


def _read_log(folder: Path) -> str:
    return gzip.decompress(next(folder.glob("maillog-*.gz")).read_bytes()).decode("ascii")


def _created_at(queue_id: str) -> float:
    """Return the time in a long queue id: six digits of seconds, four of microseconds."""
    seconds = microseconds = 0
    for digit in queue_id[:6]:
        seconds = seconds * len(_DIGITS) + _DIGITS.index(digit)
    for digit in queue_id[6:10]:
        microseconds = microseconds * len(_DIGITS) + _DIGITS.index(digit)
    return seconds + microseconds / 1e6


def _number(value: str) -> int:
    return int(value) if value.isdigit() else int(value[:-1]) * _UNIT_SECONDS[value[-1]]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values do not exceed."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


def share_close(compared: Sequence[Compared]) -> float:
    """Return the share of messages whose release was predicted to CLOSE_SECONDS, or rightly not at all."""
    return _share(abs(one.error_seconds) <= CLOSE_SECONDS for one in compared)


def share_within_bounds(compared: Sequence[Compared]) -> float:
    """Return the share of messages that were released within their bounds, or rightly not at all."""
    return _share(one.is_within_bounds for one in compared)


def _share(facts: Iterable[bool]) -> float:
    known = list(facts)
    return sum(known) / len(known)


def render_sections(grid: Grid, known: Grid) -> dict[str, str]:
    """Return the generated sections of the document by name.

    `known` is of the same hosts, compared with their queue runs known.
    """
    return {
        "settings": _render_settings(grid, known),
        "worst": _render_worst(list(chain.from_iterable(grid.values()))),
    }


def _render_settings(grid: Grid, known: Grid) -> str:
    columns = (
        "setting",
        "run / minimal / maximal (s)",
        "held",
        "never released",
        "untried rounds, predicted / seen",
        "median (s)",
        "p99 (s)",
        "within 2 s",
        "within bounds",
        "bounds of 2 s at most",
        "within 2 s, runs known",
    )
    lines = [f"| {' | '.join(columns)} |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for name, compared in grid.items():
        own = compared[0].setting.settings
        times = f"{own.queue_run_delay} / {own.minimal_backoff_time} / {own.maximal_backoff_time}"
        lines.append(_row(f"`{name}`", times, compared, known[name]))
    of_all = (list(chain.from_iterable(hosts.values())) for hosts in (grid, known))
    return "\n".join([*lines, _row("**all**", "", *of_all)])


def _row(name: str, times: str, compared: Sequence[Compared], known: Sequence[Compared]) -> str:
    errors = [abs(one.error_seconds) for one in compared]
    predicted, seen = (
        sum(counts) for counts in zip(*(one.suspended_counts for one in compared), strict=True)
    )
    cells = [
        name,
        times,
        f"{len(compared):,}",
        f"{sum(one.released_at is None for one in compared)}",
        f"{predicted:,} / {seen:,}",
        f"{median(errors):.2f}",
        f"{percentile(errors, 99):.2f}",
        f"{share_close(compared):.1%}",
        f"{share_within_bounds(compared):.1%}",
        f"{_share(one.is_sure for one in compared):.0%}",
        f"{share_close(known):.1%}",
    ]
    return f"| {' | '.join(cells)} |"


def _render_worst(everything: Sequence[Compared]) -> str:
    worst = sorted(everything, key=lambda one: -abs(one.error_seconds))[:_WORST_COUNT]
    lines = [
        "| setting | message | failed (s) | released (s) | predicted (s) | error (s) | why |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for one in worst:
        started_at = one.setting.truth["started_at"]
        _, *failed, _ = one.setting.truth["rounds"][one.queue_id]
        cells = [
            f"`{one.setting.name}`",
            f"`{one.queue_id}`",
            ", ".join(f"{seconds:.1f}" for seconds in failed),
            _since(started_at, one.released_at),
            _since(started_at, one.story.released_at),
            f"{one.error_seconds:+.2f}",
            _EXPLANATIONS.get(one.queue_id, ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _since(started_at: float, at: float | None) -> str:
    return "-" if at is None else f"{at - started_at:.1f}"


def _sections(archive: Path) -> dict[str, str]:
    settings = read_grid(archive)
    return render_sections(
        {setting.name: compare(setting) for setting in settings},
        {setting.name: compare(setting, are_runs_known=True) for setting in settings},
    )


def main() -> int:
    """Write the tables, or record a grid and print its tables; 1 where a scenario was not played."""
    parser = argparse.ArgumentParser(prog="python -m tests.rig.grid", description=__doc__)
    parser.add_argument("--record", type=Path, metavar="DIR", help="record a fresh grid here, and print")
    parser.add_argument("--jobs", type=int, default=9, help="scenarios at a time (default 9)")
    options = parser.parse_args()
    if options.record:
        if record(read_scenarios(GRID), options.record, jobs=options.jobs, is_compact=True):
            return 1
        print(*_sections(options.record).values(), sep="\n\n")
        return 0
    for name, text in _sections(RECORDING).items():
        replace_section(DOCUMENT, name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
