"""Archives that are meant to take all memory, to the peak of a whole `maillag run` over each.

`python -m tests.peaks` measures all, `python -m tests.peaks NAME...` some. All but those of many hosts hold
a sound host beside the bad one.
"""

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from backports import zstd

from tests.bench.document import DOCUMENT, replace_section
from tests.bench.measure import Cost, measure

MIB = 1024 * 1024
ZEROS_MIB = 1024
LINE_MIB = 100
MEMBER_COUNT = 100_000
HOST_COUNTS = (1_000, 4_000)
MOST_MIB = 700
MOST_GROWTH = 1.1
NAME = "maillog-20261125"
# One restart that holds a message, which the next queue run releases.
MAILLOG = "".join(
    f"Nov 24 {line}\n"
    for line in (
        "10:00:00 {host} postfix/smtpd[10]: 892A0205B6: client=mail.example.com[192.0.2.1]",
        "10:00:00 {host} postfix/cleanup[11]: 892A0205B6: message-id=<1@example.com>",
        "10:00:00 {host} postfix/qmgr[1]: 892A0205B6: from=<a@example.com>, size=500, nrcpt=1 (queue active)",
        "10:00:01 {host} postfix/smtp[12]: 892A0205B6: to=<b@example.com>, relay=none, delay=1, "
        "delays=0.5/0/0.5/0, dsn=4.4.1, status=deferred (connect to 127.0.0.1[127.0.0.1]:10025: "
        "Connection refused)",
        "10:10:00 {host} postfix/qmgr[1]: 892A0205B6: from=<a@example.com>, size=500, nrcpt=1 (queue active)",
        "10:10:01 {host} postfix/smtp[12]: 892A0205B6: to=<b@example.com>, relay=127.0.0.1[127.0.0.1]:10025, "
        "delay=601, delays=600/0/0.5/0.5, dsn=2.0.0, status=sent (250 ok)",
        "10:10:01 {host} postfix/qmgr[1]: 892A0205B6: removed",
    )
)


def maillog(host: str) -> bytes:
    """Return the lines of a host."""
    return MAILLOG.replace("{host}", host).encode()


def contents(mib: int, filler: bytes = bytes(MIB)) -> Iterator[bytes]:
    """Yield sound lines and then so many MiB without an end of a line."""
    yield maillog("bad")
    for _ in range(mib):
        yield filler
    yield b"\n"


def write_packed(path: Path, mib: int, opener: Callable[..., Any], suffix: str) -> None:
    """Write zeros as a compressed file."""
    with opener(f"{path}{suffix}", "wb") as log:
        log.writelines(contents(mib))


def write_zip(path: Path, mib: int, method: int = zipfile.ZIP_DEFLATED) -> None:
    """Write zeros as a member of a zip file, with a sound member before and behind it."""
    with zipfile.ZipFile(f"{path}.zip", "w", method) as bundle:
        bundle.writestr("maillog-20261124", maillog("bad").replace(b"Nov 24", b"Nov 23"))
        with bundle.open(path.name, "w") as member:
            for piece in contents(mib):
                member.write(piece)
        bundle.writestr("maillog-20261126", maillog("bad").replace(b"Nov 24", b"Nov 25"))


def write_tar_gz(path: Path, mib: int) -> None:
    """Write zeros as a member of a compressed tar file, with a sound member before and behind it."""
    with tarfile.open(f"{path}.tar.gz", "w:gz") as bundle:
        _add(bundle, "maillog-20261124", maillog("bad").replace(b"Nov 24", b"Nov 23"))
        member = tarfile.TarInfo(path.name)
        member.size = sum(map(len, contents(mib)))
        bundle.addfile(member, _Stream(contents(mib)))
        _add(bundle, "maillog-20261126", maillog("bad").replace(b"Nov 24", b"Nov 25"))


def write_long_line(path: Path, mib: int) -> None:
    """Write a line of so many MiB of text."""
    with path.open("wb") as log:
        log.writelines(contents(mib, b"x" * MIB))


def write_tar_members(path: Path, count: int) -> None:
    """Write so many small logs into one tar file."""
    with tarfile.open(f"{path}.tar", "w") as bundle:
        for number, content in _many_logs(count):
            _add(bundle, f"{number}/{NAME}", content)


def write_zip_members(path: Path, count: int) -> None:
    """Write so many small logs into one zip file."""
    with zipfile.ZipFile(f"{path}.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        for number, content in _many_logs(count):
            bundle.writestr(f"{number}/{NAME}", content)


def _many_logs(count: int) -> Iterator[tuple[int, bytes]]:
    for number in range(count):
        yield number, maillog("bad").replace(b"892A0205B6", b"%010X" % number)


def _add(bundle: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    bundle.addfile(member, io.BytesIO(content))


def write_hosts(archive: Path, count: int) -> None:
    """Write a small log for each of so many hosts."""
    for number in range(count):
        host = f"gw{number:05}"
        (archive / host).mkdir()
        (archive / host / NAME).write_bytes(maillog(host))


class _Stream(io.RawIOBase):
    """Pieces as a stream that tarfile reads from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return exactly so many bytes, as long as there are any."""
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


OF_ONE_HOST: dict[str, Callable[[Path], None]] = {
    "1 GB of zeros, gz": partial(write_packed, mib=ZEROS_MIB, opener=gzip.open, suffix=".gz"),
    "1 GB of zeros, bz2": partial(write_packed, mib=ZEROS_MIB, opener=bz2.open, suffix=".bz2"),
    "1 GB of zeros, xz": partial(write_packed, mib=ZEROS_MIB, opener=lzma.open, suffix=".xz"),
    "1 GB of zeros, zstd": partial(write_packed, mib=ZEROS_MIB, opener=zstd.open, suffix=".zst"),
    "1 GB of zeros, zip": partial(write_zip, mib=ZEROS_MIB),
    "1 GB of zeros, zip by bzip2": partial(write_zip, mib=ZEROS_MIB, method=zipfile.ZIP_BZIP2),
    "1 GB of zeros, tar.gz": partial(write_tar_gz, mib=ZEROS_MIB),
    "a line of 100 MB": partial(write_long_line, mib=LINE_MIB),
    "100,000 members, tar": partial(write_tar_members, count=MEMBER_COUNT),
    "100,000 members, zip": partial(write_zip_members, count=MEMBER_COUNT),
}
OF_MANY_HOSTS = {f"{count:,} hosts": count for count in HOST_COUNTS}


def write_archive(archive: Path, name: str) -> None:
    """Write the archive of that name."""
    archive.mkdir()
    if name in OF_MANY_HOSTS:
        write_hosts(archive, OF_MANY_HOSTS[name])
        return
    for host in ("bad", "good"):
        (archive / host).mkdir()
    (archive / "good" / NAME).write_bytes(maillog("good"))
    OF_ONE_HOST[name](archive / "bad" / NAME)


def main() -> None:
    """Print the peaks, put those of all archives into the document, and end with 1 if one is too high."""
    names = sys.argv[1:] or [*OF_ONE_HOST, *OF_MANY_HOSTS]
    costs: dict[str, Cost] = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            archive, lake = Path(folder, "archive"), Path(folder, "lake")
            write_archive(archive, name)
            command = [
                str(Path(sys.executable).with_name("maillag")),
                "run",
                str(archive),
                "--lake",
                str(lake),
            ]
            # 1: what is bad is reported.
            costs[name] = measure(command, accepted=(0, 1))
        print(f"{name}: {costs[name].peak_mib:.0f} MiB, {costs[name].cpu_seconds:.0f} s of CPU", flush=True)
    if not sys.argv[1:]:
        replace_section(DOCUMENT, "peaks", table(costs))
    few, many = (costs.get(name) for name in OF_MANY_HOSTS)
    grows = bool(few and many and many.peak_mib > MOST_GROWTH * few.peak_mib)
    raise SystemExit(grows or max(cost.peak_mib for cost in costs.values()) > MOST_MIB)


def table(costs: Mapping[str, Cost]) -> str:
    """Return the document's table."""
    measured = f"Measured by `python -m tests.peaks` on {datetime.now(UTC).date()}."
    head = [measured, "", "| archive | peak MiB | CPU s |"]
    rows = [f"| {name} | {cost.peak_mib:.0f} | {cost.cpu_seconds:.0f} |" for name, cost in costs.items()]
    return "\n".join([*head, "| --- | ---: | ---: |", *rows])


if __name__ == "__main__":
    main()
