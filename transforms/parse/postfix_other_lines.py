"""Lines of Postfix that are kept for people to read to rows of `other_lines`, which prove nothing."""

from transforms.parse.patterns import QUEUE_ID, Pattern, begins
from transforms.parse.programs import QUEUE_MANAGERS


def _kept(
    line_kind: str, *, starts: tuple[str, ...], sample: str, daemons: tuple[str, ...] = (), then: str = ""
) -> Pattern:
    """Return the pattern of lines with one of the starts, then the regex `then`."""
    return Pattern(
        name=line_kind,
        table="other_lines",
        daemons=daemons,
        starts=starts,
        regex=rf"^(?P<message>{begins(starts, then)})$",
        samples=(sample,),
        constants={"line_kind": line_kind},
        fast_lane=None if then else "start",
    )


OTHER_LINES_PATTERNS = (
    _kept(
        "connect_failed",  # smtp/smtp_connect.c
        daemons=("smtp", "lmtp"),
        starts=("connect to ",),
        sample="connect to localhost[127.0.0.1]:10025: Connection refused",
    ),
    _kept(
        "host_said",  # smtp/smtp_trouble.c
        daemons=("smtp", "lmtp"),
        starts=("host ",),
        sample="host mx.example.com[192.0.2.9] said: 451 4.3.0 Try again",
    ),
    _kept(
        "connection_lost",
        daemons=("smtp", "lmtp"),
        starts=("lost connection with ",),
        sample="lost connection with mx.example.com[192.0.2.9] while sending RCPT TO",
    ),
    _kept(
        "conversation_timed_out",
        daemons=("smtp", "lmtp"),
        starts=("conversation with ",),
        sample="conversation with mx.example.com[192.0.2.9] timed out while sending RCPT TO",
    ),
    _kept(
        "tls_failed",  # tls/tls_client.c, smtp/smtp_proto.c
        daemons=("smtp", "lmtp"),
        starts=(
            "SSL_connect error ",
            "Cannot start TLS: ",
            "TLS is required, but ",
            "Server certificate not ",
        ),
        sample="SSL_connect error to mx.example.com[192.0.2.9]:25: lost connection",
    ),
    _kept(
        "used_tls",  # Trend Micro's smtp
        daemons=("smtp", "lmtp"),
        starts=("Used TLS for ",),
        sample="Used TLS for mx.example.com[192.0.2.9]:587",
    ),
    _kept(
        "pix_workarounds",  # smtp/smtp_proto.c
        daemons=("smtp", "lmtp"),
        starts=("enabling PIX ",),
        sample="enabling PIX workarounds: disable_esmtp delay_dotcrlf for mx.example.com[192.0.2.9]:25",
    ),
    _kept(
        "sasl_failed",  # smtp/smtp_sasl_glue.c
        daemons=("smtp", "lmtp"),
        starts=("SASL authentication failed", "SASL [CACHED] authentication failed"),
        sample="SASL authentication failed; server mx.example.com[192.0.2.9] said: 535 5.7.8 Error",
    ),
    _kept(
        "warning",  # smtpd/smtpd_peer.c
        daemons=("smtpd",),
        starts=("warning: hostname ",),
        sample="warning: hostname mx.example.com does not resolve to address 192.0.2.3: Name not known",
    ),
    _kept(
        # The action of an access table or of header_checks: access(5), header_checks(5)
        "check_action",
        daemons=("smtpd", "cleanup"),
        starts=(
            *("bcc: ", "delay: ", "discard: ", "filter: ", "hold: ", "info: ", "pass: ", "permit: "),
            *("prepend: ", "redirect: ", "replace: ", "strip: ", "warn: "),
            *("warning: header ", "warning: body ", "warning: content "),
        ),
        sample="prepend: header X-Spam: Yes from mx.example.com[192.0.2.7]; from=<>: X-Spam: Yes",
    ),
    _kept(
        # The action of smtp_header_checks and similar: smtp/smtp_proto.c, smtp_hbc_logger()
        "check_action",
        daemons=("smtp", "lmtp"),
        starts=tuple(
            f"{action}: {part} "
            for action in ("replace", "prepend", "info", "ignore", "strip", "warning", "warn", "pass")
            for part in ("header", "body", "mime", "nested")
        ),
        sample="replace: header Received: from a.example.com: Received: from gw.example.com",
    ),
    _kept(
        "sasl_failed",  # smtpd/smtpd_sasl_glue.c, xsasl/
        daemons=("smtpd",),
        starts=("warning: ",),
        then=r"(?:[^\[]+\[[^\]]*\](?::[0-9]+)?: )?SASL (?:\S+ )?authentication (?:failed|failure)\b",
        sample="warning: unknown[192.0.2.3]: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
    ),
    _kept(
        "proxy",  # smtpd/smtpd.c
        daemons=("smtpd",),
        starts=("proxy-",),
        then="[a-z]+: ",
        sample=(
            "proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as 7949396087; from=<a@example.com> "
            "to=<b@example.com> proto=ESMTP helo=<mx.example.com>"
        ),
    ),
    _kept(
        "reject",  # smtpd/smtpd_check.c
        daemons=("smtpd", "cleanup", "postscreen"),
        starts=("reject: ",),
        sample="reject: RCPT from unknown[192.0.2.3]: 554 5.7.1 <a@example.com>: Relay access denied",
    ),
    _kept(
        "reject_warning",  # warn_if_reject lets it pass
        daemons=("smtpd", "cleanup"),
        starts=("reject_warning: ",),
        sample="reject_warning: RCPT from unknown[192.0.2.3]: 554 5.7.1 <a@example.com>: Access denied",
    ),
    _kept(
        "milter",  # cleanup/cleanup_milter.c, smtpd/smtpd.c
        daemons=("smtpd", "cleanup"),
        starts=("milter-",),
        then="[a-z-]+: ",
        sample="milter-reject: END-OF-MESSAGE from mx.example.com[192.0.2.7]: 5.7.1 No; from=<>",
    ),
    _kept(
        "notification",  # bounce/bounce_notify_service.c
        daemons=("bounce",),
        starts=("sender ", "postmaster ", "undeliverable postmaster ", "not sending ", "no trace file "),
        sample="sender non-delivery notification: ADD2F8052",
    ),
    _kept(
        "bounce_failed",  # global/bounce.c, global/defer.c
        starts=("status=deferred (",),
        then=r"[a-z]+ failed\)",
        sample="status=deferred (bounce failed)",
    ),
    _kept(
        "still_being_delivered",  # qmgr/qmgr_active.c
        daemons=QUEUE_MANAGERS,
        starts=("skipped, still being delivered",),
        sample="skipped, still being delivered",
    ),
    _kept(
        "deferred_queue_event",  # Trend Micro's qmgr; known from third-party parsers
        daemons=QUEUE_MANAGERS,
        starts=("Deferred Queue Event:Message=",),
        then=rf"(?P<queue_id_bare>{QUEUE_ID}),",
        sample="Deferred Queue Event:Message=892A0205B6,Action=in",
    ),
    _kept(
        "tls_failed",  # smtp/smtp_proto.c, 3.12
        daemons=("smtp", "lmtp"),
        starts=("Sender requested REQUIRETLS, but ",),
        sample="Sender requested REQUIRETLS, but REQUIRETLS support was not offered by host mx.example.com",
    ),
    _kept(
        "warning",  # cleanup/cleanup_masquerade.c
        daemons=("cleanup",),
        starts=("masquerade_exceptions map lookup problem",),
        sample="masquerade_exceptions map lookup problem -- message not accepted, try again later",
    ),
    _kept(
        "reject",  # smtpd/smtpd.c
        daemons=("smtpd",),
        starts=("abort: ",),
        sample="abort: TLS from mx.example.com[192.0.2.9]: No client certificate presented",
    ),
    *(
        # Some have a queue id after the severity.
        _kept(
            severity,
            starts=(f"{severity}: ",),
            then=rf"(?:(?P<queue_id_bare>{QUEUE_ID}): )?",
            sample=sample,
        )
        for severity, sample in {
            "warning": "warning: 892A0205B6: canonical_maps map lookup problem for a@example.com",
            "error": "error: unsupported dictionary type: mysql",
            "fatal": "fatal: no SASL authentication mechanisms",
            "panic": "panic: myfree: corrupt or unallocated memory block",
        }.items()
    ),
)
