"""The line families of Postfix, one pattern each, Trend Micro's additions included.

Format strings are those of Postfix (src/ of its repository, tags v1.1 to v3.x); the FLUSH marker is that of
Trend Micro KA-0010256.
"""

import re

from transforms.parse.patterns import ADDRESS, QUEUE_ID, SECONDS, Pattern
from transforms.parse.postfix_verbose import VERBOSE_PATTERNS
from transforms.parse.tables import NOISE

# The queue manager's name up to Postfix 2.4 may be that of either of the two that existed.
QUEUE_MANAGERS = ("qmgr", "nqmgr", "oqmgr")


# After which a client may be gone, smtpd/smtpd.c.
SMTP_COMMANDS = (
    *("CONNECT", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "END-OF-MESSAGE"),
    *("RSET", "NOOP", "QUIT", "VRFY", "ETRN", "XCLIENT", "XFORWARD", "UNKNOWN"),
)


# Where the addresses of a delivery attempt may end. A second such place is in an address that Postfix before
# 3.5 logs without quotes, or in a server's reply: nothing tells which of them is Postfix's own.
_RELAYED = r">, (?:orig_to=[^<,]*, )?relay=[^,]*, (?:conn_use|delay)="
_ALIASED = r">, orig_to="


def _begins(starts: tuple[str, ...], then: str) -> str:
    """Return the regex of a text with one of these beginnings."""
    return f"(?:{'|'.join(map(re.escape, starts))}){then}.*"


POSTFIX_PATTERNS = (
    Pattern(
        # global/log_adhoc.c. The addresses, the relay's reply and nothing else are other people's text. A
        # record that syslog cut within the reply lacks the bracket.
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
        told_by=(
            ("error", r", status=[a-z]+ \(delivery temporarily suspended: "),
            ("local", r", relay=local, "),
            ("virtual", r", relay=virtual, "),
            ("smtp", r", relay=[^, ]+\[|, status=[a-z]+ \((?:connect to |Host or domain name not found)"),
        ),
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
        # smtpd/smtpd.c, qmqpd/qmqpd.c. A login name and what XFORWARD tells may hold commas. Only a content
        # filter tells by XFORWARD which queue id it was given, and none logs in: behind a login name, it is
        # part of that.
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
        # A message that was requeued (postsuper -r) comes in again, under another id.
        regex=(
            r"^uid=[0-9]+ from=(?:<(?P<sender>.*)>|(?P<sender_bare>[^<> ]+))?"
            r"(?: orig_id=(?P<original_queue_id>[0-9A-Za-z]+))?$"
        ),
        samples=("uid=0 from=<root>", "uid=0 from=root"),
        requeued="original_queue_id",
    ),
    Pattern(
        # qmgr/qmgr_active.c; what cleanup drops while it comes in never becomes active, cleanup_api.c.
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
            # postsuper/postsuper.c: the first line for all messages of `postsuper -r ALL`, -d, -h, -H and -e.
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
    *(
        Pattern(
            name=line_kind,
            table="other_lines",
            daemons=daemons,
            starts=starts,
            regex=rf"^(?P<message>{_begins(starts, then)})$",
            samples=(sample,),
            constants={"line_kind": line_kind},
            fast_lane="start" if starts and not then else None,
        )
        for line_kind, daemons, starts, then, sample in (
            (
                "connect_failed",  # smtp/smtp_connect.c
                ("smtp", "lmtp"),
                ("connect to ",),
                "",
                "connect to localhost[127.0.0.1]:10025: Connection refused",
            ),
            (
                "host_said",  # smtp/smtp_trouble.c
                ("smtp", "lmtp"),
                ("host ",),
                "",
                "host mx.example.com[192.0.2.9] said: 451 4.3.0 Try again",
            ),
            (
                "connection_lost",
                ("smtp", "lmtp"),
                ("lost connection with ",),
                "",
                "lost connection with mx.example.com[192.0.2.9] while sending RCPT TO",
            ),
            (
                "conversation_timed_out",
                ("smtp", "lmtp"),
                ("conversation with ",),
                "",
                "conversation with mx.example.com[192.0.2.9] timed out while sending RCPT TO",
            ),
            (
                "tls_failed",  # tls/tls_client.c, smtp/smtp_proto.c
                ("smtp", "lmtp"),
                (
                    "SSL_connect error ",
                    "Cannot start TLS: ",
                    "TLS is required, but ",
                    "Server certificate not ",
                ),
                "",
                "SSL_connect error to mx.example.com[192.0.2.9]:25: lost connection",
            ),
            (
                "used_tls",  # Trend Micro's smtp
                ("smtp", "lmtp"),
                ("Used TLS for ",),
                "",
                "Used TLS for mx.example.com[192.0.2.9]:587",
            ),
            (
                "pix_workarounds",  # smtp/smtp_proto.c
                ("smtp", "lmtp"),
                ("enabling PIX ",),
                "",
                "enabling PIX workarounds: disable_esmtp delay_dotcrlf for mx.example.com[192.0.2.9]:25",
            ),
            (
                "sasl_failed",  # smtp/smtp_sasl_glue.c
                ("smtp", "lmtp"),
                ("SASL authentication failed", "SASL [CACHED] authentication failed"),
                "",
                "SASL authentication failed; server mx.example.com[192.0.2.9] said: 535 5.7.8 Error",
            ),
            (
                "warning",  # smtpd/smtpd_peer.c
                ("smtpd",),
                ("warning: hostname ",),
                "",
                "warning: hostname mx.example.com does not resolve to address 192.0.2.3: Name not known",
            ),
            (
                # What an access table or header_checks ordered: access(5), header_checks(5)
                "check_action",
                ("smtpd", "cleanup"),
                (
                    *("bcc: ", "delay: ", "discard: ", "filter: ", "hold: ", "info: ", "pass: ", "permit: "),
                    *("prepend: ", "redirect: ", "replace: ", "strip: ", "warn: "),
                    *("warning: header ", "warning: body ", "warning: content "),
                ),
                "",
                "prepend: header X-Spam: Yes from mx.example.com[192.0.2.7]; from=<>: X-Spam: Yes",
            ),
            (
                # What smtp_header_checks and the like ordered: smtp/smtp_proto.c, smtp_hbc_logger()
                "check_action",
                ("smtp", "lmtp"),
                tuple(
                    f"{action}: {part} "
                    for action in ("replace", "prepend", "info", "ignore", "strip", "warning", "warn", "pass")
                    for part in ("header", "body", "mime", "nested")
                ),
                "",
                "replace: header Received: from a.example.com: Received: from gw.example.com",
            ),
            (
                "sasl_failed",  # smtpd/smtpd_sasl_glue.c, xsasl/
                ("smtpd",),
                ("warning: ",),
                r"(?:[^\[]+\[[^\]]*\](?::[0-9]+)?: )?SASL (?:\S+ )?authentication (?:failed|failure)\b",
                "warning: unknown[192.0.2.3]: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
            ),
            (
                "proxy",  # smtpd/smtpd.c
                ("smtpd",),
                ("proxy-",),
                "[a-z]+: ",
                "proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as 7949396087; from=<a@example.com> "
                "to=<b@example.com> proto=ESMTP helo=<mx.example.com>",
            ),
            (
                "reject",  # smtpd/smtpd_check.c
                ("smtpd", "cleanup", "postscreen"),
                ("reject: ",),
                "",
                "reject: RCPT from unknown[192.0.2.3]: 554 5.7.1 <a@example.com>: Relay access denied",
            ),
            (
                "reject_warning",  # what warn_if_reject lets pass
                ("smtpd", "cleanup"),
                ("reject_warning: ",),
                "",
                "reject_warning: RCPT from unknown[192.0.2.3]: 554 5.7.1 <a@example.com>: Access denied",
            ),
            (
                "milter",  # cleanup/cleanup_milter.c, smtpd/smtpd.c
                ("smtpd", "cleanup"),
                ("milter-",),
                "[a-z-]+: ",
                "milter-reject: END-OF-MESSAGE from mx.example.com[192.0.2.7]: 5.7.1 No; from=<>",
            ),
            (
                "notification",  # bounce/bounce_notify_service.c
                ("bounce",),
                ("sender ", "postmaster ", "undeliverable postmaster ", "not sending ", "no trace file "),
                "",
                "sender non-delivery notification: ADD2F8052",
            ),
            (
                "bounce_failed",  # global/bounce.c, global/defer.c
                (),
                ("status=deferred (",),
                r"[a-z]+ failed\)",
                "status=deferred (bounce failed)",
            ),
            (
                "still_being_delivered",  # qmgr/qmgr_active.c
                QUEUE_MANAGERS,
                ("skipped, still being delivered",),
                "",
                "skipped, still being delivered",
            ),
            (
                "deferred_queue_event",  # Trend Micro's qmgr; known from third-party parsers
                QUEUE_MANAGERS,
                ("Deferred Queue Event:Message=",),
                rf"(?P<queue_id_bare>{QUEUE_ID}),",
                "Deferred Queue Event:Message=892A0205B6,Action=in",
            ),
            (
                "tls_failed",  # smtp/smtp_proto.c, 3.12
                ("smtp", "lmtp"),
                ("Sender requested REQUIRETLS, but ",),
                "",
                "Sender requested REQUIRETLS, but REQUIRETLS support was not offered by host mx.example.com",
            ),
            (
                "warning",  # cleanup/cleanup_masquerade.c
                ("cleanup",),
                ("masquerade_exceptions map lookup problem",),
                "",
                "masquerade_exceptions map lookup problem -- message not accepted, try again later",
            ),
            (
                "reject",  # smtpd/smtpd.c
                ("smtpd",),
                ("abort: ",),
                "",
                "abort: TLS from mx.example.com[192.0.2.9]: No client certificate presented",
            ),
            # Some name the message behind their severity.
            *(
                (severity, (), (f"{severity}: ",), rf"(?:(?P<queue_id_bare>{QUEUE_ID}): )?", sample)
                for severity, sample in {
                    "warning": "warning: 892A0205B6: canonical_maps map lookup problem for a@example.com",
                    "error": "error: unsupported dictionary type: mysql",
                    "fatal": "fatal: no SASL authentication mechanisms",
                    "panic": "panic: myfree: corrupt or unallocated memory block",
                }.items()
            ),
        )
    ),
    *(
        Pattern(
            name=name,
            table=NOISE,
            daemons=daemons,
            starts=starts,
            regex=rf"^{_begins(starts, then)}$",
            samples=(sample,),
            fast_lane="start" if starts and not then else None,
        )
        for name, daemons, starts, then, sample in (
            (
                "connection",  # smtpd/smtpd.c
                ("smtpd",),
                ("connect from ", "disconnect from "),
                "",
                "connect from localhost[127.0.0.1]",
            ),
            (
                "lost connection",  # smtpd/smtpd.c
                ("smtpd",),
                tuple(
                    f"{what} after {command} from "
                    for what in ("lost connection", "timeout", "too many errors")
                    for command in SMTP_COMMANDS
                ),
                "",
                "lost connection after EHLO from unknown[192.0.2.3]",
            ),
            (
                "end of a connection",  # smtpd/smtpd.c
                ("smtpd",),
                (),
                r"[A-Za-z <>-]+ after [A-Z-]+ (?:\((?:approximately )?[0-9]+ bytes\) )?from ",
                "lost connection after DATA (7774180 bytes) from unknown[192.0.2.3]",
            ),
            (
                "screening",  # postscreen/
                ("postscreen",),
                (
                    *(
                        "CONNECT from ",
                        "DISCONNECT ",
                        "PASS ",
                        "DROP ",
                        "UNPASS ",
                        "UNFAIL ",
                        "SKIP ",
                        "ENFORCE ",
                    ),
                    *("WHITELIST", "BLACKLIST", "ALLOWLIST", "DENYLIST", "PREGREET ", "DNSBL ", "HANGUP "),
                    *("COMMAND ", "NON-SMTP COMMAND ", "BARE NEWLINE ", "DATA without ", "BDAT without "),
                    *("entering STRESS mode ", "leaving STRESS mode "),
                ),
                "",
                "PASS NEW [192.0.2.7]:36051",
            ),
            (
                "list lookup",  # dnsblog/dnsblog.c
                ("dnsblog",),
                ("addr ",),
                "",
                "addr 192.0.2.7 listed by domain list.example.com as 127.0.0.2",
            ),
            (
                "encryption proxy",  # tlsproxy/tlsproxy.c
                ("tlsproxy",),
                ("CONNECT ", "DISCONNECT ", "TLS handshake failed for "),
                "",
                "CONNECT from [192.0.2.7]:51637",
            ),
            (
                "encrypted session",  # tls/tls_misc.c
                (),
                tuple(
                    f"{trust} TLS connection {what} "
                    for trust in ("Anonymous", "Untrusted", "Trusted", "Verified")
                    for what in ("established", "reused")
                ),
                "",
                "Untrusted TLS connection established to mx.example.com[192.0.2.9]:25: TLSv1.2 with cipher "
                "ECDHE-RSA-AES256-SHA384 (256/256 bits)",
            ),
            (
                "encryption",  # tls/tls_server.c, tls/tls_client.c
                ("smtpd", "smtp", "lmtp", "tlsproxy"),
                (
                    *("setting up TLS connection ", "SSL_accept error from ", "Host offered STARTTLS: "),
                    *("certificate verification failed for ", "Server certificate verification failed for "),
                    *(
                        "server certificate verification failed for ",
                        "client certificate verification failed for ",
                    ),
                ),
                "",
                "SSL_accept error from unknown[192.0.2.3]: lost connection",
            ),
            (
                "certificate",  # tls/tls_verify.c, with tls_loglevel above 1
                ("smtpd", "smtp", "lmtp", "tlsproxy"),
                (),
                r"[^\[ ]+\[[^\]]*\](?::[0-9]+)?: (?:subject_CN=|Matched |re-using session )",
                "mx.example.com[192.0.2.9]:25: subject_CN=mx.example.com, issuer_CN=ca, fingerprint=00:11",
            ),
            (
                "protocol",  # smtpd/smtpd.c, smtp/smtp_proto.c
                ("smtpd", "smtp", "lmtp", "postscreen"),
                ("discarding EHLO keywords: ", "improper command pipelining after ", "breaking line > "),
                "",
                "discarding EHLO keywords: CHUNKING",
            ),
            (
                "statistics",  # anvil/anvil.c, scache/scache.c
                ("anvil", "scache"),
                ("statistics: ",),
                "",
                "statistics: max cache size 1 at Oct 26 18:13:50",
            ),
            (
                "cache cleanup",  # util/dict_cache.c
                (),
                ("cache ",),
                ".* (?:full|partial) cleanup: ",
                "cache lmdb:/var/lib/postfix/verify_cache full cleanup: retained=724 dropped=6 entries",
            ),
            (
                "queue files renamed",  # postsuper/postsuper.c
                ("postsuper",),
                ("Renamed to match inode number: ",),
                "[0-9]+ message",
                "Renamed to match inode number: 115 messages",
            ),
            (
                "stray log removed",  # bounce/bounce_cleanup.c
                (),
                ("removed spurious ",),
                "",
                "removed spurious bounce log",
            ),
            (
                "compatibility notice",  # conf/postfix-script; global/mail_params.c
                (),
                (
                    *(
                        "using backwards-compatible default setting ",
                        "Postfix is using backwards-compatible ",
                    ),
                    *(
                        "Postfix is running with backwards-compatible ",
                        "To disable backwards compatibility use ",
                    ),
                    "See http://www.postfix.org/COMPATIBILITY_README.html ",
                ),
                "",
                "using backwards-compatible default setting chroot=y",
            ),
            (
                "encryption report",  # tls/tlsrpt_wrapper.c, tls_misc.c
                ("smtpd", "smtp", "lmtp", "tlsproxy"),
                ("TLSRPT: ", "TLS SNI "),
                "",
                "TLSRPT: status=success, domain=example.net, receiving_mx=mx.example.com[192.0.2.9]",
            ),
            (
                "handed on",  # global/deliver_pass.c
                ("local", "virtual"),
                ("passing <",),
                "",
                "passing <a@example.com> to transport=lmtp",
            ),
            (
                "table closed",  # util/dict_db.c, global/nbdb_redirect.c
                (),
                ("close database ", "redirecting "),
                r"\S+(?:: | to \S+:)",
                "close database /var/lib/postfix/verify_cache.db: No such file or directory",
            ),
            (
                "reply changed",  # smtpd/smtpd_chat.c, smtpd_dsn_fix.c
                ("smtpd",),
                ("reply filter in: ", "reply filter out: ", "mapping DSN status "),
                "",
                "reply filter in: 550 5.1.1 User unknown",
            ),
            (
                "advice",  # smtp/smtp_connect.c, smtp_addr.c
                ("smtp", "lmtp"),
                ("SMTPS wrappermode (TCP port ", "skipping SRV lookup for ", "CLIENT wrappermode (port "),
                "",
                "skipping SRV lookup for _submission._tcp.example.com: Host not found",
            ),
            (
                "keywords left out",  # postscreen/postscreen_smtpd.c
                ("postscreen",),
                (),
                r"\[[^\]]*\]:?[0-9]*:? discarding EHLO keywords: ",
                "[192.0.2.7]:36051: discarding EHLO keywords: CHUNKING",
            ),
            (
                "compatibility notice of a service",  # master/master_ent.c
                ("master",),
                (),
                r"\S+: line [0-9]+: using backwards-compatible default setting ",
                "/etc/postfix/master.cf: line 12: using backwards-compatible default setting chroot=y",
            ),
            (
                "state asked for",  # conf/postfix-script
                ("postfix-script",),
                ("the Postfix mail system is running", "the Postfix mail system is not running"),
                "",
                "the Postfix mail system is running: PID: 41",
            ),
        )
    ),
    *VERBOSE_PATTERNS,
)
