"""Counts, durations and times in words."""

from datetime import UTC, datetime

import pytest

from flows.words import Clock, counted, first_few, local_time, named, waited


def test_a_wait_that_is_not_known_is_a_dash() -> None:
    assert [waited(seconds) for seconds in (None, 0, 112)] == ["-", "0 s", "1 min 52 s"]
    assert waited(112, "ja") == "1分52秒"


def test_a_value_that_the_catalogue_does_not_name_stands_for_itself() -> None:
    assert named("words.why_", "log_end", "ja") == "ログが途中で終わっている"
    assert named("words.why_", "a_new_reason", "ja") == "a new reason"


def test_one_zone_is_told_in_the_heading_and_several_with_each_time() -> None:
    zones = {"gw1": "Asia/Tokyo", "gw2": "GMT-03:30"}
    instant = datetime(2026, 11, 24, 20, 7, 8, tzinfo=UTC)
    one = Clock.of(["gw1"], zones, "en")
    assert (one.heading, one.show(instant, "gw1")) == ("Asia/Tokyo", "2026-11-25 05:07:08")
    both = Clock.of(zones, zones, "en")
    assert both.heading == "host time, with its offset from UTC"
    assert [both.show(instant, host, "%m-%d %H:%M") for host in zones] == [
        "11-25 05:07 +09:00",
        "11-24 16:37 -03:30",
    ]
    assert both.show(None, "gw1") == "-"


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
    assert counted(1200, "message", "ja") == "1,200 通"
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
