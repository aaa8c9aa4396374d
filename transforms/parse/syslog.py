"""Lines of syslog daemons to notices of lost or repeated lines; a maillog's other lines are noise.

The texts are those of rsyslog, the systemd journal, the BSD syslogd and syslog-ng. In a system log
(/var/log/messages), a notice counts only if it may concern the mail system: if it names a process or a unit
that does not belong to it, no line of a maillog is missing.
"""

from transforms.parse.patterns import Pattern
from transforms.parse.tables import NOISE

_LOST = {"event_kind": "lines_lost"}
_RSYSLOG = ("rsyslogd", "rsyslog", "imuxsock", "imjournal")
_JOURNAL = ("systemd-journald", "systemd-journal", "journal")
# syslog-ng, logwriter.c; 3.8 leaves the host out and writes the stamp `Dec 31 23:59:58`.
SUMMARY_OF_REPEATS = r"^Last message '.*' repeated [0-9]+ times, suppressed by syslog-ng on \S+$"
# Parts of the names of the mail system's processes and units: rsyslog 8 names the process that wrote too
# much (`imuxsock[pid: 57, name: /usr/bin/x]`), the journal its unit.
_OF_MAIL = r"(?i:postfix|sendmail|smtp|mail|imss|mta|syslog)"

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
        daemons=_JOURNAL,
        starts=("Suppressed ",),
        regex=r"^(?P<message>Suppressed (?P<lost_line_count>[0-9]+) messages from .*)$",
        samples=("Suppressed 1138 messages from postfix.service",),
        constants=_LOST,
    ),
    Pattern(
        name="journal could not forward lines",  # journald-syslog.c
        table="service_events",
        daemons=_JOURNAL,
        starts=("Forwarding to syslog missed ",),
        regex=r"^(?P<message>Forwarding to syslog missed (?P<lost_line_count>[0-9]+) messages\.?)$",
        samples=("Forwarding to syslog missed 12 messages.",),
        constants=_LOST,
    ),
    Pattern(
        # omfile.c: the disk is full, or the log cannot be opened. (`action suspended` names no file.)
        name="rsyslog cannot write",
        table="service_events",
        daemons=_RSYSLOG,
        starts=("file '",),
        regex=r"^(?P<message>file '[^']*(?:mail|postfix)[^']*'(?:\[[0-9]+\])?:? (?:open|write) error.*)$",
        samples=("file '/var/log/maillog'[7] write error - see https://www.rsyslog.com/ : No space left",),
        constants=_LOST,
    ),
    Pattern(
        # syslogd writes this in place of the lines: they are known, but not shown.
        name="last message repeated",
        table="service_events",
        starts=("last message repeated ",),
        regex=r"^(?P<message>last message repeated (?P<lost_line_count>[0-9]+) times)$",
        samples=("last message repeated 2 times",),
        constants={"event_kind": "lines_repeated"},
    ),
    Pattern(
        name="repeats suppressed by syslog-ng",
        table="service_events",
        starts=("Last message '",),
        regex=(
            r"^(?P<message>Last message '.*' repeated (?P<lost_line_count>[0-9]+) times, "
            r"suppressed by syslog-ng on \S+)$"
        ),
        samples=("Last message 'connect to localhost[' repeated 2 times, suppressed by syslog-ng on gw",),
        constants={"event_kind": "lines_repeated"},
    ),
    Pattern(
        name="another program",
        table=NOISE,
        regex=r"^.*$",
        samples=("(root) CMD (/usr/local/bin/backup)",),
    ),
)
# For a system log such as /var/log/messages: its other lines are no evidence of mail.
SYSTEM_LOG_PATTERNS = (
    Pattern(
        name="rsyslog lost lines of a mail program",
        table="service_events",
        daemons=_RSYSLOG,
        starts=("imuxsock[pid: ",),
        regex=(
            rf"^(?P<message>imuxsock\[pid: [0-9]+, name: [^\]]*{_OF_MAIL}[^\]]*\].*: "
            r"(?:begin to drop messages|(?P<lost_line_count>[0-9]+) messages lost) due to rate-limiting.*)$"
        ),
        samples=(
            "imuxsock[pid: 57, name: /usr/libexec/postfix/smtp] from <gw:postfix/smtp>: begin to drop "
            "messages due to rate-limiting",
        ),
        constants=_LOST,
    ),
    Pattern(
        name="journal suppressed lines of a mail program",
        table="service_events",
        daemons=_JOURNAL,
        starts=("Suppressed ",),
        regex=rf"^(?P<message>Suppressed (?P<lost_line_count>[0-9]+) messages from \S*{_OF_MAIL}\S*)$",
        samples=("Suppressed 1138 messages from postfix.service",),
        constants=_LOST,
    ),
    Pattern(
        name="loss of another program",
        table=NOISE,
        daemons=(*_RSYSLOG, *_JOURNAL),
        regex=r"^(?:imuxsock\[pid: [0-9]+, name: [^\]]+\].*|Suppressed [0-9]+ messages from \S*\.service)$",
        samples=(
            "imuxsock[pid: 57, name: /usr/bin/orchagent]: begin to drop messages due to rate-limiting",
            "Suppressed 1138 messages from nginx.service",
        ),
    ),
    *(pattern for pattern in SYSLOG_PATTERNS if pattern.constants == _LOST),
    SYSLOG_PATTERNS[-1],
)
