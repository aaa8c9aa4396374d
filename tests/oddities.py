"""Archives with odd files, names, bundles and fleet files, at random, beside one sound host.

`python -m tests.oddities COUNT SEED` tries archives with at least COUNT odd files. Nothing crashes or hangs,
every line that is read is an event, noise or an unparsed line, and the sound host has the same rows as alone.
"""

import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import signal
import stat
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count as counting
from itertools import takewhile
from pathlib import Path
from types import FrameType

import polars as pl
from backports import zstd

from flows.settings import load_settings
from flows.settings_file import FILE_VARIABLE
from transforms.archive.files import discover, passed_over
from transforms.fleet.fleet import read_fleet
from transforms.ingest.plan import find_zones, plan_reads
from transforms.ingest.read import read_sources
from transforms.lake.ledger import Ledger
from transforms.lake.records import SourceRecord
from transforms.log_rules import LogRules
from transforms.problems import MaillagError, Problem

CASE_SECONDS = 60
SOUND = "sound"
LINE = "Nov 24 {:02}:{:02}:{:02} gw postfix/qmgr[1]: {:010X}: removed\n"
BASES = [
    b"maillog",
    b"maillog.1",
    b"maillog-20261124",
    b"mail.log.2.gz",
    b"imssmgr.20261124.0001",
    b"main.cf",
    b"x",
]
NAMES = [
    *(b"gw", "受信".encode(), "受信".encode("shift_jis"), "受信".encode("euc_jp"), "é".encode("latin-1")),
    *("a\u3000b".encode(), b"a b", b"-rf", b"\x1b[31m", b"a\nb", b"'\"$(x)", b"%41", b"a!b", b"\xff" * 80),
    *(("受" * 80).encode(), b"__HIVE_DEFAULT_PARTITION__", b"host=x", b"*", b"[a]"),
]
PACKERS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, bz2.compress, lzma.compress, zstd.compress]
SUFFIXES = [".tar", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"]
KINDS = [
    *(tarfile.REGTYPE,) * 12,
    *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.CONTTYPE),
    b"Z",
]
FLEET = """
[defaults]
time_zone = "Asia/Tokyo"
[hosts."gw"]
build = 1631
[[hosts.gw.changes]]
from = 2026-11-24
[hosts.sound]
"""
TOML_WORDS = [
    *(
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "=",
        ",",
        ".",
        "\n",
        "\0",
        "\ufeff",
        "\\",
        "#",
        "hosts",
        "defaults",
        "gw",
    ),
    *(
        "path",
        "changes",
        "aliases",
        "host_from",
        "build",
        "1" * 5000,
        "-1",
        "nan",
        "2026-11-24",
        "true",
        "''",
    ),
    *('"**/*"', '"../x"', '"/"', '"line"', '"\\u0000"', "[" * 3000, "x." * 3000, "log_rules", "thresholds"),
    *(
        "system_event_line = '(?P<year>x)'",
        "flush_commanded = '('",
        "lake = 1",
        "[log_rules]\n",
        "[hosts.gw]\n",
    ),
]


@dataclass(frozen=True)
class Taken:
    """What reading an archive gave: records and problems, and the rows of events of each host, as text."""

    records: list[SourceRecord]
    problems: list[Problem]
    rows: dict[str, list[str]]


def read(archive: Path, lake: Path) -> Taken:
    """Read an archive as a run does, short of contracts and marts. Raises MaillagError."""
    fleet = read_fleet(archive)
    found = discover(archive, fleet)
    zones = find_zones(fleet, found.sources, "UTC")
    ledger = Ledger("sqlite://", lake)
    try:
        plan = plan_reads(found.sources, ledger, fleet=fleet, zones=zones.zones, rules=LogRules())
        reads = read_sources(plan, lake, {}, run_id="r", part="1")
        ledger.record_sources(
            [new.record for new in reads.new_sources],
            seen=[new.seen for new in reads.new_sources] + reads.seen_copies,
            replaced=[],
            files=reads.files,
            findings=[],
        )
    finally:
        ledger.close()
    rows: dict[str, list[str]] = {}
    for file in reads.files:
        if file.table_name.startswith("events."):
            for row in pl.read_parquet(lake / file.path).iter_rows(named=True):
                rows.setdefault(row["host"], []).append(str(row))
    problems = [
        *fleet.problems,
        *found.problems,
        *passed_over(found.ignored),
        *reads.problems,
        *zones.problems,
        *(problem for new in reads.new_sources for problem in new.problems),
    ]
    return Taken([new.record for new in reads.new_sources], problems, {h: sorted(r) for h, r in rows.items()})


class Lines:
    """Lines that are all different, so that no file is a copy of another one."""

    def __init__(self) -> None:
        self.count = 0

    def some(self, count: int) -> bytes:
        """Return the next lines."""
        first, self.count = self.count, self.count + count
        return "".join(
            LINE.format(n // 3600 % 24, n // 60 % 60, n % 60, n) for n in range(first, self.count)
        ).encode()


def put_odd_things(archive: Path, chance: random.Random) -> int:
    """Put some hosts of any name beside the sound one, with files of any kind, and perhaps a fleet file.

    Returns how many odd files there are.
    """
    count = 0
    lines = Lines()
    lines.some(1000)
    for name in chance.sample(NAMES, chance.randint(1, 3)):
        folder = Path(os.fsdecode(os.fsencode(archive) + b"/" + name))
        # A link may have led a folder of another host here.
        folder.mkdir(exist_ok=True)
        for _ in range(chance.randint(1, 4)):
            with suppress(FileExistsError, OSError):
                _put_one(folder, chance, lines)
                count += 1
    if chance.random() < 0.2:
        (archive / "link").symlink_to(
            chance.choice(["/etc", ".", "..", SOUND, f"{SOUND}/x", "link", "nowhere"])
        )
        count += 1
    if chance.random() < 0.3:
        (archive / "fleet.toml").write_bytes(mutated_text(FLEET, chance))
        count += 1
    return count


def _put_one(folder: Path, chance: random.Random, lines: Lines) -> None:
    base = Path(os.fsdecode(chance.choice(BASES)))
    match chance.randint(0, 9):
        case 0:
            os.mkfifo(folder / base)
        case 1:
            targets: list[str | Path] = [
                "/etc",
                "/dev/zero",
                "..",
                ".",
                base,
                "maillog",
                f"../{SOUND}/maillog",
                "nowhere",
            ]
            (folder / base).symlink_to(chance.choice(targets))
        case 2:
            (folder / base / os.fsdecode(chance.choice(NAMES))).mkdir(parents=True)
        case 3 | 4:
            content = chance.choice(PACKERS)(lines.some(chance.randint(0, 5)))
            _write_new(folder / base, mutated_bytes(content, chance))
        case 5 | 6:
            _write_new(folder / "b.zip", mutated_bytes(odd_zip(chance, lines), chance))
        case _:
            at = chance.randrange(len(PACKERS))
            whole = odd_tar(chance, lines)
            packed = PACKERS[at](mutated_bytes(whole, chance))
            _write_new(folder / f"b{SUFFIXES[at]}", mutated_bytes(packed, chance))


def _write_new(path: Path, content: bytes) -> None:
    # A FIFO may be there already, which would wait for a reader, or a link.
    with path.open("xb") as file:
        file.write(content)


def odd_tar(chance: random.Random, lines: Lines) -> bytes:
    """Return a tar file of members of any name, kind, size and time; some names are there twice."""
    buffer = io.BytesIO()
    form = chance.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as archive:
        for _ in range(chance.randint(0, 5)):
            info = tarfile.TarInfo(member_name(chance))
            info.type = chance.choice(KINDS)
            info.linkname = member_name(chance) if chance.random() < 0.5 else "maillog"
            info.mtime = chance.choice([0, 1_795_000_000, 2**33, 1e30 if form == tarfile.PAX_FORMAT else 0])
            content = packed_or_nested(chance, lines)
            info.size = len(content) if info.isreg() or info.type == b"Z" else 0
            if form == tarfile.PAX_FORMAT and chance.random() < 0.1:
                info.pax_headers = {"mtime": chance.choice(["nan", "inf", "-1e300", "x"])}
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def odd_zip(chance: random.Random, lines: Lines) -> bytes:
    """Return a zip file of members of any name, kind and method; some names are there twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for _ in range(chance.randint(0, 5)):
            # What is no UTF-8 cannot be written by Python: it is put in below.
            info = zipfile.ZipInfo(member_name(chance).encode(errors="surrogateescape").decode("latin-1"))
            info.compress_type = chance.choice([0, 8, 12, 14])
            if chance.random() < 0.1:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            with warnings.catch_warnings(action="ignore"):
                bundle.writestr(info, packed_or_nested(chance, lines))
    content = bytearray(buffer.getvalue())
    if chance.random() < 0.2 and (at := content.find(b"PK\x01\x02")) >= 0:
        # A flag, the method, a time or a size of the first member.
        content[at + chance.randint(8, 27)] ^= 1 << chance.randint(0, 7)
    return bytes(content)


def member_name(chance: random.Random) -> str:
    """Return the path of a member, of any bytes."""
    parts = [chance.choice(NAMES) for _ in range(chance.randint(0, 2))]
    return os.fsdecode(b"/".join([*parts, chance.choice(BASES)]))


def packed_or_nested(chance: random.Random, lines: Lines) -> bytes:
    """Return the content of a member: lines, packed in any way, or another bundle."""
    if chance.random() < 0.1:
        return odd_tar(chance, lines) if chance.random() < 0.5 else odd_zip(chance, lines)
    return chance.choice(PACKERS)(lines.some(chance.randint(0, 4)))


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    """Return content as it is, more often than not, or cut, padded, doubled, or with other bytes in it."""
    at = chance.randint(0, len(content))
    match chance.randint(0, 11):
        case 0:
            return content[:at]
        case 1:
            return content + bytes(chance.choice([1, 511, 512, 10240]))
        case 2:
            return content + content
        case 3:
            return content[:at] + chance.randbytes(chance.randint(1, 600)) + content[at:]
        case 4 if content:
            changed = bytearray(content)
            for _ in range(chance.randint(1, 8)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            return bytes(changed)
        case 5:
            return content[:at] + bytes(len(content) - at)
    return content


def mutated_text(text: str, chance: random.Random) -> bytes:
    """Return TOML that may have become none, in any encoding."""
    for _ in range(chance.randint(0, 3)):
        at = chance.randint(0, len(text))
        text = text[:at] + chance.choice(TOML_WORDS) + text[at + chance.choice([0, 0, 1, 5]) :]
    encoding = chance.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp932"])
    return (
        mutated_bytes(text.encode(encoding, "replace"), chance)
        if chance.random() < 0.3
        else text.encode(encoding, "replace")
    )


def try_case(seed: int, folder: Path, alone: list[str]) -> int:
    """Try one archive, and return how many odd files it has; raises what should not have been raised."""
    chance = random.Random(seed)
    archive = folder / "archive"
    put_sound_host(archive)
    odd_count = put_odd_things(archive, chance)
    with time_limit(CASE_SECONDS):
        try_fleet_file(archive, folder / "told")
        taken = read(archive, folder / "lake")
        try_settings(folder / "maillag.toml", chance)
    assert taken.rows[SOUND] == alone
    for record in taken.records:
        counted = record.event_line_count + record.noise_line_count + record.unparsed_line_count
        assert counted == record.line_count, record
        assert record.host.isprintable(), record
        assert record.path.isprintable(), record
    for problem in taken.problems:
        assert problem.where.isprintable(), problem
    places = [record.path for record in taken.records]
    assert len(places) == len(set(places))
    # The file of settings, too.
    return odd_count + 1


def try_fleet_file(archive: Path, lake: Path) -> None:
    """Read an archive with its fleet file, if any, and remove that: it may rightly change all rows."""
    path = archive / "fleet.toml"
    if not path.exists():
        return
    told = str(path)
    try:
        read(archive, lake)
    except MaillagError as error:
        told = str(error)
    path.unlink()
    assert str(path) in told


def try_settings(path: Path, chance: random.Random) -> None:
    """Read a file of settings that may be none."""
    path.write_bytes(mutated_text("[thresholds]\n[log_rules]\nflush_commanded = 'x'\n", chance))
    os.environ[FILE_VARIABLE] = str(path)
    told = str(path)
    try:
        load_settings()
    except MaillagError as error:
        told = str(error)
    finally:
        del os.environ[FILE_VARIABLE]
    assert str(path) in told


def put_sound_host(archive: Path) -> None:
    """Make an archive with the sound host."""
    (archive / SOUND).mkdir(parents=True)
    (archive / SOUND / "maillog-20261124").write_bytes(Lines().some(50))


def rows_alone(folder: Path) -> list[str]:
    """Return the rows of the sound host in an archive of its own."""
    put_sound_host(folder / "archive")
    return read(folder / "archive", folder / "lake").rows[SOUND]


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def failures(seeds: Iterable[int], folder: Path, tried: Counter[str]) -> Iterator[str]:
    """Try an archive for each seed, count archives and odd files in `tried`, and yield what went wrong."""
    alone = rows_alone(folder / "alone")
    for seed in seeds:
        own = folder / str(seed)
        try:
            tried["odd files"] += try_case(seed, own, alone)
        except Exception as error:
            yield f"seed {seed}: {type(error).__name__}: {error}"
        tried["archives"] += 1
        shutil.rmtree(own)


def main(count: int, seed: int) -> None:
    """Try at least `count` odd files, and say what went wrong."""
    tried = Counter[str]()
    failure_count = 0
    seeds = takewhile(lambda _: tried["odd files"] < count, counting(seed))
    with tempfile.TemporaryDirectory() as folder:
        for line in failures(seeds, Path(folder), tried):
            failure_count += 1
            print(line[:3000], flush=True)
    print(
        f"{tried['odd files']:,} odd files in {tried['archives']:,} archives, seeds from {seed}: "
        f"{failure_count} failures"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
