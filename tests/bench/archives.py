"""One generated day to the same lines in every form that is measured, each an archive of one host."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from tests.bench.maillog import DAY, HOST, write_maillog

SEED = 20261124
# 8 million lines, 1.05 GB.
MESSAGE_COUNT = 516_000
DAY_COUNT = 10
SMALL_FILE_COUNT = 200
BLOCK_BYTES = 1 << 24
NAME = "maillog-20261124"
# gzip's default is logrotate's too.
GZIP = ("gzip", "-6")
ZSTD = ("zstd", "-q", "-3")
# Ten times as much, in a tenth of the time.
IGZIP = ("igzip", "-3")


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
    paths = {
        form: folder / form / HOST / f"{NAME}{suffix}"
        for form, suffix in {
            "plain": "",
            "gz": ".gz",
            "zst": ".zst",
            "ten_days": ".gz",
            "warm_up": ".gz",
        }.items()
    }
    for path in (*paths.values(), folder / "small" / HOST / NAME):
        path.parent.mkdir(parents=True)
    plain = paths["plain"]
    with plain.open("wb") as log:
        counts = write_maillog(log, message_count=round(MESSAGE_COUNT * scale), seed=SEED)
    _compress(GZIP, _blocks(plain), paths["gz"])
    _compress(ZSTD, _blocks(plain), paths["zst"])
    _compress(IGZIP, _ten_days(plain), paths["ten_days"])
    _write_small(plain)
    _compress(GZIP, [next(_blocks(plain))], paths["warm_up"])
    return counts


def _blocks(plain: Path) -> Iterator[bytes]:
    """Yield whole lines, some 16 MB at a time."""
    with plain.open("rb") as log:
        while block := log.read(BLOCK_BYTES):
            yield block + log.readline()


def _compress(program: tuple[str, ...], blocks: "Iterator[bytes] | list[bytes]", path: Path) -> None:
    with path.open("wb") as compressed:
        with subprocess.Popen([*program, "-c"], stdin=subprocess.PIPE, stdout=compressed) as process:
            assert process.stdin
            for block in blocks:
                process.stdin.write(block)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, program)


def _ten_days(plain: Path) -> Iterator[bytes]:
    """Yield the day again and again, each time with the next date."""
    stamp = f"{DAY:%b %d} ".encode()
    for number in range(DAY_COUNT):
        shifted = f"{DAY + timedelta(days=number):%b %d} ".encode()
        for block in _blocks(plain):
            yield shifted + block.replace(b"\n" + stamp, b"\n" + shifted).removeprefix(stamp)


def _write_small(plain: Path) -> None:
    """Cut the day into files of the same size, compressed each; their names are those of logrotate."""
    total = plain.stat().st_size
    cuts = [total * number // SMALL_FILE_COUNT for number in range(SMALL_FILE_COUNT + 1)]
    first = round(DAY.timestamp())
    with plain.open("rb") as log:
        for number, (_, end) in enumerate(pairwise(cuts)):
            lines = log.read(max(0, end - log.tell())) + log.readline()
            path = plain.parents[2] / "small" / HOST / f"{NAME}-{first + number}.gz"
            _compress(GZIP, [lines], path)


if __name__ == "__main__":
    print(json.dumps(write_archives(Path(sys.argv[1]), scale=float(sys.argv[2]))))
