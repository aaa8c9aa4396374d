"""Where settings come from, and whether there are any: what reads them takes 0.2 s to import."""

import os
from pathlib import Path

PREFIX = "MAILLAG_"
# This variable may name another file of settings.
FILE_VARIABLE = "MAILLAG_CONFIG"
DEFAULT_FILE = Path("maillag.toml")


def settings_file() -> Path:
    """Return the file of settings, which need not exist."""
    return Path(os.environ.get(FILE_VARIABLE, DEFAULT_FILE))


def has_settings() -> bool:
    """Tell whether a file or a variable sets anything."""
    return os.path.lexists(settings_file()) or any(name.startswith(PREFIX) for name in os.environ)
