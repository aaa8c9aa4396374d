"""Turns the parsers' source code into a version; when the version changes, all files are read again."""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TRANSFORMS = Path(__file__).parents[1]
# Below transforms/. The fast lane is included: it should only repeat the patterns, but may be wrong.
SOURCES = (
    *("parse/*.py", "fast_lane/*.py", "archive/lines.py", "archive/bundles.py"),
    *("ingest/read.py", "ingest/reader.py", "ingest/batch.py"),
    *("bounds.py", "log_rules.py", "zone.py"),
)


def source_files(transforms: Path = TRANSFORMS) -> Iterator[Path]:
    """Yield the files of SOURCES below a folder, in an order that does not depend on the machine."""
    for pattern in SOURCES:
        yield from sorted(transforms.glob(pattern))


@cache
def parser_version(transforms: Path = TRANSFORMS) -> str:
    """Return a digest of the names and contents of the source files."""
    digest = hashlib.blake2b(digest_size=8)
    for path in source_files(transforms):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(transforms).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
