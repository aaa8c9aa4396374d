"""One generated day to the same lines in every form that is measured, each an archive of one host."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backports import zstd
from isal import igzip

from tests.bench.maillog import DAY, HOST, write_maillog

SEED = 20261124
# 8 million lines, 1.05 GB.
MESSAGE_COUNT = 516_000
DAY_COUNT = 10
SMALL_FILE_COUNT = 200
BLOCK_BYTES = 1 << 24
NAME = "maillog-20261124"
# What logrotate uses.
GZIP_LEVEL = 6


@dataclass(frozen=True)
class Archives:
    """The forms, by folder, and what they hold."""

    folder: Path
    line_count: int

    def archive(self, form: str) -> Path:
        """Return the archive with a form: plain, gz, zst, small, ten_days or warm_up."""
        return self.folder / form

    def file(self, form: str) -> Path:
        """Return the only maillog of such an archive."""
        (path,) = (self.folder / form / HOST).iterdir()
        return path


def make_archives(folder: Path, *, scale: float) -> Archives:
    """Generate the day, `scale` times 8 million lines of it, in all forms; in a process that may grow."""
    command = [sys.executable, "-m", "tests.bench.archives", str(folder), str(scale)]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    counts = Counter(json.loads(made.stdout))
    return Archives(folder, counts.total())


def write_archives(folder: Path, *, scale: float) -> Counter[str]:
    """Write all forms; return how many lines belong in which table."""
    plain = _path(folder, "plain")
    with plain.open("wb") as log:
        counts = write_maillog(log, message_count=round(MESSAGE_COUNT * scale), seed=SEED)
    with _open_gzip(_path(folder, "gz", ".gz")) as log:
        log.writelines(_blocks(plain))
    with zstd.open(_path(folder, "zst", ".zst"), "wb") as log:
        log.writelines(_blocks(plain))
    # For gzip that would be minutes.
    with igzip.IGzipFile(_path(folder, "ten_days", ".gz"), "wb") as log:  # type: ignore[no-untyped-call]
        log.writelines(_ten_days(plain))
    with _open_gzip(_path(folder, "warm_up", ".gz")) as log:
        log.write(next(_blocks(plain)))
    for number, lines in enumerate(_pieces(plain, SMALL_FILE_COUNT)):
        with _open_gzip(_path(folder, "small", f"-{number:03}.gz")) as log:
            log.write(lines)
    return counts


def _path(folder: Path, form: str, suffix: str = "") -> Path:
    path = folder / form / HOST / f"{NAME}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _open_gzip(path: Path) -> gzip.GzipFile:
    return gzip.GzipFile(path, "wb", compresslevel=GZIP_LEVEL)


def _blocks(plain: Path) -> Iterator[bytes]:
    """Yield whole lines, some 16 MB at a time."""
    with plain.open("rb") as log:
        while block := log.read(BLOCK_BYTES):
            yield block + log.readline()


def _ten_days(plain: Path) -> Iterator[bytes]:
    """Yield the day again and again, each time with the next date."""
    stamp = f"{DAY:%b %d} ".encode()
    for number in range(DAY_COUNT):
        shifted = f"{DAY + timedelta(days=number):%b %d} ".encode()
        for block in _blocks(plain):
            yield shifted + block.removeprefix(stamp).replace(b"\n" + stamp, b"\n" + shifted)


def _pieces(plain: Path, count: int) -> Iterator[bytes]:
    """Yield the day in pieces of whole lines and about the same size."""
    size = plain.stat().st_size
    with plain.open("rb") as log:
        for number in range(1, count + 1):
            yield log.read(max(0, size * number // count - log.tell())) + log.readline()


if __name__ == "__main__":
    print(json.dumps(write_archives(Path(sys.argv[1]), scale=float(sys.argv[2]))))
