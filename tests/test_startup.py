"""Commands that only ask the catalog import nothing that takes long to import."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from flows import ask_commands, file_commands

# 0.14 s, 7 s, 2 s and 0.3 s of a start that should take less than one.
HEAVY = {"polars", "great_expectations", "prefect", "sqlalchemy"}
IMPORTED = """
import sys
from flows.cli import app
try:
    app()
finally:
    print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


ASKED = [
    ("restarts",),
    ("status",),
    ("fleet",),
    ("trace", "nobody@example.com"),
    ("report",),
    ("query", "select 1"),
    ("export", "marts.restarts", "--out", "restarts.csv"),
]
# It runs the models, which takes longer than any import.
SLOW = "explain"


@pytest.mark.house
def test_every_command_that_asks_the_catalog_is_tried() -> None:
    commands = {
        name
        for module in (ask_commands, file_commands)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    lacking = commands - {command[0] for command in ASKED} - {SLOW}
    assert not lacking, f"tests/test_startup.py: ASKED lacks {', '.join(sorted(lacking))}"


@pytest.mark.parametrize("command", ASKED, ids=lambda command: command[0])
def test_asking_the_catalog_imports_only_what_it_needs(
    command: tuple[str, ...], sample_lake: Path, tmp_path: Path
) -> None:
    asked = [sys.executable, "-c", IMPORTED, *command, "--lake", str(sample_lake)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "duckdb" in done.stderr.split()
    assert HEAVY.isdisjoint(done.stderr.split())


def test_the_settings_import_none_of_what_uses_them() -> None:
    load = "import flows.settings, sys; flows.settings.load_settings(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "pydantic_settings" in imported
    assert imported.isdisjoint(HEAVY | {"duckdb", "pyarrow", "numpy"})
