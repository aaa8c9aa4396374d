"""Bytes of a maillog to the spans of their fields: the loops of the fast lane, compiled by numba.

A line is taken only if it belongs to one of the families that make up nearly all of a maillog, and only in
their plainest spelling: printable ASCII, an RFC 3164 or RFC 3339 stamp, a tag that is known. All else is left
over for the general lane, whose patterns alone say what a line means: this here must never take a line that
they read otherwise.
"""

from string import ascii_letters

import numpy as np

from transforms.bounds import (
    CUT_TEXT_BYTES,
    LAST_PORT,
    MOST_CONNECTION_USES,
    MOST_DELAY_SECONDS,
    MOST_RECIPIENTS,
    MOST_SIZE_BYTES,
)
from transforms.fast_lane.arrays import (
    ACTIVATION,
    CLEANUP,
    CLIENT,
    CLIENT_ADDRESS,
    CLIENT_HOST,
    CONNECTION_USES,
    DECIMAL_COUNT,
    DELIVERY,
    DONE,
    DSN,
    FOREIGN_TAG,
    FULL,
    HOSTS_KNOWN,
    IS_DATED_AFTER,
    IS_LAST_DATED,
    LAST_STAMP,
    LEFT_OVER,
    LINE_KIND,
    LINES_BEFORE,
    LONGEST_TAG,
    MESSAGE,
    MESSAGE_ID,
    MOST_HOSTS,
    NEW_TAG,
    NO_HOST,
    NO_TIME,
    NOISE,
    ORIGINAL_QUEUE_ID,
    ORIGINAL_RECIPIENT,
    OTHER,
    POSITION,
    POSTFIX_TAG,
    QMGR,
    QUEUE_ID,
    REASON,
    RECIPIENT,
    RECIPIENT_COUNT,
    RELAY_ADDRESS,
    RELAY_HOST,
    RELAY_PORT,
    REMOVAL,
    SASL_USERNAME,
    SECOND,
    SENDER,
    SIZE_BYTES,
    SMTPD,
    STAMP_AFTER,
    STATUS,
    TAG_END,
    TAG_START,
    WORD_BYTES,
    Bytes,
    Counts,
    Floats,
    Int32s,
    Int64s,
    Prefixes,
    Rows,
    Tags,
)
from transforms.fast_lane.stamps import read_long_stamp, read_short_stamp
from transforms.fast_lane.words import (
    NEWLINE,
    NINE,
    NO_BITS,
    compiled,
    find,
    is_at,
    is_equal,
    literal,
    nowhere,
    read_decimal,
    read_integer,
    text_end,
    word_at,
)
from transforms.parse.clock import QUEUE_ID_DIGITS

# Lines are counted by spans of this length (events.COUNT_SPAN).
COUNT_SPAN = 900 * SECOND
# A stamp, a space, a host, a tag and a text take this much at least.
SHORTEST_LINE = 24


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
HASH, BACKSLASH, CARET, LESS = (ord(c) for c in "#\\^<")
GREATER, QUOTE, OPENING_BRACKET, CLOSING_BRACKET, CLOSING_PARENTHESIS = (ord(c) for c in '>"[])')
NEXT, CLOSE, ORIG_TO, RELAY = literal(", "), literal(">, "), literal("orig_to=<"), literal("relay=")
CLOSE_RELAY, CLOSE_ORIG_TO = literal(">, relay="), literal(">, orig_to=")
TO, FROM, REMOVED, CLIENT_IS = literal("to=<"), literal("from=<"), literal("removed"), literal("client=")
MESSAGE_ID_IS, NOQUEUE = literal("message-id="), literal("NOQUEUE: ")
CONN_USE, DELAY, DELAYS = literal("conn_use="), literal("delay="), literal(", delays=")
DSN_IS, STATUS_IS, OPEN = literal(", dsn="), literal(", status="), literal(" (")
SIZE_IS, NRCPT_IS, QUEUE_ACTIVE = literal(">, size="), literal(", nrcpt="), literal(" (queue active)")
SASL_METHOD, SASL_NAME = literal(", sasl_method="), literal(", sasl_username=")
ORIG_QUEUE_ID, ORIG_CLIENT = literal(", orig_queue_id="), literal(", orig_client=")
REPEATED, LAST_REPEATED = literal("message repeated "), literal("last message repeated ")
SUMMARY, RESENT_ID_IS = literal("Last message '"), literal("resent-message-id=")
SENDER_IS, RECIPIENT_IS = literal("from="), literal("to=")


@compiled
def _run_end(block: Bytes, at: int, kind: int) -> int:
    """Return where a run of such characters ends."""
    while CHARS[block[at]] & kind:
        at += 1
    return at


@compiled
def _sender(block: Bytes, at: int, end: int) -> tuple[int, int, int, int, int]:
    """Read ` host tag[pid]: `; return the host's end, the tag's start and end, the pid, and the text's start.

    The host may be missing: what ends with a colon is a tag, and the host's end is its start. The pid is -1
    for none. The text's start is 0 if there is none, or if anything but the text follows.
    """
    has_space, host_start = block[at] == SPACE, at + 1
    host_end = find(block, host_start, end, SPACE)
    tag_start = host_end + 1
    if block[host_end - 1] == COLON:
        host_end = tag_start = host_start
    tag_end = _run_end(block, tag_start, TAG_CHAR)
    at, pid = tag_end, -1
    if block[at] == OPENING_BRACKET:
        pid, at = read_integer(block, at + 1, 9)
        if block[at] != CLOSING_BRACKET:
            return 0, 0, 0, 0, 0
        at += 1
    is_sound = has_space and block[host_start] != LESS and tag_start < tag_end <= tag_start + LONGEST_TAG
    is_text_next = block[at] == COLON and block[at + 1] == SPACE and at + 2 < end
    if not is_sound or not is_text_next or block[at + 2] == OPENING_BRACKET or block[at + 2] == SPACE:
        return 0, 0, 0, 0, 0
    return host_end, tag_start, tag_end, pid, at + 2


@compiled
def _find_tag(block: Bytes, start: int, end: int, names: Bytes, sizes: Int64s, count: int) -> int:
    """Return the tag's number, -1 if it is not known."""
    for tag in range(count):
        if sizes[tag] == end - start and is_equal(block, start, names[tag], 0, end - start):
            return tag
    return -1


@compiled
def _queue_id_end(block: Bytes, at: int) -> int:
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
def _set_span(spans: Int32s, field: int, start: int, end: int) -> None:
    spans[field, 0] = start
    spans[field, 1] = end


@compiled
def _address_end(block: Bytes, at: int, end: int) -> int:
    """Return where an address ends; a quoted one, which may hold anything, is not found to end."""
    close = find(block, at, end, GREATER)
    return close if find(block, at, close, QUOTE) == close else nowhere(block)


@compiled
def _has_address_end(block: Bytes, at: int, end: int) -> bool:
    """Tell whether an address might end in a reason: the general lane has to judge such a line."""
    at = find(block, at, end, GREATER)
    while at < end:
        if is_at(block, at, CLOSE_RELAY) or is_at(block, at, CLOSE_ORIG_TO):
            return True
        at = find(block, at + 1, end, GREATER)
    return False


@compiled
def _read_delivery(
    block: Bytes, at: int, end: int, spans: Int32s, integers: Int64s, decimals: Floats
) -> bool:
    """Read `<a>, [orig_to=<b>, ]relay=..., ..., status=sent (...)`: the pattern "delivery attempt"."""
    close = _address_end(block, at, end)
    if not is_at(block, close, CLOSE):
        return False
    _set_span(spans, RECIPIENT, at, close)
    _set_span(spans, ORIGINAL_RECIPIENT, -1, -1)
    at = close + CLOSE.size
    if is_at(block, at, ORIG_TO):
        at += ORIG_TO.size
        close = _address_end(block, at, end)
        if not is_at(block, close, CLOSE):
            return False
        _set_span(spans, ORIGINAL_RECIPIENT, at, close)
        at = close + CLOSE.size
    if not is_at(block, at, RELAY):
        return False
    start = at + RELAY.size
    at = _run_end(block, start, HOST_CHAR)
    if at == start:
        return False
    _set_span(spans, RELAY_HOST, start, at)
    _set_span(spans, RELAY_ADDRESS, -1, -1)
    integers[RELAY_PORT] = -1
    if block[at] == OPENING_BRACKET:
        start = at + 1
        at = _run_end(block, start, ADDRESS_CHAR)
        if block[at] != CLOSING_BRACKET:
            return False
        _set_span(spans, RELAY_ADDRESS, start, at)
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
    _set_span(spans, DSN, start, at)
    if not is_at(block, at, STATUS_IS):
        return False
    start = at + STATUS_IS.size
    at = _run_end(block, start, STATUS_CHAR)
    if at == start or not is_at(block, at, OPEN):
        return False
    _set_span(spans, STATUS, start, at)
    start = at + OPEN.size
    _set_span(spans, REASON, start, end - 1)
    return block[end - 1] == CLOSING_PARENTHESIS and start < end and not _has_address_end(block, start, end)


@compiled
def _read_activation(block: Bytes, at: int, end: int, spans: Int32s, integers: Int64s) -> bool:
    """Read `<a>, size=1, nrcpt=1 (queue active)`: the pattern "queue activation"."""
    close = find(block, at, end, GREATER)
    if not is_at(block, close, SIZE_IS):
        return False
    _set_span(spans, SENDER, at, close)
    integers[SIZE_BYTES], at = read_integer(block, close + SIZE_IS.size, 18)
    if not is_at(block, at, NRCPT_IS):
        return False
    integers[RECIPIENT_COUNT], at = read_integer(block, at + NRCPT_IS.size, 18)
    is_in_bounds = integers[SIZE_BYTES] <= MOST_SIZE_BYTES and integers[RECIPIENT_COUNT] <= MOST_RECIPIENTS
    return is_in_bounds and is_at(block, at, QUEUE_ACTIVE) and at + QUEUE_ACTIVE.size == end


@compiled
def _read_client(block: Bytes, at: int, end: int, spans: Int32s) -> bool:
    """Read `a[b]` and what may follow it without a doubt: the pattern "client"."""
    start = at
    at = _run_end(block, start, CLIENT_CHAR)
    if at == start or block[at] != OPENING_BRACKET:
        return False
    _set_span(spans, CLIENT_HOST, start, at)
    start = at + 1
    at = find(block, start, end, CLOSING_BRACKET)
    if at in (start, end):
        return False
    _set_span(spans, CLIENT_ADDRESS, start, at)
    _set_span(spans, SASL_USERNAME, -1, -1)
    _set_span(spans, ORIGINAL_QUEUE_ID, -1, -1)
    at += 1
    if block[at] == COLON:
        _, at = read_integer(block, at + 1, 9)
    if is_at(block, at, SASL_METHOD):
        at = find(block, at + SASL_METHOD.size, end, COMMA)
        if is_at(block, at, SASL_NAME):
            start = at + SASL_NAME.size
            at = find(block, start, end, COMMA)
            _set_span(spans, SASL_USERNAME, start, at)
    elif is_at(block, at, ORIG_QUEUE_ID):
        start = at + ORIG_QUEUE_ID.size
        at = find(block, start, end, COMMA)
        _set_span(spans, ORIGINAL_QUEUE_ID, start, at)
        if is_at(block, at, ORIG_CLIENT):
            at = end
    return at == end


@compiled
def _text_end(block: Bytes, start: int, end: int) -> int:
    """Return where a line ends without the blanks at its end; `start` if something else there may be no text.

    That is what syslog daemons write for control characters (headers.TRAILING).
    """
    while end > start and block[end - 1] == SPACE:
        end -= 1
    if end - start < SHORTEST_LINE or block[end - 2] in (BACKSLASH, CARET):
        return start
    return start if block[end - 4] in (HASH, BACKSLASH) else end


@compiled
def _find_host(block: Bytes, start: int, end: int, hosts: Int32s, count: int) -> int:
    """Return the host's number; `count` if it is not known."""
    for host in range(count):
        at = hosts[host, 0]
        if hosts[host, 1] - at == end - start and is_equal(block, start, block, at, end - start):
            return host
    return count


@compiled
def _is_mail(block: Bytes, at: int, end: int) -> bool:
    """Tell whether a text may be a mail program's, whatever its tag (events.MAIL_TEXT)."""
    at = find(block, at, end, COLON) + 2
    return (
        is_at(block, at, SENDER_IS)
        or is_at(block, at, RECIPIENT_IS)
        or is_at(block, at, MESSAGE_ID_IS)
        or is_at(block, at, CLIENT_IS)
        or is_at(block, at, REMOVED)
        or is_at(block, at, RESENT_ID_IS)
    )


@compiled
def _find_prefix(block: Bytes, at: int, end: int, candidates: Int64s, texts: Bytes, sizes: Int64s) -> int:
    """Return which of the beginnings the text has, -1 if none."""
    for prefix in candidates:
        if prefix < 0:
            break
        if at + sizes[prefix] <= end and is_equal(block, at, texts[prefix], 0, sizes[prefix]):
            return prefix
    return -1


@compiled
def _read_text(block: Bytes, at: int, end: int, tag: int, tags: Tags, prefixes: Prefixes, rows: Rows) -> int:
    """Read the text of a line into its family's next row, and return the family."""
    used, spans, integers, decimals = rows.used, rows.spans, rows.integers, rows.decimals
    if tags.meaning[tag] != POSTFIX_TAG:
        is_foreign = tags.meaning[tag] == FOREIGN_TAG
        is_repeated = (
            is_at(block, at, REPEATED) or is_at(block, at, LAST_REPEATED) or is_at(block, at, SUMMARY)
        )
        return NOISE if is_foreign and not is_repeated and not _is_mail(block, at, end) else LEFT_OVER
    writes = tags.writes[tag]
    id_start, id_end = at, _queue_id_end(block, at)
    if id_end > at:
        at = id_end + 2
        family = LEFT_OVER
        first = block[at]
        if first == ord("t") and is_at(block, at, TO):
            family = (
                DELIVERY
                if _read_delivery(
                    block,
                    at + TO.size,
                    end,
                    spans[DELIVERY, used[DELIVERY]],
                    integers[DELIVERY, used[DELIVERY]],
                    decimals[used[DELIVERY]],
                )
                else LEFT_OVER
            )
        elif first == ord("f") and writes & QMGR and is_at(block, at, FROM):
            family = (
                ACTIVATION
                if _read_activation(
                    block,
                    at + FROM.size,
                    end,
                    spans[ACTIVATION, used[ACTIVATION]],
                    integers[ACTIVATION, used[ACTIVATION]],
                )
                else LEFT_OVER
            )
        elif first == ord("r") and writes & (QMGR | CLEANUP) and is_at(block, at, REMOVED):
            family = REMOVAL if at + REMOVED.size == end else LEFT_OVER
        elif first == ord("m") and writes & CLEANUP and is_at(block, at, MESSAGE_ID_IS):
            family = MESSAGE_ID
            _set_span(spans[MESSAGE_ID, used[MESSAGE_ID]], MESSAGE, at + MESSAGE_ID_IS.size, end)
        elif first == ord("c") and writes & SMTPD and is_at(block, at, CLIENT_IS):
            family = (
                CLIENT
                if _read_client(block, at + CLIENT_IS.size, end, spans[CLIENT, used[CLIENT]])
                else LEFT_OVER
            )
        if family != LEFT_OVER:
            _set_span(spans[family, used[family]], QUEUE_ID, id_start, id_end)
            return family
    else:
        id_start = id_end = -1
        if is_at(block, at, NOQUEUE):
            at += NOQUEUE.size
    prefix = _find_prefix(block, at, end, tags.prefixes[tag], prefixes.text, prefixes.size)
    if prefix < 0:
        return LEFT_OVER
    if prefixes.family[prefix] == OTHER:
        _set_span(spans[OTHER, used[OTHER]], QUEUE_ID, id_start, id_end)
        _set_span(spans[OTHER, used[OTHER]], MESSAGE, at, end)
        integers[OTHER, used[OTHER], LINE_KIND] = prefix
    return prefixes.family[prefix]


@compiled
def _count(counts: Counts, family: int, host: int, logged_at: int) -> None:
    run = counts.current[family, host]
    if run < 0 or not 0 <= logged_at - counts.span[run] < COUNT_SPAN:
        run = counts.used[0]
        counts.used[0] = run + 1
        counts.current[family, host] = run
        counts.family[run] = family
        counts.host[run] = host
        counts.span[run] = logged_at // COUNT_SPAN * COUNT_SPAN
        counts.line_count[run] = 0
        counts.first_logged_at[run] = logged_at
        counts.last_logged_at[run] = logged_at
    counts.line_count[run] += 1
    counts.first_logged_at[run] = min(counts.first_logged_at[run], logged_at)
    counts.last_logged_at[run] = max(counts.last_logged_at[run], logged_at)


@compiled
def scan(
    block: Bytes,
    size: int,
    midnights: Int64s,
    tags: Tags,
    prefixes: Prefixes,
    rows: Rows,
    counts: Counts,
    state: Int64s,
) -> int:
    """Go on through the block from state[POSITION]; say why it stopped: DONE, NEW_TAG or FULL.

    `midnights[month * 32 + day]` is the UTC time, in microseconds, of the midnight that a stamp without a
    year means, or NO_TIME if that is not so simple.
    """
    start, lines_before = state[POSITION], state[LINES_BEFORE]
    room = rows.logged_at.shape[1] - 1
    why = DONE
    stamp, stamp_end, is_dated = NO_TIME, 0, False
    last_stamp, is_last_dated = state[LAST_STAMP], state[IS_LAST_DATED] != 0
    cached_stamp, cached_head, cached_tail = NO_TIME, NO_BITS, NO_BITS
    host, hosts_known = NO_HOST, state[HOSTS_KNOWN]
    while start < size:
        end = text_end(block, start)
        is_plain = block[end] == NEWLINE
        if not is_plain:
            end = find(block, end, size, NEWLINE)
        family, tag, pid = LEFT_OVER, -1, -1
        line_end = _text_end(block, start, end) if is_plain else start
        if is_plain and line_end - start >= SHORTEST_LINE and end - start < CUT_TEXT_BYTES:
            # Lines of the same second share their stamp, which fills two words but for its last byte.
            head, tail = word_at(block, start), word_at(block, start + WORD_BYTES)
            if head == cached_head and tail == cached_tail:
                stamp, stamp_end, is_dated = cached_stamp, start + 15, False
            elif block[start] <= NINE:
                stamp, stamp_end = read_long_stamp(block, start)
                is_dated = True
            else:
                stamp, stamp_end = read_short_stamp(block, start, midnights)
                is_dated = False
                if stamp_end == start + 15:
                    cached_stamp, cached_head, cached_tail = stamp, head, tail
            if stamp != NO_TIME:
                host_end, tag_start, tag_end, pid, text_at = _sender(block, stamp_end, line_end)
                if text_at > 0:
                    tag = _find_tag(block, tag_start, tag_end, tags.name, tags.size, tags.known[0])
                    if tag < 0 and tags.known[0] < tags.size.size:
                        state[TAG_START], state[TAG_END] = tag_start, tag_end
                        why = NEW_TAG
                        break
                    if tag >= 0:
                        family = _read_text(block, text_at, line_end, tag, tags, prefixes, rows)
                    if family != LEFT_OVER and host_end == stamp_end + 1:
                        host = NO_HOST
                    elif family != LEFT_OVER:
                        host = _find_host(block, stamp_end + 1, host_end, counts.hosts, hosts_known)
                        if host == hosts_known and host < MOST_HOSTS:
                            counts.hosts[host, 0], counts.hosts[host, 1] = stamp_end + 1, host_end
                            hosts_known += 1
        lines_before += 1
        row = rows.used[family]
        rows.line_number[family, row] = lines_before
        if family == LEFT_OVER:
            _set_span(rows.spans[LEFT_OVER, row], 0, start, end)
            rows.logged_at[LEFT_OVER, row] = last_stamp
            rows.is_dated[LEFT_OVER, row] = is_last_dated
            rows.integers[LEFT_OVER, row, STAMP_AFTER] = NO_TIME
            rows.used[LEFT_OVER] = row + 1
            last_stamp = NO_TIME
        else:
            if last_stamp == NO_TIME and rows.used[LEFT_OVER] > 0:
                before = rows.used[LEFT_OVER] - 1
                rows.integers[LEFT_OVER, before, STAMP_AFTER] = stamp
                rows.integers[LEFT_OVER, before, IS_DATED_AFTER] = is_dated
            last_stamp, is_last_dated = stamp, is_dated
            _count(counts, family, host, stamp)
            if family != NOISE:
                rows.logged_at[family, row] = stamp
                rows.is_dated[family, row] = is_dated
                rows.tag[family, row] = tag
                rows.pid[family, row] = pid
                rows.used[family] = row + 1
        start = end + 1
        if row == room or counts.used[0] == counts.family.size:
            why = FULL
            break
    state[POSITION], state[LINES_BEFORE] = start, lines_before
    state[LAST_STAMP], state[IS_LAST_DATED] = last_stamp, is_last_dated
    state[HOSTS_KNOWN] = hosts_known
    return why


@compiled
def has_stamp(block: Bytes, size: int, midnights: Int64s) -> bool:
    """Tell whether any line begins with a stamp that scan() can read."""
    start = 0
    while start < size:
        if block[start] <= NINE:
            stamp, _ = read_long_stamp(block, start)
        else:
            stamp, _ = read_short_stamp(block, start, midnights)
        if stamp != NO_TIME:
            return True
        start = find(block, start, size, NEWLINE) + 1
    return False
