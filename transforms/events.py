"""Blocks of log lines to typed event tables; what no pattern knows becomes data as well, with a reason."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import polars as pl

from transforms.clock import MONTHS, YearWindow, Zone, local_to_utc
from transforms.patterns import (
    EVENT_TABLES,
    MAILLOG_HEADER,
    MANAGER_HEADER,
    NOISE,
    POSTFIX_PATTERNS,
    QUEUE_ID,
    Pattern,
    manager_patterns,
)

UNPARSED = "unparsed_lines"
# A group of this ending is another spelling of the field without it.
BARE = "_bare"
# Line counts are kept per quarter of an hour, so that they add up to local days in every zone.
COUNT_SPAN = "15m"

LINE_COUNTS = pl.Schema(
    {
        "host": pl.String(),
        "log_kind": pl.String(),
        "table_name": pl.String(),
        "line_count": pl.Int64(),
        "span": pl.Datetime("us", "UTC"),
        "first_logged_at": pl.Datetime("us", "UTC"),
        "last_logged_at": pl.Datetime("us", "UTC"),
        "source_id": pl.String(),
    }
)


@dataclass(frozen=True)
class Reading:
    """How to read one source file: whose it is, and how its stamps get year and zone."""

    host: str
    log_kind: str
    source_id: str
    zone: Zone
    year: YearWindow
    flush_commanded_pattern: str

    @property
    def year_source(self) -> str:
        """How the year of a stamp was found; manager log lines bear theirs."""
        return self.year.source if self.log_kind == "maillog" else "line"

    @property
    def zone_source(self) -> str:
        """How the zone of a stamp was found."""
        return self.zone.source if self.log_kind == "maillog" else "line"


@dataclass(frozen=True)
class ParsedBlock:
    """The events of a block by table name, and the counts of all its lines (LINE_COUNTS)."""

    tables: dict[str, pl.DataFrame]
    line_counts: pl.DataFrame


def split_lines(block: bytes, first_line_number: int) -> pl.DataFrame:
    r"""Return the block's lines with their numbers; bytes that are not UTF-8 become `\xNN`."""
    try:
        text = block.decode()
    except UnicodeDecodeError:
        text = block.decode(errors="backslashreplace")
    lines = pl.Series("line", [text.removesuffix("\n")]).str.split("\n").explode()
    return pl.DataFrame(
        {
            "line_number": pl.int_range(first_line_number, first_line_number + len(lines), eager=True),
            "line": lines.str.strip_suffix("\r"),
        }
    )


def parse_lines(lines: pl.DataFrame, reading: Reading) -> ParsedBlock:
    """Parse numbered lines (`line_number`, `line`) of one source file.

    Every line comes out exactly once: as an event, as known noise (counted only), or in
    `unparsed_lines`. An unparsed line without a readable stamp takes the time of the line before it in
    the block, else of the next one.
    """
    headed = READERS[reading.log_kind](lines, reading).with_columns(
        around_at=pl.col("logged_at").forward_fill().backward_fill()
    )
    has_header = pl.col("logged_at").is_not_null()
    # Lines of programs that are not Postfix's are noise.
    is_foreign = pl.col("is_foreign")
    found = {NOISE: [headed.filter(has_header & is_foreign)]}
    rest = headed.filter(has_header & ~is_foreign)
    for pattern in _patterns(reading):
        if rest.is_empty():
            break
        matched, rest = _match(pattern, rest)
        if not matched.is_empty():
            found.setdefault(pattern.table, []).append(matched)
    found[UNPARSED] = [
        headed.filter(~has_header).with_columns(reason=pl.lit("no_header")),
        rest.with_columns(reason=pl.lit("no_pattern")),
    ]
    provenance = {
        "host": reading.host,
        "source_id": reading.source_id,
        "year_source": reading.year_source,
        "zone_source": reading.zone_source,
    }
    frames = {
        table: pl.concat(parts, how="diagonal").with_columns(
            logged_at=pl.coalesce("logged_at", "around_at"),
            **{name: pl.lit(value) for name, value in provenance.items()},
        )
        for table, parts in found.items()
    }
    return ParsedBlock(
        tables={
            table: _typed(frame, EVENT_TABLES[table])
            for table, frame in frames.items()
            if table != NOISE and not frame.is_empty()
        },
        line_counts=_count_lines(frames, reading),
    )


def _patterns(reading: Reading) -> tuple[Pattern, ...]:
    if reading.log_kind == "manager_log":
        return manager_patterns(reading.flush_commanded_pattern)
    return POSTFIX_PATTERNS


def _match(pattern: Pattern, rest: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split the lines into those the pattern matches, with its fields added, and the others."""
    may_match = pl.lit(True)
    if pattern.daemons:
        may_match &= pl.col("daemon").is_in(pattern.daemons)
    if pattern.starts:
        may_match &= pl.any_horizontal(pl.col("text").str.starts_with(s) for s in pattern.starts)
    if pattern.is_queued is not None:
        may_match &= pl.col("queue_id").is_not_null() == pattern.is_queued
    # An empty group at the end tells a match even where every other group is optional.
    tried = rest.filter(may_match)
    if tried.is_empty():
        return tried, rest
    tried = tried.with_columns(
        pl.col("text").str.extract_groups(pattern.regex + "(?P<is_match>)").struct.unnest()
    )
    tried = tried.with_columns(
        pl.coalesce(name.removesuffix(BARE), name).alias(name.removesuffix(BARE))
        for name in tried.columns
        if name.endswith(BARE)
    )
    is_match = pl.col("is_match").is_not_null()
    matched = tried.filter(is_match).with_columns(
        pl.lit(value).alias(name) for name, value in pattern.constants.items()
    )
    missed = tried.filter(~is_match).select(rest.columns)
    return matched, pl.concat([rest.filter(~may_match), missed])


def _read_maillog_headers(lines: pl.DataFrame, reading: Reading) -> pl.DataFrame:
    """Add logged_at, instance, program, daemon, pid, queue_id, text (after the queue id), is_foreign."""
    heads = lines.with_columns(
        pl.col("line").str.extract_groups(MAILLOG_HEADER).struct.unnest()
    ).with_columns(
        pl.col("text").str.extract_groups(QUEUED_TEXT).struct.unnest(),
        pl.col("tag").str.extract_groups(POSTFIX_TAG).struct.unnest(),
    )
    days = heads.select("month", "day").unique().drop_nulls()
    dates: list[date | None] = [
        reading.year.resolve(MONTHS[month], int(day)) for month, day in days.iter_rows()
    ]
    days = days.with_columns(date=pl.Series(dates, dtype=pl.Date))
    return (
        heads.join(days, on=["month", "day"], how="left", maintain_order="left")
        .with_columns(time=pl.col("time").str.to_time("%H:%M:%S", strict=False))
        .with_columns(
            logged_at=local_to_utc(pl.col("date").dt.combine(pl.col("time")), reading.zone),
            text=pl.coalesce("queued_text", "text"),
            is_foreign=pl.col("instance").is_null(),
        )
        .select(
            *("line_number", "line", "logged_at", "instance", "program", "daemon", "pid"),
            *("queue_id", "text", "is_foreign"),
        )
    )


# `postfix-out/relay/smtp` is daemon smtp (program relay/smtp) of the instance postfix-out.
POSTFIX_TAG = r"^(?P<instance>[^/]+)/(?P<program>(?:[^/]+/)*(?P<daemon>[^/]+))$"
QUEUED_TEXT = rf"^(?:(?P<queue_id>{QUEUE_ID})|NOQUEUE): (?P<queued_text>.*)$"


def _read_manager_headers(lines: pl.DataFrame, reading: Reading) -> pl.DataFrame:
    """Add logged_at (its offset stands in each line), pid, thread_id, level, component and text."""
    del reading
    heads = lines.with_columns(pl.col("line").str.extract_groups(MANAGER_HEADER).struct.unnest())
    stamp = pl.concat_str("date", pl.lit(" "), "time", pl.col("zone").str.strip_prefix("GMT"))
    return heads.with_columns(
        logged_at=stamp.str.to_datetime(
            "%Y/%m/%d %H:%M:%S%z", strict=False, time_unit="us"
        ).dt.convert_time_zone("UTC"),
        queue_id=pl.lit(None, pl.String),
        daemon=pl.lit(None, pl.String),
        is_foreign=pl.lit(value=False),
    )


READERS: dict[str, Callable[[pl.DataFrame, Reading], pl.DataFrame]] = {
    "maillog": _read_maillog_headers,
    "manager_log": _read_manager_headers,
}


def _typed(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    return frame.select(
        pl.col(name).cast(dtype, strict=False) if name in frame.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    ).sort("line_number")


def _count_lines(frames: dict[str, pl.DataFrame], reading: Reading) -> pl.DataFrame:
    counts = [
        frame.group_by(pl.col("logged_at").dt.truncate(COUNT_SPAN).alias("span"))
        .agg(
            line_count=pl.len(),
            first_logged_at=pl.col("logged_at").min(),
            last_logged_at=pl.col("logged_at").max(),
        )
        .with_columns(
            host=pl.lit(reading.host),
            log_kind=pl.lit(reading.log_kind),
            table_name=pl.lit(table),
            source_id=pl.lit(reading.source_id),
        )
        for table, frame in frames.items()
        if not frame.is_empty()
    ]
    return merge_line_counts(counts)


def merge_line_counts(counts: list[pl.DataFrame]) -> pl.DataFrame:
    """Add up the line counts of one source file's blocks, one row per table and span."""
    if not counts:
        return LINE_COUNTS.to_frame()
    return (
        pl.concat(counts)
        .group_by("host", "log_kind", "table_name", "source_id", "span")
        .agg(
            line_count=pl.sum("line_count"),
            first_logged_at=pl.min("first_logged_at"),
            last_logged_at=pl.max("last_logged_at"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in LINE_COUNTS.items())
        .sort("first_logged_at", "table_name")
    )


def find_manager_zone(block: bytes) -> str | None:
    """Return the zone of a manager log's first line that has one, such as `GMT+09:00`."""
    heads = split_lines(block, 1)["line"].str.extract_groups(MANAGER_HEADER)
    return next(iter(heads.struct.field("zone").drop_nulls()), None)
