"""Where the code lies that numba compiles, and whether it is there: compiling takes ten seconds, once."""

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

CHECK_BOUNDS = bool(os.environ.get("MAILLAG_CHECK_BOUNDS"))
SOURCES = ("words.py", "stamps.py", "scanner.py")


@cache
def cache_folder() -> Path:
    """Return a folder for the compiled code of just these sources: numba itself looks at one file alone.

    A user without a home gets a new one each time; what others may write to is never loaded.
    """
    sources = b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES)
    digest = hashlib.blake2b(sources + bytes([CHECK_BOUNDS]), digest_size=8).hexdigest()
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "maillag" / f"kernels-{digest}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="maillag-kernels-"))
    return folder


def is_compiled() -> bool:
    """Tell whether the code was compiled before, on this machine and by this user."""
    return any(cache_folder().rglob("scanner.scan-*.nbc"))
