"""The bytes of a log file, compressed or not, to blocks of whole lines.

Everything is streamed: memory grows neither with the size of a file, packed or unpacked, nor with the length
of a line, nor with the window that a compressed file asks for.
"""

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import IO, BinaryIO, Protocol, cast

from backports import zstd
from isal import igzip_lib

from transforms.bounds import DEFAULT_LIMITS, LINE_BYTES, Limits

# Recycled by the allocator at this size; blocks four times as large multiplied the system time by five.
BLOCK_BYTES = 8 * 1024 * 1024
# What is kept of a longer line is still too long without its byte order mark and CR.
KEPT_BYTES = LINE_BYTES + 4
# No longer than a line may be, so that a longer one always spans several pieces.
RAW_BYTES = 1024 * 1024
# The input of one call of a decoder. At the end of each compressed member the decoder copies the rest, and a
# megabyte may hold a hundred thousand members.
PACKED_BYTES = 64 * 1024
# The output of one call of a decoder. Small, as a decoder that meets damage drops what it has not handed out.
PIECE_BYTES = 256 * 1024
# A block of more lines than this is split into parts of so many bytes: even an empty line takes memory.
MOST_BLOCK_LINES = 131_072
PART_BYTES = 64 * 1024
# How far back a compressed file may refer, and so how much its reader has to hold. `zstd --long` needs this
# much, `xz -9` half of it; both formats allow gigabytes.
WINDOW_LOG = 27
WINDOW_BYTES = 1 << WINDOW_LOG
ISAL_ERROR: type[Exception] = igzip_lib.error  # type: ignore[assignment]  # typed as an instance


class DamagedFileError(Exception):
    """A compressed file or a bundle ends early or is corrupt; what precedes the damage was handed out."""

    remedy = "Copy the file again from its host; the next run then replaces these lines."


class OverLimitError(DamagedFileError):
    """A file holds more than `setting` allows; what precedes that was handed out."""

    def __init__(self, what: str, setting: str) -> None:
        super().__init__(what)
        self.remedy = f"If it is a log after all, raise limits.{setting} in maillag.toml and run again."


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
    # It needs little beside the window.
    return lzma.LZMADecompressor(memlimit=WINDOW_BYTES + RAW_BYTES)


def _zstd_decoder() -> Decoder:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})


DECODERS: dict[bytes, Callable[[], Decoder]] = {
    b"\x1f\x8b": _gzip_decoder,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": _xz_decoder,
    b"\x28\xb5\x2f\xfd": _zstd_decoder,
}
# The messages of liblzma and libzstd.
WINDOW_ERRORS = ("Memory usage limit exceeded", "Frame requires too much memory")


def read_blocks(raw: BinaryIO, padding: bytes = b"", *, limits: Limits = DEFAULT_LIMITS) -> Iterator[bytes]:
    """Yield a stream's content in blocks that end with a newline, decompressed as its first bytes say.

    The last block may lack its newline. A line of more than LINE_BYTES is cut to KEPT_BYTES. `padding` is
    appended to each block. Raises OSError if the stream cannot be read. Raises DamagedFileError, after the
    last good byte was handed out, if compressed data is truncated or corrupt, or unpacks beyond `limits`.
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
    """Yield a block of lines unchanged, or in parts if it has more than MOST_BLOCK_LINES lines."""
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
    """Yield the pieces (of at most RAW_BYTES each) with every line cut to KEPT_BYTES."""
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
    """Yield the plain bytes of a stream in pieces; a compressed one may hold several members in a row."""
    data = read_on(raw, PACKED_BYTES)
    make_decoder = next((make for magic, make in DECODERS.items() if data.startswith(magic)), None)
    if make_decoder:
        yield from unpacked(raw, data, make_decoder, limits)
        return
    while data:
        yield data
        data = read_on(raw, RAW_BYTES)


def unpacked(
    raw: IO[bytes], data: bytes, make_decoder: Callable[[], Decoder], limits: Limits
) -> Iterator[bytes]:
    """Yield the plain bytes of `data`, the first compressed bytes, and of the rest of the stream."""
    decoder = make_decoder()
    packed_bytes, unpacked_bytes = len(data), 0
    while True:
        try:
            piece = decoder.decompress(data, PIECE_BYTES)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zstd.ZstdError, ISAL_ERROR) as error:
            raise _damage(error) from None
        if piece:
            unpacked_bytes += len(piece)
            check_limits(limits, unpacked_bytes, packed_bytes)
            yield piece
        data = b""
        if decoder.eof:
            # NULs that pad a file to the blocks of a tape are not a member (gzip(1)).
            data = decoder.unused_data.lstrip(b"\0")
            while not data:
                if not (more := read_on(raw, PACKED_BYTES)):
                    return
                packed_bytes += len(more)
                data = more.lstrip(b"\0")
            decoder = make_decoder()
        elif decoder.needs_input:
            data = read_on(raw, PACKED_BYTES)
            packed_bytes += len(data)
            if not data:
                raise DamagedFileError("the compressed data ends early")


def check_limits(limits: Limits, unpacked_bytes: int, packed_bytes: int) -> None:
    """Raise OverLimitError if the unpacked bytes are more than the limits allow."""
    if unpacked_bytes > limits.unpacked_bytes:
        raise OverLimitError(f"unpacks to more than {limits.unpacked_bytes:,} bytes", "unpacked_bytes")
    # The bytes of the last read may not have been used yet.
    if unpacked_bytes > limits.unpacked_ratio * (packed_bytes + RAW_BYTES):
        raise OverLimitError(
            f"unpacks to more than {limits.unpacked_ratio:,} times its size", "unpacked_ratio"
        )


def _damage(error: Exception) -> DamagedFileError:
    """Return the error to raise for a decoder's error."""
    if any(words in str(error) for words in WINDOW_ERRORS):
        damage = DamagedFileError(
            f"unpacking it takes a window of more than {WINDOW_BYTES // 1024**2} MiB of memory"
        )
        damage.remedy = "Compress it again with `xz -9` or `zstd -19`, which use less, and run again."
        return damage
    return DamagedFileError(f"the compressed data is corrupt ({error})")


def read_on(raw: IO[bytes], size_bytes: int) -> bytes:
    """Return the next bytes of a stream. Raises DamagedFileError for a member of a damaged bundle."""
    try:
        # Unlike read, read1 returns what precedes the damage.
        return cast(io.BufferedReader, raw).read1(size_bytes)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DamagedFileError(f"the bundle is damaged ({error})") from None
