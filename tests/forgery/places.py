"""The syntaxes of the parsers, and the places of a log in which somebody outside can put them.

A place is a function that makes the lines of a mail, or of a session, with a syntax in it. None of its mail
comes near the scan service, but for one kind whose line is ambiguous.
"""

import random
import re
from collections.abc import Callable

# Failures and answers as both mail programs write them behind `status=` and `stat=`.
REASONS = (
    "connect to localhost[127.0.0.1]:10025: Connection refused",
    "connect to localhost[127.0.0.1]: Connection refused",
    "connect to 127.0.0.1[127.0.0.1]:10025: Connection timed out",
    "connect to localhost[::1]:10025: Connection refused",
    "delivery temporarily suspended: connect to localhost[127.0.0.1]:10025: Connection refused",
    "lost connection with localhost[127.0.0.1] while receiving the initial server greeting",
    "lost connection with localhost[127.0.0.1] while sending end of data -- "
    "message may be sent more than once",
    "conversation with localhost[127.0.0.1] timed out while sending message body",
    "host localhost[127.0.0.1] refused to talk to me: 421 4.3.2 Service shutting down",
    "host localhost[127.0.0.1] said: 451 4.3.0 Try again (in reply to RCPT TO command)",
    "250 2.0.0 Ok: queued as 0BF0C9605C",
    "Connection refused by [127.0.0.1]",
    "Connection timed out with [127.0.0.1]",
    ":10025",
)
RELAYS = (
    *("none", "localhost[127.0.0.1]:10025", "127.0.0.1[127.0.0.1]:10025", "localhost[::1]:10025"),
    *("localhost[127.0.0.1]", "localhost[127.0.0.1]:10025, conn_use=2", "localhost[127.0.0.1]:99999999999"),
)
DELAYS = (
    "delay=0.1, delays=0/0/0/0.1, dsn=4.4.1",
    "delay=0.1, delays=0/0/0/0, tls=none, dsn=2.0.0",
    "delay=9999999999999999999999999, delays=0/0/0/0, dsn=2.0.0",
    "delay=0.1",
)
STATUSES = ("sent", "deferred", "bounced", "SOFTBOUNCE", "expired", "undeliverable")
MAILERS = ("mailer=esmtp, pri=30000", "mailer=relay, pri=30000")
# Whole lines, and the texts of lines, of all that is no delivery attempt.
TEXTS = (
    *("removed", "892A0205B6: removed", "queued as 0BF0C9605C", "requeued", "placed on hold"),
    "from=<a@example.com>, size=1000, nrcpt=1 (queue active)",
    "from=<a@example.com>, status=expired, returned to sender",
    "from=<a@example.com>, size=1000, class=0, nrcpts=1, msgid=<1@example.com>, relay=localhost [127.0.0.1]",
    *("uid=0 from=<root> orig_id=892A0205B6", "message-id=<1@example.com>"),
    *("client=localhost[127.0.0.1], orig_queue_id=892A0205B6, orig_client=a[192.0.2.7]", "FLUSH: forged"),
    *("FLUSH: Checking if IMSS is running.", "postlog[1]: FLUSH: Checking if IMSS is running."),
    'Control postfix by cmd "/opt/trend/imss/script/postfix flush >/dev/null 2>&1"',
    "[8954:4061145968] [NORMAL]SysMonitor: Control postfix by cmd /opt/trend/imss/script/postfix flush",
    *("20001 IMSS Daemon starts", "20002 IMSS Daemon stopped", "IMSSデーモンが停止しました。"),
    *("daemon started -- version 3.7.11", "reload -- version 3.7.11", "terminating on signal 15"),
    *("starting the Postfix mail system", "stopping the Postfix mail system", "starting daemon (8.17)"),
    *("table hash:/etc/x(0) has changed -- restarting", "last message repeated 9999 times"),
    *("imuxsock begins to drop messages from pid 1 due to rate-limiting", "done; delay=00:00:01, ntries=1"),
    *("Suppressed 1138 messages from postfix.service", "Requeued: 5 messages", "Deleted: 5 messages"),
    "message repeated 2 times: [892A0205B6: removed]",
    "return to sender: Cannot send message for 5 days",
)
CLIENT_NAMES = (
    *("127.evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1", "none"),
    *("localhost", "removed", "status.sent.evil.example", "unknown", "IPv6.1.evil.example"),
)


def draw_syntax(chance: random.Random) -> str:
    """Return what a line of the parsers looks like: an attempt of either mail program, or any other line."""
    reason = chance.choice(REASONS)
    match chance.randrange(5):
        case 0:
            failure = f"relay=none, {DELAYS[0]}, status=deferred ({chance.choice(REASONS[:6])}"
            return chance.choice((failure, f"relay={RELAYS[1]}, {DELAYS[0]}, status=sent (250 Ok"))
        case 1 | 2:
            return (
                f"relay={chance.choice(RELAYS)}, {chance.choice(DELAYS)}, "
                f"status={chance.choice(STATUSES)} ({reason}"
            ) + chance.choice(("", ")"))
        case 3:
            status = chance.choice(("Deferred: ", "Sent (", "", "Deferred: 451 "))
            return (
                f"delay=00:00:01, xdelay=00:00:00, {chance.choice(MAILERS)}, "
                f"relay=[127.0.0.1] [127.0.0.1], dsn=4.0.0, stat={status}{reason}"
            ) + chance.choice(("", ")"))
    return chance.choice(TEXTS + REASONS)


def address(chance: random.Random, syntax: str) -> str:
    """Return an address that holds it, as a mail program may log it: with or without quotes, whole or not."""
    ends = ("x>, ", "x>, ", "x>, ", "x, ", "", '"x>, ', "x>, orig_to=<y>, ", "x>, orig_to=, ", 'x"@a>, ')
    local = chance.choice(ends) + syntax
    if chance.random() < 0.15:
        # Longer than a line may be: Postfix cuts it within the address, or just behind the syntax.
        local = local.rjust(chance.choice((1100, 1990 - len(local), 2100)), "x")
    if chance.random() < 0.5:
        local = '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
    return local + chance.choice(("@example.com", "@example.com", ""))


def fill(chance: random.Random, syntax: str, length: int) -> str:
    """Return a text of exactly this length that ends in the syntax."""
    return syntax.rjust(length, "x") if len(syntax) < length else syntax[-length:]


REMOTE = "relay=mx.evil.example[192.0.2.66]:25, delay=0.2, delays=0.1/0/0/0.1, dsn="
SENT = f"{REMOTE}2.0.0, status=sent (250 2.0.0 Ok)"


def _mail(queue_id: str, *attempts: str, sender: str = "a@example.com", end: str = "removed") -> list[str]:
    """Return the lines of a mail that goes to somebody outside."""
    return [
        f"postfix/smtpd[91]: {queue_id}: client=mx.example.com[192.0.2.7]",
        f"postfix/cleanup[92]: {queue_id}: message-id=<{queue_id}@example.com>",
        f"postfix/qmgr[13]: {queue_id}: from=<{sender}>, size=1000, nrcpt=1 (queue active)",
        *(f"postfix/smtp[93]: {queue_id}: {attempt}" for attempt in attempts),
        f"postfix/{'postsuper' if end == 'deleted' else 'qmgr'}[13]: {queue_id}: removed",
    ]


def in_recipient(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    return _mail(queue_id, f"to=<{address(chance, syntax)}>, {SENT}")


def in_recipient_at_the_scan_service(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    """Only what is ambiguous is unseen: another mail through the scan service may tighten a bound."""
    forged = "x>, relay=none, delay=0.1, delays=0/0/0/0, dsn=4.4.1, status=deferred (" + chance.choice(
        REASONS
    )
    scanned = "relay=localhost[127.0.0.1]:10025, delay=0.1, delays=0/0/0/0.1, dsn=2.0.0, status=sent (250 Ok)"
    return _mail(queue_id, f'to=<"{forged}"@example.com>, {scanned}')


def in_original_recipient(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    return _mail(queue_id, f"to=<b@example.com>, orig_to=<{address(chance, syntax)}>, {SENT}")


def in_sender(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    sender = address(chance, syntax)
    return [
        *_mail(queue_id, f"to=<b@example.com>, {SENT}", sender=sender),
        f"postfix/qmgr[13]: {queue_id}0: from=<{sender}>, size=1000, nrcpt=1 (queue active)",
        f"postfix/qmgr[13]: {queue_id}0: from=<{sender}>, status=expired, returned to sender",
        f"postfix/qmgr[13]: {queue_id}0: removed",
        f"postfix/pickup[15]: {queue_id}1: uid=0 from=<{sender}>",
    ]


def cut_behind_the_syntax(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    """Lengthen an address so that the line is cut just where the forged one is whole."""
    whole = syntax if syntax.endswith(")") else f"{syntax})"
    active = "x>, size=1000, nrcpt=1 (queue active)"
    before = f"{queue_id}: to=<"
    return _mail(
        queue_id,
        f"to=<{fill(chance, f'x>, {whole}', 2000 - len(before))}@example.com>, {SENT}",
        sender=fill(chance, active, 2000 - len(f"{queue_id}: from=<")) + "@example.com",
    )


def in_reply(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    said = chance.choice(("", "x>, ", "x, ", 'x"@a>, ')) + syntax
    server = "mx.evil.example[192.0.2.66]"
    reply, is_deferred = chance.choice(
        (
            (f"{REMOTE}2.0.0, status=sent (250 {said})", False),
            (f"{REMOTE}5.0.0, status=bounced (host {server} said: 550 {said} (in reply to DATA))", False),
            (f"{REMOTE}4.0.0, status=deferred (host {server} said: 450 {said} (in reply to DATA))", True),
            (f"{REMOTE}4.0.0, status=deferred (host {server} refused to talk to me: 421 {said})", True),
            (
                "relay=none, delay=1, delays=1/0/0/0, dsn=4.0.0, status=deferred (delivery temporarily "
                f"suspended: host {server} refused to talk to me: 421 {said})",
                True,
            ),
        )
    )
    told = f"host {server} said: 450 {said} (in reply to RCPT TO command)"
    return _mail(queue_id, told, f"to=<b@example.com>, {reply}", end="deleted" if is_deferred else "removed")


def in_server_name(chance: random.Random, _: str, queue_id: str) -> list[str]:
    server = f"{chance.choice(CLIENT_NAMES)}[192.0.2.66]"
    relay = f"relay={server}:25"
    failure, relay = chance.choice(
        (
            (f"connect to {server}:25: Connection refused", "relay=none"),
            (f"connect to {server}: Connection refused", "relay=none"),
            (f"delivery temporarily suspended: connect to {server}:25: Connection refused", "relay=none"),
            ("connect to localhost[127.0.0.1]:999999999999: Connection refused", "relay=none"),
            (f"lost connection with {server} while receiving the initial server greeting", relay),
            (f"conversation with {server} timed out while sending message body", relay),
        )
    )
    attempt = f"to=<b@example.com>, {relay}, delay=1, delays=1/0/0/0, dsn=4.4.1, status=deferred ({failure})"
    return _mail(queue_id, failure, attempt, end="deleted")


def in_message_id(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    lines = _mail(queue_id, f"to=<b@example.com>, {SENT}")
    message_id = chance.choice(("<{}>", "{}", "<x> {}")).format(syntax)
    lines[1] = f"postfix/cleanup[92]: {queue_id}: message-id={message_id}"
    return lines


def in_header(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    lines = _mail(queue_id, f"to=<b@example.com>, {SENT}")
    action = chance.choice(("warning", "prepend", "info", "hold", "discard", "reject", "replace"))
    kind = chance.choice(("header Subject:", "header X-Mailer:", "body", "content"))
    lines.insert(
        2,
        f"postfix/cleanup[92]: {queue_id}: {action}: {kind} {syntax} from mx.example.com[192.0.2.7]; "
        f"from=<{syntax}> to=<{syntax}> proto=ESMTP helo=<{syntax}>: {syntax}",
    )
    return lines


def in_client(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    client = f"{chance.choice(CLIENT_NAMES)}[192.0.2.66]"
    login = chance.choice(("", f", sasl_method=PLAIN, sasl_username={syntax}", f", sasl_sender={syntax}"))
    lines = _mail(queue_id, f"to=<b@example.com>, {SENT}")
    lines[0] = f"postfix/smtpd[91]: {queue_id}: client={client}{login}"
    return [
        f"postfix/smtpd[91]: connect from {client}",
        *lines,
        f"postfix/smtpd[91]: disconnect from {client}",
    ]


def in_session(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    client = f"{chance.choice(CLIENT_NAMES)}[192.0.2.66]"
    told = f"from=<{syntax}> to=<{syntax}> proto=ESMTP helo=<{syntax}>"
    text = chance.choice(
        (
            f"NOQUEUE: reject: RCPT from {client}: 554 5.7.1 <{syntax}>: Relay access denied; {told}",
            f"NOQUEUE: reject_warning: HELO from {client}: 504 5.5.2 <{syntax}>: Helo rejected; {told}",
            f"NOQUEUE: filter: RCPT from {client}: <{syntax}>: Client host triggers FILTER {syntax}; {told}",
            f"proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as {queue_id}; {told}",
            f"proxy-reject: END-OF-MESSAGE: 550 {syntax}; {told}",
            f"warning: {client}: SASL LOGIN authentication failed: {syntax}",
            f"warning: non-SMTP command from {client}: {syntax}",
            f"improper command pipelining after DATA from {client}: {syntax}",
            f"milter-reject: END-OF-MESSAGE from {client}: 5.7.1 {syntax}; {told}",
            f"lost connection after DATA (7 bytes) from {client}",
        )
    )
    return [f"postfix/smtpd[91]: {text}"]


def _sendmail(queue_id: str, sender: str, message_id: str, client: str, *attempts: str) -> list[str]:
    return [
        f"sm-mta[91]: {queue_id}: from={sender}, size=1000, class=0, nrcpts=1, msgid={message_id}, "
        f"proto=ESMTP, daemon=MTA, relay={client}",
        *(f"sm-mta[93]: {queue_id}: {attempt}" for attempt in attempts),
    ]


def _sendmail_id(queue_id: str) -> str:
    return f"6AO9{queue_id[-4:]}{int(queue_id[1:], 16):06}"


TRIED = "delay=00:00:02, xdelay=00:00:01, mailer=esmtp, pri=31000, relay=mx.evil.example. [192.0.2.66], dsn="
ACCEPTED = f"to=<b@example.com>, {TRIED}2.0.0, stat=Sent (2.0.0 Ok)"
CLIENT = "mx.example.com [192.0.2.7]"


def in_sendmail_recipient(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    recipient = f"<{address(chance, syntax)}>"
    owner = chance.choice(("", f", ctladdr={recipient} (8/0)"))
    return _sendmail(
        _sendmail_id(queue_id),
        "<a@example.com>",
        "<1@example.com>",
        CLIENT,
        f"to={recipient}{owner}, {TRIED}2.0.0, stat=Sent (2.0.0 Ok)",
    )


def in_sendmail_sender(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    sender = f"<{address(chance, syntax)}>"
    return _sendmail(_sendmail_id(queue_id), sender, f"<{syntax}>", CLIENT, ACCEPTED)


def in_sendmail_message_id(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    message_id = chance.choice(("<{}>", "{}")).format(syntax)
    return _sendmail(_sendmail_id(queue_id), "<a@example.com>", message_id, CLIENT, ACCEPTED)


def in_sendmail_reply(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    said = chance.choice(("", "x>, ", "x, ")) + syntax
    ending = chance.choice(
        (
            f"2.0.0, stat=Sent ({said})",
            f"2.0.0, reply=250 {said}, stat=Sent ({said})",
            f"5.1.1, reply=550 {said}, stat=User unknown",
            f"5.1.1, stat=550 {said}",
        )
    )
    attempt = f"to=<b@example.com>, {TRIED}{ending}"
    return _sendmail(_sendmail_id(queue_id), "<a@example.com>", "<1@example.com>", CLIENT, attempt)


def in_sendmail_server_name(chance: random.Random, _: str, queue_id: str) -> list[str]:
    server = chance.choice(CLIENT_NAMES[:4])
    relay, failure = chance.choice(
        (
            (f"{server}. [192.0.2.66]", f"Connection refused by {server}."),
            (f"{server}. [192.0.2.66]", "421 Connection refused by [127.0.0.1]"),
            (f"{server}.", f"Connection refused by {server}."),
            (f"{server}.", f"Connection timed out with {server}."),
            (f"{server}. [192.0.2.66]", "Connection refused by [127.0.0.1]"),
        )
    )
    tried = f"delay=00:00:02, xdelay=00:00:01, mailer=esmtp, pri=31000, relay={relay}, dsn=4.4.1"
    return _sendmail(
        _sendmail_id(queue_id),
        "<a@example.com>",
        "<1@example.com>",
        f"{server} [192.0.2.66] (may be forged)",
        f"to=<b@example.com>, {tried}, stat=Deferred: {failure}",
        ACCEPTED,
    )


def in_sendmail_session(chance: random.Random, syntax: str, queue_id: str) -> list[str]:
    client = f"{chance.choice(CLIENT_NAMES)} [192.0.2.66]"
    quoted = '"' + syntax.replace('"', "'") + '"@example.com'
    unclosed = 'to="x, ' + syntax.replace('"', "") + '"@example.com'
    if chance.random() < 0.1:
        return [
            f"sm-mta[91]: NOQUEUE: {client} did not issue MAIL/EXPN/VRFY/ETRN during connection to MTA",
        ]
    text = chance.choice(
        (
            f"ruleset=check_rcpt, arg1=<{syntax}>, relay={client}, reject=550 {syntax}",
            f"<{syntax}>... User unknown",
            f"{unclosed}... User unknown",
            f"to={quoted}... User unknown",
            f"{quoted}... User unknown",
            f"Milter: data, reject=550 {syntax}",
            f"lost input channel from {client} to MTA after {syntax}",
            f"collect: unexpected close on connection from {client}, sender=<{syntax}>",
            f"SMTP command: {syntax} from {client}",
        )
    )
    return [f"sm-mta[91]: {_sendmail_id(queue_id)}: {text}"]


Place = Callable[[random.Random, str, str], list[str]]
POSTFIX_PLACES: tuple[Place, ...] = (
    *(in_recipient, in_recipient_at_the_scan_service, in_original_recipient, in_sender, in_reply),
    *(cut_behind_the_syntax, in_server_name, in_message_id, in_header, in_client, in_session),
)
SENDMAIL_PLACES: tuple[Place, ...] = (
    *(in_sendmail_recipient, in_sendmail_sender, in_sendmail_message_id, in_sendmail_reply),
    *(in_sendmail_server_name, in_sendmail_session),
)
