"""Lines that are lost or come twice turn no verdict; and what tries that (tests/losses) does what it says.

The long form, of 20,000 variants: `python -m tests.losses`.
"""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.losses import kinds
from tests.losses.__main__ import main
from tests.losses.compare import Outcome, compare, compare_with_truth
from tests.losses.kinds import COPY, KINDS, MAILLOG, Log
from tests.losses.recordings import Line, Source, TrueRestart, read_lines, read_sources
from tests.losses.report import Tally, render_failures, render_reasons, render_table, tally
from tests.losses.variants import Told, Variant, Whole, draw_variants, judge_sources, judge_variants
from transforms.parse.events import split_lines
from transforms.parse.headers import SYSLOG_HEADERS, read_headers

VARIANT_COUNT = 500
SEED = 0
TEN = datetime(2026, 11, 24, 1, tzinfo=UTC)  # 10:00 in the recordings' zone


def lines_of(*told: str) -> tuple[Line, ...]:
    """Return lines such as `03 smtp[7] 4A01B7CC: removed`: the second after 10:00, program, pid and text."""
    return tuple(
        read_lines(
            [
                f"Nov 24 10:00:{second} gw postfix/{tag}: {text}"
                for second, tag, text in (line.split(" ", 2) for line in told)
            ],
            year=2026,
        )
    )


LINES = lines_of(
    "00 qmgr[2] 4A01B7CC: from=<a@example.com>, size=1, nrcpt=1 (queue active)",
    "01 relay/smtp[3] 4A01B7CC: to=<b@example.com>, relay=none, status=deferred (x)",
    "01 smtpd[4] connect from localhost[127.0.0.1]",
    "03 qmgr[2] 4A01B7CC: removed",
    "04 smtpd[4] disconnect from localhost[127.0.0.1]",
)
LOG = Log(LINES, frozenset({"4A01B7CC"}), ((TEN, TEN + timedelta(seconds=3)),))


def left(maillogs: kinds.Maillogs, lines: tuple[Line, ...] = LINES) -> list[int]:
    """Return which lines are left, by their numbers."""
    numbers = {line.text: number for number, line in enumerate(lines)}
    return [numbers[text] for text in maillogs[MAILLOG]]


def test_a_line_tells_its_program_its_time_and_its_message() -> None:
    assert [(line.daemon, line.pid, line.queue_id) for line in LINES[:3]] == [
        ("qmgr", "2", "4A01B7CC"),
        ("smtp", "3", "4A01B7CC"),
        ("smtpd", "4", None),
    ]
    assert LINES[3].logged_at == TEN + timedelta(seconds=3)


def test_one_line_is_lost() -> None:
    assert left(kinds.drop_line(LINES, line=1)) == [0, 2, 3, 4]


def test_lines_lost_by_chance_are_as_many_as_said_and_the_same_for_a_seed() -> None:
    many = LINES * 1000
    kept = kinds.drop_by_chance(many, percent=30, seed=1)[MAILLOG]
    assert 3400 < len(kept) < 3600
    assert kept == kinds.drop_by_chance(many, percent=30, seed=1)[MAILLOG]
    assert kept != kinds.drop_by_chance(many, percent=30, seed=2)[MAILLOG]


def test_a_block_is_half_open_and_may_be_of_one_program() -> None:
    assert left(kinds.drop_block(LINES, second=1, seconds=2)) == [0, 3, 4]
    assert left(kinds.drop_block(LINES, second=1, seconds=3, daemon="qmgr")) == [0, 1, 2, 4]


def test_a_program_is_lost_whatever_its_service_is_called() -> None:
    assert left(kinds.drop_program(LINES, daemon="smtp")) == [0, 2, 3, 4]


def test_a_process_loses_what_it_logs_beyond_the_limit_until_five_seconds_are_over() -> None:
    lines = lines_of(
        *(f"{second} qmgr[2] {number}" for number, second in enumerate(("00", "01", "05", "06", "06", "12")))
    )
    other = lines_of("01 qmgr[3] other")
    assert left(kinds.limit_rate(lines + other, limit=2), lines + other) == [0, 1, 3, 4, 5, 6]


def test_a_log_begins_later_or_ends_earlier() -> None:
    assert left(kinds.cut_head(LINES, line=2)) == [2, 3, 4]
    assert left(kinds.cut_tail(LINES, line=2)) == [0, 1]


def test_lines_are_written_twice() -> None:
    assert left(kinds.double_lines(LINES, every=2, after="line")) == [0, 1, 1, 2, 3, 3, 4]
    assert left(kinds.double_lines(LINES, every=2, after="second")) == [0, 1, 2, 1, 3, 3, 4]
    assert left(kinds.write_twice(LINES)) == [0, 1, 2, 3, 4] * 2
    assert left(kinds.replay(LINES, line=1, count=2, later=1)) == [0, 1, 2, 3, 1, 2, 4]
    assert left(kinds.replay(LINES, line=3, count=9, later=9)) == [0, 1, 2, 3, 4, 3, 4]


@pytest.mark.parametrize("header", ["rfc5424", "rfc3339"])
def test_a_copy_says_the_same_under_another_header(header: str) -> None:
    maillogs = kinds.copy_with_header(LINES, header=header, lost=0)
    assert left(maillogs) == [0, 1, 2, 3, 4]
    read = read_headers(SYSLOG_HEADERS, split_lines("\n".join(maillogs[COPY]).encode(), 1))
    assert read.select("tag", "pid", "text").rows() == [
        (line.tag, int(line.pid), line.message) for line in LINES
    ]
    assert read["time_of_day"].dt.total_seconds().to_list() == [36000 + second for second in (0, 1, 1, 3, 4)]
    assert set(read["utc_offset"]) == {timedelta(hours=9)}
    assert len(kinds.copy_with_header(LINES * 100, header=header, lost=10)[COPY]) < 480


def test_a_second_daemon_writes_all_lines_a_second_later() -> None:
    apart = kinds.copy_shifted(LINES, seconds=1, file="other")
    assert left(apart) == [0, 1, 2, 3, 4]
    shifted = list(read_lines(apart[COPY], year=2026))
    assert [replace(line, text="") for line in shifted] == [
        replace(line, text="", logged_at=line.logged_at + timedelta(seconds=1)) for line in LINES
    ]
    together = list(read_lines(kinds.copy_shifted(LINES, seconds=1, file="same")[MAILLOG], year=2026))
    assert [line.logged_at.second for line in together] == [0, 1, 1, 1, 2, 2, 3, 4, 4, 5]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_parameters_of_a_kind_make_a_variant(kind: kinds.Kind) -> None:
    many = LINES[:1] * 300 + LINES
    log = replace(LOG, lines=many if kind.name == "rate" else LINES)
    options = kind.options(log, random.Random(0))
    for parameters in [first for first, _ in zip(options, range(50), strict=False)]:
        maillogs = kind.make(log.lines, **parameters)
        count = sum(map(len, maillogs.values()))
        assert count <= len(log.lines) if kind.loses else count > len(log.lines)


# --- outcomes, on made-up tables


def restart(at: int, until: int, verdict: str, **more: Any) -> dict[str, Any]:
    """Return a restart that failed at these seconds after 10:00, of which the bounds are 2 s off."""
    begin, end = TEN + timedelta(seconds=at), TEN + timedelta(seconds=until)
    row: dict[str, Any] = {
        "down_at": begin,
        "down_at_earliest": begin - timedelta(seconds=2),
        "down_at_latest": begin,
        "up_at": end,
        "up_at_earliest": end,
        "up_at_latest": end + timedelta(seconds=2),
        "flush_verdict": verdict,
        "verdict_reason": None,
        "flush_order": "ordered",
        "flush_missed_count": None,
        "flush_failed_count": None,
        "held_message_count": 3,
        "pending_count": 0,
        "restart_delay_p50_seconds": 4.0,
        "restart_delay_max_seconds": 9.0,
        "restart_delay_total_seconds": 12.0,
    }
    return row | more


def results(
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    kind: str = "line",
    truth: str | None = None,
    **told: Any,
) -> list[str]:
    """Return what becomes of restarts when the first line is lost, or doubled."""
    true_restarts = tuple(TrueRestart(row["down_at"], truth) for row in before)
    refused = "smtp[3] 4A01B7CC: status=deferred (connect to localhost[127.0.0.1]:10025: Connection refused)"
    lines = lines_of(
        "00 qmgr[2] a", "01 qmgr[2] b", f"12 {refused}", f"22 {refused} ", "58 qmgr[2] c", "59 qmgr[2] d"
    )
    source = Source("rig/gw", lines, {}, {}, true_restarts)
    parameters = {"line": {"line": 0}, "head": {"line": 4}, "tail": {"line": 2}}.get(kind, {})
    variant = Variant(Whole(source, Told(before)), KINDS[kind], parameters)
    return [outcome.result for outcome in compare(variant, Told(after, **told))]


@pytest.mark.parametrize(
    ("before", "after", "truth", "expected"),
    [
        ("effective", "effective", None, "stayed"),
        ("effective", "unknown", None, "unknown"),
        ("effective", "ineffective", None, "turned"),
        ("effective", "not_needed", None, "turned"),
        ("missing", "effective", None, "turned"),
        ("missing", "not_needed", "missing", "turned"),
        ("missing", "ineffective", None, "reworded"),
        ("not_needed", "missing", None, "turned"),
        ("unknown", "unknown", "missing", "stayed"),
        ("unknown", "missing", "missing", "settled"),
        ("unknown", "missing", "ineffective", "settled"),
        ("unknown", "missing", None, "settled"),
        ("unknown", "missing", "effective", "turned"),
        ("unknown", "not_needed", None, "turned"),
        ("unknown", "not_needed", "not_needed", "settled"),
    ],
)
def test_a_verdict_may_only_become_unknown(before: str, after: str, truth: str | None, expected: str) -> None:
    assert results([restart(10, 15, before)], [restart(11, 14, after)], truth=truth) == [expected]


def test_a_restart_may_go_only_where_there_is_a_gap_or_no_log() -> None:
    (whole,) = before = [restart(10, 15, "missing")]
    gap = {"gap_from": whole["down_at"], "gap_until": whole["up_at"]}
    earlier = {name: at - timedelta(seconds=60) for name, at in gap.items()}
    assert results(before, []) == ["vanished"]
    assert results(before, [], gaps=[gap]) == ["in_gap"]
    assert results(before, [], gaps=[earlier]) == ["vanished"]
    assert results(before, [], "head") == ["outside"]
    assert results(before, [], "tail") == ["outside"]
    assert results([restart(30, 35, "missing")], []) == ["traceless"]


def test_a_restart_that_the_whole_log_has_not_is_invented_where_it_is_judged() -> None:
    far = 10 + 15 + 600
    before = [restart(10, 15, "missing")]
    assert results(before, [*before, restart(far, far, "not_needed")]) == ["stayed", "invented"]
    assert results(before, [*before, restart(far, far, "unknown")]) == ["stayed", "supposed"]
    assert results(before, [*before, restart(far, far, "unknown")], "twice") == ["stayed", "invented"]


def test_a_part_of_a_restart_may_say_the_same_of_it_or_nothing() -> None:
    before = [restart(10, 30, "missing")]
    parts = [restart(10, 12, "missing"), restart(28, 30, "missing")]
    assert results(before, parts) == ["stayed"]
    parts[1] = restart(28, 30, "unknown")
    assert results(before, parts) == ["stayed"]
    parts[1] = restart(28, 30, "not_needed")
    assert results(before, parts) == ["stayed", "invented"]


def test_restarts_are_matched_by_their_outages() -> None:
    before = [restart(10, 14, "missing"), restart(20, 24, "effective")]
    assert results(before, [restart(12, 14, "missing"), restart(20, 23, "unknown")]) == ["stayed", "unknown"]
    # One that is told as one with another is held to what is said of both.
    assert results(before, [restart(10, 24, "missing")]) == ["stayed", "turned"]
    assert results(before, [restart(10, 24, "unknown")]) == ["unknown", "unknown"]


def test_a_service_that_never_comes_back_is_down_for_all_that_follows() -> None:
    before = [restart(10, 14, "missing"), restart(300, 304, "effective")]
    open_end = restart(10, 14, "unknown", up_at=None, up_at_latest=None)
    assert results(before, [open_end]) == ["unknown", "unknown"]


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("doubled", {}, "stayed"),
        ("doubled", {"held_message_count": 6}, "recounted"),
        ("doubled", {"restart_delay_total_seconds": 24.0}, "recounted"),
        ("copy", {"restart_delay_max_seconds": 9.4}, "stayed"),
        ("doubled", {"flush_verdict": "ineffective"}, "turned"),
        ("doubled", {"flush_verdict": "unknown"}, "turned"),
        ("shifted", {"flush_verdict": "unknown"}, "unknown"),
        ("replay", {"flush_verdict": "missing"}, "turned"),
    ],
)
def test_lines_that_come_twice_change_nothing(kind: str, change: dict[str, Any], expected: str) -> None:
    before = restart(10, 15, "effective")
    assert results([before], [before | change], kind) == [expected]


def test_whole_logs_are_held_to_the_truth() -> None:
    source = Source("rig/gw", LINES, {}, {}, (TrueRestart(TEN, "missing"),))
    found = {
        verdict: compare_with_truth(Whole(source, Told([restart(0, 5, verdict)])))[0].result
        for verdict in ("missing", "ineffective", "unknown", "effective")
    }
    assert list(found.values()) == ["stayed", "reworded", "unknown", "turned"]
    assert [outcome.result for outcome in compare_with_truth(Whole(source, Told()))] == ["vanished"]
    source = replace(source, truth=(TrueRestart(TEN, None),))
    assert compare_with_truth(Whole(source, Told())) == []


def test_models_that_fail_are_a_failure() -> None:
    assert results([restart(10, 15, "missing")], [], error="BinderException: no such column") == ["failed"]


# --- variants, and what is printed


def wholes() -> list[Whole]:
    """Return two sources of five lines, each with a held message."""
    row = restart(0, 3, "missing", last_released_at=None)
    held = [{"queue_id": "4A01B7CC"}]
    return [
        Whole(Source(f"rig/{name}", LINES, {}, {}, ()), Told([row], held=held)) for name in ("gw1", "gw2")
    ]


def test_variants_are_drawn_of_all_kinds_and_sources_and_are_the_same_for_a_seed() -> None:
    drawn = draw_variants(wholes(), 200, 7)
    assert [str(variant) for variant in drawn] == [
        str(variant) for variant in draw_variants(wholes(), 200, 7)
    ]
    assert [str(variant) for variant in drawn] != [
        str(variant) for variant in draw_variants(wholes(), 200, 8)
    ]
    assert len(set(map(str, drawn))) == len(drawn)
    # No process logs ten lines.
    assert {variant.kind.name for variant in drawn} == KINDS.keys() - {"rate"}
    assert {variant.whole.source.name for variant in drawn} == {"rig/gw1", "rig/gw2"}


def test_every_line_of_a_held_message_is_lost_once_where_as_many_are_asked_for() -> None:
    drawn = draw_variants(wholes(), 100, 0, ["line"])
    assert sorted(str(variant) for variant in drawn) == [
        f"rig/{host} line line={number}" for host in ("gw1", "gw2") for number in (0, 1, 3)
    ]


def test_a_failure_says_how_to_see_it_again() -> None:
    (whole, _) = wholes()
    variant = Variant(whole, KINDS["block"], {"second": 1, "seconds": 2})
    outcomes = compare(variant, Told([restart(0, 3, "not_needed")]))
    assert render_failures([*outcomes, replace(outcomes[0], result="stayed")]) == (
        "turned: rig/gw1 block second=1 seconds=2\n"
        "    expected 01:00:00 missing [3 held, longest 9 s, order ordered]\n"
        "    found    01:00:00 not_needed [3 held, longest 9 s, order ordered]"
    )


def test_the_table_counts_restarts_and_what_became_of_them() -> None:
    found = {
        "a": [Outcome("a", "stayed", "", ""), Outcome("a", "invented", "", "")],
        "b": [Outcome("b", "unknown", "", "", "log_end")],
    }
    assert tally(found) == Tally(
        2, Counter({"stayed": 1, "invented": 1, "unknown": 1}), Counter({"log_end": 1})
    )
    assert render_reasons({"line": tally(found)}).splitlines()[-2:] == [
        "| line: one line of a held message | 1 |",
        "| all | 1 |",
    ]
    head, _, row, total = render_table({"line": tally(found)}).splitlines()
    counts = dict(zip(head.split(" | ")[1:], row.split(" | ")[1:], strict=True))
    assert [counts[name] for name in ("variants", "restarts", "stayed", "unknown")] == ["2", "2", "1", "1"]
    assert total.startswith("| all | 2 | 2 | 1 | 1 |")


def test_the_archive_of_a_variant_holds_the_whole_log_beside_it(tmp_path: Path) -> None:
    assert main(["show", "rig/imsva41", "program", "daemon=qmgr", "--out", str(tmp_path / "archive")]) == 0
    (whole, variant) = (
        (tmp_path / "archive" / host / "maillog-20261124").read_text().splitlines()
        for host in ("whole", "variant")
    )
    assert [line for line in whole if "/qmgr[" not in line] == variant
    assert len(variant) < len(whole)


def test_the_long_form_writes_its_table_with_its_date(tmp_path: Path) -> None:
    document = tmp_path / "loss.md"
    arguments = ["--variants", "2", "--kinds", "doubled", "--only", "rig/imsva56", "--write", str(document)]
    assert main(arguments) == 0
    told = document.read_text()
    assert f"{datetime.now(UTC):%Y-%m-%d}: 2 variants of 2 recorded logs" in told
    assert "| all | 4 | 4 | 4 | 0 |" in told


# --- the promise


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> list[Whole]:
    """Return all recorded logs with what the models say of them."""
    return judge_sources(read_sources(), tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def outcomes(judged: list[Whole], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    """Return what becomes of the restarts of some variants, by kind."""
    found: dict[str, list[Outcome]] = {kind: [] for kind in KINDS}
    variants = draw_variants(judged, VARIANT_COUNT, SEED)
    assert len(variants) == VARIANT_COUNT
    for variant, told in judge_variants(variants, tmp_path_factory.mktemp("variants")):
        found[variant.kind.name] += compare(variant, told)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_whole_log_is_judged_against_the_truth(judged: list[Whole]) -> None:
    refuse_failures(outcome for whole in judged for outcome in compare_with_truth(whole))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_no_verdict_turns(kind: str, outcomes: dict[str, list[Outcome]]) -> None:
    assert outcomes[kind]
    refuse_failures(outcomes[kind])


def refuse_failures(outcomes: Iterable[Outcome]) -> None:
    """Fail where a promise is broken, and say for which variants."""
    if told := render_failures(outcomes):
        pytest.fail(told, pytrace=False)
