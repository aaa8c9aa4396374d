"""The bytes of a maillog to rows of events and the lines left over: loops compiled by numba.

A line is read here only if it belongs to one of the families that make up nearly all of a maillog, in the
plainest spelling: printable ASCII, an RFC 3164 or RFC 3339 stamp, a known tag. All other lines are left over
for the general lane. Its patterns define what a line means: the scanner must not take a line that they read
differently.
"""

from transforms.bounds import CUT_TEXT_BYTES
from transforms.fast_lane.arrays import (
    ACTIVATION,
    CLEANUP,
    CLIENT,
    DELIVERY,
    DONE,
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
    OTHER,
    POSITION,
    POSTFIX_TAG,
    QMGR,
    QUEUE_ID,
    REMOVAL,
    SECOND,
    SMTPD,
    STAMP_AFTER,
    TAG_END,
    TAG_START,
    WORD_BYTES,
    Bytes,
    Counts,
    Int32s,
    Int64s,
    Prefixes,
    Rows,
    Tags,
)
from transforms.fast_lane.fields import (
    CLOSING_BRACKET,
    COLON,
    OPENING_BRACKET,
    SPACE,
    TAG_CHAR,
    queue_id_end,
    read_activation,
    read_client,
    read_delivery,
    run_end,
    set_span,
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
    read_integer,
    text_end,
    word_at,
)

# Lines are counted by spans of this length (line_counts.COUNT_SPAN).
COUNT_SPAN = 900 * SECOND
# A stamp, a space, a host, a tag and a text take at least this much.
SHORTEST_LINE = 24
HASH, BACKSLASH, CARET, LESS = (ord(c) for c in "#\\^<")
TO, FROM, REMOVED, CLIENT_IS = literal("to=<"), literal("from=<"), literal("removed"), literal("client=")
MESSAGE_ID_IS, NOQUEUE = literal("message-id="), literal("NOQUEUE: ")
REPEATED, LAST_REPEATED = literal("message repeated "), literal("last message repeated ")
SUMMARY, RESENT_ID_IS = literal("Last message '"), literal("resent-message-id=")
SENDER_IS, RECIPIENT_IS = literal("from="), literal("to=")


@compiled
def _sender(block: Bytes, at: int, end: int) -> tuple[int, int, int, int, int]:
    """Read ` host tag[pid]: `; return the host's end, the tag's start and end, the pid, and the text's start.

    Without a host (a word that ends with a colon is a tag), the host's end is its start. Without a pid, it is
    -1. The text's start is 0 if there is no text, or if something stands before it.
    """
    has_space, host_start = block[at] == SPACE, at + 1
    host_end = find(block, host_start, end, SPACE)
    tag_start = host_end + 1
    if block[host_end - 1] == COLON:
        host_end = tag_start = host_start
    tag_end = run_end(block, tag_start, TAG_CHAR)
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
    """Return the tag's number; -1 if it is not known."""
    for tag in range(count):
        if sizes[tag] == end - start and is_equal(block, start, names[tag], 0, end - start):
            return tag
    return -1


@compiled
def _text_end(block: Bytes, start: int, end: int) -> int:
    """Return where a line ends without trailing blanks; `start` if the general lane has to find its end.

    That is so if the line may end with what syslog daemons write for control characters (headers.TRAILING).
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
    """Tell whether a mail program may have written a text, whatever the tag says (routing.MAIL_TEXT)."""
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
    """Return the number of the prefix that the text has; -1 if it has none of the candidates."""
    for prefix in candidates:
        if prefix < 0:
            break
        if at + sizes[prefix] <= end and is_equal(block, at, texts[prefix], 0, sizes[prefix]):
            return prefix
    return -1


@compiled
def _read_text(block: Bytes, at: int, end: int, tag: int, tags: Tags, prefixes: Prefixes, rows: Rows) -> int:
    """Read the text of a line into the next row of its family, and return the family."""
    used, spans, integers, decimals = rows.used, rows.spans, rows.integers, rows.decimals
    if tags.meaning[tag] != POSTFIX_TAG:
        is_foreign = tags.meaning[tag] == FOREIGN_TAG
        is_repeated = (
            is_at(block, at, REPEATED) or is_at(block, at, LAST_REPEATED) or is_at(block, at, SUMMARY)
        )
        return NOISE if is_foreign and not is_repeated and not _is_mail(block, at, end) else LEFT_OVER
    writes = tags.writes[tag]
    id_start, id_end = at, queue_id_end(block, at)
    if id_end > at:
        at = id_end + 2
        family = LEFT_OVER
        first = block[at]
        if first == ord("t") and is_at(block, at, TO):
            family = (
                DELIVERY
                if read_delivery(
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
                if read_activation(
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
            set_span(spans[MESSAGE_ID, used[MESSAGE_ID]], MESSAGE, at + MESSAGE_ID_IS.size, end)
        elif first == ord("c") and writes & SMTPD and is_at(block, at, CLIENT_IS):
            family = (
                CLIENT
                if read_client(block, at + CLIENT_IS.size, end, spans[CLIENT, used[CLIENT]])
                else LEFT_OVER
            )
        if family != LEFT_OVER:
            set_span(spans[family, used[family]], QUEUE_ID, id_start, id_end)
            return family
    else:
        id_start = id_end = -1
        if is_at(block, at, NOQUEUE):
            at += NOQUEUE.size
    prefix = _find_prefix(block, at, end, tags.prefixes[tag], prefixes.text, prefixes.size)
    if prefix < 0:
        return LEFT_OVER
    if prefixes.family[prefix] == OTHER:
        set_span(spans[OTHER, used[OTHER]], QUEUE_ID, id_start, id_end)
        set_span(spans[OTHER, used[OTHER]], MESSAGE, at, end)
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
    """Scan the block from state[POSITION] on; return why the scan stopped: DONE, NEW_TAG or FULL.

    `midnights[month * 32 + day]` is the midnight of a stamp without a year, in UTC microseconds, or NO_TIME
    if the general lane has to find it.
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
            # Lines of one second have the same stamp: 15 of the 16 bytes in two words.
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
            set_span(rows.spans[LEFT_OVER, row], 0, start, end)
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
