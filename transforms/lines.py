"""A log file, compressed or not, to blocks of whole lines, in constant memory."""

import bz2
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from isal import igzip_lib

# Recycled by the allocator at this size; blocks four times as large multiplied the system time by five.
BLOCK_BYTES = 8 * 1024 * 1024
# A file without newlines, such as the NULs that a crash leaves, must not fill the memory.
LINE_BYTES = 8 * 1024 * 1024
RAW_BYTES = 1024 * 1024
# A decoder that meets damage drops what it has not handed out yet: so it is asked for little at a time.
PIECE_BYTES = 256 * 1024
ISAL_ERROR: type[Exception] = igzip_lib.error  # type: ignore[assignment]  # typed as an instance


class DamagedFileError(Exception):
    """A compressed file ends early or is corrupt; everything before the damage was already handed out."""


class Decoder(Protocol):
    """What the bz2, lzma and isal decompressors have in common."""

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
}


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield the file's content in blocks that end with a newline; gzip, bzip2 and xz are told by content.

    The last block may lack its newline; a line of more than LINE_BYTES is cut. Raises OSError if the file
    cannot be read, and DamagedFileError after the last good byte was handed out if a compressed file is
    truncated or corrupt.
    """
    pieces: list[bytes] = []
    size_bytes = 0
    damage: DamagedFileError | None = None
    with path.open("rb") as raw:
        try:
            for piece in read_pieces(raw):
                pieces.append(piece)
                size_bytes += len(piece)
                if size_bytes >= BLOCK_BYTES:
                    block, newline, rest = b"".join(pieces).rpartition(b"\n")
                    if not newline and size_bytes >= LINE_BYTES:
                        block, newline, rest = rest, b"\n", b""
                    if newline:
                        yield block + newline
                    pieces, size_bytes = [rest], len(rest)
        except DamagedFileError as error:
            damage = error
    if last := b"".join(pieces):
        yield last
    if damage:
        raise damage


def read_pieces(raw: BinaryIO) -> Iterator[bytes]:
    """Yield the plain bytes of a file piece by piece, several compressed members in a row included."""
    data = raw.read(RAW_BYTES)
    make_decoder = next((make for magic, make in DECODERS.items() if data.startswith(magic)), None)
    if make_decoder is None:
        while data:
            yield data
            data = raw.read(RAW_BYTES)
        return
    decoder = make_decoder()
    while True:
        try:
            piece = decoder.decompress(data, PIECE_BYTES)
        except (OSError, EOFError, ValueError, lzma.LZMAError, ISAL_ERROR) as error:
            raise DamagedFileError(f"the compressed data is corrupt ({error})") from None
        if piece:
            yield piece
        data = b""
        if decoder.eof:
            data = decoder.unused_data or raw.read(RAW_BYTES)
            if not data:
                return
            decoder = make_decoder()
        elif decoder.needs_input:
            data = raw.read(RAW_BYTES)
            if not data:
                raise DamagedFileError("the compressed data ends early")
