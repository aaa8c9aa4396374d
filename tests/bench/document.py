"""The generated parts of docs/performance.md, each between two marker lines; the words around them stay."""

from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"


def replace_section(document: Path, name: str, text: str) -> None:
    """Put text between the document's lines `<!-- NAME: ... -->` and `<!-- end of NAME -->`.

    Raises ValueError if it has no such lines.
    """
    lines = document.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"<!-- {name}: "))
    end = lines.index(f"<!-- end of {name} -->", start)
    document.write_text(
        "\n".join([*lines[: start + 1], "", text.strip("\n"), "", *lines[end:], ""]), encoding="utf-8"
    )
