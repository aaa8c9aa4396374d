"""What every command prints is what tests/golden/files has; `python -m tests.golden` writes it anew."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from flows.cli import COMMANDS
from tests.golden import (
    ASKING,
    CASES,
    FILES,
    WIDTHS,
    as_text,
    call,
    every_case,
    make_lake,
    print_case,
    print_help,
)
from transforms.contracts.contracts import Checker

pytestmark = pytest.mark.slow
# Log lines, commands and paths are never folded; what goes to standard error is for logs.
WHOLE = ("  ", "Lake: ", "レイク: ")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, checker: Checker) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    make_lake(folder, checker)
    return folder


@pytest.mark.parametrize(("case", "language", "width"), [*every_case()])
def test_a_command_prints_what_its_file_has(
    case: str, language: str, width: str, made: Path, tmp_path: Path
) -> None:
    golden = (FILES / f"{case}.{language}.{width}.txt").read_text(encoding="utf-8")
    assert as_text(print_case(case, language, width, made, tmp_path)) == golden


def test_the_help_is_what_its_file_has(tmp_path: Path) -> None:
    assert print_help(tmp_path) == (FILES / "help.en.80.txt").read_text(encoding="utf-8")


def test_every_file_is_that_of_a_case() -> None:
    names = {f"{case}.{language}.{width}.txt" for case, language, width in every_case()}
    assert {file.name for file in FILES.glob("*")} == names | {"help.en.80.txt"}


@pytest.mark.house
def test_every_command_has_a_case() -> None:
    commands = {command.__name__.replace("_", "-") for command in COMMANDS}
    lacking = commands - {command for command, *_ in CASES.values()}
    assert not lacking, f"tests/golden/__init__.py: CASES lacks {', '.join(sorted(lacking))}"


@pytest.mark.parametrize("width", ["80", "200"])
@pytest.mark.parametrize("case", CASES)
def test_no_line_is_wider_than_its_terminal(case: str, width: str) -> None:
    for language in ("en", "ja"):
        text = (FILES / f"{case}.{language}.{width}.txt").read_text(encoding="utf-8")
        printed, *_ = text.split("--- stderr\n")
        lines = [line for line in printed.splitlines() if not line.startswith(WHOLE)]
        assert [line for line in lines if cell_len(line) > WIDTHS[width]] == []


@pytest.mark.parametrize("case", CASES)
def test_a_terminal_of_euc_jp_shows_the_same(case: str, made: Path, tmp_path: Path) -> None:
    golden = (FILES / f"{case}.ja.80.txt").read_text(encoding="utf-8")
    printed = print_case(case, "ja", "80", made, tmp_path, encoding="euc_jp")
    decoded = replace(
        printed,
        stdout=printed.stdout.decode("euc_jp").encode(),
        stderr=printed.stderr.decode("euc_jp").encode(),
    )
    assert as_text(decoded) == golden


@pytest.mark.parametrize("case", ASKING)
@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_machines_get_the_same_in_every_language(case: str, form: str, made: Path) -> None:
    if form == "--csv" and case.startswith(("status", "explain")):
        pytest.skip("has no CSV")
    english, japanese = (
        call([*ASKING[case], form, "--lang", language], 0, made) for language in ("en", "ja")
    )
    assert english.stdout == japanese.stdout
    assert english.stdout
    assert english.exit_code == japanese.exit_code
