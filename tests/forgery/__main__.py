"""`python -m tests.forgery COUNT SEED` tries so many forged mails, a chunk of hosts at a time."""

import sys
import tempfile
from pathlib import Path

from tests.forgery.compare import changes
from tests.forgery.hosts import CHUNK, drawn


def main(count: int, seed: int) -> None:
    """Try so many forgeries, and say what changed."""
    for first in range(0, count, CHUNK):
        size = min(CHUNK, count - first)
        with tempfile.TemporaryDirectory() as folder:
            told = changes(drawn(size, seed + first), Path(folder))
        print(f"{first + size:,} forged mails, seeds from {seed}: {len(told)} changes", flush=True)
        for line in told:
            print(line[:3000])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
