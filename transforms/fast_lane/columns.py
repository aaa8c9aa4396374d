"""The spans, numbers and codes of a scan to Arrow columns."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.fast_lane import arrays
from transforms.fast_lane.arrays import ROW_ROOM, WORD_BYTES, Bytes, Int32s
from transforms.fast_lane.kernels import load_kernels
from transforms.parse.tables import NOISE

# A column with more different values than this in a block is left to pyarrow, which has no limit.
MOST_CATEGORIES = 4_096

NUMPY_TYPES = {pa.int32(): np.int32, pa.int64(): np.int64}

# The table of each family, and its columns: their place among the spans, integers and decimals of a row.
TABLES = {
    arrays.DELIVERY: "delivery_attempts",
    arrays.ACTIVATION: "queue_activations",
    arrays.REMOVAL: "queue_removals",
    arrays.MESSAGE_ID: "message_ids",
    arrays.CLIENT: "clients",
    arrays.OTHER: "other_lines",
    arrays.NOISE: NOISE,
}
SPANS = {
    arrays.DELIVERY: {
        "queue_id": arrays.QUEUE_ID,
        "recipient": arrays.RECIPIENT,
        "original_recipient": arrays.ORIGINAL_RECIPIENT,
        "relay_host": arrays.RELAY_HOST,
        "relay_address": arrays.RELAY_ADDRESS,
        "dsn": arrays.DSN,
        "status": arrays.STATUS,
        "reason": arrays.REASON,
    },
    arrays.ACTIVATION: {"queue_id": arrays.QUEUE_ID, "sender": arrays.SENDER},
    arrays.REMOVAL: {"queue_id": arrays.QUEUE_ID},
    arrays.MESSAGE_ID: {"queue_id": arrays.QUEUE_ID, "message_id": arrays.MESSAGE},
    arrays.CLIENT: {
        "queue_id": arrays.QUEUE_ID,
        "client_host": arrays.CLIENT_HOST,
        "client_address": arrays.CLIENT_ADDRESS,
        "sasl_username": arrays.SASL_USERNAME,
        "original_queue_id": arrays.ORIGINAL_QUEUE_ID,
    },
    arrays.OTHER: {"queue_id": arrays.QUEUE_ID, "message": arrays.MESSAGE},
}
INTEGERS = {
    arrays.DELIVERY: {
        "relay_port": arrays.RELAY_PORT,
        "connection_use_count": arrays.CONNECTION_USES,
    },
    arrays.ACTIVATION: {
        "size_bytes": arrays.SIZE_BYTES,
        "recipient_count": arrays.RECIPIENT_COUNT,
    },
}
DECIMALS = {
    "delay_seconds": 0,
    "before_qmgr_seconds": 1,
    "in_qmgr_seconds": 2,
    "connection_setup_seconds": 3,
    "transmission_seconds": 4,
}


def constant(value: str, size: int) -> pa.Array:
    """Return a column that has the same text in all rows."""
    return _categories_by_code(FIRST_CODES.slice(0, size), _texts((value,)))


def stamp_sources(source: str, is_dated: Bytes) -> pa.Array:
    """Return where a part of each stamp comes from: `line` if it is dated, else `source`."""
    if not is_dated.any():
        return constant(source, len(is_dated))
    return _categories_by_code(numbers(is_dated.astype(np.int32), pa.int32()), _texts((source, "line")))


def looked_up(values: Sequence[str | None], places: Int32s) -> pa.Array:
    """Return the values at these places in a list; the dictionary has each different value once."""
    code_of, texts = _coded(tuple(values))
    return _categories_by_code(numbers_or_null(code_of.take(places), pa.int32()), texts)


@lru_cache
def _coded(values: tuple[str | None, ...]) -> tuple[Int32s, pa.Array]:
    """Return the code of each value, -1 for None, and the dictionary of the codes."""
    known = tuple(dict.fromkeys(value for value in values if value is not None))
    codes = [-1 if value is None else known.index(value) for value in values]
    return np.array(codes, np.int32), _texts(known)


def categories(block: Bytes, spans: Int32s) -> pa.Array:
    """Return the texts of spans as a dictionary column; NULL for a missing span."""
    codes = np.empty(len(spans), np.int32)
    firsts, slots = np.empty(MOST_CATEGORIES, np.int64), np.full(4 * MOST_CATEGORIES, -1, np.int32)
    count = load_kernels().number_spans(block, spans, codes, firsts, slots)
    if count < 0:
        return strings(block, spans).dictionary_encode()
    return _categories_by_code(numbers_or_null(codes, pa.int32()), strings(block, spans[firsts[:count]]))


def _categories_by_code(codes: pa.Array, values: pa.Array) -> pa.Array:
    # Every code has a value: pyarrow need not check that.
    return pa.DictionaryArray.from_arrays(codes, values, safe=False)


@lru_cache
def _texts(values: tuple[str, ...]) -> pa.Array:
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def strings(block: Bytes, spans: Int32s) -> pa.Array:
    """Return the texts of spans as a column of strings; NULL for a missing span."""
    offsets, present, content = copy_spans(block, spans)
    buffers = [pa.py_buffer(present), pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(spans), buffers)


def copy_spans(block: Bytes, spans: Int32s) -> tuple[Int32s, Bytes, Bytes]:
    """Return the offsets, the validity bits and the bytes of spans, as in an Arrow string column."""
    kernels = load_kernels()
    offsets = np.empty(len(spans) + 1, np.int32)
    present = np.zeros((len(spans) + 7) // 8, np.uint8)
    size_bytes = kernels.measure_spans(spans, offsets, present)
    content = np.empty(size_bytes + WORD_BYTES, np.uint8)
    kernels.copy_spans(block, spans, offsets, content)
    return offsets, present, content[:size_bytes]


def numbers_or_null(values: Any, dtype: pa.DataType) -> pa.Array:
    """Return numbers without a copy, NULL for -1; pa.array() would import pandas."""
    is_known = values != -1
    present = None if is_known.all() else pa.py_buffer(np.packbits(is_known, bitorder="little"))
    return pa.Array.from_buffers(dtype, len(values), [present, pa.py_buffer(values)])


def numbers(values: Any, dtype: pa.DataType) -> pa.Array:
    """Return numbers without a copy; none of them is missing."""
    return pa.Array.from_buffers(dtype, len(values), [None, pa.py_buffer(values)])


# The codes of a column that has the same text in all rows.
FIRST_CODES = numbers(np.zeros(ROW_ROOM, np.int32), pa.int32())
