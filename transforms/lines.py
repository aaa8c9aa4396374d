"""A log file, compressed or not, plain or a member of a tar or zip file, to blocks of whole lines.

Everything is streamed: memory does not grow with the size of a file.
"""

import bz2
import errno
import io
import lzma
import math
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
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, cast

from backports import zstd
from isal import igzip_lib

from transforms.names import shown_name

# Recycled by the allocator at this size; blocks four times as large multiplied the system time by five.
BLOCK_BYTES = 8 * 1024 * 1024
# A file without newlines, such as the NULs that a crash leaves, must not fill the memory.
LINE_BYTES = 8 * 1024 * 1024
RAW_BYTES = 1024 * 1024
# A decoder that meets damage drops what it has not handed out yet: so it is asked for little at a time.
PIECE_BYTES = 256 * 1024
ISAL_ERROR: type[Exception] = igzip_lib.error  # type: ignore[assignment]  # typed as an instance
# Of what nanoseconds can tell.
LATEST_SECONDS = 2**33
ZIP_ENCRYPTED, ZIP_ENCRYPTED_STRONGLY, ZIP_UTF8 = 0x1, 0x40, 0x800
ZIP_MADE_ON_UNIX = 3
ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
# What zipfile raises where numbers in a file are wrong.
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


class DamagedFileError(Exception):
    """A compressed file ends early or is corrupt; everything before the damage was already handed out."""


class Decoder(Protocol):
    """What the bz2, lzma, zstd and isal decompressors have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of a compressed member was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether the next call needs more data."""

    @property
    def unused_data(self) -> bytes:
        """What follows the end of the member."""

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        """Return at most `max_length` bytes."""


def _gzip_decoder() -> Decoder:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


DECODERS: dict[bytes, Callable[[], Decoder]] = {
    b"\x1f\x8b": _gzip_decoder,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x28\xb5\x2f\xfd": zstd.ZstdDecompressor,
}


@dataclass(frozen=True)
class Member:
    """A file inside a tar or zip file; a zip file knows times of its own clock's zone, to two seconds.

    No two members of a bundle share a `name`: the second of one name is `name#2`. `base_name` is the last
    part of its path. An `obstacle` keeps it from being read, with what to do about it; `links_to` is the name
    of the member that a link stands for.
    """

    name: str
    base_name: str
    size_bytes: int
    modified_at_ns: int
    obstacle: str = ""
    remedy: str = ""
    links_to: str | None = None


def open_regular(path: Path) -> BinaryIO:
    """Open a file. Raises OSError, also if it is none: to open a FIFO would wait for a writer for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def read_blocks(raw: BinaryIO, padding: bytes = b"") -> Iterator[bytes]:
    """Yield a stream's content in blocks that end with a newline; compression is told by content.

    The last block may lack its newline; a line of more than LINE_BYTES is cut. `padding` is put behind each
    block. Raises OSError if the stream cannot be read, and DamagedFileError after the last good byte was
    handed out if compressed data is truncated or corrupt.
    """
    pieces: list[bytes] = []
    size_bytes = 0
    damage: DamagedFileError | None = None
    try:
        for piece in read_pieces(raw):
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes >= BLOCK_BYTES:
                # Nearly always the last piece has a newline, so that the others need no second copy.
                head, newline, rest = piece.rpartition(b"\n")
                whole = [*pieces[:-1], head]
                if not newline:
                    head, newline, rest = b"".join(pieces).rpartition(b"\n")
                    whole = [head]
                if not newline and size_bytes >= LINE_BYTES:
                    whole, newline, rest = [rest], b"\n", b""
                if newline:
                    yield b"".join([*whole, newline, padding])
                pieces, size_bytes = [rest], len(rest)
    except DamagedFileError as error:
        damage = error
    if last := b"".join(pieces):
        yield last + padding
    if damage:
        raise damage


def read_pieces(raw: BinaryIO) -> Iterator[bytes]:
    """Yield the plain bytes of a stream piece by piece, several compressed members in a row included."""
    data = _read(raw)
    make_decoder = next((make for magic, make in DECODERS.items() if data.startswith(magic)), None)
    if make_decoder is None:
        while data:
            yield data
            data = _read(raw)
        return
    decoder = make_decoder()
    while True:
        try:
            piece = decoder.decompress(data, PIECE_BYTES)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zstd.ZstdError, ISAL_ERROR) as error:
            raise DamagedFileError(f"the compressed data is corrupt ({error})") from None
        if piece:
            yield piece
        data = b""
        if decoder.eof:
            # NULs pad a file to the blocks of a tape, and are no member (gzip(1)).
            data = decoder.unused_data.lstrip(b"\0")
            while not data:
                if not (more := _read(raw)):
                    return
                data = more.lstrip(b"\0")
            decoder = make_decoder()
        elif decoder.needs_input:
            data = _read(raw)
            if not data:
                raise DamagedFileError("the compressed data ends early")


def _read(raw: BinaryIO) -> bytes:
    """Read on; a member of a damaged tar or zip file ends early."""
    try:
        # Unlike read, read1 hands out what precedes the damage.
        return cast(io.BufferedReader, raw).read1(RAW_BYTES)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DamagedFileError(f"the file around it is damaged ({error})") from None


def is_container(name: str) -> bool:
    """Tell by its name whether a file is a tar or zip file, a support bundle for one."""
    return name.endswith((".zip", *TAR_SUFFIXES))


def list_members(path: Path) -> tuple[list[Member], DamagedFileError | None]:
    """Return the files in a tar or zip file, in its order, and the damage that was met behind them.

    A tar file is read through for it. Raises OSError.
    """
    members: list[Member] = []
    try:
        with _open_container(path) as found:
            members.extend(member for member, _ in found)
    except DamagedFileError as error:
        return members, error
    return members, None


def open_members(path: Path, names: Collection[str]) -> Generator[tuple[str, BinaryIO]]:
    """Yield the named files of a tar or zip file with their content, in its order, in one pass.

    A stream is to be read before the next one is asked for. Raises OSError, and DamagedFileError where the
    bundle is damaged.
    """
    with _open_container(path) as found:
        for member, open_stream in found:
            if member.name in names:
                with open_stream() as stream:
                    yield member.name, stream


Found = Iterator[tuple[Member, Callable[[], BinaryIO]]]


def _open_container(path: Path) -> AbstractContextManager[Found]:
    """Open a tar or zip file to its members, each with what opens it."""
    return _open_zip(path) if path.name.endswith(".zip") else _open_tar(path)


class _Names:
    """The names of members, each of them once."""

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
    # Some tools for Windows write its separator.
    return re.split(r"[/\\]", name)[-1]


def _zip_members(bundle: zipfile.ZipFile) -> Found:
    names = _Names()
    for info in bundle.infolist():
        if info.is_dir():
            continue
        is_utf8 = info.flag_bits & ZIP_UTF8
        member = Member(
            names.unique(info.filename.encode("utf-8" if is_utf8 else "cp437", "surrogatepass")),
            _base_name(info.filename),
            info.file_size,
            _zip_time_ns(info),
            *_zip_obstacle(info),
        )
        yield member, partial(_open_zipped, bundle, info)


def _zip_obstacle(info: zipfile.ZipInfo) -> tuple[str, str]:
    """Return what keeps a member from being read, and what to do about it; empty if nothing does."""
    if info.flag_bits & (ZIP_ENCRYPTED | ZIP_ENCRYPTED_STRONGLY):
        return "is encrypted", "Pack the bundle again without a password."
    if info.compress_type not in ZIP_METHODS:
        return f"is compressed by method {info.compress_type}", "Pack the bundle again with deflate."
    if info.create_system == ZIP_MADE_ON_UNIX and stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link", "Pack the bundle again with the file itself."
    return "", ""


def _open_zipped(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    try:
        return cast(BinaryIO, bundle.open(info))
    except ZIP_ERRORS as error:
        return _Damaged(str(error))


def _tar_members(archive: tarfile.TarFile) -> Found:
    names = _Names()
    for info in archive:
        if info.isdir():
            continue
        target = (
            info.linkname if info.islnk() else posixpath.join(posixpath.dirname(info.name), info.linkname)
        )
        member = Member(
            names.unique(info.name.encode(errors="surrogateescape")),
            _base_name(info.name),
            info.size,
            int(min(max(info.mtime, 0), LATEST_SECONDS) * 1e9) if math.isfinite(info.mtime) else 0,
            "" if info.isfile() else TAR_KINDS.get(info.type, "is of a kind that is not known"),
            "Pack the bundle again with the file itself.",
            shown_name(posixpath.normpath(target).encode(errors="surrogateescape"))
            if info.linkname
            else None,
        )
        yield member, partial(_open_in_tar, archive, info)


def _open_in_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> BinaryIO:
    content = archive.extractfile(info) if info.issparse() else io.BufferedReader(_InTar(archive, info))
    return cast(BinaryIO, content)


class _InTar(io.RawIOBase):
    """The content of a member. Unlike tarfile's own reader, it hands out what precedes a cut."""

    def __init__(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        super().__init__()
        self._stream = cast(BinaryIO, archive.fileobj)
        self._left_bytes = info.size

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer; 0 is the end of the member. Raises DamagedFileError where the file ends before."""
        content = self._stream.read(min(len(buffer), self._left_bytes))
        if self._left_bytes and not content:
            raise DamagedFileError("the file around it ends early")
        buffer[: len(content)] = content
        self._left_bytes -= len(content)
        return len(content)


class _Damaged(io.BytesIO):
    """A stream that fails with the reason why there is none."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def read1(self, size: int | None = -1, /) -> bytes:
        """Raise the reason."""
        del size
        raise DamagedFileError(f"the file around it is damaged ({self.reason})")


class _StrictHeader(tarfile.TarInfo):
    """A header of a tar file that must be sound: tarfile ends in silence at the first one that is not.

    Blocks of zeros end an archive; another one may follow, as `cat a.tar b.tar` makes it.
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
            reason = "it lacks the mark of its end" if is_cut else str(error)
            raise tarfile.SubsequentHeaderError(reason) from None  # type: ignore[attr-defined]


class _PlainStream(io.RawIOBase):
    """The plain bytes of a compressed file as a stream."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__()
        self._pieces = read_pieces(raw)
        self._rest = memoryview(b"")

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
def _open_tar(path: Path) -> Iterator[Found]:
    with open_regular(path) as raw:
        try:
            with tarfile.open(
                fileobj=io.BufferedReader(_PlainStream(raw), RAW_BYTES),
                mode="r|",
                encoding="utf-8",
                tarinfo=_StrictHeader,
                ignore_zeros=True,
            ) as archive:
                yield _tar_members(archive)
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise DamagedFileError(f"is no sound tar file ({error})") from None


@contextmanager
def _open_zip(path: Path) -> Iterator[Found]:
    with open_regular(path) as raw:
        try:
            with zipfile.ZipFile(raw) as bundle:
                yield _zip_members(bundle)
        except ZIP_ERRORS as error:
            raise DamagedFileError(f"is no sound zip file ({error})") from None


def _zip_time_ns(info: zipfile.ZipInfo) -> int:
    try:
        return int(datetime(*info.date_time, tzinfo=UTC).timestamp() * 1e9)
    except ValueError:
        return 0
