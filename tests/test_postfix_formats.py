"""Postfix's own format strings, filled with whatever other people may put into them: every field comes back.

Postfix writes control characters as `?` before it logs (util/printable.c), so that none of them occurs here.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.parse.clock import YearWindow
from transforms.parse.events import ParsedBlock, Parser, Reading, split_lines
from transforms.parse.headers import TRAILING
from transforms.parse.tables import EVENT_TABLES, UNPARSED
from transforms.zone import Zone

# What may make a field look like the end of it, or like the next one.
TRAPS = (
    *(
        ">, relay=",
        ">, orig_to=<",
        ">, size=",
        ">, status=",
        "> orig_id=",
        ", orig_client=",
        ", sasl_sender=",
    ),
    *("none, delay=0, ", "delays=0/0/0/0, ", "dsn=2.0.0, ", "status=sent (", "status=deferred (", "nrcpt=1"),
    *(" (queue active)", ", returned to sender", "<", ">", "<>", '"', '""', '"@', "\\", "(", ")", "[", "]"),
    *(
        "@",
        ",",
        ", ",
        ":",
        ": ",
        ";",
        "=",
        " ",
        "  ",
        "/",
        "#",
        "removed",
        "to=<",
        "from=<",
        "ü",
        "例え",
        "\u2028",
    ),
)
PRINTABLE = st.characters(exclude_categories=("Cc", "Cs"))
TEXT = st.lists(st.one_of(st.sampled_from(TRAPS), PRINTABLE), max_size=12).map("".join)
WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)
HOST = st.lists(WORD, min_size=1, max_size=3).map(".".join)
IP = st.sampled_from(("192.0.2.9", "127.0.0.1", "2001:db8::9", "::1"))
DOMAIN = st.one_of(
    HOST, st.sampled_from(("example.com", "[192.0.2.9]", "[IPv6:2001:db8::9]", "bücher.example"))
)

SHORT_ID = st.text("0123456789ABCDEF", min_size=6, max_size=15)
BASE_52 = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
LONG_ID = st.builds(
    "{}z{}".format, st.text(BASE_52, min_size=10, max_size=11), st.text(BASE_52[:-1], min_size=1, max_size=6)
)
QUEUE_ID = st.one_of(SHORT_ID, LONG_ID)
# util/format_tv.c: two significant digits, two decimals at most.
SECONDS = st.one_of(
    st.integers(0, 99).map(lambda n: n / 100),
    st.integers(10, 99).map(lambda n: n / 10),
    st.integers(10, 500_000).map(float),
)
AGENTS = ("smtp", "lmtp", "relay/smtp", "local", "pipe", "virtual", "error", "discard", "qmgr", "cleanup")
STATUSES = (
    *("sent", "deferred", "bounced", "SOFTBOUNCE"),
    *("deliverable", "undeliverable", "undeliverable-but-not-cached"),
)
TLS = ("none", "may", "may?", "may:none", "dane/requiretls", "dane/!requiretls:nocertmatch")
# Where an address may end; and what makes an original recipient of a part of an address in internal form.
ADDRESS_END = re.compile(r">, (?:orig_to=[^<,]*, )?relay=[^,]*, (?:conn_use|delay)=")
FORGED_ORIGINAL = re.compile(r">, orig_to=<")


@dataclass(frozen=True)
class Line:
    """A line as a program logs it, and the columns that it becomes."""

    program: str
    text: str
    table: str
    record: dict[str, Any]
    requeued: str | None = None
    """The queue id under which a message is gone thereby."""


def external(address: str) -> str:
    """Return an address as Postfix 3.5 and later logs it, after quote_822_local.c."""
    route, colon, rest = address.partition(":") if address.startswith("@") else ("", "", address)
    if address.startswith("@") and not colon:
        route, rest = "", address
    local, at, domain = rest.rpartition("@") if "@" in rest else (rest, "", "")
    if not address:
        return ""
    is_dot_string = re.fullmatch(
        r'[^\x00-\x20()<>@,;:\\"\[\]\x7f.]+(?:\.[^\x00-\x20()<>@,;:\\"\[\]\x7f.]+)*', local
    )
    if not is_dot_string:
        local = '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
    return f"{route}{colon}{local}{at}{domain}"


ADDRESS = st.one_of(
    st.just(""),
    st.builds("{}@{}".format, WORD, DOMAIN),
    st.builds("{}@{}".format, TEXT, DOMAIN),
    st.builds("@{}:{}@{}".format, HOST, TEXT, DOMAIN),
    TEXT.filter(lambda text: "@" not in text),
)
EXTERNAL = ADDRESS.map(external)


@st.composite
def relays(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a relay as logged, and what it says."""
    host, address, port = draw(HOST), draw(IP), draw(st.integers(1, 65535))
    socket = draw(st.sampled_from(("private/dovecot-lmtp", "unix:/var/run/lmtp", "/var/run/a b,c")))
    name = draw(st.sampled_from(("none", "local", "virtual", "dovecot")))
    forms: tuple[tuple[str, dict[str, Any]], ...] = (
        (name, {"relay_host": name}),
        (f"{host}[{address}]:{port}", {"relay_host": host, "relay_address": address, "relay_port": port}),
        (f"{address}[{address}]:25", {"relay_host": address, "relay_address": address, "relay_port": 25}),
        (f"{host}[{address}]", {"relay_host": host, "relay_address": address}),
        (f"{host}[{socket}]", {"relay_host": host, "relay_address": socket}),
    )
    relay: tuple[str, dict[str, Any]] = draw(st.sampled_from(forms))
    return relay


@st.composite
def attempts(draw: st.DrawFn, addresses: st.SearchStrategy[str]) -> Line:
    """Draw a delivery attempt (global/log_adhoc.c), as any version since 1.1 logs it."""
    queue_id, recipient = draw(QUEUE_ID), draw(addresses)
    original = draw(st.none() | addresses)
    relay, relay_record = draw(relays())
    uses = draw(st.none() | st.integers(2, 100))
    delay, parts = draw(SECONDS), draw(st.none() | st.tuples(SECONDS, SECONDS, SECONDS, SECONDS))
    tls = draw(st.none() | st.sampled_from(TLS))
    dsn = draw(st.none() | st.builds("{}.{}.{}".format, st.sampled_from("245"), *[st.integers(0, 999)] * 2))
    status, reason = draw(st.sampled_from(STATUSES)), draw(TEXT)
    text = (
        f"{queue_id}: to=<{recipient}>, "
        + (f"orig_to=<{original}>, " if original is not None else "")
        + f"relay={relay}, "
        + (f"conn_use={uses}, " if uses else "")
        + f"delay={delay:g}, "
        + (f"delays={'/'.join(f'{part:g}' for part in parts)}, " if parts else "")
        + (f"tls={tls}, " if tls else "")
        + (f"dsn={dsn}, " if dsn else "")
        + f"status={status} ({reason})"
    )
    record = {
        "queue_id": queue_id,
        "recipient": recipient,
        "original_recipient": original,
        **dict.fromkeys(("relay_host", "relay_address", "relay_port")),
        **relay_record,
        "connection_use_count": uses,
        "delay_seconds": float(f"{delay:g}"),
        **dict(
            zip(
                (
                    "before_qmgr_seconds",
                    "in_qmgr_seconds",
                    "connection_setup_seconds",
                    "transmission_seconds",
                ),
                [float(f"{part:g}") for part in parts] if parts else [None] * 4,
                strict=True,
            )
        ),
        "tls": tls,
        "dsn": dsn,
        "status": status,
        "reason": reason,
    }
    return Line(draw(st.sampled_from(AGENTS)), text, "delivery_attempts", record)


def is_clear(line: Line) -> bool:
    """Tell whether no address in internal form looks like one that has an original recipient."""
    recipient, original = line.record["recipient"], line.record["original_recipient"] or ""
    # A quote that begins an address, and one that comes later, make an address in external form.
    is_opened = any(address.startswith(('"', "@")) for address in (recipient, original))
    is_quoted = is_opened and '"' in original + line.record["reason"]
    return not is_quoted and not any(FORGED_ORIGINAL.search(address) for address in (recipient, original))


def is_ambiguous(line: Line) -> bool:
    """Tell whether a line can be read in more than one way."""
    if line.table == "clients":
        is_login = line.record.get("sasl_username") is not None
        return is_login and ", orig_queue_id=" in line.text.partition(", sasl_username=")[2]
    if line.table != "delivery_attempts":
        return False
    return len(ADDRESS_END.findall(line.text)) > 1 or line.text.count(">, orig_to=") > 1


def forges_client(text: str) -> bool:
    """Tell whether a login name holds the field after it."""
    return any(f", {name}=" in text for name in ("sasl_sender", "orig_queue_id", "orig_client"))


@st.composite
def clients(draw: st.DrawFn) -> Line:
    """Draw a client's line (smtpd/smtpd.c)."""
    queue_id, host, address = draw(st.none() | QUEUE_ID), draw(HOST), draw(IP)
    login = draw(st.none() | TEXT.filter(lambda text: not forges_client(text)))
    sender = draw(st.none() | TEXT.filter(lambda text: not forges_client(text)))
    original, from_client = draw(st.none() | QUEUE_ID), draw(st.none() | TEXT)
    text = (
        f"{queue_id or 'NOQUEUE'}: client={host}[{address}]"
        + (f", sasl_method=PLAIN, sasl_username={login}" if login is not None else "")
        + (f", sasl_sender={sender}" if sender is not None and login is not None else "")
        + (f", orig_queue_id={original}" if original else "")
        + (f", orig_client={from_client}" if from_client is not None else "")
    )
    record = {
        "queue_id": queue_id,
        "client_host": host,
        "client_address": address,
        "sasl_username": login,
        "original_queue_id": original,
        "sender": None,
    }
    return Line("submission/smtpd", text, "clients", record)


@st.composite
def other_lines(draw: st.DrawFn) -> Line:
    """Draw a line of the queue manager, cleanup or pickup, with a sender in either form."""
    queue_id, sender = draw(QUEUE_ID), draw(EXTERNAL | TEXT)
    size, count, text = draw(st.integers(0, 2**40)), draw(st.integers(1, 10_000)), draw(TEXT)
    original, expired = draw(st.none() | QUEUE_ID), draw(st.sampled_from(("expired", "force-expired")))
    submission = f"uid={count} from=<{sender}>" + (f" orig_id={original}" if original else "")
    forms: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        (
            "qmgr",
            f"from=<{sender}>, size={size}, nrcpt={count} (queue active)",
            "queue_activations",
            {"sender": sender, "size_bytes": size, "recipient_count": count},
        ),
        (
            "qmgr",
            f"from=<{sender}>, status={expired}, returned to sender",
            "queue_removals",
            {"removal_kind": "expired", "sender": sender},
        ),
        ("qmgr", "removed", "queue_removals", {"removal_kind": "removed", "sender": None}),
        ("cleanup", f"message-id=<{text}>", "message_ids", {"message_id": f"<{text}>"}),
        ("cleanup", f"message-id={text}", "message_ids", {"message_id": text}),
        ("cleanup", f"resent-message-id={text}", "message_ids", {"message_id": text}),
        ("pickup", submission, "clients", {"sender": sender, "original_queue_id": original}),
    )
    program, logged, table, record = draw(st.sampled_from(forms))
    requeued = original if program == "pickup" else None
    return Line(program, f"{queue_id}: {logged}", table, {"queue_id": queue_id, **record}, requeued)


def is_whole(line: Line) -> bool:
    """Tell whether a line does not end in what syslog daemons put there, which is no part of it."""
    return not re.search(TRAILING, line.text)


@settings(max_examples=25)
@given(st.lists(attempts(EXTERNAL), min_size=10, max_size=20))
def test_attempts_come_back_with_addresses_in_external_form(lines: list[Line]) -> None:
    assert_read(lines)


@settings(max_examples=25)
@given(st.lists(attempts(TEXT).filter(is_clear), min_size=10, max_size=20))
def test_attempts_come_back_with_addresses_in_internal_form(lines: list[Line]) -> None:
    assert_read(lines)


@settings(max_examples=25)
@given(st.lists((clients() | other_lines()).filter(is_whole), min_size=10, max_size=20))
def test_other_lines_come_back(lines: list[Line]) -> None:
    assert_read(lines)


@settings(max_examples=10)
@given(st.lists(attempts(EXTERNAL), min_size=10, max_size=20), st.data())
def test_an_attempt_cut_within_its_reason_proves_nothing(lines: list[Line], data: st.DataObject) -> None:
    cut = []
    for line in lines:
        reason = line.record["reason"]
        left = reason[: data.draw(st.integers(0, len(reason)))].rstrip(")")
        left = re.sub(TRAILING, "", left)
        text = line.text.removesuffix(f"{reason})") + left
        cut.append(Line(line.program, text, line.table, line.record))
    assert set(reasons_of(parse(cut)).values()) == {"cut"}


def assert_read(lines: list[Line]) -> None:
    """Parse all lines as one block; every one must become its record, or prove nothing if it is ambiguous."""
    parsed = parse(lines)
    ambiguous = {number for number, line in enumerate(lines, 1) if is_ambiguous(line)}
    assert reasons_of(parsed) == dict.fromkeys(ambiguous, "ambiguous")
    for table in parsed.tables.keys() - {UNPARSED} | {line.table for line in lines}:
        expected = {
            n: line.record for n, line in enumerate(lines, 1) if line.table == table and n not in ambiguous
        }
        if table == "queue_removals":
            expected |= {
                n: {"removal_kind": "requeued", "queue_id": line.requeued, "sender": None}
                for n, line in enumerate(lines, 1)
                if line.requeued and n not in ambiguous
            }
        frame = parsed.tables.get(table, pl.DataFrame(schema={"line_number": pl.Int64()}))
        read = {row["line_number"]: row for row in frame.iter_rows(named=True)}
        assert read.keys() == expected.keys()
        for number, record in expected.items():
            assert {name: read[number][name] for name in record} == record


def parse(lines: list[Line]) -> ParsedBlock:
    """Parse all lines as one block."""
    block = "".join(f"Nov 24 10:00:00 gw postfix/{line.program}[1]: {line.text}\n" for line in lines)
    reading = Reading("gw", "maillog", Zone("UTC", "default"), YearWindow.by_file_name(date(2026, 11, 24)))
    return Parser(reading).parse(split_lines(block.encode(), 1))


def reasons_of(parsed: ParsedBlock) -> dict[int, str]:
    """Return why lines were not parsed, by their numbers."""
    unparsed = parsed.tables.get(UNPARSED, EVENT_TABLES[UNPARSED].to_frame())
    return dict(unparsed.select("line_number", "reason").iter_rows())
