"""Blocks of log lines to typed event tables; a line that no pattern knows becomes a row with a reason."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from transforms.log_rules import LogRules
from transforms.parse.clock import LocalClock, YearWindow
from transforms.parse.headers import Header, read_headers
from transforms.parse.inventory import parse_inventory
from transforms.parse.line_counts import count_lines
from transforms.parse.patterns import match, worth_trying
from transforms.parse.routing import headers_of_kind, route
from transforms.parse.snapshots import SnapshotParser
from transforms.parse.syslog import SUMMARY_OF_REPEATS
from transforms.parse.tables import EVENT_TABLES, NOISE, UNPARSED, UTC_TIME
from transforms.parse.unparsed import (
    is_year_beyond,
    split_off_long,
    why_no_event,
    why_no_header,
    why_unparsed,
)
from transforms.zone import Zone

# No maillog is older than this year: an earlier stamp is the epoch.
YEAR_AFTER_EPOCH = 1971
# The event ids that third parties have published have this form.
EVENT_CODE = r"\b(2[0-9]{4})\b"
# How msgtra.imss writes an unknown value.
NOTHING_TRACKED = ["#null#", ""]
_IS_JOURNAL_MARK = pl.col("line").str.contains(r"^-- .* --$")

STAMP = pl.Struct({"at": UTC_TIME, "has_year": pl.Boolean(), "has_offset": pl.Boolean()})


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read one source file: its host, its kind, and how its stamps are given a year and a zone.

    `taken_at` is the time of a file whose lines bear none (a queue snapshot or an inventory file), and
    `taken_at_source` says where it comes from. `tool` is the program whose output an inventory file holds.
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
    """The events of a block by table name, and the counts of all its lines (line_counts.LINE_COUNTS)."""

    tables: dict[str, pl.DataFrame]
    line_counts: pl.DataFrame


def split_lines(block: bytes, first_line_number: int, *, may_be_shift_jis: bool = False) -> pl.DataFrame:
    r"""Return the block's lines with their numbers; bytes that are not UTF-8 become `\xNN`.

    With `may_be_shift_jis` (a Japanese Windows may have written the file), other bytes are tried as Shift JIS
    first.
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
    """Parses the lines of one host's logs of one kind, block after block and file after file.

    It keeps what one block leaves to the next: the last stamp, and the unfinished entry of a queue snapshot.
    """

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
        """Begin another source file of the same host, kind and zone; its id and its year are its own."""
        self.reading = reading
        self._readings[reading.source_id] = reading

    def parse(self, lines: pl.DataFrame) -> ParsedBlock:
        """Parse numbered lines (`line_number`, `line`).

        Optional columns: the parts of the header, if it was read before (HEADER_SCHEMA); `source_id`, if the
        lines belong to several files that were begun (default: the last one); `stamp_before` and
        `stamp_after` (STAMP), the stamps of neighbouring lines that are not among these.

        Every line is accounted for exactly once: as one or several events, as noise (counted only), or as a
        row of `unparsed_lines`. An unparsed line without a readable stamp takes the time of the line before
        it in its file, else of the line after it.
        """
        if self.reading.taken_at:
            too_long, others = split_off_long(lines)
            found = self._parse_undated(others)
            found[UNPARSED] = pl.concat([found[UNPARSED], too_long], how="diagonal")
            return self._finished(found, [])
        if "source_id" not in lines.columns:
            lines = lines.with_columns(source_id=pl.lit(self.reading.source_id))
        if "day" not in lines.columns:
            lines = _with_headers(headers_of(self.reading), lines)
        return self._parse_dated(lines)

    def finish(self) -> ParsedBlock:
        """Return what the last block held back."""
        return self._finished(self._snapshot.finish() if self._snapshot else {}, [])

    def _parse_dated(self, headed: pl.DataFrame) -> ParsedBlock:
        all_stamped = self._stamped(headed)
        too_long, stamped = split_off_long(all_stamped)
        found: dict[str, list[pl.DataFrame]] = {UNPARSED: [too_long]}
        also: list[tuple[str, pl.DataFrame]] = []
        for patterns, lines in route(stamped, self.reading.log_kind, self.reading.rules):
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
            found.setdefault(UNPARSED, []).append(rest.with_columns(reason=why_unparsed(why_no_event(rest))))
        headless = stamped.filter(pl.col("logged_at").is_null())
        is_noise = (pl.col("line").str.strip_chars() == "") | _IS_JOURNAL_MARK
        if self.reading.log_kind == "system_log":
            is_noise = pl.lit(True)
        found.setdefault(NOISE, []).append(headless.filter(is_noise))
        found.setdefault(UNPARSED, []).append(
            headless.filter(~is_noise).with_columns(reason=why_unparsed(why_no_header()))
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
        """Add logged_at, year_source and zone_source, and around_at: the nearest stamp before, else after."""
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
        # Such a line is about the lines before it, whatever its stamp says.
        has_no_time = _has_no_time(self.reading)
        has_time = ~has_no_time & ~is_year_beyond()
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
        stamp = pl.when(pl.col("logged_at").is_not_null()).then(
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
                pl.coalesce(stamp, before).forward_fill().over("source_id"),
                of_last_block,
                pl.coalesce(stamp, after).backward_fill().over("source_id"),
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
            line_counts=count_lines(frames, host=reading.host, log_kind=reading.log_kind),
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


def headers_of(reading: Reading) -> tuple[Header, ...]:
    """Return the forms of header that the lines of a file may have."""
    return headers_of_kind(reading.log_kind, reading.rules)


def _with_headers(headers: tuple[Header, ...], lines: pl.DataFrame) -> pl.DataFrame:
    """Add the parts of the header to lines; their numbers need not be unique."""
    rows = lines.select("line", line_number=pl.int_range(pl.len()))
    return pl.concat([lines, read_headers(headers, rows).drop("line", "line_number")], how="horizontal")


def _by_line_or(source: pl.Expr, is_in_line: pl.Expr) -> pl.Expr:
    """Return where a part of the stamp comes from: the line itself, else `source`, that of the whole file."""
    return pl.when(is_in_line).then(pl.lit("line")).when(~is_in_line).then(source)


def _date_in(year: pl.Expr) -> pl.Expr:
    """Return the date of a year with the columns month and day; NULL if the calendar lacks it."""
    digits = (pl.col(name).cast(pl.String).str.zfill(2) for name in ("month", "day"))
    return pl.concat_str(year.cast(pl.String), *digits, separator="-").str.to_date("%Y-%m-%d", strict=False)


def _has_no_time(reading: Reading) -> pl.Expr:
    """Tell which lines bear a false stamp: syslog-ng 3.8 dates its summaries to the end of 1969."""
    if reading.log_kind != "maillog":
        return pl.lit(False)
    is_epoch = (pl.col("year") < YEAR_AFTER_EPOCH) | (
        ((pl.col("month") == 12) & (pl.col("day") == 31)) | ((pl.col("month") == 1) & (pl.col("day") == 1))
    ) & (pl.col("time_of_day").dt.total_seconds() % 60 == 58)
    return pl.col("text").str.contains(SUMMARY_OF_REPEATS).fill_null(value=False) & (
        pl.col("logging_host").is_null() | is_epoch.fill_null(value=False)
    )


def _requeued(matched: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return a removal for each message that entered the queue again under another id."""
    return matched.filter(pl.col(column).is_not_null()).with_columns(
        queue_id=column, removal_kind=pl.lit("requeued"), sender=pl.lit(None, pl.String)
    )


def _lost_in_a_crash(stamped: pl.DataFrame) -> pl.DataFrame:
    """Return a loss notice for each run of NULs: a crash leaves them where lines had not been written yet."""
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
