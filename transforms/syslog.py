"""What syslog daemons say of themselves: lines that they lost or left out; all else in a maillog is noise.

The texts are those of rsyslog, the systemd journal and the BSD syslogd.
"""

from transforms.patterns import Pattern
from transforms.tables import NOISE

_LOST = {"event_kind": "lines_lost"}
_RSYSLOG = ("rsyslogd", "rsyslog", "imuxsock", "imjournal")

SYSLOG_PATTERNS = (
    Pattern(
        name="rsyslog lost lines",
        table="service_events",
        daemons=_RSYSLOG,
        regex=(
            r"^(?P<message>.*\blost (?P<lost_line_count>[0-9]+) messages .*due to rate-limiting.*"
            r"|.*\b(?P<lost_line_count_bare>[0-9]+) messages lost due to rate-limiting.*)$"
        ),
        samples=(
            "imuxsock lost 123 messages from pid 1234 due to rate-limiting",
            "imjournal: 2560 messages lost due to rate-limiting (20000 allowed within 600 seconds)",
        ),
        constants=_LOST,
    ),
    Pattern(
        name="rsyslog drops lines",
        table="service_events",
        daemons=_RSYSLOG,
        regex=r"^(?P<message>.*\bbegins? to drop messages .*due to rate-limiting.*)$",
        samples=("imuxsock begins to drop messages from pid 1234 due to rate-limiting",),
        constants=_LOST,
    ),
    Pattern(
        name="journal suppressed lines",
        table="service_events",
        daemons=("systemd-journald", "systemd-journal", "journal"),
        starts=("Suppressed ",),
        regex=r"^(?P<message>Suppressed (?P<lost_line_count>[0-9]+) messages from .*)$",
        samples=("Suppressed 1138 messages from postfix.service",),
        constants=_LOST,
    ),
    Pattern(
        # syslogd writes it instead of the lines, so that they are known but not to be seen.
        name="last message repeated",
        table="service_events",
        starts=("last message repeated ",),
        regex=r"^(?P<message>last message repeated (?P<lost_line_count>[0-9]+) times)$",
        samples=("last message repeated 2 times",),
        constants={"event_kind": "lines_repeated"},
    ),
    Pattern(
        name="another program",
        table=NOISE,
        regex=r"^.*$",
        samples=("(root) CMD (/usr/local/bin/backup)",),
    ),
)
