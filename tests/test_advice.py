"""transforms/advice.yaml: one vocabulary, every text reachable, every figure in it one that exists."""

import re

import pytest

from tests.test_contracts import CONTRACTS, allowed_values
from tests.test_sql import CASES, Case, connect, given_frames, models_of
from transforms.lake.catalog import create_tables
from transforms.marts.advice import load_advice
from transforms.marts.build import config_tables
from transforms.marts.models import run_models
from transforms.thresholds import Thresholds

CODES = [advice.code for advice in load_advice()]
# What every figure needs, and reasons for all advice; `product` and `build_verdict` differ.
EVERYTHING = {
    "mta": "postfix",
    "build": 1335,
    "queue_run_delay_seconds": 900,
    "minimal_backoff_seconds": 900,
    "advised_queue_run_delay_seconds": 300,
    "advised_minimal_backoff_seconds": 300,
    "retry_wait_max_seconds": 1800,
    "advised_wait_max_seconds": 600,
    "bounce_queue_lifetime_seconds": 0,
    "longest_restart_seconds": 60,
    "lost_bounce_count": 1,
    "current_flushed_count": 1,
    "current_missing_count": 2,
    "current_not_noticed_count": 1,
    "current_order_without_effect_count": 1,
    "current_overlong_count": 1,
    "missing_wait_count": 2,
    "missing_wait_max_seconds": 1561,
    "is_intermittent": False,
    "is_lifetime_assumed": True,
    "is_product_guessed": True,
    "is_retry_assumed": True,
    "is_retry_short": False,
    "build_advice": [
        "apply_patch_1",
        "apply_patch_2",
        "check_wrapper",
        "edit_wrapper",
        "shorten_queue_interval",
    ],
}


@pytest.mark.house
def test_every_code_is_explained_where_a_table_has_it() -> None:
    meaning = CONTRACTS["marts.host_diagnosis"].columns["advice"].description
    assert re.findall("`([a-z0-9_]+)`", meaning) == CODES, (
        "expectations/marts.host_diagnosis.yaml: the meaning of advice has to name all codes of "
        "transforms/marts/advice.yaml, in their order"
    )
    assert allowed_values("marts.missing_flushes", "advice") <= set(CODES)


@pytest.mark.house
@pytest.mark.parametrize("code", CODES)
def test_every_code_is_given_in_some_case(code: str) -> None:
    given = {row.get("code") for case in CASES if case.table == "marts.host_advice" for row in case.expect}
    assert code in given | {"apply_patch_1", "check_wrapper"}, (
        f"no case gives the advice {code}: add one in tests/sql/marts.host_advice/"
    )


def test_every_sentence_and_command_is_said_to_some_host() -> None:
    hosts = [
        EVERYTHING | {"host": f"{product}_{verdict}", "product": product, "build_verdict": verdict}
        for product in ("imss", "imsva")
        for verdict in ("fixed", "known_defective", "unspecified", "unknown")
    ]
    simulated = {
        "simulated_restart_count": 2,
        "longest_wait_seconds": 1500,
        "advised_longest_wait_at_most_seconds": 600,
        "daily_extra_retry_count": 20,
        "daily_queue_run_count": 96,
        "advised_daily_queue_run_count": 288,
    }
    given = {
        "staging.host_evidence": hosts,
        "marts.retry_advice": [{"host": "imsva_known_defective", **simulated}],
    }
    case = Case("marts.host_advice", "", "", [], given=given)
    with connect() as connection:
        models = models_of(case)
        create_tables(connection, given_frames(case, models))
        create_tables(connection, config_tables(Thresholds()))
        run_models(connection, models)
        texts = connection.execute(
            "select code, string_agg(text_en || array_to_string(commands, ' '), ' '), "
            "string_agg(text_ja || array_to_string(commands, ' '), ' ') "
            "from marts.host_advice group by code"
        ).fetchall()
    said = {code: (english, japanese) for code, english, japanese in texts}
    assert said.keys() == set(CODES)
    for advice in load_advice():
        english, japanese = said[advice.code]
        for line in (*advice.en, *advice.commands):
            assert as_pattern(line).search(english), line
        for line in (*advice.ja, *advice.commands):
            assert as_pattern(line).search(japanese), line


def as_pattern(line: str) -> re.Pattern[str]:
    """Return what a line looks like once its figures are filled in."""
    literals = re.split("{[^{}]*}", line)
    return re.compile("[0-9]*".join(re.escape(literal) for literal in literals))
