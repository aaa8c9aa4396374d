"""The tables that log lines become: columns and types; expectations/events.*.yaml says what they mean."""

import polars as pl
import pyarrow as pa

NOISE = "noise"
UNPARSED = "unparsed_lines"

Columns = dict[str, pl.DataType]

String, Int32, Int64, Float64, Boolean = pl.String(), pl.Int32(), pl.Int64(), pl.Float64(), pl.Boolean()
UTC_TIME = pl.Datetime("us", "UTC")
LOGGED_AT: Columns = {"logged_at": UTC_TIME}
# Where an event comes from; `year_source` and `zone_source` say what completed its stamp.
PROVENANCE: Columns = {
    "year_source": String,
    "zone_source": String,
    "source_id": String,
    "line_number": Int64,
}
POSTFIX: Columns = {"host": String, "instance": String, "program": String, "pid": Int32}
QUEUED: Columns = POSTFIX | {"queue_id": String}

_OWN_COLUMNS: dict[str, Columns] = {
    "delivery_attempts": QUEUED
    | {
        "recipient": String,
        "original_recipient": String,
        "relay_host": String,
        "relay_address": String,
        "relay_port": Int32,
        "connection_use_count": Int32,
        "mailer": String,
        "delay_seconds": Float64,
        "before_qmgr_seconds": Float64,
        "in_qmgr_seconds": Float64,
        "connection_setup_seconds": Float64,
        "transmission_seconds": Float64,
        "tls": String,
        "dsn": String,
        "status": String,
        "reason": String,
    },
    "queue_activations": QUEUED | {"sender": String, "size_bytes": Int64, "recipient_count": Int64},
    "queue_removals": QUEUED | {"removal_kind": String, "sender": String},
    "clients": QUEUED
    | {
        "client_host": String,
        "client_address": String,
        "sasl_username": String,
        "original_queue_id": String,
        "sender": String,
    },
    "message_ids": QUEUED | {"message_id": String},
    "service_events": POSTFIX
    | {"event_kind": String, "lost_line_count": Int64, "message_count": Int64, "message": String},
    "manager_log": {
        "host": String,
        "pid": Int32,
        "thread_id": Int64,
        "level": String,
        "component": String,
        "event_kind": String,
        "restart_trigger": String,
        "message": String,
    },
    "system_events": {
        "host": String,
        "event_code": Int32,
        "event_kind": String,
        "restart_trigger": String,
        "message": String,
    },
    "message_tracking": {
        "host": String,
        "transaction_kind": String,
        "tracking_id": String,
        "queue_id": String,
        "message_id": String,
        "sender": String,
        "recipients": String,
        "client_host": String,
        "client_address": String,
        "relay_address": String,
        "relay_port": Int32,
        "status": String,
        "reply": String,
        "accepted_at": UTC_TIME,
        "delivered_at": UTC_TIME,
    },
    "queue_snapshots": {
        "host": String,
        "queue_name": String,
        "queue_id": String,
        "sender": String,
        "recipient": String,
        "original_recipient": String,
        "size_bytes": Int64,
        "reason": String,
        "is_forced_expire": Boolean,
        "arrived_at": UTC_TIME,
    },
    "inventory": {"host": String, "tool": String, "setting": String, "value": String},
    "other_lines": QUEUED | {"line_kind": String, "message": String},
    "unparsed_lines": {"host": String, "reason": String, "line": String},
}
EVENT_TABLES: dict[str, pl.Schema] = {
    name: pl.Schema(columns | LOGGED_AT | PROVENANCE) for name, columns in _OWN_COLUMNS.items()
}
# Columns of few different values: dictionaries in Arrow from the start.
CATEGORIES = frozenset(
    {
        *("host", "instance", "program", "year_source", "zone_source", "source_id"),
        *("relay_host", "relay_address", "mailer", "tls", "dsn", "status", "removal_kind", "line_kind"),
        *("event_kind", "level", "component", "restart_trigger", "queue_name", "tool", "setting"),
        "transaction_kind",
    }
)
# Columns whose values recur within a file: the Parquet writer makes dictionaries of them. Other texts and
# numbers are best written plain (docs/performance.md).
REPEATED = frozenset({"pid", "client_host", "client_address", "relay_port", "connection_use_count"})
_ARROW_TYPES: dict[pl.DataType, pa.DataType] = {
    String: pa.string(),
    Int32: pa.int32(),
    Int64: pa.int64(),
    Float64: pa.float64(),
    Boolean: pa.bool_(),
    UTC_TIME: pa.timestamp("us", "UTC"),
}
CATEGORY = pa.dictionary(pa.int32(), pa.string())
ARROW_SCHEMAS: dict[str, pa.Schema] = {
    table: pa.schema(
        [
            (name, CATEGORY if name in CATEGORIES and dtype == String else _ARROW_TYPES[dtype])
            for name, dtype in schema.items()
        ]
    )
    for table, schema in EVENT_TABLES.items()
}
