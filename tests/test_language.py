"""Both catalogues say the same things, in characters that every terminal of the vendor's customers has."""

import re
from typing import Any

import pytest

from flows.language import LANGUAGES, duration, language_of, percent, placeholders, say, texts
from transforms.contracts.contracts import load_contracts

PREFIXES = {
    ("marts.restarts", "flush_verdict"): "verdict",
    ("marts.restarts", "verdict_reason"): "why",
    ("marts.restarts", "missing_reason"): "why",
    ("marts.restarts", "confidence"): "confidence",
    ("marts.restarts", "build_verdict"): "build",
    ("marts.host_diagnosis", "behaviour"): "behaviour",
    ("marts.retry_what_if", "scenario"): "scenario",
    ("marts.retry_advice", "reason"): "retry",
}


def test_both_languages_have_the_same_keys_and_figures() -> None:
    english, japanese = texts("en"), texts("ja")
    assert english.keys() == japanese.keys()
    assert [key for key in english if placeholders(english[key]) != placeholders(japanese[key])] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_have_no_markup_and_both_forms(language: Any) -> None:
    for key, text in texts(language).items():
        forms = [text] if isinstance(text, str) else [text["one"], text["other"]]
        for form in forms:
            assert form, key
            assert not re.search(r"[<>]|&\w+;", form), key


def test_japanese_has_no_character_that_euc_jp_lacks() -> None:
    for key, text in texts("ja").items():
        str(text).replace("–", "").encode("euc_jp"), key
        assert not re.search("[～〜]", str(text)), key


@pytest.mark.parametrize(("column", "prefix"), PREFIXES.items())
def test_every_value_of_a_column_has_a_name(column: tuple[str, str], prefix: str) -> None:
    table, name = column
    (values,) = (
        expectation["kwargs"]["value_set"]
        for expectation in load_contracts()[table].expectations
        if expectation["type"] == "expect_column_values_to_be_in_set"
        and expectation["kwargs"]["column"] == name
    )
    assert [value for value in values if f"words.{prefix}_{value}" not in texts("en")] == []


@pytest.mark.parametrize(
    ("seconds", "english", "japanese"),
    [
        (0, "0 s", "0秒"),
        (59.6, "1 min", "1分"),
        (112, "1 min 52 s", "1分52秒"),
        (599, "9 min 59 s", "9分59秒"),
        (600, "10 min", "10分"),
        (1170, "20 min", "20分"),
        (3569, "59 min", "59分"),
        (3570, "1 h 00 min", "1時間00分"),
        (7500, "2 h 05 min", "2時間05分"),
        (36000, "10 h", "10時間"),
        (4e6, "1,111 h", "1,111時間"),
    ],
)
def test_a_length_of_time_has_the_units_that_fit_it(seconds: float, english: str, japanese: str) -> None:
    assert (duration(seconds), duration(seconds, "ja")) == (english, japanese)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0004, "< 0.1 %"), (0.034, "3.4 %"), (0.5, "50 %"), (0.9999, "> 99.9 %"), (1, "100 %")],
)
def test_a_share_never_rounds_to_none_or_all(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("given", "environment", "language"),
    [
        ("en", {"LANG": "ja_JP.UTF-8"}, "en"),
        ("ja", {}, "ja"),
        (None, {"LANG": "ja_JP.eucJP"}, "ja"),
        (None, {"LC_ALL": "C", "LANG": "ja_JP.UTF-8"}, "en"),
        (None, {"LC_ALL": "", "LC_MESSAGES": "ja", "LANG": "C"}, "ja"),
        (None, {"LANG": "jam_JM"}, "en"),
        (None, {}, "en"),
    ],
)
def test_the_language_is_the_one_given_or_that_of_the_locale(
    given: str | None, environment: dict[str, str], language: str
) -> None:
    assert language_of(given, environment) == language


def test_figures_are_put_into_their_text() -> None:
    assert say("en", "page.headline_todo", n=1) == "One host needs work."
    assert say("en", "page.headline_todo", n=1200) == "1,200 hosts need work."
