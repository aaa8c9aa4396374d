"""docs/cookbook.sql against the published catalog, in this DuckDB and in the one that analysts have."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from transforms.lake.catalog import CATALOG_NAME

COOKBOOK = Path(__file__).parents[1] / "docs" / "cookbook.sql"
COMMAND_LINE = Path(sys.executable).parent / "duckdb"

# The question, the lines that explain it, the query.
RECIPE = re.compile(r"^-- (\d+)\. (.+\?)\n((?:-- .+\n)+)([^;]+;)\n", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    """One question with its explanation and the query that answers it."""

    number: int
    question: str
    explanation: str
    query: str

    def __str__(self) -> str:
        return f"{self.number}. {self.question}"


RECIPES = [
    Recipe(int(number), question, explanation, query)
    for number, question, explanation, query in RECIPE.findall(COOKBOOK.read_text(encoding="utf-8"))
]


def ask(lake: Path, recipe: Recipe) -> list[Any]:
    """Return the rows that answer a question."""
    with duckdb.connect(str(lake / CATALOG_NAME), read_only=True) as connection:
        return connection.execute(recipe.query).fetchall()


def test_recipes_are_numbered_and_nothing_stands_between_them() -> None:
    assert len(RECIPES) >= 12
    assert [recipe.number for recipe in RECIPES] == list(range(1, len(RECIPES) + 1))
    statements = duckdb.extract_statements(COOKBOOK.read_text(encoding="utf-8"))
    assert len(statements) == len(RECIPES)
    assert {statement.type for statement in statements} == {duckdb.StatementType.SELECT}


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_recipe_runs_from_any_folder(
    recipe: Recipe, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ask(sample_lake, recipe)


def test_the_sample_answers_some_questions(sample_lake: Path) -> None:
    assert any(ask(sample_lake, recipe) for recipe in RECIPES)


@pytest.mark.skipif(
    not COMMAND_LINE.is_file(), reason="the duckdb command line (duckdb-cli) is not installed here"
)
def test_the_cookbook_runs_in_the_duckdb_that_analysts_have(sample_lake: Path, tmp_path: Path) -> None:
    version = subprocess.run([COMMAND_LINE, "--version"], check=True, capture_output=True, text=True).stdout
    assert version.startswith("v1.5.")
    done = subprocess.run(
        [COMMAND_LINE, "-readonly", "-bail", "-csv", sample_lake.resolve() / CATALOG_NAME],
        check=False,
        capture_output=True,
        cwd=tmp_path,
        input=COOKBOOK.read_text(encoding="utf-8"),
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "restart_id,flush_verdict," in done.stdout
