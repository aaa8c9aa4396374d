"""A log file, compressed or not, plain or a member of a tar or zip file, to blocks of whole lines.

Everything is streamed: memory grows neither with the size of a file, packed or not, nor with the length of a
line, nor with what a compressed file asks of its reader.
"""

import bz2
import copy
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

from backports import zstd
from isal import igzip_lib

from transforms.bounds import DEFAULT_LIMITS, LINE_BYTES, Limits

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
    """A file inside a tar or zip file; a zip file knows times of its own clock's zone, to two seconds."""

    name: str
    size_bytes: int
    modified_at_ns: int


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


def read_pieces(raw: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Iterator[bytes]:
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
    raw: BinaryIO, data: bytes, make_decoder: Callable[[], Decoder], limits: Limits
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
        data = decoder.unused_data if decoder.eof else b""
        if not data and (decoder.eof or decoder.needs_input):
            data = _read(raw, PACKED_BYTES)
            packed_bytes += len(data)
            if not data and decoder.eof:
                return
            if not data:
                raise DamagedFileError("the compressed data ends early")
        if decoder.eof:
            decoder = make_decoder()


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


def _read(raw: BinaryIO, size_bytes: int) -> bytes:
    """Read on; a member of a damaged tar or zip file ends early."""
    try:
        return raw.read(size_bytes)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DamagedFileError(f"the file around it is damaged ({error})") from None


def is_container(name: str) -> bool:
    """Tell by its name whether a file is a tar or zip file, a support bundle for one."""
    return name.endswith((".zip", *TAR_SUFFIXES))


def list_members(path: Path, limits: Limits = DEFAULT_LIMITS) -> list[Member]:
    """Return the files in a tar or zip file, in its order.

    Raises OSError, or DamagedFileError if it ends early, is corrupt or is beyond `limits`: a tar file is read
    through for it.
    """
    members: list[Member] = []
    for member in _members(path, limits):
        if len(members) == limits.member_count:
            raise OverLimitError(f"holds more than {limits.member_count:,} files", "member_count")
        members.append(member)
    return members


def _members(path: Path, limits: Limits) -> Iterator[Member]:
    if path.name.endswith(".zip"):
        with _open_zip(path) as bundle:
            for info in bundle.infolist():
                if not info.is_dir():
                    yield Member(info.filename, info.file_size, _zip_time_ns(info))
        return
    with path.open("rb") as raw, _open_tar(raw, limits) as archive:
        for member in _headers(archive):
            if member.isfile():
                yield Member(member.name, member.size, _tar_time_ns(member))


def open_members(
    path: Path, names: Collection[str], limits: Limits = DEFAULT_LIMITS
) -> Generator[tuple[str, BinaryIO]]:
    """Yield the named files of a tar or zip file with their content, in its order, in one pass.

    A stream is to be read before the next one is asked for; it raises OverLimitError where it unpacks beyond
    `limits`, and the next one is sound all the same. Raises what list_members raises.
    """
    if path.name.endswith(".zip"):
        with _open_zip(path) as bundle:
            for name in (name for name in bundle.namelist() if name in names):
                with _open_zipped(bundle, name) as stream:
                    packed_bytes = min(bundle.getinfo(name).compress_size, path.stat().st_size)
                    yield name, _within(stream, limits, partial(int, packed_bytes))
        return
    with path.open("rb") as raw, _open_tar(raw, limits) as archive:
        for info in _headers(archive):
            if info.name in names and (content := archive.extractfile(info)):
                yield info.name, _within(content, limits, partial(_read_since, raw, raw.tell()))


def _read_since(raw: BinaryIO, start: int) -> int:
    return raw.tell() - start


def _headers(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a tar file, which would keep them all."""
    while info := archive.next():
        yield info
        archive.members.clear()  # type: ignore[attr-defined]


def _within(stream: IO[bytes], limits: Limits, packed_bytes: Callable[[], int]) -> BinaryIO:
    return cast(BinaryIO, _Limited(stream, limits, packed_bytes))


def _open_zipped(bundle: zipfile.ZipFile, name: str) -> BinaryIO:
    try:
        info = bundle.getinfo(name)
        if info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            return _open_as_packed(bundle, info)
        return cast(BinaryIO, bundle.open(info))
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        # An encrypted member, or a compression that Python lacks.
        return _Unreadable(str(error))


def _open_as_packed(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """Open a member that is compressed by bzip2 or LZMA, of which zipfile would unpack any amount at once."""
    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    # The sum is that of the unpacked bytes.
    del packed.CRC
    raw = cast(BinaryIO, bundle.open(packed))
    if info.compress_type == zipfile.ZIP_BZIP2:
        return _as_stream(read_pieces(raw), raw)
    # Two bytes each of version and size, then what a file of its own (.lzma) begins with, but for its length.
    head = raw.read(9)[4:]
    ends_with_mark = info.flag_bits & 2
    length = (2**64 - 1 if ends_with_mark else info.file_size).to_bytes(8, "little")
    return _as_stream(_unpacked(raw, head + length, _lzma_decoder, DEFAULT_LIMITS), raw)


class _Limited:
    """A stream that checks how far it unpacks, by the bytes it is unpacked from so far."""

    def __init__(self, stream: IO[bytes], limits: Limits, packed_bytes: Callable[[], int]) -> None:
        self._stream = stream
        self._limits = limits
        self._packed_bytes = packed_bytes
        self._unpacked_bytes = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read on. Raises OverLimitError, and what the stream raises."""
        content = self._stream.read(size)
        self._unpacked_bytes += len(content)
        _check(self._limits, self._unpacked_bytes, self._packed_bytes())
        return content


class _Unreadable(io.BytesIO):
    """A stream that fails with the reason why there is none."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def read(self, size: int | None = -1, /) -> bytes:
        """Raise the reason."""
        del size
        raise OSError(self.reason)


class _PlainStream(io.RawIOBase):
    """Pieces as a stream, which closes what they are of."""

    def __init__(self, pieces: Iterator[bytes], raw: BinaryIO) -> None:
        super().__init__()
        self._pieces = pieces
        self._raw = raw
        self._rest = memoryview(b"")

    def close(self) -> None:
        """Close what the pieces are of."""
        self._raw.close()
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


def _as_stream(pieces: Iterator[bytes], raw: BinaryIO) -> BinaryIO:
    return io.BufferedReader(_PlainStream(pieces, raw), RAW_BYTES)


class _TarHeader(tarfile.TarInfo):
    """A header that may not ask for any amount of memory for a long name, or for attributes."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        if self.size > TAR_HEADER_BYTES and self.type in TAR_HEADER_TYPES:
            raise DamagedFileError(f"is no sound tar file (a header in it has {self.size:,} bytes)")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


@contextmanager
def _open_tar(raw: BinaryIO, limits: Limits) -> Iterator[tarfile.TarFile]:
    # A member may unpack to many times its size: the others have to be read all the same.
    as_a_whole = replace(limits, unpacked_ratio=limits.unpacked_bytes)
    stream = _as_stream(read_pieces(raw, as_a_whole), raw)
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_TarHeader) as archive:
            yield archive
    except tarfile.TarError as error:
        raise DamagedFileError(f"is no sound tar file ({error})") from None


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as bundle:
            yield bundle
    except zipfile.BadZipFile as error:
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
