"""Lines of sendmail 8 to events: one pattern for each kind of line at the default LogLevel of 9.

One `from=` line is arrival, client and message id; one `to=` line is an attempt for all recipients of one
destination; no line shows that a message is done or that a queue run begins. Format strings are those of
sendmail 8 (sendmail/deliver.c, envelope.c, queue.c, daemon.c, main.c).
"""

from dataclasses import dataclass

from transforms.parse.patterns import Pattern
from transforms.parse.tables import NOISE

# The tags of the daemon and its queue runs, and of the queue runs of local submissions.
SENDMAIL_TAGS = ("sendmail", "sm-mta", "sm-msp-queue", "sm-que")
# queue.c: six digits of time in base 60, two of a sequence, and the process id.
SENDMAIL_QUEUE_ID = r"[0-9A-Za-x]{8}[0-9]{6,}"
# sendmail has no instances, but local submissions wait for the daemon in a separate queue.
INSTANCE = "sendmail"
SUBMISSION_QUEUE = "sm-msp-queue"
SUBMISSION = {"instance": SUBMISSION_QUEUE}

_CLOCK = r"(?:[0-9]+\+)?[0-9]+:[0-9]{2}:[0-9]{2}"
# As the client wrote it: a quoted part may hold anything.
_RECIPIENTS = r'(?P<recipient>(?:[^"()]|"(?:[^"\\]|\\.)*")*?)'
# Where one of these stands twice in a line, one of the two is a stranger's text.
_TRIED = rf", delay={_CLOCK}, (?:xdelay={_CLOCK}, )?mailer="
_SIZED = r", size=[0-9]+, class="
_RELAY = r"relay=(?P<relay_host>[^\s,]+)(?: \[(?P<relay_address>[^\]]*)\])?"


def _attempt(ending: str, mailer: str = r"[^,]*") -> str:
    """Return the regex of a `to=` line that ends as given (logdelivery() of deliver.c)."""
    return (
        rf"^to={_RECIPIENTS}(?: \[more\])?(?:, ctladdr=.*?)?"
        rf", delay=(?P<delay_clock>{_CLOCK})(?:, xdelay=(?P<transmission_clock>{_CLOCK}))?"
        rf", mailer=(?P<mailer>{mailer}), pri=(?P<priority>[0-9]+)(?:, {_RELAY})?(?:, quarantine=.*?)?"
        rf"(?:, dsn=(?P<dsn>[0-9.]+))?(?:, reply=.*?)?, {ending}$"
    )


# Two attempts in one line, or a second status in the reply or in the reason of a quarantine.
_TWO_ATTEMPTS = rf"{_TRIED}.*{_TRIED}|, (?:reply|quarantine)=.*, stat=.*, stat="
_TWO_SIZES = rf"{_SIZED}.*{_SIZED}"

# The way into the queue; a rejected transaction leaves such a line without recipients.
_TAKEN_IN = (
    r"^from=(?:<(?P<sender>.*?)>|(?P<sender_bare>.*?)), size=(?P<size_bytes>[0-9]+), class=-?[0-9]+"
    r"(?:, pri=(?P<priority>-?[0-9]+))?, nrcpts=(?P<recipient_count>[0-9]+)(?:, msgid=(?P<message_id>.*?))?"
    r"(?:, bodytype=[^,]*)?(?:, proto=[^,]*)?(?:, daemon=[^,]*)?(?:, tls_verify=[^,]*)?(?:, auth=[^,]*)?"
)
_CLIENT = r"(?P<client_host>[^\s,@\[\]#]*) ?(?:\[(?P<client_address>[^\]]*)\])?(?: \(may be forged\))?"
_ALSO = {"clients": "queue_id", "message_ids": "message_id"}


@dataclass(frozen=True)
class _Ending:
    """What a `to=` line says after `stat=`, and the status that it means."""

    name: str
    status: str
    regex: str
    sample: str


_ENDINGS = (
    _Ending(
        name="sent",
        status="sent",
        regex=r"stat=Sent(?: \((?P<reason>.*)\))?",
        sample="stat=Sent (2.0.0 Ok)",
    ),
    _Ending(
        name="deferred",
        status="deferred",
        regex=r"stat=Deferred(?:: (?P<reason>.*)| \((?P<reason_bare>.*)\))?",
        sample="stat=Deferred: Connection refused by [127.0.0.1]",
    ),
    # All else is a permanent failure.
    _Ending(
        name="refused",
        status="bounced",
        regex=r"stat=(?P<reason>.+)",
        sample="stat=User unknown",
    ),
)
_SAMPLE = (
    "to=<a@example.com>,<b@example.com>, delay=2+15:56:56, xdelay=00:00:01, mailer={}, pri=30015, "
    "relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0, {}"
)


def _daemon_event(start: str, *, event_kind: str, sample: str) -> Pattern:
    return Pattern(
        name=start,
        table="service_events",
        is_queued=False,
        starts=(start,),
        regex=rf"^(?P<message>{start}.*)$",
        samples=(sample,),
        constants={"event_kind": event_kind},
    )


def _kept(name: str, *, line_kind: str, regex: str, sample: str) -> Pattern:
    """Return the pattern of lines that are kept for people to read and prove nothing."""
    return Pattern(
        name=name,
        table="other_lines",
        regex=rf"^(?P<message>{regex})$",
        samples=(sample,),
        constants={"line_kind": line_kind},
    )


SENDMAIL_PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        name="transaction refused",
        table="other_lines",
        is_queued=True,
        starts=("from=",),
        regex=(rf"^(?P<message>from=.*{_SIZED}-?[0-9]+(?:, pri=-?[0-9]+)?, nrcpts=0(?:, .*)?, relay=.*)$"),
        ambiguous=_TWO_SIZES,
        samples=(
            "from=<a@example.com>, size=0, class=0, nrcpts=0, proto=ESMTP, daemon=MTA, relay=[192.0.2.7]",
        ),
        constants={"line_kind": "reject"},
    ),
    Pattern(
        name="message taken in",
        table="queue_activations",
        also=_ALSO,
        is_queued=True,
        starts=("from=",),
        regex=rf"{_TAKEN_IN}, relay={_CLIENT}$",
        ambiguous=_TWO_SIZES,
        samples=(
            "from=<sender@example.com>, size=2015, class=0, nrcpts=1, msgid=<1@example.com>, proto=ESMTP, "
            "daemon=MTA, relay=localhost [127.0.0.1]",
        ),
    ),
    Pattern(
        # The client is a user of the host: root@localhost, #7#@localhost.
        name="local submission",
        table="queue_activations",
        also=_ALSO,
        is_queued=True,
        starts=("from=",),
        regex=rf"{_TAKEN_IN}, relay=\S+@\S+$",
        ambiguous=_TWO_SIZES,
        samples=("from=root, size=78, class=0, nrcpts=1, msgid=<1@example.com>, relay=root@localhost",),
        constants=SUBMISSION,
    ),
    Pattern(
        name="not tried yet",
        table="other_lines",
        is_queued=True,
        starts=("to=",),
        regex=rf"^(?P<message>to=.*{_TRIED}[^,]*, pri=[0-9]+(?:, {_RELAY})?(?:, dsn=[0-9.]+)?, stat=queued)$",
        ambiguous=_TWO_ATTEMPTS,
        samples=("to=<a@example.com>, delay=00:00:00, mailer=esmtp, pri=30026, stat=queued",),
        constants={"line_kind": "queued"},
    ),
    *(
        Pattern(
            name=f"submission {ending.name}",
            table="delivery_attempts",
            # A submission logs as `sendmail`, the runner of its queue as sm-msp-queue.
            daemons=("sendmail", "sm-msp-queue"),
            is_queued=True,
            starts=("to=",),
            regex=_attempt(ending.regex, mailer="relay"),
            ambiguous=_TWO_ATTEMPTS,
            samples=(_SAMPLE.format("relay", ending.sample),),
            constants={"status": ending.status, **SUBMISSION},
            listed="recipient",
        )
        for ending in _ENDINGS
    ),
    *(
        Pattern(
            name=f"attempt {ending.name}",
            table="delivery_attempts",
            is_queued=True,
            starts=("to=",),
            regex=_attempt(ending.regex),
            ambiguous=_TWO_ATTEMPTS,
            samples=(_SAMPLE.format("esmtp", ending.sample),),
            constants={"status": ending.status},
            listed="recipient",
        )
        for ending in _ENDINGS
    ),
    Pattern(
        name="done",  # envelope.c, from LogLevel 10 on
        table="queue_removals",
        is_queued=True,
        starts=("done; ",),
        regex=r"^done; delay=.*, ntries=[0-9]+$",
        samples=("done; delay=00:00:01, ntries=1",),
        constants={"removal_kind": "removed"},
    ),
    Pattern(
        name="given up for its age",  # savemail.c
        table="queue_removals",
        is_queued=True,
        regex=rf"^{SENDMAIL_QUEUE_ID}: (?:return to sender|DSN): Cannot send message (?:for|within) .*$",
        samples=("6AO84FgO000978: return to sender: Cannot send message for 5 days",),
        constants={"removal_kind": "expired"},
    ),
    Pattern(
        name="notification",  # savemail.c
        table="other_lines",
        is_queued=True,
        regex=(
            rf"^(?P<message>{SENDMAIL_QUEUE_ID}: (?:DSN|return to sender|sender notify|postmaster notify|"
            r"return receipt|clone: owner=|delivered).*)$"
        ),
        samples=("6AO817BR000276: DSN: User unknown",),
        constants={"line_kind": "notification"},
    ),
    # daemon.c, main.c
    _daemon_event(
        "starting daemon ",
        event_kind="start",
        sample="starting daemon (8.17.1.9): SMTP+queueing@00:15:00",
    ),
    _daemon_event(
        "restarting ",
        event_kind="reload",
        sample="restarting /usr/sbin/sendmail due to signal",
    ),
    _daemon_event("stopping daemon", event_kind="stop", sample="stopping daemon, reason=signal"),
    _kept(
        "rejected by a rule",
        line_kind="reject",
        regex=r"ruleset=.*, (?:reject=.*|discard|quarantine=.*)\s*",
        sample="ruleset=check_mail, arg1=<a@example.com>, relay=[192.0.2.7], reject=553 5.5.4 Rejected",
    ),
    _kept(
        "system error",
        line_kind="error",
        regex=(r"(?:SYSERR|Losing |SECURITY ALERT|bogus queue file|savemail).*|daemon \S+: problem .*"),
        sample="SYSERR(root): opendaemonsocket: daemon MTA: cannot bind: Address already in use",
    ),
    _kept(
        "warning",
        line_kind="warning",
        regex=(r"(?:[Ww]arning: |Authentication-Warning: |unable to |could not |My unqualified host ).*"),
        sample="Authentication-Warning: gw.example.com: root set sender to a@example.com using -f",
    ),
    _kept(
        "load",
        line_kind="warning",
        regex=(
            r"(?:rejecting connections on daemon |deferring connections on daemon |"
            r"have been rejecting connections|accepting connections again|runqueue: |grew WorkList ).*"
        ),
        sample="rejecting connections on daemon MTA: load average: 40",
    ),
    # err.c, usrerr(): a recipient was refused. A session without a queue id may as well.
    _kept(
        "recipient refused",
        line_kind="reject",
        regex=r"[^\s:]+\.\.\. .+",
        sample="<nobody@example.com>... User unknown",
    ),
    Pattern(
        # srvrsmtp.c, checksmtpattack() and others: the client is `name [address]`, perhaps forged.
        name="attack",
        table=NOISE,
        regex=(
            r"^(?:\S+ )?(?:\[[^\]]*\](?: \(may be forged\))?|\S+): (?:[Pp]ossible SMTP |probable open proxy: "
            r"|(?:EXPN|VRFY|ETRN) ).*$"
        ),
        samples=(
            "mx.example.com [192.0.2.9] (may be forged): possible SMTP attack: command=AUTH, count=6",
            "[192.0.2.9]: EXPN root [rejected]",
        ),
    ),
    Pattern(
        # Sessions, TLS, milters, tables: nothing about the way of a message.
        name="session",
        table=NOISE,
        regex=(
            r"^(?:STARTTLS=|AUTH=|AUTH |Milter|milter=|collect: |lost input channel |rejecting commands |"
            r"timeout waiting for input |SMTP \w+ command |headers too large |alias database |connect from |"
            r"/\S+: [0-9]+ aliases|<-- |--- |.* did not issue MAIL/EXPN/VRFY/ETRN ).*$"
        ),
        samples=(
            "STARTTLS=client, relay=[127.0.0.1], version=TLSv1.3, verify=FAIL, cipher=X, bits=256/256",
            "localhost [127.0.0.1] did not issue MAIL/EXPN/VRFY/ETRN during connection to MTA",
        ),
    ),
)
