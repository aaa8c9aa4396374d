"""A line family as a value, and the vocabulary that patterns share; matching lines against it.

A pattern applies to the text after the header (and, in a maillog, after the queue id). Its named groups are
columns of its tables. Three endings of a group's name have a meaning: NAME_bare is a second spelling of NAME,
NAME_clock a duration as sendmail writes it (`2+15:56:56`), which becomes NAME_seconds, and NAME_stamp a time
with year and offset, which becomes NAME, in UTC.
"""

from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from transforms.bounds import BOUNDS, CUT_TEXT_BYTES, FIRST_YEAR, LAST_YEAR
from transforms.parse.programs import POSTFIX_PROGRAMS
from transforms.parse.tables import NOISE

UNTOLD = "program_prefix"
BARE = "_bare"
CLOCK = "_clock"
STAMP = "_stamp"

# An address in external form: a local part with odd characters is quoted and may then hold anything, `>` and
# `, ` included (quote_822_local.c). Postfix before 3.5, and later ones on demand, log the internal form: the
# same without quotes and backslashes, so that nothing but what follows tells where it ends.
EXTERNAL_ADDRESS = r'(?:@[^\s:<>"]*:)?(?:"(?:[^"\\]|\\.)*"|[^\s()<>@,;:\\"\[\]]*)(?:@[^\s<>,"]*)?'
ADDRESS = rf"{EXTERNAL_ADDRESS}|.*?"
SHORT_QUEUE_ID = r"[0-9A-F]{6,}"
# Base 52 without vowels: seconds (6+), microseconds (4), `z`, inode. mail_queue.h
LONG_QUEUE_ID = r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]+"
QUEUE_ID = rf"(?:{SHORT_QUEUE_ID}|{LONG_QUEUE_ID})"
SECONDS = r"[0-9]+(?:\.[0-9]+)?"
# One of a comma-separated list of addresses, with or without brackets.
LISTED_ADDRESS = r'<(?:"(?:[^"\\]|\\.)*"|[^">])*>|(?:"(?:[^"\\]|\\.)*"|[^",])+'


# What is kept for people to read: it may be cut.
NOT_EVIDENCE = frozenset({NOISE, "other_lines"})


@dataclass(frozen=True)
class Pattern:
    """One line family. It fills `table` with its named groups and its constants.

    `also`: further tables that the same line fills, each with the column that must be known for it.
    `daemons`: last parts of the tag that write it (empty: any). `starts`: literal beginnings that make the
    regex worth trying (empty: any). `is_queued`: whether a queue id must, may (None) or must not stand before
    the text. `listed`: a group that holds several addresses; each of them gets a row. `requeued`: a group
    that names a message that left the queue under this id; it gets a row of queue_removals. `told_by`:
    programs that write it, each with what in the text tells it, for lines whose tag does not; without, they
    are `daemons`. `fast_lane`: how the fast lane (transforms/scanner.py) knows it as well: by a start alone,
    whatever follows, or by its fields.

    What others can write into a line must not look like its fields (docs/hostile-text.md). `ambiguous`: a
    regex of texts that can be read in more than one way. `is_closed`: whether a closing parenthesis ends
    every whole line.
    """

    name: str
    table: str
    regex: str
    samples: tuple[str, ...]
    daemons: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    is_queued: bool | None = None
    constants: dict[str, str] = field(default_factory=dict)
    also: dict[str, str] = field(default_factory=dict)
    listed: str | None = None
    requeued: str | None = None
    told_by: tuple[tuple[str, str], ...] = ()
    fast_lane: Literal["start", "fields"] | None = None
    ambiguous: str = ""
    is_closed: bool = False

    @property
    def is_evidence(self) -> bool:
        """Whether restarts, or the ways of messages, are told by it."""
        return self.table not in NOT_EVIDENCE


def worth_trying(patterns: tuple[Pattern, ...], lines: pl.DataFrame) -> list[Pattern]:
    """Return the patterns that any of the lines may match: few lines are of few kinds."""
    if lines.is_empty():
        return []
    is_untold = UNTOLD in lines.columns
    may_match = lines.select(
        _may_match(pattern, is_untold=is_untold).any().alias(str(at)) for at, pattern in enumerate(patterns)
    )
    return [pattern for pattern, is_any in zip(patterns, may_match, strict=True) if is_any[0]]


def match(pattern: Pattern, rest: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Split lines (`daemon`, `queue_id`, `text`, `record_bytes`) into three.

    Those are the pattern's lines with their fields, the pattern's lines that prove nothing, with a `reason`,
    and the others. Lines whose program is not known (`program_prefix`: what is left of its name) are of a
    program that writes what the pattern says.
    """
    is_untold = UNTOLD in rest.columns
    may_match = _may_match(pattern, is_untold=is_untold)
    tried = rest.filter(may_match)
    if tried.is_empty():
        return tried, tried, rest
    # An empty group at the end tells a match even where every other group is optional.
    fields = tried["text"].str.extract_groups(pattern.regex + "(?P<is_match>)").struct.unnest()
    is_match = fields["is_match"].is_not_null()
    matched = pl.concat([tried, fields], how="horizontal").filter(is_match)
    others = pl.concat([rest.filter(~may_match), tried.filter(~is_match)])
    if is_untold:
        matched = matched.with_columns(program=_told_program(pattern))
    judged = _finished(pattern, matched).with_columns(reason_refused=_why_refused(pattern, matched.columns))
    is_refused = pl.col("reason_refused").is_not_null()
    refused = judged.filter(is_refused).select(*tried.columns, reason="reason_refused")
    return _listed(pattern, judged.filter(~is_refused).drop("reason_refused")), refused, others


def _told_program(pattern: Pattern) -> pl.Expr:
    """Return the first program that the text tells and that begins as the line's; else that name if whole."""
    prefix = pl.col(UNTOLD)
    told_by = pattern.told_by or tuple((name, "") for name in pattern.daemons)
    named = (
        pl.when(pl.lit(name).str.starts_with(prefix) & pl.col("text").str.contains(text)).then(pl.lit(name))
        for name, text in told_by
    )
    whole = pl.when(prefix.is_in(POSTFIX_PROGRAMS)).then(prefix)
    return pl.coalesce(*named, whole)


def _may_match(pattern: Pattern, *, is_untold: bool) -> pl.Expr:
    """Tell cheaply which lines are worth the pattern's regex."""
    may_match = pl.lit(True)
    if pattern.daemons and is_untold:
        may_match &= pl.any_horizontal(
            pl.lit(name).str.starts_with(pl.col(UNTOLD)) for name in pattern.daemons
        )
    elif pattern.daemons:
        may_match &= pl.col("daemon").is_in(pattern.daemons)
    if pattern.starts:
        may_match &= pl.any_horizontal(pl.col("text").str.starts_with(s) for s in pattern.starts)
    if pattern.is_queued is not None:
        may_match &= pl.col("queue_id").is_not_null() == pattern.is_queued
    return may_match.fill_null(value=False)


def _finished(pattern: Pattern, matched: pl.DataFrame) -> pl.DataFrame:
    return matched.with_columns(
        *(
            pl.coalesce(name.removesuffix(BARE), name).alias(name.removesuffix(BARE))
            for name in matched.columns
            if name.endswith(BARE)
        ),
        *(
            _clock_seconds(name).alias(name.removesuffix(CLOCK) + "_seconds")
            for name in matched.columns
            if name.endswith(CLOCK)
        ),
        *(
            _utc_time(name).alias(name.removesuffix(STAMP))
            for name in matched.columns
            if name.endswith(STAMP)
        ),
        *(pl.lit(value).alias(name) for name, value in pattern.constants.items()),
    )


def _listed(pattern: Pattern, finished: pl.DataFrame) -> pl.DataFrame:
    """Give each of several addresses a row."""
    if pattern.listed is None:
        return finished
    addresses = pl.col(pattern.listed)
    return (
        finished.with_columns(addresses.str.extract_all(LISTED_ADDRESS))
        .explode(pattern.listed, empty_as_null=True)
        .with_columns(
            pl.when(addresses.str.starts_with("<"))
            .then(addresses.str.slice(1, addresses.str.len_chars() - 2))
            .otherwise(addresses)
        )
    )


def _why_refused(pattern: Pattern, columns: list[str]) -> pl.Expr:
    """Name why a line that has all fields of its pattern proves nothing all the same; NULL if it does not."""
    why = {}
    if pattern.is_evidence:
        why["cut"] = pl.col("record_bytes") >= CUT_TEXT_BYTES
    if pattern.is_closed:
        why["cut"] = why["cut"] | ~pl.col("text").str.contains(r"\)\s*$")
    if pattern.ambiguous:
        why["ambiguous"] = pl.col("text").str.contains(pattern.ambiguous)
    names = {
        name.removesuffix(BARE) if name.endswith(BARE) else name.replace(CLOCK, "_seconds")
        for name in columns
    }
    # A number that is too long to be one, 400 nines, say, is infinite.
    in_range = [
        *(
            pl.col(name).cast(pl.Float64, strict=False).is_between(*BOUNDS[name])
            for name in sorted(names & BOUNDS.keys())
        ),
        *(
            pl.col(name.removesuffix(STAMP)).dt.year().is_between(FIRST_YEAR, LAST_YEAR)
            for name in columns
            if name.endswith(STAMP)
        ),
    ]
    if in_range:
        why["out_of_range"] = pl.any_horizontal(~each for each in in_range).fill_null(value=False)
    nothing = pl.lit(None, pl.String)
    return pl.coalesce(*(pl.when(test).then(pl.lit(reason)) for reason, test in why.items()), nothing)


def _clock_seconds(name: str) -> pl.Expr:
    """Turn `[days+]HH:MM:SS` into seconds."""
    parts = pl.col(name).str.extract_groups(r"^(?:([0-9]+)\+)?([0-9]+):([0-9]{2}):([0-9]{2})$").struct
    days, hours, minutes, seconds = (parts.field(str(n)).cast(pl.Float64) for n in range(1, 5))
    return ((days.fill_null(0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _utc_time(name: str) -> pl.Expr:
    """Read `2019 Oct 18 14:21:31 +02:00` or `2019/10/18 14:21:31 +02:00`; anything else is no time."""
    formats = ("%Y %b %d %H:%M:%S %z", "%Y/%m/%d %H:%M:%S %z")
    return pl.coalesce(
        pl.col(name).str.to_datetime(form, strict=False, time_unit="us").dt.convert_time_zone("UTC")
        for form in formats
    )
