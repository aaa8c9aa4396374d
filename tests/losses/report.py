"""Outcomes to a table per kind of loss, and to lines that tell how to see each failure again."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import get_args

from tests.losses.compare import Outcome, Result
from tests.losses.kinds import KINDS

RESULTS: tuple[Result, ...] = get_args(Result)


@dataclass(frozen=True)
class Tally:
    """How many variants of a kind there were, how many restarts, and what became of these."""

    variant_count: int = 0
    results: Counter[Result] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Why verdicts became unknown."""

    @property
    def restart_count(self) -> int:
        """The restarts of the whole logs."""
        return self.results.total() - self.results["invented"] - self.results["supposed"]


def tally(outcomes: Mapping[str, Sequence[Outcome]]) -> Tally:
    """Count the outcomes of some variants."""
    every = [outcome for its in outcomes.values() for outcome in its]
    return Tally(
        variant_count=len(outcomes),
        results=Counter(outcome.result for outcome in every),
        reasons=Counter(outcome.reason for outcome in every if outcome.reason),
    )


def render_table(tallies: Mapping[str, Tally]) -> str:
    """Return a Markdown table of results, a row per kind and one of them all."""
    rows = {
        name: [its.variant_count, its.restart_count, *(its.results[result] for result in RESULTS)]
        for name, its in tallies.items()
    }
    columns = ["variants", "restarts", *(result.replace("_", " ") for result in RESULTS)]
    return _render("kind of loss", columns, rows)


def render_reasons(tallies: Mapping[str, Tally]) -> str:
    """Return a Markdown table of why verdicts became unknown."""
    reasons = sorted({reason for its in tallies.values() for reason in its.reasons})
    rows = {name: [its.reasons[reason] for reason in reasons] for name, its in tallies.items()}
    return _render("unknown because of", reasons, rows)


def _render(first: str, columns: Sequence[str], rows: Mapping[str, Sequence[int]]) -> str:
    shown = {f"{name}: {KINDS[name].meaning}" if name in KINDS else name: its for name, its in rows.items()}
    shown["all"] = [sum(counts) for counts in zip(*rows.values(), strict=True)]
    return "\n".join(
        [
            f"| {' | '.join([first, *columns])} |",
            "|---|" + "---:|" * len(columns),
            *(f"| {name} | {' | '.join(f'{count:,}' for count in its)} |" for name, its in shown.items()),
        ]
    )


def render_failures(outcomes: Iterable[Outcome]) -> str:
    """Return one line per failure: what was to be, what is, and how to make its archive."""
    return "\n".join(
        f"{outcome.result}: {outcome.name}\n    expected {outcome.expected}\n    found    {outcome.found}"
        for outcome in outcomes
        if outcome.is_failure
    )


def render_document(tables: str, command: str, counted: str, day: date) -> str:
    """Return the document of a long run, with what its columns mean."""
    return f"""# Lost and repeated lines

Made by `{command}` on {day}: {counted}, each compared with its whole log.

| column | a restart of the whole log |
|---|---|
| stayed | has the same verdict |
| unknown | is no longer judged |
| reworded | is `missing` instead of `ineffective`, or vice versa: both are "not flushed" |
| settled | is judged now and was not before; correctly, as far as the truth is known |
| in gap | is not found, and marts.coverage has a gap there |
| outside | is not found, and no line is left before or after it |
| traceless | is not found, and no line is left of its failed attempts: nothing can show it |
| supposed | does not exist: only the variant has this restart, and does not judge it |
| turned | has another verdict (this and all that follow are failures) |
| vanished | is not found, and nothing says why |
| invented | does not exist: only the variant has this restart |
| recounted | has other messages or delays, though no line is lost |
| failed | is not there, because the models fail |

{tables}
"""
