"""A maillog.gz to one Parquet file, line by line with the standard library's `re` and pyarrow."""

import gzip
import re
import sys
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

YEAR = 2026
ROWS_PER_GROUP = 100_000
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
HEADER = re.compile(
    r"^(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<time>\d\d:\d\d:\d\d) (?P<host>\S+) "
    r"(?P<program>[^\[:]+)(?:\[(?P<pid>\d+)\])?: (?P<text>.*)$"
)
QUEUED = re.compile(
    r"^(?P<queue_id>[0-9A-F]{6,16}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{15,20}): (?P<rest>.*)$"
)
# By what the text behind the queue id begins with.
EVENTS = {
    "to=<": re.compile(
        r"^to=<(?P<recipient>[^>]*)>, (?:orig_to=<(?P<original_recipient>[^>]*)>, )?"
        r"relay=(?P<relay_host>[^\[,]+)(?:\[(?P<relay_address>[^\]]+)\])?(?::(?P<relay_port>\d+))?, "
        r"(?:conn_use=(?P<connection_use_count>\d+), )?delay=(?P<delay_seconds>[\d.]+), "
        r"delays=(?P<before_qmgr_seconds>[\d.]+)/(?P<in_qmgr_seconds>[\d.]+)/"
        r"(?P<connection_setup_seconds>[\d.]+)/(?P<transmission_seconds>[\d.]+), "
        r"dsn=(?P<dsn>\d\.\d+\.\d+), status=(?P<status>\w+) \((?P<reason>.*)\)$"
    ),
    "from=<": re.compile(
        r"^from=<(?P<sender>[^>]*)>, size=(?P<size_bytes>\d+), nrcpt=(?P<recipient_count>\d+) "
        r"\(queue active\)$"
    ),
    "client=": re.compile(r"^client=(?P<client_host>[^\[]+)\[(?P<client_address>[^\]]+)\]"),
    "message-id=": re.compile(r"^message-id=(?P<message_id>.*)$"),
}
INTEGERS = ("pid", "relay_port", "connection_use_count", "size_bytes", "recipient_count")
NUMBERS = (
    "delay_seconds",
    "before_qmgr_seconds",
    "in_qmgr_seconds",
    "connection_setup_seconds",
    "transmission_seconds",
)
TEXTS = (
    *("host", "program", "queue_id", "recipient", "original_recipient", "relay_host", "relay_address", "dsn"),
    *("status", "reason", "sender", "client_host", "client_address", "message_id", "other_text"),
)
TYPES: dict[str, pa.DataType] = dict.fromkeys(INTEGERS, pa.int64()) | dict.fromkeys(NUMBERS, pa.float64())
SCHEMA = pa.schema(
    [("logged_at", pa.timestamp("s")), *TYPES.items(), *((name, pa.string()) for name in TEXTS)]
)


def parse(line: str) -> dict[str, Any] | None:
    """Return the fields of a line; None if it has no header."""
    header = HEADER.match(line)
    if not header:
        return None
    hour, minute, second = header["time"].split(":")
    month, day = MONTHS.index(header["month"]) + 1, int(header["day"])
    row: dict[str, Any] = {
        "logged_at": datetime(YEAR, month, day, int(hour), int(minute), int(second)),  # noqa: DTZ001
        "host": header["host"],
        "program": header["program"],
        "pid": header["pid"],
    }
    event = None
    rest = header["text"]
    if queued := QUEUED.match(rest):
        row["queue_id"], rest = queued["queue_id"], queued["rest"]
        start = next((start for start in EVENTS if rest.startswith(start)), None)
        event = EVENTS[start].match(rest) if start else None
    if event:
        row.update(event.groupdict())
    else:
        row["other_text"] = rest
    for name in INTEGERS:
        if row.get(name) is not None:
            row[name] = int(row[name])
    for name in NUMBERS:
        if row.get(name) is not None:
            row[name] = float(row[name])
    return row


def main(maillog: str, parquet: str) -> None:
    """Read the maillog and write the Parquet file."""
    rows: list[dict[str, Any]] = []
    with (
        gzip.open(maillog, "rt", errors="backslashreplace") as lines,
        pq.ParquetWriter(parquet, SCHEMA, compression="zstd") as writer,
    ):
        for line in lines:
            if row := parse(line.rstrip("\n")):
                rows.append(row)
            if len(rows) == ROWS_PER_GROUP:
                writer.write_table(_table(rows))
                rows = []
        writer.write_table(_table(rows))


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table({name: [row.get(name) for row in rows] for name in SCHEMA.names}, schema=SCHEMA)


if __name__ == "__main__":
    main(*sys.argv[1:])
