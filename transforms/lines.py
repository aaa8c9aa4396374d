"""A log file, compressed or not, plain or a member of a tar or zip file, to blocks of whole lines.

Everything is streamed: memory does not grow with the size of a file.
"""

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from backports import zstd
from isal import igzip_lib

# Recycled by the allocator at this size; blocks four times as large multiplied the system time by five.
BLOCK_BYTES = 8 * 1024 * 1024
# A file without newlines, such as the NULs that a crash leaves, must not fill the memory.
LINE_BYTES = 8 * 1024 * 1024
RAW_BYTES = 1024 * 1024
# A decoder that meets damage drops what it has not handed out yet: so it is asked for little at a time.
PIECE_BYTES = 256 * 1024
ISAL_ERROR: type[Exception] = igzip_lib.error  # type: ignore[assignment]  # typed as an instance
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
    """A file inside a tar or zip file; a zip file knows times of its own clock's zone, to two seconds."""

    name: str
    size_bytes: int
    modified_at_ns: int


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
            data = decoder.unused_data or _read(raw)
            if not data:
                return
            decoder = make_decoder()
        elif decoder.needs_input:
            data = _read(raw)
            if not data:
                raise DamagedFileError("the compressed data ends early")


def _read(raw: BinaryIO) -> bytes:
    """Read on; a member of a damaged tar or zip file ends early."""
    try:
        return raw.read(RAW_BYTES)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DamagedFileError(f"the file around it is damaged ({error})") from None


def is_container(name: str) -> bool:
    """Tell by its name whether a file is a tar or zip file, a support bundle for one."""
    return name.endswith((".zip", *TAR_SUFFIXES))


def list_members(path: Path) -> list[Member]:
    """Return the files in a tar or zip file, in its order.

    Raises OSError, or DamagedFileError if it ends early or is corrupt: a tar file is read through for it.
    """
    if path.name.endswith(".zip"):
        with _open_zip(path) as bundle:
            return [
                Member(info.filename, info.file_size, _zip_time_ns(info))
                for info in bundle.infolist()
                if not info.is_dir()
            ]
    with _open_tar(path) as archive:
        return [Member(info.name, info.size, int(info.mtime * 1e9)) for info in archive if info.isfile()]


def open_members(path: Path, names: Collection[str]) -> Generator[tuple[str, BinaryIO]]:
    """Yield the named files of a tar or zip file with their content, in its order, in one pass.

    A stream is to be read before the next one is asked for. Raises what list_members raises.
    """
    if path.name.endswith(".zip"):
        with _open_zip(path) as bundle:
            for name in (name for name in bundle.namelist() if name in names):
                with _open_zipped(bundle, name) as stream:
                    yield name, stream
        return
    with _open_tar(path) as archive:
        for info in archive:
            if info.name in names and (content := archive.extractfile(info)):
                yield info.name, cast(BinaryIO, content)


def _open_zipped(bundle: zipfile.ZipFile, name: str) -> BinaryIO:
    try:
        return cast(BinaryIO, bundle.open(name))
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        # An encrypted member, or a compression that Python lacks.
        return _Unreadable(str(error))


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
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    with path.open("rb") as raw:
        try:
            with tarfile.open(fileobj=io.BufferedReader(_PlainStream(raw), RAW_BYTES), mode="r|") as archive:
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


def _zip_time_ns(info: zipfile.ZipInfo) -> int:
    try:
        return int(datetime(*info.date_time, tzinfo=UTC).timestamp() * 1e9)
    except ValueError:
        return 0
