"""Blocks of log lines to typed event tables; what no pattern knows becomes data as well, with a reason."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from transforms.bounds import CUT_LINE_BYTES, CUT_TEXT_BYTES, FIRST_YEAR, LAST_YEAR, LINE_BYTES
from transforms.log_rules import LogRules
from transforms.parse.clock import LocalClock, YearWindow
from transforms.parse.headers import MANAGER_HEADERS, SYSLOG_HEADERS, Header, has_foreign_month, read_headers
from transforms.parse.inventory import parse_inventory
from transforms.parse.patterns import QUEUE_ID, UNTOLD, Pattern, match, worth_trying
from transforms.parse.postfix import POSTFIX_PATTERNS
from transforms.parse.programs import POSTFIX_PROGRAMS, is_without_program
from transforms.parse.sendmail import (
    INSTANCE,
    SENDMAIL_PATTERNS,
    SENDMAIL_QUEUE_ID,
    SENDMAIL_TAGS,
    SUBMISSION_QUEUE,
)
from transforms.parse.snapshots import SnapshotParser
from transforms.parse.syslog import SUMMARY_OF_REPEATS, SYSLOG_PATTERNS, SYSTEM_LOG_PATTERNS
from transforms.parse.tables import EVENT_TABLES, NOISE, UNPARSED, UTC_TIME
from transforms.parse.trend import (
    TRACKING_HEADERS,
    TRACKING_PATTERNS,
    manager_patterns,
    system_event_headers,
    system_event_patterns,
)
from transforms.zone import Zone

# Line counts are kept per quarter of an hour, so that they add up to local days in every zone.
COUNT_SPAN = "15m"
# `postfix-out/relay/smtp` is daemon smtp (program relay/smtp) of the instance postfix-out.
POSTFIX_TAG = r"^(?P<instance>[^/]+)/(?P<program>(?:[^/]+/)*(?P<daemon>[^/]+))$"
# `rsyslogd-2177` is rsyslogd with the number of its message.
SYSLOG_DAEMON = r"^([^-]+(?:-[a-z]+)*)"
# No maillog is older than this year.
YEAR_AFTER_EPOCH = 1971
# What only Postfix or sendmail writes: under the tag of another program, it is no noise.
MAIL_TEXT = (
    rf"^(?:{QUEUE_ID}: (?:to=.*, status=|from=.*\(queue active\)$|removed$|(?:resent-)?message-id="
    rf"|client=\S+\[)|{SENDMAIL_QUEUE_ID}: (?:to=.*, stat=|from=.*, nrcpts=))"
)
# rsyslog's way to say that the same line came again.
REPEATED_TEXT = r"^message repeated [0-9]+ times: \[ ?(.*)\]$"

# The ids that third parties tell of are of this form.
EVENT_CODE = r"\b(2[0-9]{4})\b"
# How msgtra.imss writes what it does not know.
NOTHING_TRACKED = ["#null#", ""]
_IS_JOURNAL_MARK = pl.col("line").str.contains(r"^-- .* --$")

# What hosts count as where a file names too many of them.
OTHER_HOSTS = "(others)"
STAMP = pl.Struct({"at": UTC_TIME, "has_year": pl.Boolean(), "has_offset": pl.Boolean()})
LINE_COUNTS = pl.Schema(
    {
        "host": pl.String(),
        "log_kind": pl.String(),
        "table_name": pl.String(),
        "logging_host": pl.String(),
        "line_count": pl.Int64(),
        "span": pl.Datetime("us", "UTC"),
        "first_logged_at": pl.Datetime("us", "UTC"),
        "last_logged_at": pl.Datetime("us", "UTC"),
        "source_id": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read one source file: whose it is, and how its stamps get year and zone.

    `taken_at` and `taken_at_source` date a file whose lines bear no time: a queue snapshot or an inventory
    file, `tool` being what made it.
    """

    host: str
    log_kind: str
    zone: Zone
    year: YearWindow
    rules: LogRules = field(default_factory=LogRules)
    source_id: str = ""
    taken_at: datetime | None = None
    taken_at_source: str = "file_time"
    tool: str = ""


@dataclass(frozen=True)
class ParsedBlock:
    """The events of a block by table name, and the counts of all its lines (LINE_COUNTS)."""

    tables: dict[str, pl.DataFrame]
    line_counts: pl.DataFrame


def split_lines(block: bytes, first_line_number: int, *, may_be_shift_jis: bool = False) -> pl.DataFrame:
    r"""Return the block's lines with their numbers; bytes that are not UTF-8 become `\xNN`.

    Where a Japanese Windows may have written the file, a block that is not UTF-8 is tried as Shift JIS.
    """
    try:
        text = block.decode("utf-8-sig" if first_line_number == 1 else "utf-8")
    except UnicodeDecodeError:
        shift_jis = _decoded_as_shift_jis(block) if may_be_shift_jis else None
        text = shift_jis or block.decode(errors="backslashreplace")
    lines = pl.Series("line", [text.removesuffix("\n")]).str.split("\n").explode()
    return pl.DataFrame(
        {
            "line_number": pl.int_range(first_line_number, first_line_number + len(lines), eager=True),
            "line": lines.str.strip_suffix("\r"),
        }
    )


def _decoded_as_shift_jis(block: bytes) -> str | None:
    try:
        return block.decode("cp932")
    except UnicodeDecodeError:
        return None


class Parser:
    """Parses the lines of a host's logs of one kind, file after file; it knows what passes between blocks."""

    def __init__(self, reading: Reading) -> None:
        self._readings: dict[str, Reading] = {}
        self._clock = LocalClock(reading.zone)
        self._snapshot = (
            SnapshotParser(reading.taken_at, reading.zone)
            if reading.log_kind == "queue_snapshot" and reading.taken_at
            else None
        )
        # The last line's source and stamp, for lines at the start of the next block.
        self._last_source_id = ""
        self._last_stamp: dict[str, Any] | None = None
        self.begin(reading)

    def begin(self, reading: Reading) -> None:
        """Go on to another source file: same host, kind and zone, but with an id and a year of its own."""
        self.reading = reading
        self._readings[reading.source_id] = reading

    def parse(self, lines: pl.DataFrame) -> ParsedBlock:
        """Parse numbered lines (`line_number`, `line`), whose headers may be read already (HEADER_SCHEMA).

        They may be of several files begun (`source_id`, else all of the last one), and tell the stamps of
        lines that are not among them (`stamp_before`, `stamp_after`: STAMP). Every line comes out exactly
        once: as an event (or several), as known noise (counted only), or in `unparsed_lines`. An unparsed
        line without a readable stamp takes the time of the line before it in its file, else of the next one.
        """
        if self.reading.taken_at:
            too_long, others = _split_off_long(lines)
            found = self._parse_undated(others)
            found[UNPARSED] = pl.concat([found[UNPARSED], too_long], how="diagonal")
            return self._finished(found, [])
        if "source_id" not in lines.columns:
            lines = lines.with_columns(source_id=pl.lit(self.reading.source_id))
        if "day" not in lines.columns:
            lines = _with_headers(headers_of(self.reading), lines)
        return self._parse_dated(lines)

    def finish(self) -> ParsedBlock:
        """Return what was kept back at the end of the last block."""
        return self._finished(self._snapshot.finish() if self._snapshot else {}, [])

    def _parse_dated(self, headed: pl.DataFrame) -> ParsedBlock:
        all_stamped = self._stamped(headed)
        too_long, stamped = _split_off_long(all_stamped)
        found: dict[str, list[pl.DataFrame]] = {UNPARSED: [too_long]}
        also: list[tuple[str, pl.DataFrame]] = []
        for patterns, lines in _routed(stamped, self.reading):
            rest = lines
            for pattern in worth_trying(patterns, lines):
                matched, refused, rest = match(pattern, rest)
                if not refused.is_empty():
                    found.setdefault(UNPARSED, []).append(refused)
                if not matched.is_empty():
                    found.setdefault(pattern.table, []).append(matched)
                    also += [
                        (table, matched.filter(pl.col(needed).is_not_null()))
                        for table, needed in pattern.also.items()
                    ]
                    if pattern.requeued:
                        also.append(("queue_removals", _requeued(matched, pattern.requeued)))
            found.setdefault(UNPARSED, []).append(
                rest.with_columns(reason=_why_unparsed(_why_no_event(rest)))
            )
        headless = stamped.filter(pl.col("logged_at").is_null())
        is_noise = (pl.col("line").str.strip_chars() == "") | _IS_JOURNAL_MARK
        if self.reading.log_kind == "system_log":
            is_noise = pl.lit(True)
        found.setdefault(NOISE, []).append(headless.filter(is_noise))
        found.setdefault(UNPARSED, []).append(
            headless.filter(~is_noise).with_columns(reason=_why_unparsed(_why_no_header()))
        )
        also += [("service_events", _lost_in_a_crash(all_stamped))]
        return self._finished(
            {table: pl.concat(parts, how="diagonal_relaxed") for table, parts in found.items()}, also
        )

    def _parse_undated(self, lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
        if self._snapshot:
            return self._snapshot.parse(lines)
        parsed = parse_inventory(self.reading.tool, lines)
        return {table: frame.with_columns(tool=pl.lit(self.reading.tool)) for table, frame in parsed.items()}

    def _stamped(self, headed: pl.DataFrame) -> pl.DataFrame:
        """Add logged_at, year_source and zone_source; around_at is the nearest stamp before, else after."""
        years = {source_id: reading.year for source_id, reading in self._readings.items()}
        days = headed.select("source_id", "month", "day").unique().drop_nulls()
        resolved = [years[source_id].resolve(month, day) for source_id, month, day in days.iter_rows()]
        days = days.with_columns(resolved_year=pl.Series([on and on.year for on in resolved], dtype=pl.Int32))
        dated = headed.join(
            days, on=["source_id", "month", "day"], how="left", maintain_order="left"
        ).with_columns(
            local=_date_in(pl.coalesce("year", "resolved_year")).cast(pl.Datetime("us"))
            + pl.col("time_of_day")
        )
        is_local = pl.col("utc_offset").is_null()
        local = dated.select(pl.when(is_local).then("local")).to_series()
        stamped = dated.with_columns(
            self._clock.to_utc(local, dated["source_id"]).alias("by_zone")
        ).with_columns(
            logged_at=pl.coalesce(
                (pl.col("local") - pl.col("utc_offset")).dt.replace_time_zone("UTC"), "by_zone"
            )
        )
        # Such a line tells of those before it, whatever its stamp.
        has_no_time = _has_no_time(self.reading)
        has_time = ~has_no_time & ~_is_year_beyond()
        stamped = stamped.with_columns(logged_at=pl.when(has_time).then("logged_at"))
        year_of_file = pl.col("source_id").replace_strict(
            {source_id: year.source for source_id, year in years.items()}, return_dtype=pl.String
        )
        around = pl.col("around").struct
        return stamped.with_columns(around=self._nearest_stamps(stamped)).with_columns(
            logged_at=pl.when(has_no_time).then(around.field("at")).otherwise("logged_at"),
            around_at=around.field("at"),
            year_source=_by_line_or(year_of_file, around.field("has_year")),
            zone_source=_by_line_or(pl.lit(self.reading.zone.source), around.field("has_offset")),
        )

    def _nearest_stamps(self, stamped: pl.DataFrame) -> pl.Series:
        """Return each line's stamp (STAMP), else that of the line before it in its file, else after it."""
        own = pl.when(pl.col("logged_at").is_not_null()).then(
            pl.struct(
                at="logged_at",
                has_year=pl.col("year").is_not_null(),
                has_offset=pl.col("utc_offset").is_not_null(),
            )
        )
        before, after = (
            pl.col(name) if name in stamped.columns else pl.lit(None, STAMP)
            for name in ("stamp_before", "stamp_after")
        )
        of_last_block = pl.when(pl.col("source_id") == self._last_source_id).then(
            pl.lit(self._last_stamp, STAMP)
        )
        nearest = stamped.select(
            pl.coalesce(
                pl.coalesce(own, before).forward_fill().over("source_id"),
                of_last_block,
                pl.coalesce(own, after).backward_fill().over("source_id"),
            )
        ).to_series()
        if not stamped.is_empty():
            self._last_source_id, self._last_stamp = stamped["source_id"][-1], nearest[-1]
        return nearest

    def _finished(self, found: dict[str, pl.DataFrame], also: list[tuple[str, pl.DataFrame]]) -> ParsedBlock:
        reading = self.reading
        frames = {
            table: self._with_provenance(frame) for table, frame in found.items() if not frame.is_empty()
        }
        tables = {table: [frame] for table, frame in frames.items() if table != NOISE}
        for table, frame in also:
            if not frame.is_empty():
                tables.setdefault(table, []).append(self._with_provenance(frame))
        return ParsedBlock(
            tables={
                table: pl.concat(_typed(part, EVENT_TABLES[table]) for part in parts).sort(
                    "source_id", "line_number", maintain_order=True
                )
                for table, parts in tables.items()
            },
            line_counts=_count_lines(frames, reading),
        )

    def _with_provenance(self, frame: pl.DataFrame) -> pl.DataFrame:
        reading = self.reading
        if reading.taken_at:
            frame = frame.with_columns(
                logged_at=pl.lit(reading.taken_at, pl.Datetime("us", "UTC")),
                year_source=pl.lit(reading.taken_at_source),
                zone_source=pl.lit(reading.zone.source),
                source_id=pl.lit(reading.source_id),
            )
        else:
            frame = frame.with_columns(logged_at=pl.coalesce("logged_at", "around_at"))
        if reading.log_kind == "message_tracking":
            frame = frame.with_columns(pl.col(pl.String).replace(NOTHING_TRACKED, None))
        if "message" in frame.columns and reading.log_kind in {"manager_log", "system_events"}:
            frame = frame.with_columns(
                event_code=pl.col("message").str.extract(EVENT_CODE).cast(pl.Int32),
                restart_trigger=pl.coalesce(
                    pl.lit(None, pl.String),
                    *(
                        pl.when(pl.col("message").str.contains(rule)).then(pl.lit(name))
                        for name, rule in reading.rules.triggers().items()
                    ),
                ),
            )
        return frame.with_columns(host=pl.lit(reading.host))


@dataclass(frozen=True)
class Tag:
    """What a tag says: the program, its instance and daemon, and whether it is Postfix or sendmail."""

    instance: str | None
    program: str | None
    daemon: str | None
    is_postfix: bool
    is_sendmail: bool
    is_without_program: bool


def describe_tag(tag: str) -> Tag:
    """Return what a tag says, as the lines that bear it are read."""
    frame = pl.DataFrame({"tag": [tag]})
    is_postfix, is_sendmail, lacks_program = frame.select(
        is_postfix=is_postfix_tag(), is_sendmail=is_sendmail_tag(), lacks=is_without_program(pl.col("tag"))
    ).row(0)
    if is_postfix:
        groups = frame.select(pl.col("tag").str.extract_groups(POSTFIX_TAG).struct.unnest())
        return Tag(**groups.row(0, named=True), is_postfix=True, is_sendmail=False, is_without_program=False)
    return Tag(
        instance=None,
        program=tag,
        daemon=frame.select(pl.col("tag").str.extract(SYSLOG_DAEMON)).item(),
        is_postfix=False,
        is_sendmail=is_sendmail,
        is_without_program=lacks_program,
    )


def headers_of(reading: Reading) -> tuple[Header, ...]:
    """Return the forms of header that the lines of a file may have."""
    return headers_of_kind(reading.log_kind, reading.rules)


def headers_of_kind(log_kind: str, rules: LogRules) -> tuple[Header, ...]:
    """Return the forms of header that a kind of log may have."""
    return {
        "maillog": SYSLOG_HEADERS,
        "system_log": SYSLOG_HEADERS,
        "manager_log": MANAGER_HEADERS,
        "system_events": system_event_headers(rules),
        "message_tracking": TRACKING_HEADERS,
    }[log_kind]


def is_postfix_tag() -> pl.Expr:
    """Tell whether the column `tag` names a program of Postfix; a line without a tag has none."""
    tag = pl.col("tag").str.extract_groups(POSTFIX_TAG).struct
    is_postfix = tag.field("instance").str.starts_with("postfix") | tag.field("daemon").is_in(
        POSTFIX_PROGRAMS
    )
    return is_postfix.fill_null(value=False)


def is_sendmail_tag() -> pl.Expr:
    """Tell whether the column `tag` names sendmail; a line without a tag does not."""
    return pl.col("tag").is_in(SENDMAIL_TAGS).fill_null(value=False)


def _with_headers(headers: tuple[Header, ...], lines: pl.DataFrame) -> pl.DataFrame:
    """Add the headers to lines whose numbers need not be unique."""
    rows = lines.select("line", line_number=pl.int_range(pl.len()))
    return pl.concat([lines, read_headers(headers, rows).drop("line", "line_number")], how="horizontal")


def _routed(stamped: pl.DataFrame, reading: Reading) -> Iterator[tuple[tuple[Pattern, ...], pl.DataFrame]]:
    """Yield the lines that have a header with the patterns that apply to them."""
    headed = stamped.filter(pl.col("logged_at").is_not_null()).with_columns(record_bytes=_record_bytes())
    if reading.log_kind == "system_log":
        yield SYSTEM_LOG_PATTERNS, _of_the_system(headed.drop(UNTOLD)).with_columns(record_bytes=0)
        return
    if reading.log_kind != "maillog":
        patterns = {
            "manager_log": manager_patterns(reading.rules),
            "system_events": system_event_patterns(reading.rules),
            "message_tracking": TRACKING_PATTERNS,
        }[reading.log_kind]
        # Their lines are as long as they like.
        yield (
            patterns,
            headed.drop(UNTOLD).with_columns(
                record_bytes=0, queue_id=pl.lit(None, pl.String), daemon=pl.lit(None, pl.String)
            ),
        )
        return
    headed = headed.with_columns(
        pl.coalesce(pl.col("text").str.extract(REPEATED_TEXT), "text").alias("text"),
        pl.col("tag").str.extract_groups(POSTFIX_TAG).struct.unnest(),
    )
    # A summary of repeated lines bears the tag of these, and is syslog-ng's.
    is_summary = pl.col("text").str.contains(SUMMARY_OF_REPEATS)
    is_untold = pl.col(UNTOLD).is_not_null() & ~is_summary
    is_postfix = is_postfix_tag() & ~is_untold & ~is_summary
    is_sendmail = is_sendmail_tag() & ~is_summary
    is_other = ~is_postfix & ~is_sendmail & ~is_untold & ~is_summary
    is_mail = is_other & pl.col("text").str.contains(MAIL_TEXT)
    untold = headed.filter(is_untold).with_columns(
        instance=pl.coalesce("instance", "tag"),
        program=pl.lit(None, pl.String),
        daemon=pl.lit(None, pl.String),
    )
    yield POSTFIX_PATTERNS, _with_queue_id(untold, QUEUE_ID)
    yield POSTFIX_PATTERNS, _with_queue_id(headed.filter(is_postfix).drop(UNTOLD), QUEUE_ID)
    yield (
        SENDMAIL_PATTERNS,
        _with_queue_id(headed.filter(is_sendmail).drop(UNTOLD), SENDMAIL_QUEUE_ID).with_columns(
            instance=pl.when(pl.col("tag") == SUBMISSION_QUEUE).then("tag").otherwise(pl.lit(INSTANCE)),
            program="tag",
            daemon="tag",
        ),
    )
    yield (), headed.filter(is_mail).drop(UNTOLD).with_columns(program=pl.lit(None, pl.String))
    yield SYSLOG_PATTERNS, _of_the_system(headed.filter((is_other & ~is_mail) | is_summary).drop(UNTOLD))


def _of_the_system(lines: pl.DataFrame) -> pl.DataFrame:
    """Return lines of programs that are of no mail system, as the patterns take them."""
    return lines.with_columns(
        instance=pl.lit(None, pl.String),
        program="tag",
        daemon=pl.col("tag").str.extract(SYSLOG_DAEMON),
        queue_id=pl.lit(None, pl.String),
    )


def _with_queue_id(lines: pl.DataFrame, queue_id: str) -> pl.DataFrame:
    groups = pl.col("text").str.extract_groups(rf"^(?:(?P<queue_id>{queue_id})|NOQUEUE): (?P<rest>.*)$")
    return (
        lines.with_columns(groups.struct.unnest()).with_columns(text=pl.coalesce("rest", "text")).drop("rest")
    )


def _record_bytes() -> pl.Expr:
    """Return how long a line is, without NULs before it; of the journal's JSON the text alone counts."""
    line = pl.col("line").str.strip_chars_start("\0")
    return pl.when(line.str.starts_with("{")).then("text").otherwise(line).str.len_bytes()


def _by_line_or(source: pl.Expr, is_told: pl.Expr) -> pl.Expr:
    """Say how a part of the stamp was found: the line itself tells it, or the source of the whole file."""
    return pl.when(is_told).then(pl.lit("line")).when(~is_told).then(source)


def _date_in(year: pl.Expr) -> pl.Expr:
    """Return the date of a year with the columns month and day; NULL if the calendar lacks it."""
    digits = (pl.col(name).cast(pl.String).str.zfill(2) for name in ("month", "day"))
    return pl.concat_str(year.cast(pl.String), *digits, separator="-").str.to_date("%Y-%m-%d", strict=False)


def _split_off_long(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the lines that are too long, unparsed and with what is kept of them, and the others."""
    is_too_long = pl.col("line").str.len_bytes() > LINE_BYTES
    too_long = lines.filter(is_too_long).with_columns(
        line=pl.col("line").str.head(CUT_TEXT_BYTES), reason=pl.lit("too_long")
    )
    return too_long, lines.filter(~is_too_long) if len(too_long) else lines


def _why_unparsed(reason: pl.Expr) -> pl.Expr:
    """Name why a line is left over: it was damaged, or nothing knows it."""
    line = pl.col("line")
    return (
        pl.when(line.str.contains("\0", literal=True))
        .then(pl.lit("nul_bytes"))
        .when(line.str.len_bytes() >= CUT_LINE_BYTES)
        .then(pl.lit("cut"))
        .otherwise(reason)
    )


def _why_no_event(rest: pl.DataFrame) -> pl.Expr:
    """Name why a line with a header is left over."""
    if "program" not in rest.columns:
        return pl.lit("no_pattern")
    return pl.when(pl.col("program").is_null()).then(pl.lit("no_program")).otherwise(pl.lit("no_pattern"))


def _why_no_header() -> pl.Expr:
    """Name why a line has no header."""
    return (
        pl.when(_is_year_beyond())
        .then(pl.lit("out_of_range"))
        .when(has_foreign_month(pl.col("line")))
        .then(pl.lit("month_name"))
        .otherwise(pl.lit("no_header"))
    )


def _is_year_beyond() -> pl.Expr:
    """Tell which lines bear a year that no log is of."""
    return (~pl.col("year").is_between(FIRST_YEAR, LAST_YEAR)).fill_null(value=False)


def _has_no_time(reading: Reading) -> pl.Expr:
    """Tell which lines bear a stamp that is none: syslog-ng 3.8 dates its summaries to the end of 1969."""
    if reading.log_kind != "maillog":
        return pl.lit(False)
    is_epoch = (pl.col("year") < YEAR_AFTER_EPOCH) | (
        ((pl.col("month") == 12) & (pl.col("day") == 31)) | ((pl.col("month") == 1) & (pl.col("day") == 1))
    ) & (pl.col("time_of_day").dt.total_seconds() % 60 == 58)
    return pl.col("text").str.contains(SUMMARY_OF_REPEATS).fill_null(value=False) & (
        pl.col("logging_host").is_null() | is_epoch.fill_null(value=False)
    )


def _requeued(matched: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return the removals of the messages that came into the queue again under another id."""
    return matched.filter(pl.col(column).is_not_null()).with_columns(
        queue_id=column, removal_kind=pl.lit("requeued"), sender=pl.lit(None, pl.String)
    )


def _lost_in_a_crash(stamped: pl.DataFrame) -> pl.DataFrame:
    """Return a loss notice for each run of NULs, which a crash leaves where lines were not written yet."""
    return stamped.filter(pl.col("line").str.starts_with("\0") & pl.col("around_at").is_not_null()).select(
        *("source_id", "line_number", "around_at", "year_source", "zone_source"),
        logged_at="around_at",
        event_kind=pl.lit("lines_lost"),
        message=pl.lit("a run of NUL bytes"),
    )


def _typed(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    return frame.select(
        pl.col(name).cast(dtype, strict=False) if name in frame.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    )


def _count_lines(frames: dict[str, pl.DataFrame], reading: Reading) -> pl.DataFrame:
    counts = [
        (
            frame
            if "logging_host" in frame.columns
            else frame.with_columns(logging_host=pl.lit(None, pl.String))
        )
        .group_by("source_id", "logging_host", pl.col("logged_at").dt.truncate(COUNT_SPAN).alias("span"))
        .agg(
            line_count=pl.col("line_number").n_unique(),
            first_logged_at=pl.col("logged_at").min(),
            last_logged_at=pl.col("logged_at").max(),
        )
        .with_columns(
            host=pl.lit(reading.host),
            log_kind=pl.lit(reading.log_kind),
            table_name=pl.lit(table),
        )
        for table, frame in frames.items()
    ]
    return merge_line_counts(counts)


def merge_line_counts(counts: list[pl.DataFrame]) -> pl.DataFrame:
    """Add up the line counts of one source file's blocks, one row per table and span."""
    if not counts:
        return LINE_COUNTS.to_frame()
    return (
        pl.concat(counts, how="diagonal")
        .group_by("host", "log_kind", "table_name", "logging_host", "source_id", "span")
        .agg(
            line_count=pl.sum("line_count"),
            first_logged_at=pl.min("first_logged_at"),
            last_logged_at=pl.max("last_logged_at"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in LINE_COUNTS.items())
        .sort("first_logged_at", "table_name", "logging_host")
    )
