"""Bytes to places, numbers and copies, eight at a time: the scanner's tools, compiled by numba.

A block is an array of bytes that ends with PADDING. MAILLAG_CHECK_BOUNDS=1 checks every access.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from transforms.fast_lane.arrays import CHECK_BOUNDS, WORD_BYTES, Bytes, Int32s, Int64s

# Without reference counts (nothing here makes arrays): they would cost more than all the rest.
compiled = numba.njit(_nrt=False, nogil=True, error_model="numpy", boundscheck=CHECK_BOUNDS)

EVERY_BYTE = np.uint64(0x0101010101010101)
HIGH_BITS = np.uint64(0x8080808080808080)
BLANKS = np.uint64(0x2020202020202020)
NO_BITS, ONE_BIT = np.uint64(0), np.uint64(1)
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)
ROWS_AHEAD = 16
NEWLINE, DOT, ZERO, NINE = (ord(c) for c in "\n.09")


class Literal(NamedTuple):
    """A text as little-endian words, each with a mask of the bytes that count."""

    size: int
    words: tuple[np.uint64, ...]
    masks: tuple[np.uint64, ...]


@intrinsic
def _load(typing_context: Any, block: Any, at: Any) -> Any:
    """Read eight bytes as one little-endian word, wherever they begin."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = builder.load(address)
        word.align = 1
        return word

    return types.uint64(block, types.int64), generate


@intrinsic
def _store(typing_context: Any, block: Any, at: Any, word: Any) -> Any:
    """Write eight bytes, wherever they begin."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], address).align = 1
        return context.get_dummy_value()

    return types.void(block, types.int64, types.uint64), generate


@intrinsic
def _trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Count the zero bits below the lowest one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def _prefetch(typing_context: Any, block: Any, at: Any) -> Any:
    """Start to fetch the cache line of a byte."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        number = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [address.type], shape)
        # For reading, to be kept in all caches, as data.
        builder.call(prefetch, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(block, types.int64), generate


@compiled
def word_at(block: Bytes, at: int) -> int:
    """Return eight bytes as one little-endian word."""
    if CHECK_BOUNDS and (at < 0 or at + WORD_BYTES > block.size):
        raise IndexError("a word outside the block")
    return _load(block, at)


@compiled
def put_word(block: Bytes, at: int, word: int) -> None:
    """Write eight bytes."""
    if CHECK_BOUNDS and (at < 0 or at + WORD_BYTES > block.size):
        raise IndexError("a word outside the block")
    _store(block, at, word)


@compiled
def text_end(block: Bytes, at: int) -> int:
    """Return the place of the next byte that is not printable ASCII: usually a newline."""
    while True:
        word = word_at(block, at)
        found = ((word - BLANKS) & ~word | word) & HIGH_BITS
        if found != 0:
            return at + (_trailing_zeros(found) >> 3)
        at += WORD_BYTES


@compiled
def find(block: Bytes, at: int, end: int, char: int) -> int:
    """Return the place of the first such byte from `at` on; `end` if there is none."""
    wanted = EVERY_BYTE * np.uint64(char)
    while at < end:
        word = word_at(block, at) ^ wanted
        found = (word - EVERY_BYTE) & ~word & HIGH_BITS
        if found != 0:
            return min(at + (_trailing_zeros(found) >> 3), end)
        at += WORD_BYTES
    return end


@compiled
def nowhere(block: Bytes) -> int:
    """Return a place in the padding, where no literal stands: the place of what was not found."""
    return block.size - 4 * WORD_BYTES


@compiled
def is_at(block: Bytes, at: int, literal: Literal) -> bool:
    """Tell whether a literal stands there."""
    for word in range(len(literal.words)):
        if (word_at(block, at + word * WORD_BYTES) ^ literal.words[word]) & literal.masks[word] != NO_BITS:
            return False
    return True


@compiled
def is_equal(block: Bytes, at: int, other: Bytes, other_at: int, size: int) -> bool:
    """Tell whether two runs of bytes are the same."""
    for offset in range(0, size, WORD_BYTES):
        difference = word_at(block, at + offset) ^ word_at(other, other_at + offset)
        beyond = WORD_BYTES - (size - offset)
        if beyond > 0:
            difference <<= np.uint64(8 * beyond)
        if difference != NO_BITS:
            return False
    return True


@compiled
def read_integer(block: Bytes, at: int, most_digits: int) -> tuple[int, int]:
    """Return a number and where it ends; -1 and nowhere if there is none or it has more digits."""
    value, end = 0, at
    while ZERO <= block[end] <= NINE and end - at <= most_digits:
        value = value * 10 + (block[end] - ZERO)
        end += 1
    if end == at or end - at > most_digits:
        return -1, nowhere(block)
    return value, end


@compiled
def read_decimal(block: Bytes, at: int) -> tuple[float, int]:
    """Return a number such as 0.05 and where it ends; nowhere if there is none.

    Up to 15 digits and their power of ten are exact, so the division rounds as any parser does.
    """
    whole, end = read_integer(block, at, 9)
    if block[end] != DOT:
        return float(whole), end
    digits, fraction_end = read_integer(block, end + 1, 6)
    scale = 1
    for _ in range(fraction_end - end - 1 if digits >= 0 else 0):
        scale *= 10
    return (whole * scale + digits) / scale, fraction_end


def _words_of(text: bytes) -> tuple[np.uint64, ...]:
    """Return a text as little-endian words, padded with zeros."""
    return tuple(np.frombuffer(text.ljust(-(-len(text) // WORD_BYTES) * WORD_BYTES, b"\0"), "<u8"))


def literal(text: str) -> Literal:
    """Return a text as is_at() takes it."""
    return Literal(len(text), _words_of(text.encode()), _words_of(b"\xff" * len(text)))


@compiled
def _prefetch_ahead(block: Bytes, spans: Int32s, row: int) -> None:
    """Fetch the span some rows ahead: a block is larger than the caches, and waiting took half the time."""
    ahead = row + ROWS_AHEAD
    if ahead < spans.shape[0]:
        _prefetch(block, max(spans[ahead, 0], 0))


@compiled
def measure_spans(spans: Int32s, offsets: Int32s, present: Bytes) -> int:
    """Set the offsets of spans (start, end) in an Arrow string column, and a bit for each one not missing.

    `present` must be all zeros. Return the size of the column in bytes.
    """
    total = 0
    offsets[0] = 0
    for row in range(spans.shape[0]):
        start = spans[row, 0]
        if start >= 0:
            total += spans[row, 1] - start
            present[row >> 3] |= 1 << (row & 7)
        offsets[row + 1] = total
    return total


@compiled
def copy_spans(block: Bytes, spans: Int32s, offsets: Int32s, copied: Bytes) -> int:
    """Copy spans to their offsets by whole words; `copied` needs room for one more. Return their number."""
    count = spans.shape[0]
    for row in range(count):
        _prefetch_ahead(block, spans, row)
        start, at = spans[row, 0], offsets[row]
        for offset in range(0, offsets[row + 1] - at, WORD_BYTES):
            put_word(copied, at + offset, word_at(block, start + offset))
    return count


@compiled
def number_spans(block: Bytes, spans: Int32s, codes: Int32s, firsts: Int64s, slots: Int32s) -> int:
    """Set the code of each row, the same for equal spans (-1 if missing), and the first row of each code.

    Return the number of codes; -1 if `firsts` has no room for them. `slots` must be all -1; its size is a
    power of two and greater than that of `firsts`.
    """
    used = 0
    for row in range(spans.shape[0]):
        _prefetch_ahead(block, spans, row)
        start, size = spans[row, 0], spans[row, 1] - spans[row, 0]
        if start < 0:
            codes[row] = -1
            continue
        slot = _hash(block, start, size) & (slots.size - 1)
        while slots[slot] >= 0 and not _is_span(block, start, size, spans[firsts[slots[slot]]]):
            slot = (slot + 1) & (slots.size - 1)
        if slots[slot] < 0:
            if used == firsts.size:
                return -1
            firsts[used] = row
            slots[slot] = used
            used += 1
        codes[row] = slots[slot]
    return used


@compiled
def _hash(block: Bytes, start: int, size: int) -> int:
    mixed = np.uint64(size)
    for offset in range(0, size, WORD_BYTES):
        word = word_at(block, start + offset)
        if size - offset < WORD_BYTES:
            word &= (ONE_BIT << np.uint64(8 * (size - offset))) - ONE_BIT
        mixed = (mixed ^ word) * HASH_FACTOR
        mixed ^= mixed >> np.uint64(32)
    return int(mixed >> np.uint64(1))


@compiled
def _is_span(block: Bytes, start: int, size: int, span: Int32s) -> bool:
    return span[1] - span[0] == size and is_equal(block, start, block, span[0], size)
