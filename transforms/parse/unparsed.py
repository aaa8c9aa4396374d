"""Lines that become no event to the reason why: too long, damaged, out of range, or known to no pattern."""

import polars as pl

from transforms.bounds import CUT_LINE_BYTES, CUT_TEXT_BYTES, FIRST_YEAR, LAST_YEAR, LINE_BYTES
from transforms.parse.headers import has_foreign_month


def split_off_long(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split lines into those that are too long, shortened and with their reason, and the others."""
    is_too_long = pl.col("line").str.len_bytes() > LINE_BYTES
    too_long = lines.filter(is_too_long).with_columns(
        line=pl.col("line").str.head(CUT_TEXT_BYTES), reason=pl.lit("too_long")
    )
    return too_long, lines.filter(~is_too_long) if len(too_long) else lines


def why_unparsed(reason: pl.Expr) -> pl.Expr:
    """Return why a line is unparsed: it is damaged, else the given reason."""
    line = pl.col("line")
    return (
        pl.when(line.str.contains("\0", literal=True))
        .then(pl.lit("nul_bytes"))
        .when(line.str.len_bytes() >= CUT_LINE_BYTES)
        .then(pl.lit("cut"))
        .otherwise(reason)
    )


def why_no_event(rest: pl.DataFrame) -> pl.Expr:
    """Return why a line with a header matches no pattern."""
    if "program" not in rest.columns:
        return pl.lit("no_pattern")
    return pl.when(pl.col("program").is_null()).then(pl.lit("no_program")).otherwise(pl.lit("no_pattern"))


def why_no_header() -> pl.Expr:
    """Return why a line has no header."""
    return (
        pl.when(is_year_beyond())
        .then(pl.lit("out_of_range"))
        .when(has_foreign_month(pl.col("line")))
        .then(pl.lit("month_name"))
        .otherwise(pl.lit("no_header"))
    )


def is_year_beyond() -> pl.Expr:
    """Tell which lines bear a year in which no log can have been written."""
    return (~pl.col("year").is_between(FIRST_YEAR, LAST_YEAR)).fill_null(value=False)
