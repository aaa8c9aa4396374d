"""Lines to the fields of a pattern: what a pattern is, the vocabulary that patterns share, and matching.

A pattern applies to the text after the header and, in a maillog, after the queue id. Its named groups become
columns of its tables. Three endings of a group's name have a meaning: NAME_bare is a second spelling of NAME;
NAME_clock is a duration as sendmail writes it (`2+15:56:56`) and becomes NAME_seconds; NAME_stamp is a time
with year and offset and becomes NAME, in UTC.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from transforms.bounds import BOUNDS, CUT_TEXT_BYTES, FIRST_YEAR, LAST_YEAR
from transforms.parse.programs import POSTFIX_PROGRAMS
from transforms.parse.tables import NOISE

PROGRAM_PREFIX = "program_prefix"
BARE = "_bare"
CLOCK = "_clock"
STAMP = "_stamp"

# An address in external form: a local part with odd characters is quoted and may then hold anything, `>` and
# `, ` included (quote_822_local.c). Postfix before 3.5, and later versions on demand, log the internal form,
# without quotes and backslashes: only what follows shows where such an address ends.
EXTERNAL_ADDRESS = r'(?:@[^\s:<>"]*:)?(?:"(?:[^"\\]|\\.)*"|[^\s()<>@,;:\\"\[\]]*)(?:@[^\s<>,"]*)?'
ADDRESS = rf"{EXTERNAL_ADDRESS}|.*?"
SHORT_QUEUE_ID = r"[0-9A-F]{6,}"
# Base 52 without vowels: seconds (6+), microseconds (4), `z`, inode. mail_queue.h
LONG_QUEUE_ID = r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]+"
QUEUE_ID = rf"(?:{SHORT_QUEUE_ID}|{LONG_QUEUE_ID})"
SECONDS = r"[0-9]+(?:\.[0-9]+)?"
# One of a comma-separated list of addresses, with or without brackets.
LISTED_ADDRESS = r'<(?:"(?:[^"\\]|\\.)*"|[^">])*>|(?:"(?:[^"\\]|\\.)*"|[^",])+'

# Lines of these tables prove nothing, so they may be cut.
NOT_EVIDENCE = frozenset({NOISE, "other_lines"})


@dataclass(frozen=True)
class Pattern:
    """One line family. It fills `table` with its named groups and its constants.

    - `also`: further tables that the line fills, each with the column that must be known for it.
    - `daemons`: the programs that write it, by the last part of their tag (empty: any).
    - `starts`: literal beginnings, one of which the text must have (empty: any).
    - `is_queued`: whether a queue id must (True), may (None) or must not (False) stand before the text.
    - `listed`: a group that holds several addresses; each of them gets a row.
    - `requeued`: a group that holds the id under which the message was in the queue before; that id gets a
      row of queue_removals.
    - `text_by_program`: for lines whose tag does not name the program: the programs that write it, each with
      a regex that its text matches. If empty, they are `daemons`.
    - `fast_lane`: how the fast lane (transforms/fast_lane/scanner.py) recognises it too: by a start alone, or
      by its fields.

    Text that a stranger can put into a line must not pass for its fields (docs/hostile-text.md):

    - `ambiguous`: a regex of texts that can be read in more than one way.
    - `is_closed`: whether every line that was not cut ends with a closing parenthesis.
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
    text_by_program: dict[str, str] = field(default_factory=dict)
    fast_lane: Literal["start", "fields"] | None = None
    ambiguous: str = ""
    is_closed: bool = False

    @property
    def is_evidence(self) -> bool:
        """Whether a verdict may rest on such a line."""
        return self.table not in NOT_EVIDENCE


def begins(starts: tuple[str, ...], then: str) -> str:
    """Return a regex: one of the literal starts, then the regex `then`, then anything."""
    return f"(?:{'|'.join(map(re.escape, starts))}){then}.*"


def worth_trying(patterns: tuple[Pattern, ...], lines: pl.DataFrame) -> list[Pattern]:
    """Return the patterns that any of the lines may match; in a short block, these are few."""
    if lines.is_empty():
        return []
    has_prefix = PROGRAM_PREFIX in lines.columns
    may_match = lines.select(
        _may_match(pattern, has_prefix=has_prefix).any().alias(str(at)) for at, pattern in enumerate(patterns)
    )
    return [pattern for pattern, is_any in zip(patterns, may_match, strict=True) if is_any[0]]


def match(pattern: Pattern, rest: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Split lines (`daemon`, `queue_id`, `text`, `record_bytes`) into matched, refused and other lines.

    Matched lines have the pattern's fields as columns. Refused lines match it, but prove nothing; they have a
    `reason`. If the tag does not name the program (`program_prefix`: what is left of the name), it is taken
    to be the one that writes such a text.
    """
    has_prefix = PROGRAM_PREFIX in rest.columns
    may_match = _may_match(pattern, has_prefix=has_prefix)
    tried = rest.filter(may_match)
    if tried.is_empty():
        return tried, tried, rest
    # An empty group at the end shows a match even where every other group is optional.
    fields = tried["text"].str.extract_groups(pattern.regex + "(?P<is_match>)").struct.unnest()
    is_match = fields["is_match"].is_not_null()
    matched = pl.concat([tried, fields], how="horizontal").filter(is_match)
    others = pl.concat([rest.filter(~may_match), tried.filter(~is_match)])
    if has_prefix:
        matched = matched.with_columns(program=_program_by_text(pattern))
    judged = _finished(pattern, matched).with_columns(reason_refused=_why_refused(pattern, matched.columns))
    is_refused = pl.col("reason_refused").is_not_null()
    refused = judged.filter(is_refused).select(*tried.columns, reason="reason_refused")
    return _listed(pattern, judged.filter(~is_refused).drop("reason_refused")), refused, others


def _program_by_text(pattern: Pattern) -> pl.Expr:
    """Return the first program that fits both the text and the prefix; else a whole prefix."""
    prefix = pl.col(PROGRAM_PREFIX)
    text_by_program = pattern.text_by_program or dict.fromkeys(pattern.daemons, "")
    fitting = (
        pl.when(pl.lit(name).str.starts_with(prefix) & pl.col("text").str.contains(text)).then(pl.lit(name))
        for name, text in text_by_program.items()
    )
    whole = pl.when(prefix.is_in(POSTFIX_PROGRAMS)).then(prefix)
    return pl.coalesce(*fitting, whole)


def _may_match(pattern: Pattern, *, has_prefix: bool) -> pl.Expr:
    """Tell, cheaply, which lines the pattern's regex is to be tried on."""
    may_match = pl.lit(True)
    if pattern.daemons and has_prefix:
        may_match &= pl.any_horizontal(
            pl.lit(name).str.starts_with(pl.col(PROGRAM_PREFIX)) for name in pattern.daemons
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
    """Return why a line proves nothing although it has all fields of its pattern; NULL for a sound line."""
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
    # As a float, a number of 400 digits is infinite, and so out of range.
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
    """Read `2019 Oct 18 14:21:31 +02:00` or `2019/10/18 14:21:31 +02:00`; NULL for anything else."""
    formats = ("%Y %b %d %H:%M:%S %z", "%Y/%m/%d %H:%M:%S %z")
    return pl.coalesce(
        pl.col(name).str.to_datetime(form, strict=False, time_unit="us").dt.convert_time_zone("UTC")
        for form in formats
    )
