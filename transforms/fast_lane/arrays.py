"""The arrays that the fast lane and the compiled loops exchange, and the meaning of the numbers in them.

This module must not import numba, which is loaded only to compile (kernels.py).
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]

# Check every access of the loops: slow, for tests.
CHECK_BOUNDS = bool(os.environ.get("MAILLAG_CHECK_BOUNDS"))
WORD_BYTES = 8
# What follows the lines of a block: a newline, then zeros, so that words may be read past the end and nothing
# is found there. Long enough for the longest literal at nowhere() (words.py).
PADDING = b"\n" + bytes(8 * WORD_BYTES)

NO_TIME = np.iinfo(np.int64).min
SECOND = 1_000_000

# Why scan() returned: it is at the end, met an unknown tag, or has no room left.
DONE, NEW_TAG, FULL = range(3)
# The families of lines, by which `rows` and `counts` are indexed. The general lane reads what is left over.
DELIVERY, ACTIVATION, REMOVAL, MESSAGE_ID, CLIENT, OTHER, NOISE, LEFT_OVER = range(8)
FAMILY_COUNT = 8
# The fields of each family, by their place in `rows.spans`; the queue id is always the first.
QUEUE_ID = 0
RECIPIENT, ORIGINAL_RECIPIENT, RELAY_HOST, RELAY_ADDRESS, DSN, STATUS, REASON = range(1, 8)
SENDER = 1
MESSAGE = 1
CLIENT_HOST, CLIENT_ADDRESS, SASL_USERNAME, ORIGINAL_QUEUE_ID = range(1, 5)
FIELD_COUNT = 8
# Numbers, by their place in `rows.integers`; -1 for none.
RELAY_PORT, CONNECTION_USES = 0, 1
SIZE_BYTES, RECIPIENT_COUNT = 0, 1
LINE_KIND = 0
# Decimals of deliveries, in `rows.decimals`: delay= and the four parts of delays=.
DECIMAL_COUNT = 5
# What a tag means to scan(): to leave its lines over, a program of Postfix, or one outside the mail system.
OPAQUE_TAG, POSTFIX_TAG, FOREIGN_TAG = range(3)
# Which daemons may write a family, as bits of `tags.writes`.
QMGR, CLEANUP, SMTPD = 1, 2, 4
# In `rows.integers` of a left-over line: the first stamp after it and before the next one; NO_TIME for none.
STAMP_AFTER, IS_DATED_AFTER = 0, 1
# The position of a scan, in `state`; the last stamp is the latest since the last left-over line.
POSITION, LINES_BEFORE, TAG_START, TAG_END, LAST_STAMP, IS_LAST_DATED, HOSTS_KNOWN = range(7)
STATE_SIZE = 7
# Lines are counted by the host that they name. A file may name any number of hosts: beyond this many, in a
# block or a batch of files, they are counted together. The next two numbers are "other hosts" and "no host".
MOST_HOSTS = 64
OTHER_HOSTS, NO_HOST = MOST_HOSTS, MOST_HOSTS + 1

LONGEST_TAG = 64
# Rows of each family that one call of the scanner has room for.
ROW_ROOM = 16_384


class Tags(NamedTuple):
    """The tags known so far, as bytes `name[tag, :size[tag]]`, and what their lines may be."""

    name: Bytes
    size: Int64s
    meaning: Int64s
    writes: Int64s
    prefixes: Int64s
    """The numbers of the prefixes that the program's lines may have; -1 ends the list."""
    known: Int64s


class Prefixes(NamedTuple):
    """Beginnings that alone decide the family of a line, as bytes `text[prefix, :size[prefix]]`."""

    text: Bytes
    size: Int64s
    family: Int64s


class Rows(NamedTuple):
    """What scan() found, by family and row. A span is a start and an end in the block; -1 if it is missing.

    `logged_at` of a left-over line is the latest stamp since the previous one; NO_TIME if there is none.
    """

    used: Int64s
    logged_at: Int64s
    is_dated: Bytes
    """Whether the stamp bears year and offset."""
    line_number: Int64s
    tag: Int32s
    pid: Int32s
    spans: Int32s
    integers: Int64s
    decimals: Floats


class Counts(NamedTuple):
    """Runs of lines of one family and host within one COUNT_SPAN; a span of time may have several runs.

    `current` is the latest run of each family and host. `hosts` has the spans of host names in the block.
    """

    used: Int64s
    current: Int64s
    hosts: Int32s
    family: Int64s
    host: Int64s
    span: Int64s
    line_count: Int64s
    first_logged_at: Int64s
    last_logged_at: Int64s


def no_tags(room: int, prefix_count: int) -> Tags:
    """Return room for tags; none is known yet."""
    return Tags(
        name=np.zeros((room, LONGEST_TAG + WORD_BYTES), np.uint8),
        size=np.zeros(room, np.int64),
        meaning=np.zeros(room, np.int64),
        writes=np.zeros(room, np.int64),
        prefixes=np.full((room, prefix_count + 1), -1),
        known=np.zeros(1, np.int64),
    )


def prefixes_of(texts: Sequence[bytes], families: Sequence[int]) -> Prefixes:
    """Return beginnings and their families as the scanner takes them."""
    text = np.zeros((len(texts), max(map(len, texts)) + WORD_BYTES), np.uint8)
    for number, start in enumerate(texts):
        text[number, : len(start)] = np.frombuffer(start, np.uint8)
    return Prefixes(text, np.array([len(start) for start in texts]), np.array(families))


def no_rows(room: int) -> Rows:
    """Return room for so many rows of each family."""
    return Rows(
        used=np.zeros(FAMILY_COUNT, np.int64),
        logged_at=np.zeros((FAMILY_COUNT, room), np.int64),
        is_dated=np.zeros((FAMILY_COUNT, room), np.uint8),
        line_number=np.zeros((FAMILY_COUNT, room), np.int64),
        tag=np.zeros((FAMILY_COUNT, room), np.int32),
        pid=np.zeros((FAMILY_COUNT, room), np.int32),
        spans=np.zeros((FAMILY_COUNT, room, FIELD_COUNT, 2), np.int32),
        integers=np.zeros((FAMILY_COUNT, room, 2), np.int64),
        decimals=np.zeros((room, DECIMAL_COUNT)),
    )


def no_counts(room: int) -> Counts:
    """Return room for so many runs of lines."""
    return Counts(
        used=np.zeros(1, np.int64),
        current=np.zeros((FAMILY_COUNT, NO_HOST + 1), np.int64),
        hosts=np.zeros((MOST_HOSTS, 2), np.int32),
        family=np.zeros(room, np.int64),
        host=np.zeros(room, np.int64),
        line_count=np.zeros(room, np.int64),
        span=np.zeros(room, np.int64),
        first_logged_at=np.zeros(room, np.int64),
        last_logged_at=np.zeros(room, np.int64),
    )
