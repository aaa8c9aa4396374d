"""Lines of Postfix that say nothing about the way of a message to noise: they are only counted."""

from transforms.parse.patterns import Pattern, begins
from transforms.parse.tables import NOISE

# The commands after which a connection may end (smtpd/smtpd.c).
SMTP_COMMANDS = (
    *("CONNECT", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "END-OF-MESSAGE"),
    *("RSET", "NOOP", "QUIT", "VRFY", "ETRN", "XCLIENT", "XFORWARD", "UNKNOWN"),
)


def _ignored(
    name: str, *, sample: str, daemons: tuple[str, ...] = (), starts: tuple[str, ...] = (), then: str = ""
) -> Pattern:
    """Return the pattern of lines with one of the starts (if any are given), then the regex `then`."""
    return Pattern(
        name=name,
        table=NOISE,
        daemons=daemons,
        starts=starts,
        regex=rf"^{begins(starts, then)}$",
        samples=(sample,),
        fast_lane="start" if starts and not then else None,
    )


NOISE_PATTERNS = (
    _ignored(
        "connection",  # smtpd/smtpd.c
        daemons=("smtpd",),
        starts=("connect from ", "disconnect from "),
        sample="connect from localhost[127.0.0.1]",
    ),
    _ignored(
        "lost connection",  # smtpd/smtpd.c
        daemons=("smtpd",),
        starts=tuple(
            f"{what} after {command} from "
            for what in ("lost connection", "timeout", "too many errors")
            for command in SMTP_COMMANDS
        ),
        sample="lost connection after EHLO from unknown[192.0.2.3]",
    ),
    _ignored(
        "end of a connection",  # smtpd/smtpd.c
        daemons=("smtpd",),
        then=r"[A-Za-z <>-]+ after [A-Z-]+ (?:\((?:approximately )?[0-9]+ bytes\) )?from ",
        sample="lost connection after DATA (7774180 bytes) from unknown[192.0.2.3]",
    ),
    _ignored(
        "screening",  # postscreen/
        daemons=("postscreen",),
        starts=(
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
        sample="PASS NEW [192.0.2.7]:36051",
    ),
    _ignored(
        "list lookup",  # dnsblog/dnsblog.c
        daemons=("dnsblog",),
        starts=("addr ",),
        sample="addr 192.0.2.7 listed by domain list.example.com as 127.0.0.2",
    ),
    _ignored(
        "encryption proxy",  # tlsproxy/tlsproxy.c
        daemons=("tlsproxy",),
        starts=("CONNECT ", "DISCONNECT ", "TLS handshake failed for "),
        sample="CONNECT from [192.0.2.7]:51637",
    ),
    _ignored(
        "encrypted session",  # tls/tls_misc.c
        starts=tuple(
            f"{trust} TLS connection {what} "
            for trust in ("Anonymous", "Untrusted", "Trusted", "Verified")
            for what in ("established", "reused")
        ),
        sample=(
            "Untrusted TLS connection established to mx.example.com[192.0.2.9]:25: TLSv1.2 with cipher "
            "ECDHE-RSA-AES256-SHA384 (256/256 bits)"
        ),
    ),
    _ignored(
        "encryption",  # tls/tls_server.c, tls/tls_client.c
        daemons=("smtpd", "smtp", "lmtp", "tlsproxy"),
        starts=(
            *("setting up TLS connection ", "SSL_accept error from ", "Host offered STARTTLS: "),
            *("certificate verification failed for ", "Server certificate verification failed for "),
            *(
                "server certificate verification failed for ",
                "client certificate verification failed for ",
            ),
        ),
        sample="SSL_accept error from unknown[192.0.2.3]: lost connection",
    ),
    _ignored(
        "certificate",  # tls/tls_verify.c, with tls_loglevel above 1
        daemons=("smtpd", "smtp", "lmtp", "tlsproxy"),
        then=r"[^\[ ]+\[[^\]]*\](?::[0-9]+)?: (?:subject_CN=|Matched |re-using session )",
        sample="mx.example.com[192.0.2.9]:25: subject_CN=mx.example.com, issuer_CN=ca, fingerprint=00:11",
    ),
    _ignored(
        "protocol",  # smtpd/smtpd.c, smtp/smtp_proto.c
        daemons=("smtpd", "smtp", "lmtp", "postscreen"),
        starts=("discarding EHLO keywords: ", "improper command pipelining after ", "breaking line > "),
        sample="discarding EHLO keywords: CHUNKING",
    ),
    _ignored(
        "statistics",  # anvil/anvil.c, scache/scache.c
        daemons=("anvil", "scache"),
        starts=("statistics: ",),
        sample="statistics: max cache size 1 at Oct 26 18:13:50",
    ),
    _ignored(
        "cache cleanup",  # util/dict_cache.c
        starts=("cache ",),
        then=".* (?:full|partial) cleanup: ",
        sample="cache lmdb:/var/lib/postfix/verify_cache full cleanup: retained=724 dropped=6 entries",
    ),
    _ignored(
        "queue files renamed",  # postsuper/postsuper.c
        daemons=("postsuper",),
        starts=("Renamed to match inode number: ",),
        then="[0-9]+ message",
        sample="Renamed to match inode number: 115 messages",
    ),
    _ignored(
        "stray log removed",  # bounce/bounce_cleanup.c
        starts=("removed spurious ",),
        sample="removed spurious bounce log",
    ),
    _ignored(
        "compatibility notice",  # conf/postfix-script; global/mail_params.c
        starts=(
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
        sample="using backwards-compatible default setting chroot=y",
    ),
    _ignored(
        "encryption report",  # tls/tlsrpt_wrapper.c, tls_misc.c
        daemons=("smtpd", "smtp", "lmtp", "tlsproxy"),
        starts=("TLSRPT: ", "TLS SNI "),
        sample="TLSRPT: status=success, domain=example.net, receiving_mx=mx.example.com[192.0.2.9]",
    ),
    _ignored(
        "handed on",  # global/deliver_pass.c
        daemons=("local", "virtual"),
        starts=("passing <",),
        sample="passing <a@example.com> to transport=lmtp",
    ),
    _ignored(
        "table closed",  # util/dict_db.c, global/nbdb_redirect.c
        starts=("close database ", "redirecting "),
        then=r"\S+(?:: | to \S+:)",
        sample="close database /var/lib/postfix/verify_cache.db: No such file or directory",
    ),
    _ignored(
        "reply changed",  # smtpd/smtpd_chat.c, smtpd_dsn_fix.c
        daemons=("smtpd",),
        starts=("reply filter in: ", "reply filter out: ", "mapping DSN status "),
        sample="reply filter in: 550 5.1.1 User unknown",
    ),
    _ignored(
        "advice",  # smtp/smtp_connect.c, smtp_addr.c
        daemons=("smtp", "lmtp"),
        starts=("SMTPS wrappermode (TCP port ", "skipping SRV lookup for ", "CLIENT wrappermode (port "),
        sample="skipping SRV lookup for _submission._tcp.example.com: Host not found",
    ),
    _ignored(
        "keywords left out",  # postscreen/postscreen_smtpd.c
        daemons=("postscreen",),
        then=r"\[[^\]]*\]:?[0-9]*:? discarding EHLO keywords: ",
        sample="[192.0.2.7]:36051: discarding EHLO keywords: CHUNKING",
    ),
    _ignored(
        "compatibility notice of a service",  # master/master_ent.c
        daemons=("master",),
        then=r"\S+: line [0-9]+: using backwards-compatible default setting ",
        sample="/etc/postfix/master.cf: line 12: using backwards-compatible default setting chroot=y",
    ),
    _ignored(
        "state asked for",  # conf/postfix-script
        daemons=("postfix-script",),
        starts=("the Postfix mail system is running", "the Postfix mail system is not running"),
        sample="the Postfix mail system is running: PID: 41",
    ),
)
