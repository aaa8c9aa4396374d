"""A bundle (a tar or zip file, such as a support bundle) to its members and their content.

Everything is streamed, and what precedes damage in a bundle is read.
"""

import bz2
import copy
import io
import lzma
import os
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, cast

from transforms.archive.lines import (
    PIECE_BYTES,
    RAW_BYTES,
    WINDOW_BYTES,
    DamagedFileError,
    Decoder,
    OverLimitError,
    check_limits,
    read_on,
    read_pieces,
    unpacked,
)
from transforms.bounds import DEFAULT_LIMITS, Limits
from transforms.names import shown_name
from transforms.regular_files import open_regular

# The headers of a tar file that hold a member's long name or its attributes, and how long they may be.
TAR_HEADER_BYTES = 1024 * 1024
TAR_HEADER_TYPES = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
ZIP_ENCRYPTED, ZIP_ENCRYPTED_STRONGLY, ZIP_UTF8 = 0x1, 0x40, 0x800
ZIP_MADE_ON_UNIX = 3
ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
# What zipfile raises for wrong numbers in a file.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
)
TAR_KINDS = {
    tarfile.LNKTYPE: "is a link",
    tarfile.SYMTYPE: "is a symbolic link",
    tarfile.FIFOTYPE: "is a FIFO",
    tarfile.CHRTYPE: "is a device",
    tarfile.BLKTYPE: "is a device",
}
TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a bundle.

    - `name`: unique in the bundle; the second member of a name is `name#2`.
    - `base_name`: the last part of the path.
    - `modified_at_ns`: in a zip file, a local time of an unknown zone, read as UTC; precise to two seconds.
    - `obstacle`: why it cannot be read; `remedy` says what to do about that.
    - `links_to`: the name of the member that a link stands for.
    """

    name: str
    base_name: str
    size_bytes: int
    modified_at_ns: int
    obstacle: str = ""
    remedy: str = ""
    links_to: str | None = None


def is_bundle(name: str) -> bool:
    """Tell by its name whether a file is a bundle."""
    return name.endswith((".zip", *TAR_SUFFIXES))


def list_members(path: Path, limits: Limits = DEFAULT_LIMITS) -> tuple[list[Member], DamagedFileError | None]:
    """Return the files in a bundle, in its order, and the damage that ends them, if there is any.

    Reads a tar file to its end. If there are more files than `limits` allow, none is returned. Raises
    OSError.
    """
    members: list[Member] = []
    try:
        with _open_bundle(path, limits) as found:
            for member, _ in found:
                if len(members) == limits.member_count:
                    return [], OverLimitError(
                        f"holds more than {limits.member_count:,} files", "member_count"
                    )
                members.append(member)
    except DamagedFileError as error:
        return members, error
    return members, None


def open_members(
    path: Path, names: Collection[str], limits: Limits = DEFAULT_LIMITS
) -> Generator[tuple[str, BinaryIO]]:
    """Yield the named files of a bundle with their content, in its order, in one pass.

    Read a stream before asking for the next one. A stream that unpacks beyond `limits` raises OverLimitError;
    the next one can still be read. Raises OSError, and DamagedFileError where the bundle is damaged.
    """
    with _open_bundle(path, limits) as found:
        for member, open_pieces in found:
            if member.name in names:
                with io.BufferedReader(_PlainStream(open_pieces())) as stream:
                    yield member.name, stream


Found = Iterator[tuple[Member, Callable[[], Generator[bytes]]]]


def _open_bundle(path: Path, limits: Limits) -> AbstractContextManager[Found]:
    """Open a bundle; the context is an iterator over its members, each with a function that opens it."""
    return _open_zip(path, limits) if path.name.endswith(".zip") else _open_tar(path, limits)


class _Names:
    """Makes the names of members unique."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def unique(self, raw: bytes) -> str:
        name = shown_name(raw)
        self._counts[name] += 1
        while (count := self._counts[name]) > 1:
            name = f"{name}#{count}"
            self._counts[name] += 1
        return name


def _base_name(name: str) -> str:
    # Some tools on Windows write backslashes.
    return re.split(r"[/\\]", name)[-1]


def _zip_members(bundle: zipfile.ZipFile, limits: Limits, bundle_bytes: int) -> Found:
    names = _Names()
    for info in bundle.infolist():
        # ZipInfo.is_dir fails on an empty name.
        if info.filename.endswith("/"):
            continue
        is_utf8 = info.flag_bits & ZIP_UTF8
        member = Member(
            names.unique(info.filename.encode("utf-8" if is_utf8 else "cp437", "surrogatepass")),
            _base_name(info.filename),
            info.file_size,
            _zip_time_ns(info),
            *_zip_obstacle(info),
        )
        yield member, partial(_unzipped, bundle, info, limits, bundle_bytes)


def _zip_obstacle(info: zipfile.ZipInfo) -> tuple[str, str]:
    """Return the obstacle and the remedy of a member; empty texts if it can be read."""
    if info.flag_bits & (ZIP_ENCRYPTED | ZIP_ENCRYPTED_STRONGLY):
        return "is encrypted", "Pack the bundle again without a password."
    if info.compress_type not in ZIP_METHODS:
        return f"is compressed by method {info.compress_type}", "Pack the bundle again with deflate."
    if info.create_system == ZIP_MADE_ON_UNIX and stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link", "Pack the bundle again with the file itself."
    return "", ""


def _unzipped(
    bundle: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits, bundle_bytes: int
) -> Generator[bytes]:
    try:
        # zipfile would unpack any amount of bzip2 or LZMA at once.
        is_packed = info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        opened = bundle.open(_as_stored(info) if is_packed else info)
    except ZIP_ERRORS as error:
        raise DamagedFileError(f"the bundle is damaged ({error})") from None
    with opened as raw:
        if not is_packed:
            packed_bytes = min(info.compress_size, bundle_bytes)
            yield from _limited(_read_all(raw), limits, partial(int, packed_bytes))
            return
        checksum = 0
        for piece in unpacked(raw, *_decoding(raw, info), limits):
            checksum = zlib.crc32(piece, checksum)
            yield piece
        if checksum != info.CRC:
            raise DamagedFileError("the bundle is damaged (Bad CRC-32)")


def _as_stored(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return a header that makes zipfile hand out a member's compressed data."""
    stored = copy.copy(info)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, info.compress_size
    # The checksum is that of the unpacked bytes.
    del stored.CRC
    return stored


def _decoding(raw: IO[bytes], info: zipfile.ZipInfo) -> tuple[bytes, Callable[[], Decoder]]:
    """Return the bytes that a member's decoder needs first, and a function that makes the decoder."""
    if info.compress_type == zipfile.ZIP_BZIP2:
        return b"", bz2.BZ2Decompressor
    # Two bytes each of version and size, then the header of an .lzma file without the length.
    head = read_on(raw, 9)[4:]
    ends_with_mark = info.flag_bits & 2
    return head + (2**64 - 1 if ends_with_mark else info.file_size).to_bytes(8, "little"), _lzma_decoder


def _tar_members(archive: tarfile.TarFile, limits: Limits, raw: BinaryIO) -> Found:
    names = _Names()
    while info := archive.next():
        # tarfile would keep every header in memory.
        archive.members.clear()  # type: ignore[attr-defined]
        if info.isdir():
            continue
        target = (
            info.linkname if info.islnk() else posixpath.join(posixpath.dirname(info.name), info.linkname)
        )
        member = Member(
            names.unique(info.name.encode(errors="surrogateescape")),
            _base_name(info.name),
            info.size,
            _tar_time_ns(info),
            "" if info.isfile() else TAR_KINDS.get(info.type, "is of an unknown kind"),
            "Pack the bundle again with the file itself.",
            shown_name(posixpath.normpath(target).encode(errors="surrogateescape"))
            if info.linkname
            else None,
        )
        yield member, partial(_untarred, archive, info, limits, raw)


def _untarred(
    archive: tarfile.TarFile, info: tarfile.TarInfo, limits: Limits, raw: BinaryIO
) -> Generator[bytes]:
    start = raw.tell()
    content = archive.extractfile(info) if info.issparse() else None
    pieces = _read_all(content) if content else _in_tar(archive, info)
    return _limited(pieces, limits, lambda: raw.tell() - start)


def _in_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    """Yield the content of a member; unlike tarfile's own reader, also what precedes a cut."""
    left_bytes = info.size
    while left_bytes:
        content = cast(BinaryIO, archive.fileobj).read(min(PIECE_BYTES, left_bytes))
        if not content:
            raise DamagedFileError("the bundle ends early")
        left_bytes -= len(content)
        yield content


class _StrictHeader(tarfile.TarInfo):
    """A tar header that raises where it is damaged: tarfile would end there without a word.

    Blocks of zeros end an archive; another may follow (`cat a.tar b.tar`). The length of a header for a long
    name or for attributes is limited.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next header. Raises tarfile.HeaderError."""
        at_end = getattr(archive, "is_at_end", False)
        archive.is_at_end = False  # type: ignore[attr-defined]
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            archive.is_at_end = True  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            if at_end:
                raise tarfile.EmptyHeaderError from None  # type: ignore[attr-defined]
            is_cut = isinstance(error, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]
            reason = "its end marker is missing" if is_cut else str(error)
            raise tarfile.SubsequentHeaderError(reason) from None  # type: ignore[attr-defined]

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        if self.size > TAR_HEADER_BYTES and self.type in TAR_HEADER_TYPES:
            raise DamagedFileError(f"is not a sound tar file (a header in it has {self.size:,} bytes)")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


class _PlainStream(io.RawIOBase):
    """Pieces as a stream; closing it closes their source."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")

    def close(self) -> None:
        """Close the source of the pieces."""
        self._pieces.close()
        super().close()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer as far as the next piece goes; 0 is the end."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


@contextmanager
def _open_tar(path: Path, limits: Limits) -> Iterator[Found]:
    # One member may unpack to many times its size without keeping the others from being read.
    as_a_whole = replace(limits, unpacked_ratio=limits.unpacked_bytes)
    with open_regular(path) as raw:
        try:
            with tarfile.open(
                fileobj=io.BufferedReader(_PlainStream(read_pieces(raw, as_a_whole)), RAW_BYTES),
                mode="r|",
                encoding="utf-8",
                tarinfo=_StrictHeader,
                ignore_zeros=True,
            ) as archive:
                yield _tar_members(archive, limits, raw)
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            raise DamagedFileError(f"is not a sound tar file ({error})") from None


@contextmanager
def _open_zip(path: Path, limits: Limits) -> Iterator[Found]:
    with open_regular(path) as raw:
        try:
            with zipfile.ZipFile(raw) as bundle:
                yield _zip_members(bundle, limits, os.fstat(raw.fileno()).st_size)
        except ZIP_ERRORS as error:
            raise DamagedFileError(f"is not a sound zip file ({error})") from None


def _tar_time_ns(info: tarfile.TarInfo) -> int:
    try:
        return int(info.mtime * 1e9)
    except (ValueError, OverflowError):
        # An attribute may be nan or inf.
        return 0


def _zip_time_ns(info: zipfile.ZipInfo) -> int:
    try:
        return int(datetime(*info.date_time, tzinfo=UTC).timestamp() * 1e9)
    except ValueError:
        return 0


def _limited(pieces: Iterator[bytes], limits: Limits, packed_bytes: Callable[[], int]) -> Generator[bytes]:
    """Yield pieces and check them against the limits; `packed_bytes()` is how much was read for them."""
    unpacked_bytes = 0
    for piece in pieces:
        unpacked_bytes += len(piece)
        check_limits(limits, unpacked_bytes, packed_bytes())
        yield piece


def _read_all(raw: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(read_on, raw, PIECE_BYTES), b"")


def _lzma_decoder() -> Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=WINDOW_BYTES + RAW_BYTES)
