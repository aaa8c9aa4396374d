"""A query that needs more memory than its database may take gets it, as long as the machine has it."""

from pathlib import Path

import duckdb
import pytest

from tests.conftest import SAMPLE, run_job
from tests.test_nights import MARTS, NoChecks, differences, shown_marts
from transforms.marts import batch, database
from transforms.marts.database import execute, open_database, spill_folder
from transforms.problems import MaillagError
from transforms.run import Job

LIMIT = "16 MiB"
# A list of all rows is never put on disk: 24 MB.
LARGE = "select len(list(i)) from range(3_000_000) as numbers(i)"


def test_a_query_gets_more_memory_until_it_is_enough_and_the_next_has_what_is_usual(tmp_path: Path) -> None:
    with open_database(tmp_path / "spill", memory_limit=LIMIT) as connection:
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.execute(LARGE).fetchall()
        assert execute(connection, LARGE) == [(3_000_000,)]
        ((limit,),) = connection.execute("select current_setting('memory_limit')").fetchall()
    assert limit == "16.0 MiB"


def test_a_query_that_needs_more_than_the_machine_has_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "machine_bytes", lambda: 2**24)
    with (
        open_database(tmp_path / "spill", memory_limit=LIMIT) as connection,
        pytest.raises(MaillagError, match=r"more than 16\.0 MiB of memory, and this machine does not have"),
    ):
        execute(connection, LARGE)


def test_what_did_not_fit_into_memory_is_gone_after_a_failure(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    with pytest.raises(duckdb.ParserException), open_database(spill, memory_limit=LIMIT) as connection:
        connection.execute(f"this is no SQL, in {spill_folder(connection)}")
    assert not spill.exists()


@pytest.mark.slow
def test_marts_made_with_little_memory_are_those_made_with_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, little = Job(SAMPLE, tmp_path / "usual"), Job(SAMPLE, tmp_path / "little")
    run_job(usual, NoChecks())
    with monkeypatch.context() as patch:
        patch.setattr(batch, "MEMORY_LIMIT", "6 MiB")
        patch.setattr(database, "machine_bytes", lambda: 0)
        failed = [finding for finding in run_job(little, NoChecks()).findings if finding.stage == "marts"]
        assert failed
        assert all("A query needs more than 6" in finding.what for finding in failed)
    monkeypatch.setattr(batch, "MEMORY_LIMIT", "6 MiB")
    assert [
        finding.what for finding in run_job(little, NoChecks()).findings if finding.stage == "marts"
    ] == []
    with shown_marts(usual, little) as connection:
        assert [line for contract in MARTS for line in differences(connection, contract)] == []
