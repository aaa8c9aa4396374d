"""Counts, durations and times in words."""

from datetime import UTC, datetime

import pytest

from flows.words import counted, duration, first_few, local_time


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0, "0 s"),
        (0.4, "0 s"),
        (0.6, "1 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (60, "1:00 min"),
        (123, "2:03 min"),
        (3599.4, "59:59 min"),
        (3599.6, "1:00:00 h"),
        (3600, "1:00:00 h"),
        (3723, "1:02:03 h"),
        (360_000, "100:00:00 h"),
    ],
)
def test_a_duration_is_rounded_to_seconds_before_it_becomes_minutes(
    seconds: float | None, words: str
) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC", "2026-11-24 20:07:08"),
        ("Asia/Tokyo", "2026-11-25 05:07:08"),
        ("Asia/Kolkata", "2026-11-25 01:37:08"),
        ("Asia/Kathmandu", "2026-11-25 01:52:08"),
        ("America/St_Johns", "2026-11-24 16:37:08"),
        ("GMT+05:30", "2026-11-25 01:37:08"),
        ("GMT-03:30", "2026-11-24 16:37:08"),
        ("GMT+00:45", "2026-11-24 20:52:08"),
        ("GMT+14:00", "2026-11-25 10:07:08"),
    ],
)
def test_an_instant_is_shown_on_the_clock_of_its_zone(zone: str, shown: str) -> None:
    assert local_time(datetime(2026, 11, 24, 20, 7, 8, 999_999, UTC), zone) == shown


def test_one_of_a_thing_is_singular_and_every_other_number_plural() -> None:
    assert [counted(count, "message") for count in (0, 1, 2, 1200)] == [
        "0 messages",
        "1 message",
        "2 messages",
        "1,200 messages",
    ]


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (0, "", ""),
        (2, "host", "gw1, gw2"),
        (3, "host", "gw1, gw2 and 1 more host"),
        (4, "", "gw1, gw2 and 2 more"),
        (1002, "host", "gw1, gw2 and 1,000 more hosts"),
    ],
)
def test_of_many_names_the_first_are_shown_and_the_others_counted(count: int, noun: str, words: str) -> None:
    names = [f"gw{number}" for number in range(1, count + 1)]
    assert first_few(names, noun=noun, shown=2) == words
