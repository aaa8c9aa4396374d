"""A log file, compressed or not, plain or a member of a tar or zip file, to blocks of whole lines.

Everything is streamed: memory grows neither with the size of a file, packed or not, nor with the length of a
line, nor with what a compressed file asks of its reader.
"""

import bz2
import copy
import errno
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
from typing import IO, Any, BinaryIO, Protocol, Self, cast

from backports import zstd
from isal import igzip_lib

from transforms.bounds import DEFAULT_LIMITS, LINE_BYTES, Limits
from transforms.names import shown_name

# Recycled by the allocator at this size; blocks four times as large multiplied the system time by five.
BLOCK_BYTES = 8 * 1024 * 1024
# So much is kept of a longer one that it still counts as one without a mark of the byte order and a CR.
KEPT_BYTES = LINE_BYTES + 4
# No longer than a line may be, so that a longer one always spans several pieces.
RAW_BYTES = 1024 * 1024
# What a decoder is given at a time. It copies what it leaves over at the end of each member of a file, and a
# megabyte may hold a hundred thousand members.
PACKED_BYTES = 64 * 1024
# A decoder that meets damage drops what it has not handed out yet: so it is asked for little at a time.
PIECE_BYTES = 256 * 1024
# Blocks of more lines than this are taken in parts of so many bytes: each line takes memory, be it empty.
MOST_BLOCK_LINES = 131_072
PART_BYTES = 64 * 1024
# How far back a compressed file may refer, which its reader has to hold: `zstd --long` asks for as much, and
# `xz -9` for half of it. Either format can ask for gigabytes.
WINDOW_LOG = 27
WINDOW_BYTES = 1 << WINDOW_LOG
# A header of a tar file that gives a member's long name, or its attributes.
TAR_HEADER_BYTES = 1024 * 1024
TAR_HEADER_TYPES = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
ISAL_ERROR: type[Exception] = igzip_lib.error  # type: ignore[assignment]  # typed as an instance
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

    remedy = "Copy the file again from its host; the next run then replaces these lines."


class OverLimitError(DamagedFileError):
    """A file holds more than the limits allow; everything before that was already handed out."""

    def __init__(self, what: str, setting: str) -> None:
        super().__init__(what)
        self.remedy = f"If it is a log all the same, raise limits.{setting} in maillag.toml and run again."


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


def _xz_decoder() -> Decoder:
    # What it needs beside the window is little.
    return lzma.LZMADecompressor(memlimit=WINDOW_BYTES + RAW_BYTES)


def _lzma_decoder() -> Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=WINDOW_BYTES + RAW_BYTES)


def _zstd_decoder() -> Decoder:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})


DECODERS: dict[bytes, Callable[[], Decoder]] = {
    b"\x1f\x8b": _gzip_decoder,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": _xz_decoder,
    b"\x28\xb5\x2f\xfd": _zstd_decoder,
}
# In the words of liblzma and libzstd.
WINDOW_ERRORS = ("Memory usage limit exceeded", "Frame requires too much memory")


@dataclass(frozen=True, slots=True)
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


def read_blocks(raw: BinaryIO, padding: bytes = b"", *, limits: Limits = DEFAULT_LIMITS) -> Iterator[bytes]:
    """Yield a stream's content in blocks that end with a newline; compression is told by content.

    The last block may lack its newline; of a line of more than LINE_BYTES the first KEPT_BYTES are there.
    `padding` is put behind each block. Raises OSError if the stream cannot be read, and DamagedFileError
    after the last good byte was handed out if compressed data is truncated or corrupt, or unpacks beyond
    `limits`.
    """
    pieces: list[bytes] = []
    size_bytes = 0
    damage: DamagedFileError | None = None
    try:
        for piece in _with_lines_cut(read_pieces(raw, limits)):
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes >= BLOCK_BYTES:
                # Nearly always the last piece has a newline, so that the others need no second copy.
                head, newline, rest = piece.rpartition(b"\n")
                whole = [*pieces[:-1], head]
                if not newline:
                    head, newline, rest = b"".join(pieces).rpartition(b"\n")
                    whole = [head]
                if newline:
                    yield b"".join([*whole, newline, padding])
                pieces, size_bytes = [rest], len(rest)
    except DamagedFileError as error:
        damage = error
    if last := b"".join(pieces):
        yield last + padding
    if damage:
        raise damage


def parts_of(block: bytes) -> Iterator[bytes]:
    """Yield a block of lines as it is, or in parts if its lines are very many."""
    if block.count(b"\n") <= MOST_BLOCK_LINES:
        yield block
        return
    start = 0
    while start < len(block):
        end = block.rfind(b"\n", start, start + PART_BYTES) + 1
        end = end or block.find(b"\n", start) + 1 or len(block)
        yield block[start:end]
        start = end


def _with_lines_cut(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces of at most RAW_BYTES without what is beyond KEPT_BYTES in any line."""
    line_bytes = 0
    for piece in pieces:
        first_end = piece.find(b"\n")
        is_whole = first_end >= 0
        if not is_whole:
            first_end = len(piece)
        room = KEPT_BYTES - line_bytes
        line_bytes = len(piece) - piece.rfind(b"\n") - 1 if is_whole else line_bytes + min(first_end, room)
        if first_end <= room:
            yield piece
        elif kept := piece[:room] + piece[first_end:]:
            yield kept


def read_pieces(raw: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Generator[bytes]:
    """Yield the plain bytes of a stream piece by piece, several compressed members in a row included."""
    data = _read(raw, PACKED_BYTES)
    make_decoder = next((make for magic, make in DECODERS.items() if data.startswith(magic)), None)
    if make_decoder:
        yield from _unpacked(raw, data, make_decoder, limits)
        return
    while data:
        yield data
        data = _read(raw, RAW_BYTES)


def _unpacked(
    raw: IO[bytes], data: bytes, make_decoder: Callable[[], Decoder], limits: Limits
) -> Iterator[bytes]:
    """Yield the plain bytes of compressed data and of what follows it in a stream."""
    decoder = make_decoder()
    packed_bytes, unpacked_bytes = len(data), 0
    while True:
        try:
            piece = decoder.decompress(data, PIECE_BYTES)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zstd.ZstdError, ISAL_ERROR) as error:
            raise _damage(error) from None
        if piece:
            unpacked_bytes += len(piece)
            _check(limits, unpacked_bytes, packed_bytes)
            yield piece
        data = b""
        if decoder.eof:
            # NULs pad a file to the blocks of a tape, and are no member (gzip(1)).
            data = decoder.unused_data.lstrip(b"\0")
            while not data:
                if not (more := _read(raw, PACKED_BYTES)):
                    return
                packed_bytes += len(more)
                data = more.lstrip(b"\0")
            decoder = make_decoder()
        elif decoder.needs_input:
            data = _read(raw, PACKED_BYTES)
            packed_bytes += len(data)
            if not data:
                raise DamagedFileError("the compressed data ends early")


def _check(limits: Limits, unpacked_bytes: int, packed_bytes: int) -> None:
    """Raise OverLimitError if no log unpacks to so many bytes."""
    if unpacked_bytes > limits.unpacked_bytes:
        raise OverLimitError(f"unpacks to more than {limits.unpacked_bytes:,} bytes", "unpacked_bytes")
    # Nobody knows which of the bytes read last were needed.
    if unpacked_bytes > limits.unpacked_ratio * (packed_bytes + RAW_BYTES):
        raise OverLimitError(
            f"unpacks to more than {limits.unpacked_ratio:,} times its size", "unpacked_ratio"
        )


def _damage(error: Exception) -> DamagedFileError:
    """Say what a decoder's error means."""
    if any(words in str(error) for words in WINDOW_ERRORS):
        damage = DamagedFileError(
            f"to unpack it takes a window of more than {WINDOW_BYTES // 1024**2} MiB of memory"
        )
        damage.remedy = "Compress it again with a smaller one, as `xz -9` and `zstd -19` do, and run again."
        return damage
    return DamagedFileError(f"the compressed data is corrupt ({error})")


def _limited(pieces: Iterator[bytes], limits: Limits, packed_bytes: Callable[[], int]) -> Generator[bytes]:
    """Yield pieces; `packed_bytes` returns how much they were unpacked from so far."""
    unpacked_bytes = 0
    for piece in pieces:
        unpacked_bytes += len(piece)
        _check(limits, unpacked_bytes, packed_bytes())
        yield piece


def _read(raw: IO[bytes], size_bytes: int) -> bytes:
    """Read on; a member of a damaged tar or zip file ends early."""
    try:
        # Unlike read, read1 hands out what precedes the damage.
        return cast(io.BufferedReader, raw).read1(size_bytes)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DamagedFileError(f"the file around it is damaged ({error})") from None


def _read_all(raw: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(_read, raw, PIECE_BYTES), b"")


def is_container(name: str) -> bool:
    """Tell by its name whether a file is a tar or zip file, a support bundle for one."""
    return name.endswith((".zip", *TAR_SUFFIXES))


def list_members(path: Path, limits: Limits = DEFAULT_LIMITS) -> tuple[list[Member], DamagedFileError | None]:
    """Return the files in a tar or zip file, in its order, and the damage that was met behind them.

    A tar file is read through for it. If there are more files than `limits` allow, none is returned. Raises
    OSError.
    """
    members: list[Member] = []
    try:
        with _open_container(path, limits) as found:
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
    """Yield the named files of a tar or zip file with their content, in its order, in one pass.

    A stream is to be read before the next one is asked for; it raises OverLimitError where it unpacks beyond
    `limits`, and the next one is sound all the same. Raises OSError, and DamagedFileError where the bundle is
    damaged.
    """
    with _open_container(path, limits) as found:
        for member, open_pieces in found:
            if member.name in names:
                with io.BufferedReader(_PlainStream(open_pieces())) as stream:
                    yield member.name, stream


Found = Iterator[tuple[Member, Callable[[], Generator[bytes]]]]


def _open_container(path: Path, limits: Limits) -> AbstractContextManager[Found]:
    """Open a tar or zip file to its members, each with what opens it."""
    return _open_zip(path, limits) if path.name.endswith(".zip") else _open_tar(path, limits)


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


def _zip_members(bundle: zipfile.ZipFile, limits: Limits, bundle_bytes: int) -> Found:
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
        yield member, partial(_unzipped, bundle, info, limits, bundle_bytes)


def _zip_obstacle(info: zipfile.ZipInfo) -> tuple[str, str]:
    """Return what keeps a member from being read, and what to do about it; empty if nothing does."""
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
        # Of what bzip2 or LZMA compressed, zipfile would unpack any amount at once.
        is_packed = info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
        opened = bundle.open(_as_stored(info) if is_packed else info)
    except ZIP_ERRORS as error:
        raise DamagedFileError(f"the file around it is damaged ({error})") from None
    with opened as raw:
        if not is_packed:
            packed_bytes = min(info.compress_size, bundle_bytes)
            yield from _limited(_read_all(raw), limits, partial(int, packed_bytes))
            return
        checksum = 0
        for piece in _unpacked(raw, *_decoding(raw, info), limits):
            checksum = zlib.crc32(piece, checksum)
            yield piece
        if checksum != info.CRC:
            raise DamagedFileError("the file around it is damaged (Bad CRC-32)")


def _as_stored(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return the header of a member whose content is the compressed data."""
    stored = copy.copy(info)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, info.compress_size
    # The sum is that of the unpacked bytes.
    del stored.CRC
    return stored


def _decoding(raw: IO[bytes], info: zipfile.ZipInfo) -> tuple[bytes, Callable[[], Decoder]]:
    """Return what a decoder of a member is to be given first, and what makes the decoder."""
    if info.compress_type == zipfile.ZIP_BZIP2:
        return b"", bz2.BZ2Decompressor
    # Two bytes each of version and size, then what a file of its own (.lzma) begins with, but for its length.
    head = _read(raw, 9)[4:]
    ends_with_mark = info.flag_bits & 2
    return head + (2**64 - 1 if ends_with_mark else info.file_size).to_bytes(8, "little"), _lzma_decoder


def _tar_members(archive: tarfile.TarFile, limits: Limits, raw: BinaryIO) -> Found:
    names = _Names()
    while info := archive.next():
        # It would keep them all.
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
            "" if info.isfile() else TAR_KINDS.get(info.type, "is of a kind that is not known"),
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
    """Yield the content of a member. Unlike tarfile's own reader, hand out what precedes a cut."""
    left_bytes = info.size
    while left_bytes:
        content = cast(BinaryIO, archive.fileobj).read(min(PIECE_BYTES, left_bytes))
        if not content:
            raise DamagedFileError("the file around it ends early")
        left_bytes -= len(content)
        yield content


class _StrictHeader(tarfile.TarInfo):
    """A header of a tar file that must be sound: tarfile ends in silence at the first one that is not.

    Blocks of zeros end an archive; another one may follow, as `cat a.tar b.tar` makes it. No header may ask
    for any amount of memory for a long name, or for attributes.
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

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        if self.size > TAR_HEADER_BYTES and self.type in TAR_HEADER_TYPES:
            raise DamagedFileError(f"is no sound tar file (a header in it has {self.size:,} bytes)")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


class _PlainStream(io.RawIOBase):
    """Pieces as a stream, which closes what they are of."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")

    def close(self) -> None:
        """Close what the pieces are of."""
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
    # A member may unpack to many times its size: the others have to be read all the same.
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
            raise DamagedFileError(f"is no sound tar file ({error})") from None


@contextmanager
def _open_zip(path: Path, limits: Limits) -> Iterator[Found]:
    with open_regular(path) as raw:
        try:
            with zipfile.ZipFile(raw) as bundle:
                yield _zip_members(bundle, limits, os.fstat(raw.fileno()).st_size)
        except ZIP_ERRORS as error:
            raise DamagedFileError(f"is no sound zip file ({error})") from None


def _tar_time_ns(info: tarfile.TarInfo) -> int:
    try:
        return int(info.mtime * 1e9)
    except (ValueError, OverflowError):
        # An attribute may say nan, or inf.
        return 0


def _zip_time_ns(info: zipfile.ZipInfo) -> int:
    try:
        return int(datetime(*info.date_time, tzinfo=UTC).timestamp() * 1e9)
    except ValueError:
        return 0
