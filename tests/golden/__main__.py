"""Writes the golden files anew."""

import tempfile
from pathlib import Path

from tests.golden import FILES, as_text, every_case, make_lake, print_case, print_help
from transforms.contracts.contracts import Checker


def write() -> None:
    """Write a file for each case, and remove those of cases that are no more."""
    FILES.mkdir(exist_ok=True)
    for old in FILES.glob("*.txt"):
        old.unlink()
    with tempfile.TemporaryDirectory() as temporary, Checker() as checker:
        made = Path(temporary) / "made"
        made.mkdir()
        make_lake(made, checker)
        for number, (case, language, width) in enumerate(every_case()):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            text = as_text(print_case(case, language, width, made, folder))
            (FILES / f"{case}.{language}.{width}.txt").write_text(text, encoding="utf-8")
        (FILES / "help.en.80.txt").write_text(print_help(made), encoding="utf-8")


if __name__ == "__main__":
    write()
