"""The line families that maillag knows, as data: one pattern each, with the table it fills.

A pattern applies to the text after the syslog header and the queue id. Its named groups are the table's
columns; NAME_bare is a second spelling of NAME. Format strings are those of Postfix (src/ of its repository,
tags v1.1 to v3.x); the FLUSH marker and the manager's line are those of Trend Micro KA-0010256.
"""

from dataclasses import dataclass, field

import polars as pl

NOISE = "noise"

# An address in external form: a quoted local part may hold anything, `>` and `, ` included.
ADDRESS = r'(?:"(?:[^"\\]|\\.)*"|[^">])*'
SHORT_QUEUE_ID = r"[0-9A-F]{6,}"
# Base 52 without vowels: seconds (6+), microseconds (4), `z`, inode. mail_queue.h
LONG_QUEUE_ID = r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]+"
QUEUE_ID = rf"(?:{SHORT_QUEUE_ID}|{LONG_QUEUE_ID})"
SECONDS = r"[0-9]+(?:\.[0-9]+)?"

# RFC 3164 as syslogd, rsyslog and postlogd write it; the day is padded with a space, a zero or nothing.
MAILLOG_HEADER = (
    r"^(?:<[0-9]{1,3}>)?"
    r"(?P<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}(?P<day>[0-9]{1,2}) "
    r"(?P<time>[0-2][0-9]:[0-5][0-9]:[0-6][0-9])(?:\.[0-9]+)? "
    r"(?P<logging_host>\S+) (?P<tag>[^\s\[\]:]+)(?:\[(?P<pid>[0-9]{1,9})\])?: ?(?P<text>.*)$"
)
# Trend Micro KA-0010256 (blank) and KA-0004232 (TAB) differ in the separator.
MANAGER_HEADER = (
    r"^(?P<date>[0-9]{4}/[0-9]{2}/[0-9]{2}) (?P<time>[0-2][0-9]:[0-5][0-9]:[0-6][0-9])\s+"
    r"(?P<zone>GMT[+-][0-9]{2}:[0-9]{2})\s+"
    r"\[(?P<pid>[0-9]{1,9}):(?P<thread_id>[0-9]+)\]\s+\[(?P<level>\w+)\]\s*"
    r"(?:(?P<component>\w+):\s)?(?P<text>.*)$"
)

Columns = dict[str, pl.DataType]

String, Int32, Int64, Float64 = pl.String(), pl.Int32(), pl.Int64(), pl.Float64()
LOGGED_AT: Columns = {"logged_at": pl.Datetime("us", "UTC")}
# Where an event comes from. `year_source` and `zone_source` say how the stamp was completed.
PROVENANCE: Columns = {
    "year_source": String,
    "zone_source": String,
    "source_id": String,
    "line_number": Int64,
}
POSTFIX: Columns = {"host": String, "instance": String, "program": String, "pid": Int32}
QUEUED: Columns = POSTFIX | {"queue_id": String}

_OWN_COLUMNS: dict[str, Columns] = {
    "delivery_attempts": QUEUED
    | {
        "recipient": String,
        "original_recipient": String,
        "relay_host": String,
        "relay_address": String,
        "relay_port": Int32,
        "connection_use_count": Int32,
        "delay_seconds": Float64,
        "before_qmgr_seconds": Float64,
        "in_qmgr_seconds": Float64,
        "connection_setup_seconds": Float64,
        "transmission_seconds": Float64,
        "dsn": String,
        "status": String,
        "reason": String,
    },
    "queue_activations": QUEUED | {"sender": String, "size_bytes": Int64, "recipient_count": Int64},
    "queue_removals": QUEUED | {"removal_kind": String, "sender": String},
    "clients": QUEUED
    | {
        "client_host": String,
        "client_address": String,
        "sasl_username": String,
        "original_queue_id": String,
        "sender": String,
    },
    "message_ids": QUEUED | {"message_id": String},
    "service_events": POSTFIX | {"event_kind": String, "message": String},
    "manager_log": {
        "host": String,
        "pid": Int32,
        "thread_id": Int64,
        "level": String,
        "component": String,
        "event_kind": String,
        "message": String,
    },
    "other_lines": QUEUED | {"line_kind": String, "message": String},
    "unparsed_lines": {"host": String, "reason": String, "line": String},
}
EVENT_TABLES: dict[str, pl.Schema] = {
    name: pl.Schema(columns | LOGGED_AT | PROVENANCE) for name, columns in _OWN_COLUMNS.items()
}


@dataclass(frozen=True)
class Pattern:
    """One line family. It fills `table` with its named groups and its constants.

    `daemons`: last parts of the tag that write it (empty: any). `starts`: literal beginnings that make
    the regex worth trying (empty: any). `is_queued`: whether a queue id must, may (None) or must not
    stand before the text.
    """

    name: str
    table: str
    regex: str
    samples: tuple[str, ...]
    daemons: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    is_queued: bool | None = None
    constants: dict[str, str] = field(default_factory=dict)


POSTFIX_PATTERNS = (
    Pattern(
        name="delivery attempt",  # global/log_adhoc.c
        table="delivery_attempts",
        is_queued=True,
        starts=("to=",),
        regex=(
            rf"^to=(?:<(?P<recipient>{ADDRESS})>|(?P<recipient_bare>[^<,]+))?, "
            rf"(?:orig_to=(?:<(?P<original_recipient>{ADDRESS})>|(?P<original_recipient_bare>[^<,]+)), )?"
            r"relay=(?P<relay_host>[^,\[]+)(?:\[(?P<relay_address>[^\]]*)\])?(?::(?P<relay_port>[0-9]+))?, "
            r"(?:conn_use=(?P<connection_use_count>[0-9]+), )?"
            rf"delay=(?P<delay_seconds>{SECONDS}), "
            rf"(?:delays=(?P<before_qmgr_seconds>{SECONDS})/(?P<in_qmgr_seconds>{SECONDS})/"
            rf"(?P<connection_setup_seconds>{SECONDS})/(?P<transmission_seconds>{SECONDS}), )?"
            r"(?:tls=[^,]*, )?"
            r"(?:dsn=(?P<dsn>[0-9]+\.[0-9]+\.[0-9]+), )?"
            r"status=(?P<status>[A-Za-z-]+) \((?P<reason>.*)\)$"
        ),
        samples=(
            "to=, relay=localhost[127.0.0.1]:10025, delay=0.03, delays=0.01/0/0.02/0, dsn=4.4.2, "
            "status=deferred (lost connection with localhost[127.0.0.1] while receiving the initial "
            "server greeting)",
        ),
    ),
    Pattern(
        name="queue activation",  # global/opened.c
        table="queue_activations",
        daemons=("qmgr",),
        is_queued=True,
        starts=("from=",),
        regex=(
            rf"^from=<(?P<sender>{ADDRESS})>, size=(?P<size_bytes>[0-9]+), "
            r"nrcpt=(?P<recipient_count>[0-9]+) \(queue active\)$"
        ),
        samples=("from=<sender@example.com>, size=11679, nrcpt=1 (queue active)",),
    ),
    Pattern(
        name="message id",  # cleanup/cleanup_message.c
        table="message_ids",
        daemons=("cleanup",),
        is_queued=True,
        starts=("message-id=", "resent-message-id="),
        regex=r"^(?:resent-)?message-id=(?P<message_id>.*)$",
        samples=("message-id=<452e.0003.0000@example.com>",),
    ),
    Pattern(
        name="client",  # smtpd/smtpd.c
        table="clients",
        daemons=("smtpd",),
        is_queued=None,
        starts=("client=",),
        regex=(
            r"^client=(?P<client_host>[^\[,]+)\[(?P<client_address>[^\]]+)\](?::[0-9]+)?"
            r"(?:, sasl_method=[^,]*)?(?:, sasl_username=(?P<sasl_username>[^,]*))?"
            r"(?:, sasl_sender=[^,]*)?(?:, orig_queue_id=(?P<original_queue_id>[0-9A-Za-z]*))?"
            r"(?:, orig_client=.*)?$"
        ),
        samples=("client=mail.example.com[192.0.2.7]",),
    ),
    Pattern(
        name="local submission",  # pickup/pickup.c
        table="clients",
        daemons=("pickup",),
        is_queued=True,
        starts=("uid=",),
        regex=(
            rf"^uid=[0-9]+ from=<(?P<sender>{ADDRESS})>"
            r"(?: orig_id=(?P<original_queue_id>[0-9A-Za-z]+))?$"
        ),
        samples=("uid=0 from=<root>",),
    ),
    Pattern(
        name="removed",  # qmgr/qmgr_active.c
        table="queue_removals",
        daemons=("qmgr",),
        is_queued=True,
        starts=("removed",),
        regex=r"^removed$",
        samples=("removed",),
        constants={"removal_kind": "removed"},
    ),
    Pattern(
        name="expired",  # qmgr/qmgr_active.c
        table="queue_removals",
        daemons=("qmgr",),
        is_queued=True,
        starts=("from=",),
        regex=rf"^from=<(?P<sender>{ADDRESS})>, status=(?:force-)?expired, returned to sender$",
        samples=("from=<sender@example.com>, status=expired, returned to sender",),
        constants={"removal_kind": "expired"},
    ),
    *(
        Pattern(
            name=f"postsuper {text}",  # postsuper/postsuper.c
            table="queue_removals",
            daemons=("postsuper",),
            is_queued=True,
            starts=(text,),
            regex=rf"^{text}$",
            samples=(text,),
            constants={"removal_kind": removal_kind},
        )
        for text, removal_kind in {
            "removed": "deleted",
            "requeued": "requeued",
            "placed on hold": "held",
            "released from hold": "released",
        }.items()
    ),
    Pattern(
        name="flush marker",  # Trend Micro KA-0010256
        table="service_events",
        daemons=("postlog",),
        is_queued=False,
        starts=("FLUSH:",),
        regex=r"^(?P<message>FLUSH: .*)$",
        samples=("FLUSH: Checking if IMSS is running.",),
        constants={"event_kind": "flush_marker"},
    ),
    *(
        Pattern(
            name=f"postfix-script {text}",  # conf/postfix-script
            table="service_events",
            daemons=("postfix-script",),
            is_queued=False,
            starts=(text,),
            regex=rf"^(?P<message>{text}.*)$",
            samples=(f"{text} the Postfix mail system",),
            constants={"event_kind": event_kind},
        )
        for text, event_kind in {
            "starting": "start",
            "refreshing": "reload",
            "stopping": "stop",
            "waiting for": "stop",
        }.items()
    ),
    Pattern(
        name="master started",  # master/master.c
        table="service_events",
        daemons=("master",),
        is_queued=False,
        starts=("daemon started",),
        regex=r"^(?P<message>daemon started -- version .*)$",
        samples=("daemon started -- version 3.7.11, configuration /etc/postfix",),
        constants={"event_kind": "start"},
    ),
    Pattern(
        name="master reloaded",
        table="service_events",
        daemons=("master",),
        is_queued=False,
        starts=("reload",),
        regex=r"^(?P<message>reload (?:-- version|configuration) .*)$",
        samples=("reload -- version 3.7.11, configuration /etc/postfix",),
        constants={"event_kind": "reload"},
    ),
    Pattern(
        name="master terminated",
        table="service_events",
        daemons=("master",),
        is_queued=False,
        starts=("terminating on signal",),
        regex=r"^(?P<message>terminating on signal [0-9]+)$",
        samples=("terminating on signal 15",),
        constants={"event_kind": "stop"},
    ),
    Pattern(
        name="table changed",
        table="service_events",
        is_queued=False,
        starts=("table ",),
        regex=r"^(?P<message>table .* has changed -- restarting)$",
        samples=("table hash:/etc/postfix/transport(0,lock|fold_fix) has changed -- restarting",),
        constants={"event_kind": "table_changed"},
    ),
    Pattern(
        name="connection",  # smtpd/smtpd.c
        table=NOISE,
        daemons=("smtpd", "postscreen"),
        is_queued=None,
        starts=("connect from ", "disconnect from ", "lost connection after ", "timeout after "),
        regex=r"^(?:connect|disconnect|lost connection|timeout) (?:from|after) .*$",
        samples=("connect from localhost[127.0.0.1]",),
    ),
    Pattern(
        name="statistics",  # anvil/anvil.c, scache/scache.c
        table=NOISE,
        daemons=("anvil", "scache"),
        starts=("statistics: ",),
        regex=r"^statistics: .*$",
        samples=("statistics: max cache size 1 at Oct 26 18:13:50",),
    ),
    Pattern(
        name="proxied mail",  # smtpd/smtpd.c
        table=NOISE,
        daemons=("smtpd",),
        is_queued=False,
        starts=("proxy-",),
        regex=r"^proxy-[a-z]+: .*$",
        samples=(
            "proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as 7949396087; from=<a@example.com> "
            "to=<b@example.com> proto=ESMTP helo=<mx.example.com>",
        ),
    ),
    Pattern(
        name="encrypted session",  # tls/tls_client.c; "Used TLS for" is Trend Micro's
        table=NOISE,
        daemons=("smtp", "smtpd", "lmtp"),
        regex=(
            r"^(?:Used TLS for .*|(?:Anonymous|Untrusted|Trusted|Verified) TLS connection "
            r"(?:established|reused) (?:to|from) .*)$"
        ),
        samples=("Used TLS for mx.example.com[192.0.2.9]:587",),
    ),
    Pattern(
        name="deferred queue event",  # Trend Micro's qmgr; known from third-party parsers
        table=NOISE,
        daemons=("qmgr",),
        is_queued=False,
        starts=("Deferred Queue Event:",),
        regex=r"^Deferred Queue Event:Message=.*$",
        samples=("Deferred Queue Event:Message=892A0205B6,Action=in",),
    ),
    Pattern(
        name="postsuper totals",  # postsuper/postsuper.c
        table=NOISE,
        daemons=("postsuper",),
        is_queued=False,
        regex=(
            r"^(?:Requeued|Deleted|Expired|Placed on hold|Released from hold|Renamed to match inode "
            r"number): [0-9]+ messages?$"
        ),
        samples=("Deleted: 115 messages",),
    ),
    *(
        Pattern(
            name=line_kind,
            table="other_lines",
            daemons=daemons,
            starts=(start,),
            regex=rf"^(?P<message>{start}.*)$",
            samples=(sample,),
            constants={"line_kind": line_kind},
        )
        for line_kind, daemons, start, sample in (
            (
                "connect_failed",  # smtp/smtp_connect.c
                ("smtp", "lmtp"),
                "connect to ",
                "connect to localhost[127.0.0.1]:10025: Connection refused",
            ),
            (
                "host_said",  # smtp/smtp_trouble.c
                ("smtp", "lmtp"),
                "host ",
                "host mx.example.com[192.0.2.9] said: 451 4.3.0 Try again",
            ),
            (
                "connection_lost",
                ("smtp", "lmtp"),
                "lost connection with ",
                "lost connection with mx.example.com[192.0.2.9] while sending RCPT TO",
            ),
            (
                "conversation_timed_out",
                ("smtp", "lmtp"),
                "conversation with ",
                "conversation with mx.example.com[192.0.2.9] timed out while sending RCPT TO",
            ),
            (
                "reject",  # smtpd/smtpd_check.c
                ("smtpd", "cleanup", "postscreen"),
                "reject: ",
                "reject: RCPT from unknown[192.0.2.3]: 554 5.7.1 <a@example.com>: Relay access denied",
            ),
            (
                "notification",  # bounce/bounce_notify_service.c
                ("bounce",),
                "sender ",
                "sender non-delivery notification: ADD2F8052",
            ),
            (
                "still_being_delivered",  # qmgr/qmgr_active.c
                ("qmgr",),
                "skipped, still being delivered",
                "skipped, still being delivered",
            ),
            ("warning", (), "warning: ", "warning: hostname mail.example.com does not resolve"),
            ("error", (), "error: ", "error: unsupported dictionary type: mysql"),
            ("fatal", (), "fatal: ", "fatal: no SASL authentication mechanisms"),
            ("panic", (), "panic: ", "panic: myfree: corrupt or unallocated memory block"),
        )
    ),
)


def manager_patterns(flush_commanded: str) -> tuple[Pattern, ...]:
    """Return the patterns of the manager log. One line of it is public; the regex for it is a setting."""
    return (
        Pattern(
            name="flush commanded",
            table="manager_log",
            regex=rf"(?P<message>^.*{flush_commanded}.*$)",
            samples=(
                "Control postfix by cmd /opt/trend/imss/bin/close_handle_sh "
                '"/opt/trend/imss/script/postfix flush >/dev/null 2>&1"',
            ),
            constants={"event_kind": "flush_commanded"},
        ),
        Pattern(
            name="any manager line",
            table="manager_log",
            regex=r"^(?P<message>.*)$",
            samples=("anything that the manager writes",),
            constants={"event_kind": "other"},
        ),
    )
