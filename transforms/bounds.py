"""The bounds of all numbers in log lines, of the length of lines, and of the unpacked size of files.

Clients can write text into a line, so a number may be anything. In both lanes, a line with a number beyond
these bounds is unparsed (`out_of_range`), whatever else it says.
"""

from dataclasses import dataclass

# Only a wrong date that is corrected after a start makes longer delays; no queue keeps mail that long.
MOST_DELAY_SECONDS = 366 * 86_400
# Postfix and sendmail hold sizes in 64 bits; no queue has room for a message of more than a terabyte.
MOST_SIZE_BYTES = 2**40
MOST_RECIPIENTS = 10_000_000
MOST_CONNECTION_USES = 1_000_000
# A port has 16 bits; nobody listens on port 0.
LAST_PORT = 65_535
# Linux counts to 2^22, AIX and Solaris further, but none beyond nine digits.
MOST_PID = 999_999_999
# A thread id is an address in memory.
MOST_THREAD_ID = 2**63 - 1
MOST_LOST_LINES = 10**12
# In the summary of `postsuper -r ALL`.
MOST_MESSAGES = 10**9
# sendmail adds the size, and a step for each recipient and each try (queue.c).
MOST_PRIORITY = 10**15

# Minimum and maximum of each column of events, and of each group of a pattern that is not a column.
BOUNDS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(
        (
            "delay_seconds",
            "before_qmgr_seconds",
            "in_qmgr_seconds",
            "connection_setup_seconds",
            "transmission_seconds",
        ),
        (0, MOST_DELAY_SECONDS),
    ),
    "size_bytes": (0, MOST_SIZE_BYTES),
    "recipient_count": (0, MOST_RECIPIENTS),
    "connection_use_count": (1, MOST_CONNECTION_USES),
    "relay_port": (1, LAST_PORT),
    "pid": (0, MOST_PID),
    "thread_id": (0, MOST_THREAD_ID),
    "lost_line_count": (0, MOST_LOST_LINES),
    "message_count": (0, MOST_MESSAGES),
    "priority": (-MOST_PRIORITY, MOST_PRIORITY),
}
# No log is older than UNIX, and datetime arithmetic around these years cannot overflow.
FIRST_YEAR, LAST_YEAR = 1970, 2199
YEARS = range(FIRST_YEAR, LAST_YEAR + 1)
# Stands for a number in a header that no column can hold: below all bounds.
BEYOND = -1

# Postfix cuts its lines at 2000 bytes (util/msg_syslog.c), so such a line may end in anything.
CUT_TEXT_BYTES = 2000
# syslogd cuts a record at 1024 bytes, priority and header included.
CUT_LINE_BYTES = 1000
# No daemon writes longer lines (rsyslog cuts at 8 KiB), nor is a message of `postqueue -j` with a thousand
# recipients longer. A longer one, such as the NULs that a crash leaves, is unparsed (`too_long`), and its
# first CUT_TEXT_BYTES are kept.
LINE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How much a compressed, tar or zip file may hold: more is an attack or a mistake."""

    unpacked_ratio: int = 500
    """A compressed file or a member of a bundle may unpack to this many times its size plus a MiB."""
    unpacked_bytes: int = 64 * 1024**3
    """A compressed file, a member, and a whole tar file may each unpack to this many bytes."""
    member_count: int = 200_000
    """A tar or zip file may hold this many files."""


DEFAULT_LIMITS = Limits()
