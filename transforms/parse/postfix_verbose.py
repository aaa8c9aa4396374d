"""Lines of a verbose Postfix (`-v`, debug_peer_list, a TLS log level above 1) to noise.

None of them is about the end of a delivery. They begin with the name of a function, an attribute of Postfix's
internal protocol, or a dialogue with `<` and `>` (DEBUG_README; msg_verbose in src/util, src/global and the
programs).
"""

from transforms.parse.patterns import QUEUE_ID, Pattern
from transforms.parse.tables import NOISE

_PEER = r"[^\[ ]+\[[^\]]*\](?::[0-9]+)?: "


def _verbose(name: str, *, beginnings: tuple[str, ...], samples: tuple[str, ...]) -> Pattern:
    """Return the pattern of lines that begin as one of these regexes says."""
    return Pattern(name=name, table=NOISE, regex=f"^(?:{'|'.join(beginnings)}).*$", samples=samples)


VERBOSE_PATTERNS = (
    _verbose(
        "name of a function",
        beginnings=(
            r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?:\[[^\]]*\])?: ",
            r"(?:before|after) [a-z]+(?:_[a-z]+)+: ",
            r"fsspace: ",
        ),
        samples=(
            "qmgr_scan_start: start deferred queue scan",
            "before input_transp_cleanup: cleanup flags = enable_milters",
            "fsspace: .: block size 4096, blocks free 12370380",
        ),
    ),
    _verbose(
        "internal protocol",  # util/attr_scan64.c, attr_print64.c, global/clnt_stream.c
        beginnings=(
            r"send attr \S+ =",
            r"input attribute (?:name|value): ",
            r"\S+(?: socket| stream)?: wanted attribute: ",
            r"connect to subsystem ",
            r"[a-z]+ stream disconnect$",
            r"unexpected attribute \S+ from ",
        ),
        samples=(
            "send attr request = resolve",
            "input attribute value: 4096",
            "private/rewrite socket: wanted attribute: flags",
            "connect to subsystem private/rewrite",
            "rewrite stream disconnect",
        ),
    ),
    _verbose(
        "queue scan",  # qmgr/qmgr.c, qmgr_scan.c, qmgr_active.c, qmgr_message.c
        beginnings=(
            r"request: [0-9]+ \(.\)$",
            r"request ignored$",
            r"done (?:incoming|deferred) queue scan$",
            r"(?:start|end) sorted recipient list$",
            rf"wakeup {QUEUE_ID} after [0-9]+ secs$",
            r"recipient limit [0-9]+$",
        ),
        samples=(
            "request: 87 (W)",
            "request ignored",
            "done deferred queue scan",
            "start sorted recipient list",
            "wakeup 892A0205B6 after 4000 secs",
            "recipient limit 5000",
        ),
    ),
    _verbose(
        "dialogue",  # smtp/smtp_chat.c, smtpd/smtpd_chat.c, smtpd_check.c
        beginnings=(rf"[<>] {_PEER}", r">>> "),
        samples=(
            "> mx.example.com[192.0.2.9]:25: EHLO gw.example.com",
            "< unknown[192.0.2.3]: QUIT",
            ">>> START Recipient address RESTRICTIONS <<<",
        ),
    ),
    _verbose(
        "session of a program",  # master/*_server.c, smtp/smtp_proto.c, dns/dns_lookup.c
        beginnings=(
            r"connection (?:established|closed)(?: fd [0-9]+)?$",
            r"idle timeout -- exiting$",
            r"process generation: ",
            r"server features: 0x",
            r"Using (?:ES|L)MTP PIPELINING, ",
            r"disposing SASL state information$",
            r"(?:Compiled|Run-time linked) against Berkeley DB",
            r"lookup \S+ type ",
        ),
        samples=(
            "connection established",
            "server features: 0x102f size 0",
            "Using ESMTP PIPELINING, TCP send buffer size is 87040, PIPELINING buffer size is 4096",
            "lookup mx.example.com type A flags 0",
        ),
    ),
    _verbose(
        "encryption in detail",  # tls/tls_bio_ops.c, tls_misc.c, tls_client.c, tls_server.c
        beginnings=(
            r"SSL_(?:connect|accept):",
            r"SSL3 alert ",
            r"(?:initializing|setting up) the (?:server|client)-side TLS engine",
            r"looking (?:up|for) session ",
            r"(?:read from|write to) [0-9A-Fa-fx]{6,} ",
            r"[0-9a-f]{4} (?:[0-9a-f]{2}[ -])+",
            rf"{_PEER}(?:Reusing |certificate verification |depth=|save |Issuing |Decrypt)",
        ),
        samples=(
            "SSL_connect:before SSL initialization",
            "initializing the client-side TLS engine",
            "looking up session smtp&192.0.2.9&mx in smtp cache",
            "read from 55D5A1B0 [55D5A1C0] (5 bytes => -1 (0xFFFFFFFFFFFFFFFF))",
            "0000 16 03 01 02 00 01 00 01 fc 03 03",
            "mx.example.com[192.0.2.9]:25: Reusing old session",
        ),
    ),
)
