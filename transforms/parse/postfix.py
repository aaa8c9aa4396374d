"""Lines of Postfix, and of Trend Micro's additions to it, to events: one pattern for each kind of line.

Here are the patterns of lines that a verdict may rest on; the other modules have those of lines that are kept
to be read, or only counted. Format strings are those of Postfix (src/ of its repository, tags v1.1 to v3.x);
the flush marker is that of Trend Micro KA-0010256.
"""

from transforms.parse.patterns import ADDRESS, SECONDS, Pattern
from transforms.parse.postfix_noise import NOISE_PATTERNS
from transforms.parse.postfix_other_lines import OTHER_LINES_PATTERNS
from transforms.parse.postfix_verbose import VERBOSE_PATTERNS
from transforms.parse.programs import QUEUE_MANAGERS

# Where the addresses of a delivery attempt may end. A second such place can be in an address that Postfix
# before 3.5 logs without quotes, or in a server's reply: nothing shows which of the two Postfix wrote.
_RELAYED = r">, (?:orig_to=[^<,]*, )?relay=[^,]*, (?:conn_use|delay)="
_ALIASED = r">, orig_to="


POSTFIX_PATTERNS = (
    Pattern(
        # global/log_adhoc.c. Strangers can choose the addresses and the relay's reply, and nothing else. A
        # line that syslog cut within the reply lacks the closing parenthesis.
        name="delivery attempt",
        table="delivery_attempts",
        is_queued=True,
        starts=("to=",),
        regex=(
            rf"^to=(?:<(?P<recipient>{ADDRESS})>|(?P<recipient_bare>[^<,]+))?, "
            rf"(?:orig_to=(?:<(?P<original_recipient>{ADDRESS})>|(?P<original_recipient_bare>[^<,]+))?, )?"
            r"relay=(?P<relay_host>[^\s,<>\[\]]+)?(?:\[(?P<relay_address>[^<>\[\]]*)\])?"
            r"(?::(?P<relay_port>[0-9]+))?, "
            r"(?:conn_use=(?P<connection_use_count>[0-9]+), )?"
            rf"delay=(?P<delay_seconds>{SECONDS}), "
            rf"(?:delays=(?P<before_qmgr_seconds>{SECONDS})/(?P<in_qmgr_seconds>{SECONDS})/"
            rf"(?P<connection_setup_seconds>{SECONDS})/(?P<transmission_seconds>{SECONDS}), )?"
            r"(?:tls=(?P<tls>[^, ]*), )?"
            r"(?:dsn=(?P<dsn>[0-9]+\.[0-9]+\.[0-9]+), )?"
            r"status=(?P<status>[A-Za-z-]+) \((?:(?P<reason>.*)\)|(?P<reason_bare>.*))$"
        ),
        ambiguous=rf"{_RELAYED}.*{_RELAYED}|{_ALIASED}.*{_ALIASED}",
        is_closed=True,
        text_by_program={
            "error": r", status=[a-z]+ \(delivery temporarily suspended: ",
            "local": r", relay=local, ",
            "virtual": r", relay=virtual, ",
            "smtp": r", relay=[^, ]+\[|, status=[a-z]+ \((?:connect to |Host or domain name not found)",
        },
        fast_lane="fields",
        samples=(
            "to=<b@example.com>, relay=127.0.0.1[127.0.0.1]:10025, delay=0.05, delays=0.01/0/0/0.04, "
            "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 892A0205B6)",
            "to=, relay=localhost[127.0.0.1]:10025, delay=0.03, delays=0.01/0/0.02/0, dsn=4.4.2, "
            "status=deferred (lost connection with localhost[127.0.0.1] while receiving the initial "
            "server greeting)",
            "to=<b@example.com>, orig_to=<a@example.com>, relay=mx.example.com[192.0.2.9]:25, conn_use=2, "
            "delay=3.6, delays=0.08/0.02/0.85/2.65, tls=dane, dsn=2.1.5, status=sent (250 2.0.0 Ok: queued)",
        ),
    ),
    Pattern(
        name="queue activation",  # global/opened.c
        table="queue_activations",
        daemons=QUEUE_MANAGERS,
        is_queued=True,
        starts=("from=",),
        regex=(
            r"^from=(?:<(?P<sender>.*)>|(?P<sender_bare>[^<>,]+))?, size=(?P<size_bytes>[0-9]+), "
            r"nrcpt=(?P<recipient_count>[0-9]+) \(queue active\)$"
        ),
        fast_lane="fields",
        samples=(
            "from=<sender@example.com>, size=11679, nrcpt=1 (queue active)",
            "from=sender@example.com, size=11679, nrcpt=1 (queue active)",
        ),
    ),
    Pattern(
        name="message id",  # cleanup/cleanup_message.c
        table="message_ids",
        daemons=("cleanup",),
        is_queued=True,
        starts=("message-id=", "resent-message-id="),
        regex=r"^(?:resent-)?message-id=(?P<message_id>.*)$",
        fast_lane="fields",
        samples=("message-id=<452e.0003.0000@example.com>",),
    ),
    Pattern(
        # smtpd/smtpd.c, qmqpd/qmqpd.c. A login name and the values of XFORWARD may hold commas. A content
        # filter passes on a queue id by XFORWARD and does not log in: after a login name, `orig_queue_id=` is
        # a part of that name.
        name="client",
        table="clients",
        daemons=("smtpd", "qmqpd"),
        is_queued=None,
        starts=("client=",),
        regex=(
            r"^client=(?P<client_host>[^\[,]+)\[(?P<client_address>[^\]]+)\](?::[0-9]+)?"
            r"(?:, sasl_method=[^,]*)?(?:, sasl_username=(?P<sasl_username>.*?))?"
            r"(?:, sasl_sender=.*?)?(?:, orig_queue_id=(?P<original_queue_id>[^,]*))?"
            r"(?:, orig_client=.*)?$"
        ),
        ambiguous=(
            r"^client=[^\[,]+\[[^\]]+\](?::[0-9]+)?(?:, sasl_method=[^,]*)?, sasl_(?:username|sender)=.*"
            r", orig_queue_id="
        ),
        fast_lane="fields",
        samples=("client=mail.example.com[192.0.2.7]",),
    ),
    Pattern(
        name="local submission",  # pickup/pickup.c
        table="clients",
        daemons=("pickup",),
        is_queued=True,
        starts=("uid=",),
        # A requeued message (postsuper -r) comes in again under another id.
        regex=(
            r"^uid=[0-9]+ from=(?:<(?P<sender>.*)>|(?P<sender_bare>[^<> ]+))?"
            r"(?: orig_id=(?P<original_queue_id>[0-9A-Za-z]+))?$"
        ),
        samples=("uid=0 from=<root>", "uid=0 from=root"),
        requeued="original_queue_id",
    ),
    Pattern(
        # qmgr/qmgr_active.c; cleanup_api.c for mail that cleanup drops before it becomes active.
        name="removed",
        table="queue_removals",
        daemons=(*QUEUE_MANAGERS, "cleanup"),
        is_queued=True,
        starts=("removed",),
        regex=r"^removed(?: \((?:canceled|discarded)\))?$",
        fast_lane="fields",
        samples=("removed",),
        constants={"removal_kind": "removed"},
    ),
    Pattern(
        name="expired",  # qmgr/qmgr_active.c
        table="queue_removals",
        daemons=QUEUE_MANAGERS,
        is_queued=True,
        starts=("from=",),
        regex=(
            r"^from=(?:<(?P<sender>.*)>|(?P<sender_bare>[^<>,]+))?, "
            r"status=(?:force-)?expired, returned to sender$"
        ),
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
            "expired": "force_expired",
        }.items()
    ),
    *(
        Pattern(
            # postsuper/postsuper.c: the summary that `postsuper -r ALL`, -d, -h, -H and -e log.
            name=f"postsuper total {text}",
            table="service_events",
            daemons=("postsuper",),
            is_queued=False,
            starts=(f"{text}: ",),
            regex=rf"^(?P<message>{text}: (?P<message_count>[0-9]+) messages?)$",
            samples=(f"{text}: 115 messages",),
            constants={"event_kind": event_kind},
        )
        for text, event_kind in {
            "Requeued": "requeued",
            "Deleted": "deleted",
            "Placed on hold": "held",
            "Released from hold": "released",
            "Force-expired": "force_expired",
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
            "aborting": "stop",
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
        regex=r"^(?P<message>table .* has changed (?:-- restarting|- finishing in the background))$",
        samples=("table hash:/etc/postfix/transport(0,lock|fold_fix) has changed -- restarting",),
        constants={"event_kind": "table_changed"},
    ),
    *OTHER_LINES_PATTERNS,
    *NOISE_PATTERNS,
    *VERBOSE_PATTERNS,
)
