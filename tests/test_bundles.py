"""Tar and zip files as the world makes them: every member is read, or named with what keeps it from that."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.oddities import Lines, Taken, read
from transforms.archive.bundles import list_members, open_members
from transforms.archive.files import discover
from transforms.fleet.fleet import read_fleet

Members = list[tuple[str, bytes]]


@pytest.fixture
def lines() -> Lines:
    return Lines()


def put(folder: Path, name: str, content: bytes) -> Path:
    (folder / "archive" / "gw").mkdir(parents=True, exist_ok=True)
    path = folder / "archive" / "gw" / name
    path.write_bytes(content)
    return path


def tar(members: Members, *others: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", errors="surrogateescape") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_795_000_000
            archive.addfile(info, io.BytesIO(content))
        for info in others:
            archive.addfile(info)
    return buffer.getvalue()


def zipped(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in members:
            bundle.writestr(name, content)
    return buffer.getvalue()


def link(kind: bytes, name: str, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def read_counts(folder: Path) -> dict[str, int]:
    """Return the lines read of each file."""
    return {record.path: record.line_count for record in taken(folder).records}


def taken(folder: Path) -> Taken:
    return read(folder / "archive", folder / "lake")


def told(folder: Path) -> dict[str, str]:
    """Return the critical problems by place."""
    problems = taken(folder).problems
    return {problem.where: problem.what for problem in problems if problem.severity == "critical"}


PACKED: dict[str, Callable[[Members], bytes]] = {"b.tar": tar, "b.zip": zipped}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", PACKED)
def test_members_of_one_name_are_all_read(name: str, lines: Lines, tmp_path: Path) -> None:
    first, second, third = lines.some(3), lines.some(5), lines.some(7)
    put(tmp_path, name, PACKED[name]([("maillog", first), ("maillog", second), ("a/maillog", third)]))
    assert read_counts(tmp_path) == {
        f"gw/{name}!maillog": 3,
        f"gw/{name}!maillog#2": 5,
        f"gw/{name}!a/maillog": 7,
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", PACKED)
def test_names_of_members_are_told_apart(name: str, tmp_path: Path) -> None:
    members = [("a", b"1"), ("a#2", b"2"), ("a", b"3"), ("a#2", b"4")]
    path = put(tmp_path, name, PACKED[name](members))
    listed = [member.name for member in list_members(path)[0]]
    assert len(set(listed)) == 4
    assert [(name, stream.read()) for name, stream in open_members(path, set(listed))] == [
        (name, content) for name, (_, content) in zip(listed, members, strict=True)
    ]


def test_a_member_that_grew_is_read_once(lines: Lines, tmp_path: Path) -> None:
    before = lines.some(3)
    put(tmp_path, "b.tar", tar([("maillog", before), ("maillog", before + lines.some(2))]))
    assert read_counts(tmp_path) == {"gw/b.tar!maillog#2": 5}


@pytest.mark.parametrize("encoding", ["latin-1", "shift_jis", "euc_jp", "utf-8"])
def test_names_in_a_tar_file_may_be_any_bytes(encoding: str, lines: Lines, tmp_path: Path) -> None:
    folder = "é" if encoding == "latin-1" else "受信"
    raw = folder.encode(encoding)
    put(tmp_path, "b.tar", tar([(raw.decode(errors="surrogateescape") + "/maillog", lines.some(3))]))
    shown = (
        folder
        if encoding == "utf-8"
        else "".join(chr(byte) if 32 < byte < 127 else f"%{byte:02X}" for byte in raw)
    )
    assert read_counts(tmp_path) == {f"gw/b.tar!{shown}/maillog": 3}


@pytest.mark.parametrize("raw", [b"\x8e\xf3\x90M", b"\xe9\xff", b"a\\b"])
def test_names_in_a_zip_file_may_be_any_bytes(raw: bytes, lines: Lines, tmp_path: Path) -> None:
    placeholder = "x" * len(raw)
    content = zipped([(f"{placeholder}/maillog", lines.some(3)), ("other/maillog", lines.some(4))])
    put(tmp_path, "b.zip", content.replace(placeholder.encode(), raw))
    shown = "".join(chr(byte) if 32 < byte < 127 else f"%{byte:02X}" for byte in raw)
    assert read_counts(tmp_path) == {f"gw/b.zip!{shown}/maillog": 3, "gw/b.zip!other/maillog": 4}


@pytest.mark.parametrize("raw", [b"\0xxxxxx", b"/xxxxx/", b"\0" * 7])
def test_a_name_that_is_none_does_not_hide_the_other_members(
    raw: bytes, lines: Lines, tmp_path: Path
) -> None:
    placeholder = "x" * len(raw)
    content = zipped([(placeholder, lines.some(3)), ("other/maillog", lines.some(4))])
    put(tmp_path, "b.zip", content.replace(placeholder.encode(), raw))
    assert read_counts(tmp_path) == {"gw/b.zip!other/maillog": 4}


def test_backslashes_part_the_names_of_a_zip_file(lines: Lines, tmp_path: Path) -> None:
    put(tmp_path, "b.zip", zipped([("CDT\\LogFile\\maillog", lines.some(3))]))
    assert read_counts(tmp_path) == {"gw/b.zip!CDT\\LogFile\\maillog": 3}


@pytest.mark.parametrize("count", [1, 511, 512, 10_240, 5_000_000])
def test_nuls_that_pad_a_compressed_file_are_no_damage(count: int, lines: Lines, tmp_path: Path) -> None:
    padding = bytes(count)
    two = gzip.compress(lines.some(3)) + padding + gzip.compress(lines.some(2)) + padding
    put(tmp_path, "maillog.1.gz", two)
    put(tmp_path, "b.tgz", gzip.compress(tar([("maillog", lines.some(4))]) + padding) + padding)
    assert read_counts(tmp_path) == {"gw/maillog.1.gz": 5, "gw/b.tgz!maillog": 4}
    assert told(tmp_path) == {}


@pytest.mark.parametrize("place", ["at_a_header", "in_a_header", "in_a_member"])
def test_a_tar_file_that_was_cut_is_read_up_to_there_and_named(
    place: str, lines: Lines, tmp_path: Path
) -> None:
    whole = tar([("maillog.2", lines.some(3)), ("maillog.1", lines.some(40))])
    ends = {"at_a_header": 1024, "in_a_header": 1300, "in_a_member": 1536 + 700}
    put(tmp_path, "b.tar", whole[: ends[place]])
    counts = read_counts(tmp_path)
    assert counts["gw/b.tar!maillog.2"] == 3
    assert 0 < counts.get("gw/b.tar!maillog.1", 1) < 40
    assert "the files before the damage were read" in told(tmp_path)["gw/b.tar"]


def test_a_tar_file_with_a_broken_header_is_named_and_read_up_to_there(lines: Lines, tmp_path: Path) -> None:
    whole = bytearray(tar([("maillog.2", lines.some(3)), ("maillog.1", lines.some(4))]))
    whole[1024 + 5] ^= 1
    put(tmp_path, "b.tar", bytes(whole))
    assert read_counts(tmp_path) == {"gw/b.tar!maillog.2": 3}
    assert told(tmp_path)["gw/b.tar"] == (
        "is not a sound tar file (bad checksum); the files before the damage were read (1)"
    )


def test_a_tar_file_whose_headers_never_end_is_named(lines: Lines, tmp_path: Path) -> None:
    name = link(tarfile.GNUTYPE_LONGNAME, "x")
    put(tmp_path, "b.tar", tar([("maillog", lines.some(3))])[:1024] + name.tobuf() * 3_000)
    assert read_counts(tmp_path) == {"gw/b.tar!maillog": 3}
    assert "is not a sound tar file" in told(tmp_path)["gw/b.tar"]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zipped_member_whose_sum_is_another_one_is_named(method: int, lines: Lines, tmp_path: Path) -> None:
    path = put(tmp_path, "b.zip", b"")
    with zipfile.ZipFile(path, "w", method) as bundle:
        bundle.writestr("maillog", lines.some(3))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 16] ^= 1
    path.write_bytes(content)
    (what,) = told(tmp_path).values()
    assert "damaged (Bad CRC-32" in what


def test_tar_files_in_a_row_are_all_read(lines: Lines, tmp_path: Path) -> None:
    put(tmp_path, "b.tar", tar([("maillog.2", lines.some(3))]) + tar([("maillog.1", lines.some(4))]))
    assert read_counts(tmp_path) == {"gw/b.tar!maillog.2": 3, "gw/b.tar!maillog.1": 4}
    assert told(tmp_path) == {}


def test_links_in_a_tar_file_stand_for_members_or_are_named(lines: Lines, tmp_path: Path) -> None:
    content = tar(
        [("logs/maillog.1", lines.some(3)), ("logs/data", b"")],
        link(tarfile.LNKTYPE, "logs/maillog.2", "logs/maillog.1"),
        link(tarfile.SYMTYPE, "logs/maillog", "../logs/maillog.1"),
        link(tarfile.SYMTYPE, "logs/maillog.3", "/etc/passwd"),
        link(tarfile.SYMTYPE, "logs/maillog.4", "data"),
        link(tarfile.SYMTYPE, "logs/readme", "/etc/passwd"),
        link(tarfile.FIFOTYPE, "logs/maillog.5"),
        link(tarfile.CHRTYPE, "logs/maillog.6"),
        link(b"Z", "logs/maillog.7"),
    )
    put(tmp_path, "b.tar", content)
    assert read_counts(tmp_path) == {"gw/b.tar!logs/maillog.1": 3}
    assert told(tmp_path) == {
        "gw/b.tar!logs/maillog.3": "is a symbolic link, so it was not read",
        "gw/b.tar!logs/maillog.4": "is a symbolic link, so it was not read",
        "gw/b.tar!logs/maillog.5": "is a FIFO, so it was not read",
        "gw/b.tar!logs/maillog.6": "is a device, so it was not read",
        "gw/b.tar!logs/maillog.7": "is of an unknown kind, so it was not read",
    }


@pytest.mark.parametrize("value", ["nan", "inf", "-1e300", "1e30"])
def test_a_member_may_bear_any_time(value: str, lines: Lines, tmp_path: Path) -> None:
    content = lines.some(3)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("maillog", "postqueue.txt"):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(content), {"mtime": value}
            archive.addfile(info, io.BytesIO(content))
    put(tmp_path, "b.tar", buffer.getvalue())
    assert read_counts(tmp_path)["gw/b.tar!maillog"] == 3


@pytest.mark.parametrize(
    ("offset", "value", "what"),
    [
        (8, 1, "is encrypted, so it was not read"),
        (8, 0x41, "is encrypted, so it was not read"),
        (10, 93, "is compressed by method 93, so it was not read"),
    ],
)
def test_a_zipped_member_that_cannot_be_read_is_named(
    offset: int, value: int, what: str, lines: Lines, tmp_path: Path
) -> None:
    content = bytearray(zipped([("maillog", lines.some(3)), ("maillog.1", lines.some(4))]))
    content[content.index(b"PK\x01\x02") + offset] = value
    put(tmp_path, "b.zip", bytes(content))
    assert read_counts(tmp_path) == {"gw/b.zip!maillog.1": 4}
    assert told(tmp_path) == {"gw/b.zip!maillog": what}


def test_a_zip_file_whose_directory_lies_is_named(lines: Lines, tmp_path: Path) -> None:
    content = bytearray(zipped([("maillog", lines.some(3)), ("maillog.1", lines.some(4))]))
    # The name before the content is another one.
    content[content.index(b"maillog")] = ord("x")
    put(tmp_path, "b.zip", bytes(content))
    assert read_counts(tmp_path)["gw/b.zip!maillog.1"] == 4
    assert "damaged" in told(tmp_path)["gw/b.zip!maillog:0"]


def test_a_bundle_in_a_bundle_is_a_warning(lines: Lines, tmp_path: Path) -> None:
    put(tmp_path, "b.zip", zipped([("maillog", lines.some(3)), ("inner.tgz", tar([]))]))
    archive = tmp_path / "archive"
    assert discover(archive, read_fleet(archive)).ignored == ["gw/b.zip!inner.tgz"]
    (warning,) = (problem for problem in taken(tmp_path).problems if "ignored" in problem.what)
    assert (warning.where, warning.severity) == ("gw/", "warning")
    assert "gw/b.zip!inner.tgz" in warning.what
