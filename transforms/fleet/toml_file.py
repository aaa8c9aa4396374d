"""A TOML file, written with any editor, to its tables."""

import codecs
import tomllib
from pathlib import Path
from typing import Any

from transforms.problems import MaillagError
from transforms.regular_files import open_regular

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file, which may begin with a byte order mark.

    Raises MaillagError if it cannot be read or is not valid TOML.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        reason = error.strerror or error
        raise MaillagError(f"{path}: cannot be read ({reason}). Put a readable file there.") from None
    if content.startswith(UTF_16) or b"\0" in content:
        raise MaillagError(f"{path}: is not valid TOML (it holds NULs, as UTF-16 does). Save it as UTF-8.")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line_number = content.count(b"\n", 0, error.start) + 1
        raise MaillagError(
            f"{path}:{line_number}: is not valid TOML (not UTF-8). Save it as UTF-8."
        ) from None
    except RecursionError:
        raise MaillagError(f"{path}: is not valid TOML (nested too deeply). Correct it.") from None
    except ValueError as error:
        raise MaillagError(f"{path}: is not valid TOML ({error}). Correct that line.") from None
