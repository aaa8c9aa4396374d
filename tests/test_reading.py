"""Files to lines whatever they are packed in, and stamps without year or zone to UTC."""

import bz2
import gzip
import hashlib
import itertools
import lzma
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from transforms.archive import lines
from transforms.archive.lines import DamagedFileError, read_blocks
from transforms.bounds import LINE_BYTES
from transforms.parse.clock import LocalClock, YearWindow
from transforms.parse.events import split_lines
from transforms.zone import Zone

LINES = b"".join(b"Nov 24 10:00:00 gw postfix/qmgr[1]: %08X: removed\n" % n for n in range(2000))
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "zst": zstd.compress,
}
packed = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())
compressed = pytest.mark.parametrize(
    "pack", [pack for name, pack in PACKERS.items() if name != "plain"], ids=[*PACKERS][1:]
)


@packed
def test_file_is_read_whole_and_in_order(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    assert b"".join(blocks_of(written(tmp_path, pack(LINES)))) == LINES


@compressed
def test_members_in_a_row_are_one_file(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    parts = LINES[:7000], b"", LINES[7000:7001], LINES[7001:]
    content = b"".join(pack(part) for part in parts)
    assert b"".join(blocks_of(written(tmp_path, content))) == LINES


@packed
def test_empty_file_has_no_block(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    assert list(blocks_of(written(tmp_path, pack(b"")))) == []


def test_file_of_no_bytes_has_no_block_whatever_its_name(tmp_path: Path) -> None:
    assert list(blocks_of(written(tmp_path, b""))) == []


@packed
def test_last_line_may_lack_its_newline(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = written(tmp_path, pack(LINES + b"unfinished"))
    assert b"".join(blocks_of(path)) == LINES + b"unfinished"


def test_one_unfinished_line_is_a_block(tmp_path: Path) -> None:
    assert list(blocks_of(written(tmp_path, b"unfinished"))) == [b"unfinished"]


@compressed
def test_truncated_file_gives_what_precedes_the_damage(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    content = noise(2_000_000)
    whole = pack(content)
    blocks, error = read_until_damage(written(tmp_path, whole[: len(whole) // 2]))
    assert content.startswith(blocks)
    # bzip2 can only give whole blocks of 900,000 bytes.
    assert len(blocks) > 890_000
    assert "ends early" in str(error)


def test_truncation_of_gzip_loses_next_to_nothing(tmp_path: Path) -> None:
    content = noise(300_000)
    whole = gzip.compress(content)
    blocks, _ = read_until_damage(written(tmp_path, whole[:-20]))
    assert content.startswith(blocks)
    assert len(content) - len(blocks) < 1000


def test_truncation_within_the_first_bytes_gives_nothing(tmp_path: Path) -> None:
    blocks, error = read_until_damage(written(tmp_path, gzip.compress(LINES)[:5]))
    assert blocks == b""
    assert "ends early" in str(error)


@compressed
def test_corrupt_file_gives_what_precedes_the_damage(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    content = noise(2_000_000)
    whole = bytearray(pack(content))
    middle = len(whole) // 2
    whole[middle : middle + 64] = bytes(64)
    blocks, error = read_until_damage(written(tmp_path, bytes(whole)))
    assert blocks[:500_000] == content[:500_000]
    assert "corrupt" in str(error)


def test_wrong_checksum_is_damage(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(LINES))
    whole[-8] ^= 1
    blocks, error = read_until_damage(written(tmp_path, bytes(whole)))
    assert blocks in {b"", LINES}
    assert "corrupt" in str(error)


def test_garbage_behind_a_member_is_damage_and_loses_nothing(tmp_path: Path) -> None:
    blocks, _ = read_until_damage(written(tmp_path, gzip.compress(LINES) + b"garbage" * 9))
    assert blocks == LINES


@packed
def test_of_an_endless_line_the_beginning_is_kept(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    longest = b"y" * LINE_BYTES
    content = b"\n".join(
        [b"short", b"x" * (2 * LINE_BYTES + 3), longest, longest, b"short", b"z" * 3 * LINE_BYTES]
    )
    read = b"".join(blocks_of(written(tmp_path, pack(content))))
    kept = lines.KEPT_BYTES
    assert read.split(b"\n") == [b"short", b"x" * kept, longest, longest, b"short", b"z" * kept]


def test_bytes_that_are_not_utf8_pass_unchanged_and_become_codes(tmp_path: Path) -> None:
    content = b"na\xf8ve\nGr\xc3\xbc\xc3\x9fe\n\x00\x1b[31m\n"
    (block,) = blocks_of(written(tmp_path, content))
    assert block == content
    assert split_lines(block, 5).rows() == [
        (5, r"na\xf8ve"),
        (6, "Grüße"),
        (7, "\x00\x1b[31m"),
    ]


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(blocks_of(tmp_path / "maillog"))


plain_bytes = st.binary(max_size=300).filter(lambda content: not content.startswith(tuple(lines.DECODERS)))


@given(
    content=st.lists(st.sampled_from([b"\n", b"a", b"\r\n", b"\xff", b"long line "]), max_size=60).map(
        b"".join
    ),
    raw_bytes=st.integers(6, 40),
    block_bytes=st.integers(1, 40),
    pack=st.sampled_from(list(PACKERS.values())),
)
def test_blocks_of_any_size_give_the_same_lines(
    content: bytes,
    raw_bytes: int,
    block_bytes: int,
    pack: Callable[[bytes], bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = written(tmp_path_factory.mktemp("blocks"), pack(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "RAW_BYTES", raw_bytes)
        patch.setattr(lines, "BLOCK_BYTES", block_bytes)
        blocks = list(blocks_of(path))
    assert b"".join(blocks) == content
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    numbered: list[tuple[int, str]] = []
    for block in blocks:
        numbered += split_lines(block, len(numbered) + 1).rows()
    whole = content.decode(errors="backslashreplace").removesuffix("\n").split("\n")
    expected = [line.removesuffix("\r") for line in whole] if content else []
    assert numbered == list(enumerate(expected, 1))


@given(content=plain_bytes, cuts=st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_survive_any_packing(
    content: bytes, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("packing")
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    parts = [content[start:end] for start, end in itertools.pairwise(edges)]
    for pack in PACKERS.values():
        path = written(folder, b"".join(map(pack, parts)))
        assert b"".join(blocks_of(path)) == content


def test_file_name_tells_the_year_also_over_new_year() -> None:
    window = YearWindow.by_file_name(date(2027, 1, 1))
    assert window.source == "file_name"
    assert window.resolve(12, 31) == date(2026, 12, 31)
    assert window.resolve(1, 1) == date(2027, 1, 1)
    assert window.resolve(1, 2) == date(2027, 1, 2)
    assert window.resolve(1, 3) == date(2026, 1, 3)


def test_file_time_tells_the_year_also_over_new_year() -> None:
    window = YearWindow.by_file_time(date(2026, 12, 31))
    assert window.source == "file_time"
    assert window.resolve(12, 31) == date(2026, 12, 31)
    assert window.resolve(1, 1) == date(2027, 1, 1)
    assert window.resolve(1, 2) == date(2026, 1, 2)
    assert window.resolve(12, 30) == date(2026, 12, 30)


def test_manager_log_tells_the_year_that_brings_a_day_nearest() -> None:
    window = YearWindow.by_manager_log(date(2026, 2, 1))
    assert window.source == "manager_log"
    assert window.resolve(12, 31) == date(2025, 12, 31)
    assert window.resolve(2, 1) == date(2026, 2, 1)
    assert window.resolve(7, 31) == date(2026, 7, 31)
    assert window.resolve(8, 3) == date(2025, 8, 3)


def test_leap_day_looks_back_to_the_last_leap_year() -> None:
    assert YearWindow.by_file_name(date(2024, 2, 29)).resolve(2, 29) == date(2024, 2, 29)
    assert YearWindow.by_file_name(date(2027, 3, 1)).resolve(2, 29) == date(2024, 2, 29)
    assert YearWindow.by_file_name(date(2104, 2, 1)).resolve(2, 29) == date(2096, 2, 29)


@pytest.mark.parametrize(("month", "day"), [(2, 30), (4, 31), (1, 0), (1, 32), (13, 1)])
def test_day_that_no_calendar_has_is_none(month: int, day: int) -> None:
    assert YearWindow.by_file_name(date(2026, 11, 24)).resolve(month, day) is None


@given(
    ends_on=st.dates(date(1980, 1, 1), date(2099, 12, 31)),
    days_before=st.integers(1, 365),
)
def test_every_day_of_the_year_before_the_window_ends_is_found(ends_on: date, days_before: int) -> None:
    day = ends_on - timedelta(days=days_before)
    found = YearWindow(ends_on, "file_name").resolve(day.month, day.day)
    assert found == day


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("GMT+09:00", timedelta(hours=9)),
        ("GMT-03:30", timedelta(hours=-3, minutes=-30)),
        ("GMT+00:00", timedelta()),
        ("Asia/Tokyo", None),
    ],
)
def test_offset_of_a_zone(name: str, offset: timedelta | None) -> None:
    zone = Zone(name, "manager_log")
    assert zone.offset == offset
    assert zone.is_known()


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "GMT+9", "GMT+99:00", "../../etc/passwd", "Asia", "x." * 3000, "a.b"]
)
def test_unknown_zone_is_told(name: str) -> None:
    assert not Zone(name, "fleet_file").is_known()


def test_local_day_begins_at_its_own_midnight() -> None:
    day = date(2026, 11, 24)
    assert Zone("GMT+09:00", "line").midnight(day) == datetime(2026, 11, 23, 15, tzinfo=UTC)
    assert Zone("Asia/Tokyo", "line").midnight(day) == datetime(2026, 11, 23, 15, tzinfo=UTC)
    assert Zone("America/New_York", "line").midnight(day) == datetime(2026, 11, 24, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "local", "utc"),
    [
        # Spring: 02:00 to 03:00 is skipped, and read as if the change had not come yet.
        ("Europe/Berlin", "2026-03-29T01:59:59", "2026-03-29T00:59:59"),
        ("Europe/Berlin", "2026-03-29T02:30:00", "2026-03-29T01:30:00"),
        ("Europe/Berlin", "2026-03-29T03:00:00", "2026-03-29T01:00:00"),
        ("America/New_York", "2026-03-08T01:59:59", "2026-03-08T06:59:59"),
        ("America/New_York", "2026-03-08T02:30:00", "2026-03-08T07:30:00"),
        ("America/New_York", "2026-03-08T03:00:00", "2026-03-08T07:00:00"),
        # Autumn: 02:00 to 03:00 (01:00 to 02:00) comes twice, and is taken as its first pass.
        ("Europe/Berlin", "2026-10-25T01:59:59", "2026-10-24T23:59:59"),
        ("Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00"),
        ("Europe/Berlin", "2026-10-25T03:00:00", "2026-10-25T02:00:00"),
        ("America/New_York", "2026-11-01T00:59:59", "2026-11-01T04:59:59"),
        ("America/New_York", "2026-11-01T01:30:00", "2026-11-01T05:30:00"),
        ("America/New_York", "2026-11-01T02:00:00", "2026-11-01T07:00:00"),
        # An offset knows no changes.
        ("GMT+09:00", "2026-03-29T02:30:00", "2026-03-28T17:30:00"),
        ("GMT-03:30", "2026-11-01T01:30:00", "2026-11-01T05:00:00"),
        ("UTC", "2026-03-29T02:30:00", "2026-03-29T02:30:00"),
    ],
)
def test_local_time_becomes_utc(zone: str, local: str, utc: str) -> None:
    assert in_utc(zone, datetime.fromisoformat(local)) == datetime.fromisoformat(f"{utc}+00:00")


def test_no_time_stays_none() -> None:
    assert in_utc("Europe/Berlin", None) is None
    assert in_utc("GMT+09:00", None) is None


instants = st.integers(0, 2**31 - 1).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(
    instant=instants,
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Asia/Kolkata", "Australia/Lord_Howe"]
    ),
)
def test_every_instant_but_the_second_pass_of_an_hour_returns(instant: datetime, zone: str) -> None:
    local = instant.astimezone(ZoneInfo(zone))
    expected = local.replace(fold=0).astimezone(UTC)
    assert in_utc(zone, local.replace(tzinfo=None)) == expected
    assert local.fold or expected == instant


@given(
    instant=instants,
    minutes=st.integers(0, 14 * 60),
    sign=st.sampled_from("+-"),
)
def test_every_instant_of_an_offset_returns(instant: datetime, minutes: int, sign: str) -> None:
    name = f"GMT{sign}{minutes // 60:02}:{minutes % 60:02}"
    ahead = timedelta(minutes=minutes if sign == "+" else -minutes)
    assert in_utc(name, instant.replace(tzinfo=None) + ahead) == instant


def written(folder: Path, content: bytes) -> Path:
    """Write a log file and return its path."""
    path = folder / "maillog"
    path.write_bytes(content)
    return path


def noise(size: int) -> bytes:
    """Return lines of hexadecimal digits, the same ones every time, which hardly compress."""
    digits = hashlib.shake_128(b"noise").hexdigest(size // 2).encode()
    return b"".join(digits[at : at + 79] + b"\n" for at in range(0, len(digits), 79))


def read_until_damage(path: Path) -> tuple[bytes, DamagedFileError]:
    """Return what comes out of a damaged file, and the error that ends it."""
    content = b""
    try:
        for block in blocks_of(path):
            content += block
    except DamagedFileError as error:
        return content, error
    raise AssertionError("the damage was not noticed")


def in_utc(zone: str, local: datetime | None) -> datetime | None:
    """Turn one local time into UTC."""
    found = LocalClock(Zone(zone, "fleet_file")).to_utc(pl.Series([local], dtype=pl.Datetime("us"))).item()
    assert found is None or isinstance(found, datetime)
    return found


def blocks_of(path: Path) -> Iterator[bytes]:
    """Yield the blocks of a file."""
    with path.open("rb") as raw:
        yield from read_blocks(raw)
