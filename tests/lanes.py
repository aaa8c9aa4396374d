"""Both lanes over the same lines: what the fast lane takes must be what the general lane makes of it.

`python -m tests.lanes LINES SEED` compares them on so many lines, made of real ones by chance.
"""

import random
import sys
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path

import polars as pl
import pyarrow as pa
import yaml
from polars.testing import assert_frame_equal

from tests.conftest import SAMPLE
from transforms.archive.lines import read_blocks
from transforms.fast_lane.lane import FastLane
from transforms.parse.clock import YearWindow
from transforms.parse.events import Parser, Reading, split_lines
from transforms.parse.line_counts import OTHER_HOSTS, merge_line_counts
from transforms.parse.tables import EVENT_TABLES
from transforms.zone import Zone

# A zone whose clocks change, and a year that has both changes behind it.
READING = Reading(
    host="gw",
    log_kind="maillog",
    zone=Zone("Europe/Berlin", "fleet_file"),
    year=YearWindow(date(2026, 12, 1), "file_name"),
    source_id="of-the-test",
)
LANE = FastLane()
BLOCK_LINES = 50_000
# What may end a field, begin another, or look like either.
TRAPS = (
    *(b">, relay=none, delay=", b":70000, ", b"delay=99999999, ", b", nrcpt=99999999"),
    *(b">, ", b">, relay=", b">, orig_to=<", b">, size=", b", nrcpt=1 (queue active)"),
    *(b" (queue active)", b"to=<", b"from=<", b'"', b"\\", b"<", b">", b"[", b"]", b"(", b")", b","),
    *(b", ", b":", b": ", b" ", b"  ", b"conn_use=2, ", b"delay=", b", delays=", b"/", b".", b", dsn="),
    *(b", status=sent (", b"removed", b"client=", b", sasl_method=", b", sasl_username="),
    *(b", orig_queue_id=", b", orig_client=", b"message-id=", b"resent-", b"NOQUEUE: ", b"ABCDEF: "),
    *(b"4bWxyz0123z1B2: ", b"z", b"0", b"9999999999", b"-1", b"1e3", b"+", b"\t", b"\r", b"\0", b"\x7f"),
    *(b"\x80", b"\xff", "ü".encode(), "例え".encode(), "\u2028".encode(), b"message repeated 2 times: ["),
    *(b"last message repeated 2 times", b"connect from ", b"warning: ", b"reject: "),
    *(b"[ID 1 mail.info] ", b"<22>", b"postfix/smtp[1]: ", b"postfix-out/relay/smtp[12]: "),
    *(b"sendmail[1]: ", b"sshd[1]: ", b"rsyslogd: ", b"[123456789]", b"Feb 30 10:00:00 "),
    *(b"Oct 25 02:30:00 ", b"Mar 29 02:30:00 ", b"Nov  3 10:00:00.5 ", b"Nov 03 23:59:60 "),
    *(b"2026-10-25T02:30:00.123456+01:00 ", b"2026-02-29T00:00:00Z ", b"2026-11-24T10:00:00,5-0330 "),
    *(
        b"1 2026-11-24T",
        b"#012",
        b"#015",
        b"\\n",
        b"^M",
        b"#000#011 ",
        b"Last message 'a' repeated 2 times, ",
    ),
    *(
        b"suppressed by syslog-ng on gw",
        b" postfix[1]: ",
        b" postfix-in: ",
        b" <2.6> ",
        b" mail:info ",
        b"gw: ",
    ),
    *(b" stdout F ", b"2026-11-24T10:00:00.1Z ", b"11\xe6\x9c\x88 ", b"removed", b"Dec 31 23:59:58 "),
    b" postfix-inbound-gateway0001/smtp",
)


def assert_lanes_agree(content: bytes) -> int:
    """Fail where the lanes read lines otherwise; return how many lines the fast lane took."""
    scanned = LANE.scan(content + LANE.padding, len(content), READING)
    rest = Parser(READING).parse(LANE.to_frame(scanned.left_over)) if scanned.left_over else None
    whole = Parser(READING).parse(split_lines(content, 1))
    parts = {table: [in_polars(table, pa.concat_tables(rows))] for table, rows in scanned.tables.items()}
    for table, frame in (rest.tables if rest else {}).items():
        parts.setdefault(table, []).append(frame)
    assert parts.keys() == whole.tables.keys()
    for table, frames in parts.items():
        both = pl.concat(frames).sort("line_number", maintain_order=True)
        if not both.equals(whole.tables[table]):
            lines = content.split(b"\n")
            for ours, theirs in zip(
                both.rows(named=True), whole.tables[table].rows(named=True), strict=False
            ):
                assert ours == theirs, lines[theirs["line_number"] - 1]
            assert_frame_equal(both, whole.tables[table])
    of_scan = LANE.to_line_counts(scanned.line_counts)
    counts = [of_scan, *([rest.line_counts] if rest else [])]
    # Beyond some, the scan does not tell hosts apart.
    known = of_scan["logging_host"].unique().to_list() if OTHER_HOSTS in of_scan["logging_host"] else None
    assert_frame_equal(
        merge_line_counts([by_known_host(part, known) for part in counts]),
        merge_line_counts([by_known_host(whole.line_counts, known)]),
        check_row_order=False,
    )
    assert scanned.line_count == len(split_lines(content, 1))
    return scanned.line_count - sum(len(part.line_number) for part in scanned.left_over)


def by_known_host(line_counts: pl.DataFrame, known: list[str | None] | None) -> pl.DataFrame:
    """Return line counts without telling apart hosts that are not among the known ones."""
    host = pl.col("logging_host")
    is_told = pl.lit(True) if known is None else host.is_null() | host.is_in(known)
    return line_counts.with_columns(logging_host=pl.when(is_told).then(host).otherwise(pl.lit(OTHER_HOSTS)))


def in_polars(table: str, rows: pa.Table) -> pl.DataFrame:
    """Return a table of the fast lane as the general lane would."""
    frame = pl.DataFrame(pl.from_arrow(rows.unify_dictionaries()))
    return frame.cast(dict(EVENT_TABLES[table]))  # type: ignore[arg-type]


@cache
def real_lines() -> list[bytes]:
    """Return lines of all kinds: every case of tests/lines, and some of every host of the sample."""
    cases = [
        case["line"]
        for path in sorted((Path(__file__).parent / "lines" / "maillog").glob("*.yaml"))
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))
    ]
    lines = [case.encode() if isinstance(case, str) else case for case in cases]
    for path in sorted(SAMPLE.glob("*/maillog*")):
        with path.open("rb") as log:
            lines += next(read_blocks(log)).split(b"\n")[:600]
    return [line for line in lines if b"\n" not in line]


def mutated_lines(count: int, seed: int) -> Iterator[bytes]:
    """Yield real lines, most of them damaged or joined with others by chance."""
    chance = random.Random(seed)
    lines = real_lines()
    for _ in range(count):
        line = chance.choice(lines)
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
            at = chance.randrange(len(line) + 1)
            until = min(len(line), at + chance.choice((0, 0, 1, 1, 2, 8)))
            match chance.randrange(5):
                case 0 | 1:
                    line = line[:at] + chance.choice(TRAPS) + line[until:]
                case 2:
                    line = line[:at] + bytes([chance.randrange(11, 256)]) + line[until:]
                case 3:
                    line = line[:at] + line[until:]
                case 4:
                    other = chance.choice(lines)
                    line = line[:at] + other[chance.randrange(len(other) + 1) :]
        yield line.replace(b"\n", b" ")


def main(count: int, seed: int) -> None:
    """Compare the lanes block by block."""
    taken = 0
    for number in range(0, count, BLOCK_LINES):
        lines = mutated_lines(min(BLOCK_LINES, count - number), seed + number)
        taken += assert_lanes_agree(b"".join(line + b"\n" for line in lines))
    print(f"the lanes agree on {count} lines, of which the fast lane took {taken}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
