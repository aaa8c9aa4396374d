"""The text of a delivery, queue activation or client line to the spans of its fields, compiled by numba."""

from string import ascii_letters

import numpy as np

from transforms.bounds import (
    LAST_PORT,
    MOST_CONNECTION_USES,
    MOST_DELAY_SECONDS,
    MOST_RECIPIENTS,
    MOST_SIZE_BYTES,
)
from transforms.fast_lane.arrays import (
    CLIENT_ADDRESS,
    CLIENT_HOST,
    CONNECTION_USES,
    DECIMAL_COUNT,
    DSN,
    ORIGINAL_QUEUE_ID,
    ORIGINAL_RECIPIENT,
    REASON,
    RECIPIENT,
    RECIPIENT_COUNT,
    RELAY_ADDRESS,
    RELAY_HOST,
    RELAY_PORT,
    SASL_USERNAME,
    SENDER,
    SIZE_BYTES,
    STATUS,
    Bytes,
    Floats,
    Int32s,
    Int64s,
)
from transforms.fast_lane.words import compiled, find, is_at, literal, nowhere, read_decimal, read_integer
from transforms.parse.clock import QUEUE_ID_DIGITS


def _chars(*kinds: tuple[int, str]) -> Bytes:
    """Return the kinds of each byte, as bits."""
    table = np.zeros(256, np.uint8)
    for kind, chars in kinds:
        table[list(chars.encode())] |= kind
    return table


PRINTABLE = "".join(map(chr, range(32, 127)))
TAG_CHAR, HOST_CHAR, ADDRESS_CHAR, CLIENT_CHAR, STATUS_CHAR, SHORT_ID, LONG_ID = (1 << n for n in range(7))
CHARS = _chars(
    (TAG_CHAR, "".join(c for c in PRINTABLE if c not in " []:")),
    (HOST_CHAR, "".join(c for c in PRINTABLE if c not in " ,<>[]")),
    (ADDRESS_CHAR, "".join(c for c in PRINTABLE if c not in "<>[]")),
    (CLIENT_CHAR, "".join(c for c in PRINTABLE if c not in "[,")),
    (STATUS_CHAR, ascii_letters + "-"),
    (SHORT_ID, "0123456789ABCDEF"),
    (LONG_ID, QUEUE_ID_DIGITS),
)
SPACE, COMMA, COLON, DOT, SLASH, SMALL_Z = (ord(c) for c in " ,:./z")

GREATER, QUOTE, OPENING_BRACKET, CLOSING_BRACKET, CLOSING_PARENTHESIS = (ord(c) for c in '>"[])')
NEXT, CLOSE, ORIG_TO, RELAY = literal(", "), literal(">, "), literal("orig_to=<"), literal("relay=")
CLOSE_RELAY, CLOSE_ORIG_TO = literal(">, relay="), literal(">, orig_to=")

CONN_USE, DELAY, DELAYS = literal("conn_use="), literal("delay="), literal(", delays=")
DSN_IS, STATUS_IS, OPEN = literal(", dsn="), literal(", status="), literal(" (")
SIZE_IS, NRCPT_IS, QUEUE_ACTIVE = literal(">, size="), literal(", nrcpt="), literal(" (queue active)")
SASL_METHOD, SASL_NAME = literal(", sasl_method="), literal(", sasl_username=")
ORIG_QUEUE_ID, ORIG_CLIENT = literal(", orig_queue_id="), literal(", orig_client=")


@compiled
def run_end(block: Bytes, at: int, kind: int) -> int:
    """Return where a run of characters of a kind (a bit of CHARS) ends."""
    while CHARS[block[at]] & kind:
        at += 1
    return at


@compiled
def queue_id_end(block: Bytes, at: int) -> int:
    """Return where a queue id that stands before `: ` ends, else `at` (patterns.QUEUE_ID)."""
    kinds, end, last_z = CHARS[block[at]], at, at
    while CHARS[block[end]] & (SHORT_ID | LONG_ID):
        kinds &= CHARS[block[end]]
        if block[end] == SMALL_Z:
            last_z = end
        end += 1
    is_short = kinds & SHORT_ID and end - at >= 6
    is_long = kinds & LONG_ID and last_z - at >= 10 and last_z < end - 1
    return end if (is_short or is_long) and block[end] == COLON and block[end + 1] == SPACE else at


@compiled
def set_span(spans: Int32s, field: int, start: int, end: int) -> None:
    """Write the span of a field; -1, -1 for a missing one."""
    spans[field, 0] = start
    spans[field, 1] = end


@compiled
def _address_end(block: Bytes, at: int, end: int) -> int:
    """Return where an address ends; nowhere for a quoted one, which may hold anything."""
    close = find(block, at, end, GREATER)
    return close if find(block, at, close, QUOTE) == close else nowhere(block)


@compiled
def _has_address_end(block: Bytes, at: int, end: int) -> bool:
    """Tell whether an address may end in a reason, so that the general lane has to judge the line."""
    at = find(block, at, end, GREATER)
    while at < end:
        if is_at(block, at, CLOSE_RELAY) or is_at(block, at, CLOSE_ORIG_TO):
            return True
        at = find(block, at + 1, end, GREATER)
    return False


@compiled
def read_delivery(block: Bytes, at: int, end: int, spans: Int32s, integers: Int64s, decimals: Floats) -> bool:
    """Read `<a>, [orig_to=<b>, ]relay=..., ..., status=sent (...)`: the pattern "delivery attempt"."""
    close = _address_end(block, at, end)
    if not is_at(block, close, CLOSE):
        return False
    set_span(spans, RECIPIENT, at, close)
    set_span(spans, ORIGINAL_RECIPIENT, -1, -1)
    at = close + CLOSE.size
    if is_at(block, at, ORIG_TO):
        at += ORIG_TO.size
        close = _address_end(block, at, end)
        if not is_at(block, close, CLOSE):
            return False
        set_span(spans, ORIGINAL_RECIPIENT, at, close)
        at = close + CLOSE.size
    if not is_at(block, at, RELAY):
        return False
    start = at + RELAY.size
    at = run_end(block, start, HOST_CHAR)
    if at == start:
        return False
    set_span(spans, RELAY_HOST, start, at)
    set_span(spans, RELAY_ADDRESS, -1, -1)
    integers[RELAY_PORT] = -1
    if block[at] == OPENING_BRACKET:
        start = at + 1
        at = run_end(block, start, ADDRESS_CHAR)
        if block[at] != CLOSING_BRACKET:
            return False
        set_span(spans, RELAY_ADDRESS, start, at)
        at += 1
        if block[at] == COLON:
            integers[RELAY_PORT], at = read_integer(block, at + 1, 9)
            if not 1 <= integers[RELAY_PORT] <= LAST_PORT:
                return False
    if not is_at(block, at, NEXT):
        return False
    at += NEXT.size
    integers[CONNECTION_USES] = -1
    if is_at(block, at, CONN_USE):
        integers[CONNECTION_USES], at = read_integer(block, at + CONN_USE.size, 9)
        if not is_at(block, at, NEXT) or not 1 <= integers[CONNECTION_USES] <= MOST_CONNECTION_USES:
            return False
        at += NEXT.size
    if not is_at(block, at, DELAY):
        return False
    decimals[0], at = read_decimal(block, at + DELAY.size)
    if not is_at(block, at, DELAYS):
        return False
    at += DELAYS.size - 1
    for part in range(1, DECIMAL_COUNT):
        if part > 1 and block[at] != SLASH:
            return False
        decimals[part], at = read_decimal(block, at + 1)
        if decimals[part] > MOST_DELAY_SECONDS:
            return False
    if decimals[0] > MOST_DELAY_SECONDS or not is_at(block, at, DSN_IS):
        return False
    start = at + DSN_IS.size
    at = start - 1
    for part in range(3):
        if part > 0 and block[at] != DOT:
            return False
        _, at = read_integer(block, at + 1, 9)
    set_span(spans, DSN, start, at)
    if not is_at(block, at, STATUS_IS):
        return False
    start = at + STATUS_IS.size
    at = run_end(block, start, STATUS_CHAR)
    if at == start or not is_at(block, at, OPEN):
        return False
    set_span(spans, STATUS, start, at)
    start = at + OPEN.size
    set_span(spans, REASON, start, end - 1)
    return block[end - 1] == CLOSING_PARENTHESIS and start < end and not _has_address_end(block, start, end)


@compiled
def read_activation(block: Bytes, at: int, end: int, spans: Int32s, integers: Int64s) -> bool:
    """Read `<a>, size=1, nrcpt=1 (queue active)`: the pattern "queue activation"."""
    close = find(block, at, end, GREATER)
    if not is_at(block, close, SIZE_IS):
        return False
    set_span(spans, SENDER, at, close)
    integers[SIZE_BYTES], at = read_integer(block, close + SIZE_IS.size, 18)
    if not is_at(block, at, NRCPT_IS):
        return False
    integers[RECIPIENT_COUNT], at = read_integer(block, at + NRCPT_IS.size, 18)
    is_in_bounds = integers[SIZE_BYTES] <= MOST_SIZE_BYTES and integers[RECIPIENT_COUNT] <= MOST_RECIPIENTS
    return is_in_bounds and is_at(block, at, QUEUE_ACTIVE) and at + QUEUE_ACTIVE.size == end


@compiled
def read_client(block: Bytes, at: int, end: int, spans: Int32s) -> bool:
    """Read `a[b]` and the unambiguous endings of the pattern "client"."""
    start = at
    at = run_end(block, start, CLIENT_CHAR)
    if at == start or block[at] != OPENING_BRACKET:
        return False
    set_span(spans, CLIENT_HOST, start, at)
    start = at + 1
    at = find(block, start, end, CLOSING_BRACKET)
    if at in (start, end):
        return False
    set_span(spans, CLIENT_ADDRESS, start, at)
    set_span(spans, SASL_USERNAME, -1, -1)
    set_span(spans, ORIGINAL_QUEUE_ID, -1, -1)
    at += 1
    if block[at] == COLON:
        _, at = read_integer(block, at + 1, 9)
    if is_at(block, at, SASL_METHOD):
        at = find(block, at + SASL_METHOD.size, end, COMMA)
        if is_at(block, at, SASL_NAME):
            start = at + SASL_NAME.size
            at = find(block, start, end, COMMA)
            set_span(spans, SASL_USERNAME, start, at)
    elif is_at(block, at, ORIG_QUEUE_ID):
        start = at + ORIG_QUEUE_ID.size
        at = find(block, start, end, COMMA)
        set_span(spans, ORIGINAL_QUEUE_ID, start, at)
        if is_at(block, at, ORIG_CLIENT):
            at = end
    return at == end
