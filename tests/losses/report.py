"""Outcomes to a table per kind of loss, and to lines that tell how to see each failure again."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from tests.losses.compare import Outcome, Result
from tests.losses.kinds import KINDS

RESULTS: tuple[Result, ...] = get_args(Result)


@dataclass(frozen=True)
class Tally:
    """How many variants of a kind there were, how many restarts, and what became of these."""

    variant_count: int = 0
    results: Counter[Result] = field(default_factory=Counter)

    @property
    def restart_count(self) -> int:
        """The restarts of the whole logs."""
        return self.results.total() - self.results["invented"] - self.results["supposed"]


def tally(outcomes: Mapping[str, Sequence[Outcome]]) -> Tally:
    """Count the outcomes of some variants."""
    return Tally(len(outcomes), Counter(outcome.result for its in outcomes.values() for outcome in its))


def render_table(tallies: Mapping[str, Tally]) -> str:
    """Return a Markdown table, a row per kind and one of them all."""
    columns = ["kind of loss", "variants", "restarts", *(result.replace("_", " ") for result in RESULTS)]
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    total: Counter[Result] = Counter()
    for name, its in tallies.items():
        total += its.results
        lines.append(_row(f"{name}: {KINDS[name].meaning}" if name in KINDS else name, its))
    lines.append(_row("all", Tally(sum(its.variant_count for its in tallies.values()), total)))
    return "\n".join(lines)


def _row(name: str, its: Tally) -> str:
    counts = [its.variant_count, its.restart_count, *(its.results[result] for result in RESULTS)]
    return f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |"


def render_failures(outcomes: Iterable[Outcome]) -> str:
    """Return one line per failure: what was to be, what is, and how to make its archive."""
    return "\n".join(
        f"{outcome.result}: {outcome.name}\n    expected {outcome.expected}\n    found    {outcome.found}"
        for outcome in outcomes
        if outcome.is_failure
    )
