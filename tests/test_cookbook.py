"""docs/cookbook.sql against the published catalog, in this DuckDB and in the one that analysts have."""

import subprocess
from pathlib import Path

import duckdb
import pytest

from tests.cookbook import ANSWERS, COMMAND_LINE, COOKBOOK, RECIPES, Recipe, ask, render_cookbook
from transforms.lake.catalog import CATALOG_NAME
from transforms.queries import catalog_functions


def test_recipes_are_numbered_and_nothing_stands_between_them() -> None:
    assert len(RECIPES) >= 30
    assert [recipe.number for recipe in RECIPES] == list(range(1, len(RECIPES) + 1))
    statements = duckdb.extract_statements(COOKBOOK.read_text(encoding="utf-8"))
    assert len(statements) == len(RECIPES)
    assert {statement.type for statement in statements} == {duckdb.StatementType.SELECT}


def test_every_function_of_the_catalog_is_used_by_a_recipe() -> None:
    queries = "".join(recipe.query for recipe in RECIPES)
    assert [function.name for function in catalog_functions() if f"{function.name}(" not in queries] == []


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_recipe_runs_from_any_folder(
    recipe: Recipe, sample_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ask(sample_lake, recipe)


def test_the_answers_beside_the_questions_are_those_of_the_sample(sample_lake: Path) -> None:
    assert ANSWERS.read_text(encoding="utf-8") == render_cookbook(sample_lake), "stale: run 'make docs'"


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
