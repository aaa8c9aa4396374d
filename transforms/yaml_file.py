"""A YAML file of maillag's own to its document, by the fast loader where there is one."""

from pathlib import Path
from typing import Any

import yaml

# The C loader is eight times as fast, and just as safe.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """Return the document of a YAML file."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 - a safe loader
