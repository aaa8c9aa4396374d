"""The time that a host's maillog does not tell of."""

from dataclasses import dataclass
from itertools import pairwise

from tests.oracle.history import HOUR, SECOND
from tests.oracle.outages import Restart
from tests.oracle.read import Told

SILENCE = 6 * HOUR
LOSS_WINDOW = 600 * SECOND


@dataclass(frozen=True, slots=True)
class Gap:
    """Time between two lines that hides something, unless the log was merely silent."""

    start: int
    end: int
    reason: str

    @property
    def is_silence(self) -> bool:
        """Whether lines may merely not have been written."""
        return self.reason == "silence"


@dataclass(frozen=True, slots=True)
class Coverage:
    """From when to when there is a maillog, and its gaps."""

    start: int | None
    end: int | None
    gaps: list[Gap]

    def tells_in_one_span(self, earlier: int, later: int) -> bool:
        """Whether nothing is hidden between two instants."""
        return not any(gap.start < later and earlier < gap.end for gap in self.gaps if not gap.is_silence)


@dataclass(frozen=True, slots=True)
class Known:
    """What of a restart the maillog tells."""

    has_maillog: bool
    is_start_covered: bool
    has_hiding_gap: bool
    is_clock_set_back: bool
    is_log_end: bool
    until: int | None


def find_coverage(told: Told) -> Coverage:
    """Return what the maillog covers: lines are there, none were lost, no file is missing."""
    instants = sorted(at for member in told.members for at in member)
    if not instants:
        return Coverage(None, None, [])
    lacking = [
        Gap(max(told.members[number]), min(told.members[number + 1]), "missing_file")
        for number in sorted(told.lost_member_after)
    ]
    gaps = [gap for gap in lacking if gap.start < gap.end]
    gaps += [Gap(a, b, "silence") for a, b in pairwise(instants) if b - a > SILENCE]
    by_program: dict[str, list[tuple[int, bool]]] = {}
    for event in told.maillog:
        if event.kind in ("lost", "begins_to_lose"):
            by_program.setdefault(event.program, []).append((event.at, event.kind == "begins_to_lose"))
    for notices in by_program.values():
        gaps += _losses(notices)
    return Coverage(instants[0], instants[-1], gaps)


def _losses(notices: list[tuple[int, bool]]) -> list[Gap]:
    """Return the losses of one program: from where it begins to drop lines to where it tells how many."""
    gaps = []
    begun: int | None = None
    for at, is_beginning in notices:
        if is_beginning:
            if begun is not None:
                gaps.append(Gap(begun, begun + LOSS_WINDOW, "lost_lines"))
            begun = at
            continue
        if begun is None:
            gaps.append(Gap(at - LOSS_WINDOW, at + SECOND, "lost_lines"))
        else:
            gaps.append(Gap(begun, min(at + SECOND, begun + LOSS_WINDOW), "lost_lines"))
            gaps.append(Gap(max(begun, at - LOSS_WINDOW), at + SECOND, "lost_lines"))
        begun = None
    if begun is not None:
        gaps.append(Gap(begun, begun + LOSS_WINDOW, "lost_lines"))
    return gaps


def known_of(restart: Restart, coverage: Coverage) -> Known:
    """Return how far the maillog tells what is needed to judge a restart's flush.

    What came before its beginning, or in a missing file or among lost lines, hides mail or a flush; silence
    and the log's end hide nothing of what is seen to its end before them.
    """
    if coverage.start is None or coverage.end is None:
        return Known(False, False, False, False, is_log_end=True, until=None)
    start = restart.down_at if restart.needed_from is None else restart.needed_from
    end = restart.down_at if restart.window_until is None else restart.window_until
    met = [gap for gap in coverage.gaps if gap.end > start and gap.start < end]
    is_hidden = any(not gap.is_silence for gap in met)
    cut = min((gap.start for gap in met if gap.end > restart.down_at), default=None)
    return Known(
        has_maillog=coverage.start <= restart.down_at <= coverage.end or is_hidden,
        is_start_covered=restart.needed_from is not None and restart.needed_from >= coverage.start,
        has_hiding_gap=is_hidden,
        is_clock_set_back=any(gap.reason == "clock_set_back" for gap in met),
        is_log_end=cut is None,
        until=coverage.end if cut is None else min(cut, coverage.end),
    )
